"""What the trainer and its shim import late is named here."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.test_layers import ROOT

#: Imported inside a function, for the time that start-up would take; each says so in a comment beside it.
LATE = {
    ("launch", "trainer.folder"),
    ("launch", "trainer.history"),
    ("launch", "trainer.sweep_driver"),
    ("launch", "trainer.supervision"),
    ("launch", "trainer.process_id"),
    ("supervision", "registry.environments.interpreters"),
    ("operations.environments", "registry.environments.interpreters"),
    ("folder", "hashlib"),
    ("snapshot", "pathspec"),
    ("mlflow_store", "sqlite3"),
    ("sweep_space", "optuna"),
}
TRAINER = ROOT / "trainer"
SHIM = TRAINER / "shim"


def files(top: Path, prefix: str) -> dict[str, Path]:
    """Module name → file."""
    found = {}
    for path in sorted(top.rglob("*.py")):
        if top != TRAINER or SHIM not in path.parents:
            parts = path.relative_to(top).with_suffix("").parts
            found[".".join([*([prefix] if prefix else []), *parts]).removesuffix(".__init__")] = path
    return found


def imports(node: ast.AST, known: set[str]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        for alias in node.names:
            inner = f"{node.module}.{alias.name}"
            yield inner if inner in known else node.module


def late(tree: ast.Module) -> Iterator[ast.AST]:
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            yield from (node for node in ast.walk(function) if isinstance(node, ast.Import | ast.ImportFrom))


def test_late_imports_of_the_trainer_are_those_for_start_up() -> None:
    found = files(TRAINER, "")
    seen = {
        (name, target)
        for name, path in found.items()
        for node in late(ast.parse(path.read_text("utf-8")))
        for target in imports(node, {f"trainer.{each}" for each in found})
    }
    assert seen == LATE


def test_the_shim_imports_nothing_of_itself_late() -> None:
    """Only what a Python may not have, and what takes time that most scripts need not wait for."""
    found = files(SHIM / "azureml", "azureml")
    seen = {
        target
        for name, path in found.items()
        if name != "azureml._bootstrap"
        for node in late(ast.parse(path.read_text("utf-8")))
        for target in imports(node, set(found))
    }
    assert seen == {"numpy", "pandas", "socket", "subprocess", "urllib.error", "urllib.request"}
