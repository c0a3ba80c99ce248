"""What a script imports, read from its syntax tree: packages that its Python lacks are named before it runs, not after minutes."""

import ast
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from trainer.notebook import code_cells, is_notebook

#: A module that is in no package of ours, and is there all the same: the shim brings it.
_BROUGHT: Final = frozenset({"azureml", "IPython", "__main__"})


def missing_imports(folder: Path, script: str) -> list[str]:
    """Top-level modules that `script` imports, and fitserve's own Python and `folder` lack.

    Imports inside ``try`` may fail, and those inside functions may never be reached: neither counts.
    """
    source = "\n".join(code_cells(folder / script)) if is_notebook(script) else _text(folder / script)
    try:
        tree = ast.parse(_without_magics(source) if is_notebook(script) else source)
    except (SyntaxError, ValueError):
        return []  # the run itself says where
    places = {folder, (folder / script).parent}
    names = dict.fromkeys(name.partition(".")[0] for name in _imports(tree.body))
    return [name for name in names if not _is_there(name, places)]


def _text(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "replace")


def _without_magics(source: str) -> str:
    return "\n".join("" if line.lstrip().startswith(("%", "!", "?")) else line for line in source.split("\n"))


def _imports(body: list[ast.stmt]) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module
        elif isinstance(node, ast.With):
            yield from _imports(node.body)


def _is_there(name: str, places: set[Path]) -> bool:
    if name in _BROUGHT or name in sys.stdlib_module_names:
        return True
    if any((place / f"{name}.py").exists() or (place / name).is_dir() for place in places):
        return True
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False
