"""The table in docs/azureml.md says of every module and name of the shim what becomes of it, and says the truth."""

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
SHIM = ROOT / "trainer" / "shim"


class Row(NamedTuple):
    works: list[str]
    ignored: list[str]
    refused: list[str]


def table() -> dict[str, Row]:
    rows = {}
    for line in (ROOT / "docs" / "azureml.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and cells[0].startswith("`azureml"):
            names = [re.findall(r"`([A-Z_a-z]+(?:\.[a-z_]+)?)`(?: with(?:out)? [^,]*)?", cell) for cell in cells[1:]]
            rows[cells[0].strip("`")] = Row(*names)
    return rows


def modules() -> dict[str, ast.Module]:
    """Those that people import, and that define or hand on anything."""
    found = {}
    for file in sorted((SHIM / "azureml").rglob("*.py")):
        parts = file.relative_to(SHIM).with_suffix("").parts
        if "_fitserve" not in parts and parts[-1] != "_bootstrap":
            tree = ast.parse(file.read_text(encoding="utf-8"))
            if any(offered(tree)):
                found[".".join(parts).removesuffix(".__init__")] = tree
    return found


def offered(tree: ast.Module) -> Iterator[str]:
    """`__all__`, else what is defined with a public name."""
    names = []
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.append(node.name)
        for target in node.targets if isinstance(node, ast.Assign) else ():
            if isinstance(target, ast.Name) and target.id == "__all__":
                return (name for name in ast.literal_eval(node.value) if not name.startswith("_"))
            if isinstance(target, ast.Name):
                names.append(target.id)
    return (name for name in names if not name.startswith("_"))


def refusing_methods(tree: ast.Module) -> set[str]:
    """``Class.method`` of all that call `refuse`."""
    return {
        f"{cls.name}.{function.name}"
        for cls in tree.body
        if isinstance(cls, ast.ClassDef) and not cls.name.startswith("_")
        for function in cls.body
        if isinstance(function, ast.FunctionDef)
        for call in ast.walk(function)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "refuse"
    }


def is_refused(value: Any) -> bool:
    return inspect.isclass(value) and type(value).__name__ == "_Refusing"


def test_the_table_has_every_module_and_no_other() -> None:
    assert set(table()) == set(modules())


@pytest.mark.parametrize("module", modules())
def test_every_name_is_in_the_table_and_the_other_way_round(module: str, azureml: None) -> None:
    row = table()[module]
    listed = {name for cell in row for name in cell if "." not in name}
    assert set(offered(modules()[module])) <= listed
    imported = importlib.import_module(module)
    assert [name for name in listed if not hasattr(imported, name)] == []
    assert len(listed) == len([name for cell in row for name in cell if "." not in name]), "a name is in two columns"


@pytest.mark.parametrize("module", modules())
def test_what_the_table_calls_refused_is_refused_with_a_sentence_and_nothing_else_is(
    module: str, azureml: None
) -> None:
    from azureml.exceptions import UserErrorException

    row, imported = table()[module], importlib.import_module(module)
    assert [name for name in row.works + row.ignored if is_refused(getattr(imported, name))] == []
    for name in row.refused:
        if "." not in name:
            with pytest.raises(UserErrorException, match=f"{name} is not supported by fitserve: .{{10}}"):
                getattr(imported, name)("anything", more=1)
    assert {name for name in row.refused if "." in name} == refusing_methods(modules()[module])


def test_the_page_s_programs_name_only_what_works(azureml: None) -> None:
    page = (ROOT / "docs" / "azureml.md").read_text(encoding="utf-8")
    programs = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert programs
    for node in (node for program in programs for node in ast.walk(ast.parse(program))):
        if isinstance(node, ast.ImportFrom):
            assert {alias.name for alias in node.names} <= set(table()[str(node.module)].works)
