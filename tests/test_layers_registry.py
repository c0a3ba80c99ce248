"""The registry's modules import one another one way: late imports, and those for type checkers only, count like all others."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.test_layers import ROOT, circles

FILES = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
    for file in sorted((ROOT / "registry").rglob("*.py"))
    if "migrations" not in file.parts
}


def imports(file: Path) -> Iterator[tuple[ast.Import | ast.ImportFrom, set[str]]]:
    """Each import of a file with the names that it may mean: `from package import name` may mean a module."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield node, {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            parts = {f"{node.module}.{alias.name}" for alias in node.names}
            yield node, parts if parts <= FILES.keys() else parts | {node.module}


def graph() -> dict[str, set[str]]:
    return {
        name: {target for _, targets in imports(file) for target in targets & FILES.keys() - {name}}
        for name, file in FILES.items()
    }


def test_no_module_imports_itself_by_way_of_others() -> None:
    drawn = graph()
    assert len(drawn) > 60
    assert drawn["registry.sdk.model"] > {"registry.models", "registry.services"}
    assert list(circles(drawn)) == []


def test_nothing_below_the_sdk_imports_it() -> None:
    wrong = {
        name: targets
        for name, targets in graph().items()
        if name != "registry"
        and not name.startswith("registry.sdk")
        and any(target.startswith("registry.sdk") for target in targets)
    }
    assert wrong == {}


def test_no_text_names_a_module_of_another_package() -> None:
    """`import_module("trainer.runs")` would be an arrow that no import shows."""
    found = []
    for name, file in FILES.items():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value.partition(":")[0]
                if re.fullmatch(r"(trainer|gateway)(\.\w+)+", text):
                    path = ROOT / text.replace(".", "/")
                    if path.is_dir() or path.with_suffix(".py").is_file():
                        found.append((name, node.value))
    assert found == []


def test_every_late_import_says_why() -> None:
    silent = []
    for name, file in FILES.items():
        text = file.read_text(encoding="utf-8")
        for function in ast.walk(ast.parse(text)):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                late = [node for node in ast.walk(function) if isinstance(node, ast.Import | ast.ImportFrom)]
                silent += [f"{name}:{n.lineno}" for n in late if "# late: " not in text.splitlines()[n.lineno - 1]]
    assert silent == []
