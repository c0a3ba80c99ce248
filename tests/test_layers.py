"""The arrows between packages: `registry` below, `trainer` and `gateway` beside each other, `gateway.cli` above all."""

import ast
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("registry", "trainer", "gateway")
# Run inside somebody else's Python: nothing of ours is there but what lies beside them.
ALONE = ("gateway/worker/", "trainer/shim/")
WEB = {"starlette", "uvicorn", "uvloop", "httptools", "fastapi", "ray", "sklearn"}


def modules() -> Iterator[Path]:
    for package in PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


def imported(file: Path) -> Iterator[tuple[int, str]]:
    """Line and absolute name of everything that a module imports, at its top or later."""
    parents = file.relative_to(ROOT).with_suffix("").parts
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(parents[: len(parents) - node.level]) + "." if node.level else ""
            for name in [node.module] if node.module else [alias.name for alias in node.names]:
                yield node.lineno, base + name


def wrong_arrows(file: Path) -> list[str]:
    name = file.relative_to(ROOT).as_posix()
    forbidden: set[str] = set()
    if name.startswith("registry/"):
        forbidden = {"trainer", "gateway"} | WEB
    elif name.startswith(ALONE):
        forbidden = set(PACKAGES)
    elif name.startswith("trainer/"):
        forbidden = {"gateway"} | WEB
    elif name.startswith("gateway/") and not name.startswith("gateway/cli/"):
        forbidden = {"trainer"}
    found = [f"{name}:{line} imports {target}" for line, target in imported(file) if target.split(".")[0] in forbidden]
    if name.startswith(ALONE):
        found = [arrow for arrow in found if not f"{arrow.rpartition(' ')[2].replace('.', '/')}.py".startswith(ALONE)]
    if not name.startswith("gateway/cli/"):
        found += [
            f"{name}:{line} imports {t}"
            for line, t in imported(file)
            if t == "gateway.cli" or t.startswith("gateway.cli.")
        ]
    return found


def test_the_walk_sees_all_three_packages() -> None:
    assert {file.relative_to(ROOT).parts[0] for file in modules()} == set(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_arrows_point_one_way(package: str) -> None:
    wrong = [arrow for file in modules() if file.relative_to(ROOT).parts[0] == package for arrow in wrong_arrows(file)]
    assert wrong == []


def test_no_import_cycle_at_module_level() -> None:
    names = {".".join(f.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): f for f in modules()}
    graph = {name: set(top_level_imports(file, names.keys())) & names.keys() - {name} for name, file in names.items()}
    assert list(cycles(graph)) == []


def top_level_imports(file: Path, known: Collection[str]) -> Iterator[str]:
    """`from package import module` means the module, not what the package's own file imports."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            parts = {f"{node.module}.{alias.name}" for alias in node.names}
            yield from parts
            if not parts <= set(known):
                yield node.module


def cycles(graph: dict[str, set[str]]) -> Iterator[list[str]]:
    """One path for each back edge that a depth-first walk finds."""
    done: set[str] = set()

    def walk(name: str, path: list[str]) -> Iterator[list[str]]:
        if name in path:
            yield [*path[path.index(name) :], name]
        elif name not in done:
            for target in sorted(graph[name]):
                yield from walk(target, [*path, name])
            done.add(name)

    for name in sorted(graph):
        yield from walk(name, [])
