"""Requirements that a reader of the source can check: no shells, no unpickling outside the child, safe YAML."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCES = [file for package in ("registry", "trainer", "gateway") for file in sorted((ROOT / package).rglob("*.py"))]
# The scoring child is where models are loaded: in its own process, inside its limits.
MAY_UNPICKLE = {"gateway/worker/child.py", "gateway/worker/loading.py"}


def calls() -> Iterator[tuple[str, int, str, ast.Call]]:
    for file in SOURCES:
        name = file.relative_to(ROOT).as_posix()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield name, node.lineno, ast.unparse(node.func), node


def test_no_shell_anywhere() -> None:
    """R8."""
    shells = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"}
    found = [
        f"{name}:{line} {function}"
        for name, line, function, node in calls()
        if function in shells
        or "create_subprocess_shell" in function
        or any(
            keyword.arg == "shell" and not (isinstance(keyword.value, ast.Constant) and not keyword.value.value)
            for keyword in node.keywords
        )
    ]
    assert found == []


def test_only_the_scoring_child_unpickles() -> None:
    """R10, R11."""
    loaders = {"pickle.load", "pickle.loads", "joblib.load", "pickle.Unpickler", "cloudpickle.load", "dill.load"}
    found = [f"{n}:{line} {f}" for n, line, f, _ in calls() if f in loaders and n not in MAY_UNPICKLE]
    assert found == []


def test_yaml_only_through_safe_load() -> None:
    """R2."""
    found = [f"{name}:{line}" for name, line, function, _ in calls() if function in {"yaml.load", "yaml.unsafe_load"}]
    assert found == []


def test_numpy_never_loads_objects() -> None:
    """R11."""
    found = [
        f"{name}:{line}"
        for name, line, function, node in calls()
        if function in {"np.load", "numpy.load"}
        and not any(k.arg == "allow_pickle" and getattr(k.value, "value", True) is False for k in node.keywords)
    ]
    assert found == []


def test_no_form_is_ever_parsed() -> None:
    """R12: the parsers of forms have no bounds of ours."""
    assert [f"{name}:{line}" for name, line, function, _ in calls() if function.endswith((".form", ".multipart"))] == []


def test_no_archive_is_ever_unpacked() -> None:
    """R14: none is accepted; what is read from one is read member by member, in memory, under a limit."""
    unpackers = ("extractall", "extract", "unpack_archive")
    assert [f"{name}:{line}" for name, line, function, _ in calls() if function.rpartition(".")[2] in unpackers] == []


def test_http_neither_registers_nor_trains() -> None:
    """R2, R17: nothing that answers HTTP can reach what fetches, registers, trains or starts programs, but for its desk."""
    reachable = {"trainer", "subprocess", "urllib.request", "httpx", "registry.registration", "registry.sdk.model"}
    may = {("gateway/http/offload.py", "subprocess")}
    found = set()
    for folder in ("gateway/http", "gateway/protocols"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            name = file.relative_to(ROOT).as_posix()
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    found |= {(name, alias.name) for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module:
                    found |= {(name, node.module)} | {(name, f"{node.module}.{alias.name}") for alias in node.names}
    assert len(found) > 100
    wrong = {(file, module) for file, module in found if any(f"{module}.".startswith(f"{r}.") for r in reachable)}
    assert wrong <= may
