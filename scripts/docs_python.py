"""Write docs/python.md from the source of the public classes: `make docs`. A test holds the page against this script."""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Final

DOCS: Final = Path(__file__).parent.parent / "docs"
PACKAGES: Final = ("registry", "trainer", "gateway")
HEADER: Final = """# Python

Generated from the source by `make docs`. These are the names that `registry`, `trainer` and `gateway` offer to programs; they have the
shapes of Azure ML's SDK v1. Programs that were written for that SDK run unchanged: [azureml.md](azureml.md).

"""
Definition = ast.FunctionDef | ast.AsyncFunctionDef


def classes() -> Iterator[tuple[str, type]]:
    """Package and class of every public name."""
    for package in PACKAGES:
        module = import_module(package)
        for name in sorted(module.__all__):
            yield package, getattr(module, name)


def page() -> str:
    text = HEADER + "\n".join(_class(package, found) for package, found in classes())
    return re.sub(r"\n{3,}", "\n\n", text)


def _class(package: str, found: type) -> str:
    tree = _Unquoted().visit(ast.parse(textwrap.dedent(inspect.getsource(found)))).body[0]
    assert isinstance(tree, ast.ClassDef)
    parts = [f"## {package}.{found.__name__}\n", _text(ast.get_docstring(tree))]
    methods = [node for node in tree.body if isinstance(node, Definition)]
    made = next((node for node in methods if node.name == "__init__"), None)
    if made is not None:
        parts.append(f"```python\n{found.__name__}({_parameters(made)})\n```\n\n{_text(ast.get_docstring(made))}")
    fields = [node for node in tree.body if isinstance(node, ast.AnnAssign) and _is_public(ast.unparse(node.target))]
    properties = [
        node for node in methods if _decorated(node) & {"property", "cached_property"} and _is_public(node.name)
    ]
    if fields or properties:
        parts.append("| attribute | type | |\n|---|---|---|")
        parts += [f"| `{ast.unparse(node.target)}` | `{_cell(ast.unparse(node.annotation))}` | |" for node in fields]
        parts += [f"| `{node.name}` | `{_cell(_returns(node))}` | {_cell(_first(node))} |" for node in properties]
        parts.append("")
    for node in methods:
        kinds = _decorated(node)
        if not _is_public(node.name) or kinds & {"property", "cached_property", "setter", "overload"}:
            continue
        called = f"{found.__name__}.{node.name}" if kinds & {"classmethod", "staticmethod"} else node.name
        given = _parameters(node, bound="staticmethod" not in kinds)
        parts.append(f"**`{called}({given}) -> {_returns(node)}`**\n\n{_text(ast.get_docstring(node))}")
    return "\n".join(parts)


class _Unquoted(ast.NodeTransformer):
    """Annotations that are strings, for names that are not known yet, become what they say."""

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = _unquoted(node.annotation)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        self.generic_visit(node)
        node.returns = _unquoted(node.returns)
        return node


def _unquoted(annotation: ast.expr | None) -> ast.expr | None:
    class Names(ast.NodeTransformer):
        def visit_Constant(self, node: ast.Constant) -> ast.expr:
            return ast.parse(node.value, mode="eval").body if isinstance(node.value, str) else node

    return None if annotation is None else Names().visit(annotation)


def _decorated(node: Definition) -> set[str]:
    return {ast.unparse(each).rpartition(".")[2] for each in node.decorator_list}


def _parameters(node: Definition, bound: bool = True) -> str:
    arguments = node.args
    if bound:
        (arguments.posonlyargs or arguments.args).pop(0)
    return ast.unparse(arguments)


def _returns(node: Definition) -> str:
    return ast.unparse(node.returns) if node.returns is not None else "None"


def _is_public(name: str) -> bool:
    return not name.startswith("_")


def _text(docstring: str | None) -> str:
    """A docstring as Markdown: sections such as ``Args:`` become lists."""
    if not docstring:
        return ""
    lines: list[str] = []
    inside = False
    for line in inspect.cleandoc(docstring).splitlines():
        if line in ("Args:", "Raises:", "Attributes:", "Returns:"):
            inside = True
            lines += ["", f"{line}", ""]
        elif inside and line.startswith("    ") and not line.startswith("     "):
            lines.append(f"- {line.strip()}")
        elif inside and line.startswith("     "):
            lines.append(f"  {line.strip()}")
        else:
            inside = inside and not line.strip()
            lines.append(line)
    return "\n".join(lines).strip() + "\n"


def _first(node: Definition) -> str:
    return " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


def main() -> None:
    (DOCS / "python.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
