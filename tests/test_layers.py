"""Which module may import which: the packages, the rooms of the gateway, no circle, and late imports only for a reason.

All imports count: those at the top of a module, those inside functions, those for type checkers, and `import_module("…")`.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("registry", "trainer", "gateway")
# Run inside somebody else's Python: nothing of ours is there but what lies beside them.
ALONE = ("gateway.worker", "trainer.shim")
WEB = {"starlette", "uvicorn", "uvloop", "httptools", "fastapi", "ray", "sklearn"}

# Room of the gateway -> the rooms that it may import, apart from `errors`, `settings` and `types`.
ROOMS = {
    "cli": {"http", "client", "supervisor", "protocols", "package", "dataplane", "schema", "auth", "rundir", "ipc"},
    "http": {"protocols", "dataplane", "schema", "auth", "rundir", "ipc", "worker"},
    "client": {"package", "schema", "auth", "rundir", "worker"},
    "supervisor": {"dataplane", "schema", "auth", "rundir", "ipc", "worker"},
    "protocols": {"schema"},
    "package": {"rundir", "schema"},
    "dataplane": {"ipc", "worker"},
    "schema": {"worker"},
    "auth": set(),
    "rundir": {"ipc"},
    "ipc": set(),
    "worker": set(),
}
GROUND = {"errors", "settings", "types"}

# Module (or room, with a dot at its end) that imports late -> why. Everywhere else imports stand at the top.
LATE = {
    "gateway": "`import gateway` costs nothing until a name is used",
    "gateway.cli.": "a command imports only what it runs",
    "gateway.client.rpc": "writing a package is imported when somebody asks for it",
    "gateway.client.webservice": "filters are imported when somebody filters",
    "gateway.http.admin": "the metrics' text is imported when somebody asks for it",
    "gateway.worker.": "the model's own Python imports a part when the model needs it",
    "registry.limits": "one of three back ends is imported",
    "registry.registration": "opening a workspace imports neither files nor environments",
    "registry.sdk.workspace": "opening a workspace imports the stores that its URL names",
    "trainer.launch": "a launcher forks before it imports what supervises",
    "trainer.operations.environments": "building is imported when somebody builds",
    "trainer.supervision": "building is imported when somebody builds",
}

# Circles that are being cut. Delete a line as soon as its files are free of the circle; a circle that is gone fails.
TEMPORARY_CIRCLES: tuple[frozenset[str], ...] = (
    frozenset({"gateway.cli.models", "gateway.cli.train", "gateway.cli.up"}),
)


class Import(NamedTuple):
    source: str
    line: int
    target: str
    late: bool

    def __str__(self) -> str:
        return f"{self.source}:{self.line} imports {self.target}"


def name_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def modules() -> dict[str, Path]:
    return {name_of(file): file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))}


@cache
def imports() -> tuple[Import, ...]:
    return tuple(found for name, file in modules().items() for found in imports_of(name, file))


def imports_of(name: str, file: Path) -> Iterator[Import]:
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    yield from _walk(ast.parse(file.read_text(encoding="utf-8")), name, package, late=False)


def _walk(node: ast.AST, name: str, package: str, late: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        for target in _targets(child, package):
            yield Import(name, getattr(child, "lineno", 0), target, late)
        inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _walk(child, name, package, late or inside)


def _targets(node: ast.AST, package: str) -> Iterator[str]:
    """Absolute names. `from package import module` means the module, not what the package's own file imports."""
    if isinstance(node, ast.Import):
        yield from (_known(alias.name) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
        base = ".".join([*above, *([node.module] if node.module else [])])
        yield from {_known(f"{base}.{alias.name}", base) for alias in node.names}
    elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        called = ast.unparse(node.func).rpartition(".")[2]
        if called in {"import_module", "__import__"} and isinstance(node.args[0].value, str):
            yield _known(node.args[0].value)


def _known(name: str, otherwise: str | None = None) -> str:
    """Also as a program of the worker or the shim names it, whose own folder is on the path."""
    places = [name, *(f"{place}.{name}" for place in ALONE)]
    fallback = otherwise or name
    return next(
        (each for each in places if each in modules()),
        _known(fallback) if otherwise else fallback,
    )


def inside(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def forbidden(one: Import) -> bool:
    source, target = one.source, one.target
    alone = next((place for place in ALONE if inside(source, place)), None)
    if alone:
        return target.partition(".")[0] in PACKAGES and not inside(target, alone)
    if inside(target, "gateway.cli") and not inside(source, "gateway.cli"):
        return True
    if inside(source, "registry"):
        return target.partition(".")[0] in {"trainer", "gateway"} | WEB
    if inside(source, "trainer"):
        return target.partition(".")[0] in {"gateway"} | WEB
    return inside(target, "trainer") and not inside(source, "gateway.cli")


def test_the_walk_sees_all_three_packages_and_every_kind_of_import() -> None:
    assert {name.partition(".")[0] for name in modules()} == set(PACKAGES)
    text = (
        "import registry.errors\nfrom . import methods\nif TYPE_CHECKING:\n    from gateway.types import Dialect\n"
        "def late():\n    from gateway import settings\n    import_module('trainer.sdk')"
    )
    found = _walk(ast.parse(text), "gateway.schema.x", "gateway.schema", late=False)
    assert [(one.target, one.late) for one in found] == [
        ("registry.errors", False),
        ("gateway.schema.methods", False),
        ("gateway.types", False),
        ("gateway.settings", True),
        ("trainer.sdk", True),
    ]


@pytest.mark.parametrize("package", PACKAGES)
def test_arrows_between_packages_point_one_way(package: str) -> None:
    assert [str(one) for one in imports() if inside(one.source, package) and forbidden(one)] == []


def room(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


def test_every_room_of_the_gateway_is_listed() -> None:
    assert {room(name) for name in modules() if inside(name, "gateway")} - {""} == {*ROOMS, *GROUND}


def test_arrows_between_the_gateways_rooms_are_those_of_the_list() -> None:
    wrong = []
    for one in imports():
        if one.source != "gateway" and inside(one.source, "gateway") and inside(one.target, "gateway"):
            here, there = room(one.source), room(one.target)
            if there not in {here, *GROUND, *ROOMS.get(here, set())} or (here in GROUND and there != here):
                wrong.append(str(one))
    assert wrong == []


def test_the_list_of_rooms_goes_down_only() -> None:
    assert list(circles(ROOMS)) == []


def test_no_circle_of_files() -> None:
    graph: dict[str, set[str]] = {name: set() for name in modules()}
    for one in imports():
        if one.target in graph and one.target != one.source:
            graph[one.source].add(one.target)
    found = [set(circle) for circle in circles(graph)]
    assert [sorted(circle) for circle in found if not any(circle <= known for known in TEMPORARY_CIRCLES)] == []
    cut = [sorted(known) for known in TEMPORARY_CIRCLES if not any(circle <= known for circle in found)]
    assert cut == [], "these were cut: take them off the list"


def test_late_imports_are_named_with_their_reason() -> None:
    late = {one.source: str(one) for one in imports() if one.late and one.target in modules()}
    named = {source: [p for p in LATE if source == p or (p.endswith(".") and source.startswith(p))] for source in late}
    assert [late[source] for source in late if not named[source]] == []
    assert set(LATE) - {place for places in named.values() for place in places} == set()


def circles(graph: dict[str, set[str]]) -> Iterator[list[str]]:
    """The groups of nodes that reach each other (strongly connected components of more than one node)."""
    reached = {node: _reached(graph, node) for node in graph}
    left = sorted(graph)
    while left:
        first = left.pop(0)
        group = [first, *(node for node in left if node in reached[first] and first in reached[node])]
        left = [node for node in left if node not in group]
        if len(group) > 1:
            yield group


def _reached(graph: dict[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    todo = [start]
    while todo:
        for target in graph[todo.pop()] - found:
            found.add(target)
            todo.append(target)
    return found
