"""Inside the image: a workspace that holds what the package holds."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from gateway.package import manifest
from gateway.package.contents import Pinned
from gateway.package.errors import NotAPackage
from registry.environments.interpreters import interpreter_for
from registry.environments.requirements import package_name, pinned_version
from registry.environments.serving import Own
from registry.errors import ModelNotFound
from registry.records import ModelVersion
from registry.sdk.environment import Environment
from registry.sdk.workspace import Workspace

INTERPRETERS: Final = "interpreters"


def prepare(package: Path, say: Callable[[str], None]) -> None:
    """While the image is built: make the interpreters that differ from this image's own.

    Raises:
        NotAPackage, EnvironmentBuildError, DiskFull
    """
    root = package / INTERPRETERS
    root.mkdir(exist_ok=True)
    for key, pinned in sorted(manifest.read(package).environments.items()):
        if is_own(pinned, Own.here()):
            say(f"environment {key}: this image's own Python has its releases")
        else:
            interpreter_for(environment_of(key, pinned).spec(), root, progress=say, strict=True, name=key)
    for parent, folders, names in os.walk(root):  # read by another user than the one who builds
        for name in (*folders, *names):
            path = os.path.join(parent, name)
            if not os.path.islink(path):
                os.chmod(path, os.stat(path).st_mode | 0o444 | (0o111 if os.path.isdir(path) else 0))
    root.chmod(0o755)


def load(package: Path, workspace: Workspace) -> None:
    """When a container starts: what is not yet in its workspace goes in. Versions keep their numbers.

    Raises:
        NotAPackage: bytes are missing or are not what the manifest says.
    """
    found = manifest.read(package)
    _link_interpreters(package, workspace)
    for path in sorted((package / "artifacts").iterdir()):
        if not workspace.artifacts.exists(path.name):
            stored = workspace.artifacts.put_file(path)
            if stored.digest != path.name:
                raise NotAPackage(str(package), f"artifact {path.name[:12]}… has other bytes than its name says")
    own = Own.here()
    environments = {key: _environment(workspace, key, pinned, own) for key, pinned in found.environments.items()}
    for record, key in found.models:
        if not _is_there(workspace, record):
            workspace.metadata.put_model(replace(record, environment=environments[key]))
    for service in found.services:
        workspace.metadata.put_service(service)
    workspace.metadata.set_value("default_service", found.default, only_if_absent=True)
    if (package / "settings.toml").exists() and not (workspace.root / "settings.toml").exists():
        shutil.copyfile(package / "settings.toml", workspace.root / "settings.toml")


def is_own(pinned: Pinned, own: Own) -> bool:
    """Whether this process's own Python holds exactly the pinned releases."""
    python = ".".join(map(str, own.python)) == pinned.python
    return (
        pinned.own
        and python
        and all(own.releases.get(package_name(r)) == pinned_version(r) for r in pinned.requirements)
    )


def environment_of(key: str, pinned: Pinned) -> Environment:
    """One that leaves nothing to be resolved."""
    spec = {"python": pinned.python, "pip": pinned.requirements, "variables": pinned.variables}
    return Environment.from_spec(f"package-{key}", spec)


def _environment(workspace: Workspace, key: str, pinned: Pinned, own: Own) -> str:
    """Stored with the workspace; its digest. One without requirements means this image's own."""
    environment = Environment(f"package-{key}") if is_own(pinned, own) else environment_of(key, pinned)
    return workspace.metadata.put_environment(environment.name, environment.digest, environment.spec()).digest


def _link_interpreters(package: Path, workspace: Workspace) -> None:
    """The workspace finds the image's interpreters under their keys; it may build others beside them."""
    root = package / INTERPRETERS
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        link = workspace.interpreters_dir / folder.name
        if folder.is_symlink() and not link.exists():  # those whose build was completed
            link.symlink_to(folder)


def _is_there(workspace: Workspace, record: ModelVersion) -> bool:
    """Also when its golden rows were recorded since, or its tags changed."""
    try:
        return workspace.metadata.get_model(record.name, record.version).artifact.digest == record.artifact.digest
    except ModelNotFound:
        return False
