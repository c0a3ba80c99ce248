"""The definitions of a training script: classes, functions, and the imports and simple constants that they use.

A model that was saved by the script itself names its classes and functions as `__main__.X`. They are read from the script's syntax
tree and written to a module of their own, which travels with the version (`MODULE`); the rest of the script never runs again.
What only running the script gives (the result of a call, a loop) is not carried: `Definitions.lacking` says which names those are.
"""

import ast
import builtins
import re
import symtable
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Final

#: Name of the file among a version's code; `gateway.worker.loading` finds it there.
MODULE: Final = "__fitserve_main__.py"

_DEFINITIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_IMPORTS: Final = (ast.Import, ast.ImportFrom)
_BUILTINS: Final = frozenset(dir(builtins)) | {"__name__", "__file__", "__doc__", "__annotations__"}


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# What a constant may call: it makes a value of its arguments and touches nothing else.
_CALLS: Final = _words(
    "bool bytes complex dict enumerate float frozenset int len list map max min range reversed round set slice sorted str sum tuple zip "
    "abs type Decimal Fraction namedtuple OrderedDict Counter defaultdict deque ChainMap MappingProxyType Path PurePath "
    "TypeVar NewType partial itemgetter attrgetter methodcaller getLogger compile date datetime time timedelta timezone "
    "array asarray arange linspace logspace zeros ones full eye dtype log log1p log10 sqrt exp expm1 "
    "Series Index DataFrame Timestamp Timedelta DatetimeIndex to_datetime CategoricalDtype "
    "split strip lower upper join replace format union intersection difference keys values items copy maketrans fromkeys tolist reshape astype"
)
# Of modules, where nothing else is worth a call: `os.system` is not a constant, nor `open`.
_NEVER: Final = _words(
    "os sys subprocess socket shutil requests urllib importlib pickle joblib time random argparse input open eval exec"
)
_CHANGES: Final = _words("add append clear discard extend insert pop popitem remove reverse setdefault sort update")
# Methods of an estimator that nobody calls while it is served.
_UNSERVED: Final = frozenset({"fit", "fit_transform", "fit_predict", "partial_fit", "score"})


@dataclass(frozen=True)
class Lacking:
    """A name that `user` uses and that only running the script gives, in its `line`; line 0: the script does not define it."""

    name: str
    user: str
    line: int = 0


@dataclass(frozen=True)
class Definitions:
    """`source` is Python of the script's own words. `modules` are the top-level modules that it imports."""

    source: str = ""
    modules: tuple[str, ...] = ()
    lacking: tuple[Lacking, ...] = ()


def definitions(script: str, names: Iterable[str]) -> Definitions:
    """What of the source text `script` defines `names` (as a pickle has them: "Outer.Inner"), with all that they use.

    Raises:
        SyntaxError, ValueError: it is not Python.
    """
    found = _Script(script)
    for name in names:
        root, _, rest = name.partition(".")
        if not found.take(root, root) or (rest and not found.has_attribute(root, rest)):
            found.lacking.setdefault(name, Lacking(name, name))
    return Definitions(found.written(), tuple(sorted(found.modules)), tuple(found.lacking.values()))


@dataclass
class _Binding:
    """A statement of the module's level that gives a name its value; `simple` where it can be carried."""

    statement: ast.stmt
    simple: bool
    changes: bool = False  # it alters what the name stands for: `WORDS.add("a")`, `TABLE["a"] = 1`, `COUNT += 1`
    uses: frozenset[str] = field(default_factory=frozenset)


class _Script:
    """The module level of a script, and what has been taken of it so far."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._lines = text.splitlines(keepends=True)
        self._bindings: dict[str, list[_Binding]] = {}
        self._stars: list[ast.stmt] = []
        self._taken: dict[int, ast.stmt] = {}
        self.modules: set[str] = set()
        self.lacking: dict[str, Lacking] = {}
        tree = ast.parse(text)
        self._collect(tree.body)
        for node in ast.walk(tree):
            if isinstance(node, ast.Global):  # a function that ran gave it
                for name in node.names:
                    self._bindings.setdefault(name, [_Binding(node, simple=False)])
        for statement in tree.body:
            if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
                self._keep(statement)

    # collecting

    def _collect(self, body: Sequence[ast.stmt]) -> None:
        for statement in body:
            if isinstance(statement, ast.ImportFrom) and any(alias.name == "*" for alias in statement.names):
                self._stars.append(statement)
            elif isinstance(statement, ast.If) and not _is_whole(statement):
                self._collect_branches(statement)
            elif isinstance(statement, ast.Try | ast.With) and not _is_whole(statement):
                self._collect(statement.body)
            else:
                self._bind(statement)

    def _collect_branches(self, statement: ast.If) -> None:
        """What stands below `if __name__ == "__main__"` is as much a name of the script as anything else."""
        if _is_main(statement.test):
            self._collect(statement.body)
            return
        for each in (*statement.body, *statement.orelse):  # which branch was taken is not known
            for name in _bound(each):
                self._bindings.setdefault(name, []).append(_Binding(each, simple=False))

    def _bind(self, statement: ast.stmt) -> None:
        simple = _is_whole(statement) or _is_plain_change(statement)
        uses = frozenset(_uses(statement)) if simple else frozenset()
        bound = _bound(statement)
        for name in bound:
            changes = isinstance(statement, ast.AugAssign)
            self._bindings.setdefault(name, []).append(_Binding(statement, simple, changes, uses))
        for name in _changed(statement) - bound:
            self._bindings.setdefault(name, []).append(_Binding(statement, simple, True, uses))

    # taking

    def take(self, name: str, user: str) -> bool:
        """Take what defines `name`, which `user` uses, and all that this uses in turn. False: the script does not define it."""
        bindings = self._bindings.get(name)
        if bindings is None:
            for star in self._stars:
                self._keep(star)
            return bool(self._stars)
        chosen = _deciding(bindings)
        varying = next((binding for binding in chosen if not binding.simple), None)
        if varying is not None:
            self.lacking.setdefault(name, Lacking(name, user, varying.statement.lineno))
            return True
        for binding in chosen:
            self._take_statement(binding, user if isinstance(binding.statement, ast.Assign) else name)
        return True

    def _take_statement(self, binding: _Binding, user: str) -> None:
        if id(binding.statement) in self._taken:
            return
        self._keep(binding.statement)
        for used in sorted(binding.uses - _BUILTINS | (binding.uses & self._bindings.keys())):
            self.take(used, user)

    def _keep(self, statement: ast.stmt) -> None:
        self._taken[id(statement)] = statement
        for node in ast.walk(statement):
            if isinstance(node, ast.Import):
                self.modules.update(alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                self.modules.add(node.module.partition(".")[0])

    def has_attribute(self, name: str, path: str) -> bool:
        """Whether the class `name` defines `path` in its body; of anything else that is not known."""
        if "<" in path:
            return False
        node = self._bindings[name][-1].statement if name in self._bindings else None
        for part in path.split("."):
            if not isinstance(node, ast.ClassDef):
                return node is not None and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            inside = [each for each in node.body if part in _bound(each)]
            if not inside:
                return bool(node.bases)  # it may be inherited
            node = inside[-1]
        return True

    # writing

    def written(self) -> str:
        """The statements taken, in the script's order and in its words."""
        ordered = sorted(self._taken.values(), key=lambda statement: (statement.lineno, statement.col_offset))
        return "\n\n".join(self._text_of(statement).strip("\n") for statement in ordered) + "\n" if ordered else ""

    def _text_of(self, statement: ast.stmt) -> str:
        """As they were written, so that an older Python reads them too; as Python writes them where they share a line."""
        decorators = getattr(statement, "decorator_list", [])
        first = min([statement.lineno, *(each.lineno for each in decorators)])
        words = textwrap.dedent("".join(self._lines[first - 1 : statement.end_lineno]))
        try:
            (read,) = ast.parse(words).body
        except (SyntaxError, ValueError):
            return ast.unparse(statement)
        return words if ast.dump(read) == ast.dump(statement) else ast.unparse(statement)


def _deciding(bindings: Sequence[_Binding]) -> list[_Binding]:
    """Those that decide the value of a name after the script has run: the last, with what it adds to."""
    first = next((place for place in range(len(bindings) - 1, -1, -1) if not bindings[place].changes), 0)
    return list(bindings[first:])


def _is_main(test: ast.expr) -> bool:
    return re.fullmatch(r"__name__ == ['\"]__main__['\"]", ast.unparse(test)) is not None


def _is_whole(statement: ast.stmt) -> bool:
    """Whether a statement can be carried as it stands: it defines, imports, or names a constant."""
    match statement:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() | ast.Import() | ast.ImportFrom() | ast.Pass():
            return True
        case ast.Assign() | ast.AugAssign():
            return _is_constant(statement.value) and _names_only(statement)
        case ast.AnnAssign():
            return statement.value is None or _is_constant(statement.value)
        case ast.If():
            return (
                not _is_main(statement.test)
                and _is_constant(statement.test)
                and all(map(_is_whole, (*statement.body, *statement.orelse)))
            )
        case ast.Try():
            handled = [each for handler in statement.handlers for each in handler.body]
            parts = (*statement.body, *handled, *statement.orelse, *statement.finalbody)
            return all(map(_is_whole, parts)) and any(isinstance(each, _IMPORTS) for each in statement.body)
    return False


def _changed(statement: ast.stmt) -> set[str]:
    """The names whose values a statement alters, without giving them others."""
    if isinstance(statement, _DEFINITIONS):
        return set()
    names = set()
    for node in _own_level(statement):
        target: ast.expr | None = None
        if isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del):
            target = node
        elif (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Call)
            and isinstance(node.value.func, ast.Attribute)
        ):
            target = node.value.func if node.value.func.attr in _CHANGES else None
        while isinstance(target, ast.Subscript | ast.Attribute):
            target = target.value
        if isinstance(target, ast.Name):
            names.add(target.id)
    return names


def _is_plain_change(statement: ast.stmt) -> bool:
    """Whether it alters something by constants alone."""
    if isinstance(statement, ast.Assign):
        return all(map(_is_constant, (*statement.targets, statement.value)))
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call) and _changed(statement):
        given = (*statement.value.args, *(keyword.value for keyword in statement.value.keywords))
        return all(map(_is_constant, given))
    return False


def _names_only(statement: ast.Assign | ast.AugAssign) -> bool:
    """Whether it gives names their values; `model.x = 1` and `table["a"] = 1` change what something else has made."""
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    return all(
        isinstance(node, ast.Name | ast.Tuple | ast.List | ast.Starred | ast.expr_context)
        for target in targets
        for node in ast.walk(target)
    )


def _is_constant(value: ast.expr) -> bool:
    """Whether the expression gives the same whenever it is read: nothing in it reads a file, asks another machine, or is awaited."""
    if isinstance(value, ast.Lambda):
        return True
    for node in ast.walk(value):
        if isinstance(node, ast.Name) and node.id in _NEVER:
            return False
        if isinstance(node, ast.Await | ast.Yield | ast.YieldFrom):
            return False
        if isinstance(node, ast.Call) and not _is_harmless(node.func):
            return False
    return True


def _is_harmless(called: ast.expr) -> bool:
    if isinstance(called, ast.Name):
        return called.id in _CALLS and called.id != "compile"  # Python's own; `re.compile` is an attribute
    return isinstance(called, ast.Attribute) and called.attr in _CALLS


def _bound(statement: ast.stmt) -> set[str]:
    """The names of its own level that a statement gives values to."""
    if isinstance(statement, _DEFINITIONS):
        return {statement.name}
    names: set[str] = set()
    for node in _own_level(statement):
        if isinstance(node, _DEFINITIONS):
            names.add(node.name)
        elif isinstance(node, _IMPORTS):
            names.update(alias.asname or alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
            names.add(node.id)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            names.add(node.name)
    return names


def _own_level(node: ast.AST) -> Iterator[ast.AST]:
    """`node` and what is below it, without the insides of functions and classes."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, _DEFINITIONS):
            yield child
        elif not isinstance(child, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            yield from _own_level(child)


def _uses(statement: ast.stmt) -> set[str]:
    """The names of the module's level that a statement needs, now or when it is called later."""
    if isinstance(statement, ast.ClassDef):
        statement = _as_served(statement)
    try:
        table = symtable.symtable(ast.unparse(statement), "<script>", "exec")
    except (SyntaxError, ValueError):
        return set()
    here = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
    used = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_referenced()}
    if isinstance(statement, ast.AugAssign):
        here = set()
    waiting = list(table.get_children())
    while waiting:
        inner = waiting.pop()
        used |= {symbol.get_name() for symbol in inner.get_symbols() if symbol.is_global()}
        waiting += inner.get_children()
    return used - here


def _as_served(node: ast.ClassDef) -> ast.ClassDef:
    """The class without the insides of methods that are only called at fitting, and by no other."""
    methods = {each.name: each for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}
    served = [each for each in node.body if getattr(each, "name", None) not in _UNSERVED & methods.keys()]
    called = {inner.attr for each in served for inner in ast.walk(each) if isinstance(inner, ast.Attribute)}
    if called & _UNSERVED:
        return node
    light = copy(node)
    light.body = [each if each in served else _without_body(each) for each in node.body]
    return light


def _without_body(method: ast.stmt) -> ast.stmt:
    assert isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef)
    light = copy(method)
    light.body = [ast.Pass()]
    return light
