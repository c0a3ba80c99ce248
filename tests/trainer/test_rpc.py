"""Both ends of the shim's calls: the server in a process of its own, the client in this one or in another Python."""

import inspect
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.client import errors as service_errors
from gateway.client.rpc import OPERATIONS as GATEWAYS
from gateway.client.rpc import RAISES as GATEWAY_RAISES
from registry import errors
from registry.interpreters import find_pythons
from tests.waiting import eventually
from trainer import errors as trainer_errors
from trainer.operations import OPERATIONS
from trainer.rpc import RAISES

SERVER = """
import os, sys, time
from registry.errors import ModelNotFound
from trainer.rpc import serve_standard_streams

def noise(workspaces):
    print("said")
    os.write(1, b"noise that is not on the wire\\n")
    os.system("echo noise of a child")
    print("more", end="")
    return 7

def wait(workspaces, file):
    open(file, "w").close()
    time.sleep(100)

def missing(workspaces, name):
    raise ModelNotFound(name)

def broken(workspaces):
    return {1}.pop() / 0

serve_standard_streams({
    "noise": noise, "wait": wait, "missing": missing, "broken": broken, "pid": lambda w: os.getpid(),
    "echo": lambda w, **values: values, "object": lambda w: object(),
}, {})
"""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, azureml: None) -> Iterator[Callable[..., Any]]:
    """The shim's `call`, connected to a server with the operations above."""
    monkeypatch.setenv("FITSERVE_RPC", json.dumps([sys.executable, "-c", SERVER]))
    from azureml._fitserve import client

    yield client.call
    client._close_all()


def test_values_come_back_as_they_are(server: Callable[..., Any]) -> None:
    values = {"text": "zäh\ud800\n", "numbers": [1, 0.1, 2**70, float("inf")], "nothing": None, "deep": {"a": [{}]}}
    assert server("echo", **values) == values
    assert server("pid") == server("pid") != os.getpid()


def test_what_is_printed_comes_in_order_and_nothing_else_is_on_the_wire(
    server: Callable[..., Any], capfd: pytest.CaptureFixture[str]
) -> None:
    assert server("noise") == 7
    printed = capfd.readouterr()
    assert printed.out == "said\nmore"
    assert "noise that is not on the wire" in printed.err


def test_errors_are_raised_again_with_their_sentence(server: Callable[..., Any]) -> None:
    from azureml import exceptions

    with pytest.raises(exceptions.ModelNotFoundException, match="model 'iris' is not registered") as caught:
        server("missing", name="iris")
    assert isinstance(caught.value, exceptions.WebserviceException)
    assert (caught.value.fitserve_error, caught.value.message) == ("ModelNotFound", str(caught.value))
    with pytest.raises(exceptions.UserErrorException, match="'nothing' is not an operation"):
        server("nothing")
    for op, what in (("broken", "ZeroDivisionError"), ("object", "TypeError")):
        with pytest.raises(exceptions.AzureMLException, match=f"internal error of fitserve in {op}: {what}"):
            server(op)
    assert server("echo", still="there") == {"still": "there"}


def test_an_interrupted_call_ends_its_server_and_the_next_one_gets_another(
    server: Callable[..., Any], tmp_path: Path
) -> None:
    import threading

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs start without it
    before = server("pid")
    begun = tmp_path / "begun"

    def interrupt() -> None:
        eventually(begun.exists, what="the call to begin")
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        server("wait", file=str(begun))
    with pytest.raises(ProcessLookupError):
        os.kill(before, 0)
    assert server("pid") != before


def test_a_server_whose_client_was_killed_in_a_call_ends(tmp_path: Path, azureml: None) -> None:
    begun = tmp_path / "begun"
    process = subprocess.Popen([sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        process.stdin.write(json.dumps({"op": "wait", "args": {"file": str(begun)}}).encode() + b"\n")
        process.stdin.flush()
        eventually(begun.exists, what="the call to begin")
        process.stdin.close()
        assert process.wait(10) == 0


def test_a_forked_process_has_a_server_of_its_own(server: Callable[..., Any]) -> None:
    code = "import os\nfrom azureml._fitserve.client import call\nours = call('pid')\npid = os.fork()\n"
    code += "theirs = call('pid')\nif pid: os.waitpid(pid, 0)\nprint(ours == theirs, flush=True)\n"
    code += "os._exit(0) if not pid else None\n"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SHIM), str(SHIM.parents[1])])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout == "False\nTrue\n", done.stderr


def test_a_server_that_cannot_be_started_or_dies_has_a_sentence(
    monkeypatch: pytest.MonkeyPatch, server: Callable[..., Any]
) -> None:
    from azureml import exceptions

    monkeypatch.setenv("FITSERVE_RPC", json.dumps(["/no/such/program"]))
    with pytest.raises(exceptions.RunEnvironmentException, match="fitserve cannot be started"):
        server("pid")
    monkeypatch.setenv("FITSERVE_RPC", json.dumps([sys.executable, "-c", "pass"]))
    with pytest.raises(exceptions.AzureMLException, match="fitserve exited before answering pid"):
        server("pid")


def test_every_error_has_a_class_of_azure_s(azureml: None) -> None:
    from azureml import exceptions

    table = {**RAISES, **GATEWAY_RAISES}
    for name in table.values():
        assert issubclass(getattr(exceptions, name), exceptions.AzureMLException)
    for module in (errors, trainer_errors, service_errors):
        for _, cls in inspect.getmembers(module, inspect.isclass):
            if issubclass(cls, errors.FitserveError):
                assert any(base in table for base in cls.__mro__), cls


def test_the_two_halves_have_no_operation_in_common() -> None:
    assert not OPERATIONS.keys() & GATEWAYS.keys()


SHIM = Path(__file__).parents[2] / "trainer" / "shim"
VERSIONS = ["3.6", "3.7", "3.8", "3.9", "3.10", "3.11", "3.12", "3.13"]


@pytest.mark.parametrize("minor", VERSIONS)
def test_every_module_of_the_shim_can_be_imported_in_every_python(minor: str, tmp_path: Path) -> None:
    """Also that its path stands at the end, and that importing asks nothing of fitserve."""
    found = [path for version, path in find_pythons() if version.startswith(f"{minor}.")]
    if not found:
        pytest.skip(f"no Python {minor} was found on this machine")
    modules = sorted(
        ".".join(file.relative_to(SHIM).with_suffix("").parts).replace(".__init__", "")
        for file in (SHIM / "azureml").rglob("*.py")
        if file.name != "_bootstrap.py"
    )
    code = f"import importlib, sys\nfor name in {modules!r}: importlib.import_module(name)\n"
    code += "print(sys.path[-1], sys.modules['azureml._fitserve.client']._connections)"
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("FITSERVE_", "PYTHON"))}
    done = subprocess.run(
        [str(found[0]), "-W", "error", "-c", code],
        env={**environment, "PYTHONPATH": str(SHIM / "_site")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout == f"{SHIM} {{}}\n"
