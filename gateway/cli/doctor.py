"""`fitserve doctor`: what this machine can enforce, and what is installed."""

import os
import platform
import sqlite3
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import click

from gateway.cli.client import running
from gateway.cli.output import print_json
from registry.environments.conda_tool import find_conda
from registry.environments.interpreters import find_pythons
from registry.errors import FitserveError
from registry.limits import choose_backend, machine_cores, machine_memory_bytes, survey
from registry.limits.scope import delegation
from registry.resources import GB
from registry.sdk.workspace import Workspace

PACKAGES = (
    "fitserve",
    "scikit-learn",
    "numpy",
    "pandas",
    "joblib",
    "starlette",
    "uvicorn",
    "uvloop",
    "SQLAlchemy",
    "uv",
)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def doctor(obj: dict[str, Any], as_json: bool) -> int:
    """Tell what this machine can enforce, which Pythons it has, which versions are installed. Exit code 3: no limits."""
    facts = gather(obj["workspace"])
    if as_json:
        print_json(facts)
    else:
        _print(facts)
    return 0 if facts["limits"]["in_force"] != "none" else 3


def gather(workspace: str | None) -> dict[str, Any]:
    return {
        "machine": {
            "system": f"{platform.system()} {platform.release()} {platform.machine()}",
            "cores": machine_cores(),
            "memory_gb": round(machine_memory_bytes() / GB, 2),
        },
        "limits": _limits(),
        "python": {"version": platform.python_version(), "executable": sys.executable},
        "interpreters": [{"version": v, "path": str(path)} for v, path in find_pythons()],
        "conda": str(tool.path) if (tool := find_conda()) else None,
        "packages": {name: _version(name) for name in PACKAGES} | {"SQLite": sqlite3.sqlite_version},
        "workspace": _workspace(workspace),
    }


def _limits() -> dict[str, Any]:
    back_ends = {name: reason or ("works" if name != "none" else "holds nothing") for name, reason in survey()}
    in_force, problem = _in_force()
    found: dict[str, Any] = {"in_force": in_force, "back_ends": back_ends}
    if problem:
        found["problem"] = problem
    if back_ends["cgroup2"] != "works":
        found["scope"] = delegation().reason or "can be had: serve and up start in one, so cgroup2 is used there"
    return found


def _in_force() -> tuple[str, str | None]:
    """What would hold limits, and why a gateway would not start: the one that `FITSERVE_LIMITS` asks for does not work."""
    try:
        backend = choose_backend("doctor")
    except FitserveError as error:
        return "none", str(error)
    backend.close()
    return backend.enforcement, None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _workspace(where: str | None) -> dict[str, Any]:
    try:
        with Workspace.open(where, create=False) as workspace:
            state = running(workspace)
            found = {"folder": str(workspace.root), "gateway": state.url if state else None}
            return found | ({"gateway_elsewhere": True} if state and not state.is_here else {})
    except FitserveError as error:
        return {"problem": str(error)}


def _print(facts: dict[str, Any]) -> None:
    machine = facts["machine"]
    click.echo(f"machine       {machine['system']}, {machine['cores']:g} cores, {machine['memory_gb']:g} GB")
    limits = facts["limits"]
    forced = ", as FITSERVE_LIMITS says" if os.environ.get("FITSERVE_LIMITS") else ""
    said = (
        f"a gateway refuses to start: {limits['problem']}"
        if "problem" in limits
        else f"{limits['in_force']} is used{forced}"
    )
    click.echo(f"limits        {said}")
    for name, reason in limits["back_ends"].items():
        click.echo(f"  {name:<11} {reason}")
    if "scope" in limits:
        click.echo(f"  {'own scope':<11} {limits['scope']}")
    click.echo(f"python        {facts['python']['version']}")
    click.echo("interpreters  " + (", ".join(i["version"] for i in facts["interpreters"]) or "none but this one"))
    click.echo(f"conda         {facts['conda'] or 'none; conda files are built from PyPI'}")
    click.echo("packages")
    for name, found in facts["packages"].items():
        click.echo(f"  {name:<13} {found or 'not installed'}")
    workspace = facts["workspace"]
    click.echo(f"workspace     {workspace.get('folder') or workspace['problem']}")
    if workspace.get("gateway"):
        where = ", in another container or on another machine" if "gateway_elsewhere" in workspace else ""
        click.echo(f"gateway       {workspace['gateway']}{where}")
