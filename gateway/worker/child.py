"""The scoring child: one model in one process, arrays in, arrays out. It knows nothing of HTTP, the registry, or limits other than
the rlimits in its order.

Runs inside the model's own Python (3.6 and later) with the standard library and numpy, so neither it nor the files beside it
import anything of ours or use newer syntax. They are a package of their own there, `fitserve_child`, without a parent.
"""

import importlib
import importlib.util
import os
import sys
import time
import traceback
import types
from typing import TYPE_CHECKING, Any, Optional, Sequence, Tuple

if TYPE_CHECKING:
    from .server import Control, Server
    from .wire import Header

PACKAGE = "fitserve_child"


def sibling(name: str) -> Any:
    """The module in the file beside this one: nothing of ours is on the path."""
    if PACKAGE not in sys.modules:
        package = sys.modules[PACKAGE] = types.ModuleType(PACKAGE)
        package.__path__ = [os.path.dirname(os.path.abspath(__file__))]
    return importlib.import_module(PACKAGE + "." + name)


def prepare() -> None:
    """Import the modules that every child needs. Called in the nursery, so that forked children have them already."""
    for name in ("describe", "loading", "process_setup", "scoring", "server", "wire"):
        sibling(name)


def run_child(control_fd: int) -> None:
    """The whole life of a child: hello, go, load, describe, serve. Does not return."""
    sys.dont_write_bytecode = True  # the folders of models are not for writing
    care, loading = sibling("process_setup"), sibling("loading")
    control = sibling("server").Control(control_fd)
    control.send(event="hello", pid=os.getpid(), threads=care.thread_count())
    order = control.receive()
    if order is None:
        care.leave(0)
        return
    try:
        server = _start(control, order)
    except loading.LoadFailed as failure:
        cause = failure.__cause__
        if cause is not None:
            traceback.print_exception(type(cause), cause, cause.__traceback__)
        control.send(event="failed", kind=failure.kind, reason=failure.reason)
        care.leave(care.OUT_OF_MEMORY if failure.kind == "memory" else 1)
        return
    server.run()
    care.leave(0)


def _start(control: "Control", order: "Header") -> "Server":
    care, describe, loading, scoring = [sibling(name) for name in ("process_setup", "describe", "loading", "scoring")]
    try:
        care.enter(order.get("doors") or ())
    except OSError as error:
        raise loading.LoadFailed("load", "it could not go into its limit group: {}".format(error.strerror)) from None
    started, resident = time.time(), care.resident()
    care.confine(order.get("rlimits") or {})
    threads = int(order.get("threads") or 1)
    other = care.name_threads(threads)
    scoring.quiet_warnings()
    try:
        if order.get("script"):
            scorer, description = _script(order)
            if other:
                care.limit_threads(threads)
        else:
            scorer, description = _model(order, threads if other else None)
    except describe.NotScorable as error:
        raise loading.LoadFailed("load", str(error)) from None
    except sibling("entry_script").ScriptFailed as error:
        raise loading.LoadFailed("load", str(error)) from error.__cause__
    except MemoryError:
        raise loading.LoadFailed("memory", "the model does not fit into its memory limit") from None
    except loading.LoadFailed:
        raise
    except Exception as error:  # a class of the model whose attributes raise
        text = "it was loaded but cannot be described: {}: {}".format(type(error).__name__, error)
        raise loading.LoadFailed("load", text[:500]) from error
    note = sibling("wire").Note.make(order["listen"])
    listener = care.listen(order["listen"])
    care.freeze()
    description["memory_bytes"] = care.memory_bytes(resident)
    description["load_ms"] = round((time.time() - started) * 1000, 2)
    control.send(event="loaded", description=description)
    largest = order.get("answer_limit_bytes") or sibling("wire").MAX_BODY
    made: "Server" = sibling("server").Server(
        control, listener, scorer.answer, scorer.prove, scorer.scoring, note, largest
    )
    return made


def _model(order: "Header", threads: "Optional[int]") -> "Tuple[Any, Header]":
    """A scorer for the model that `order` names, and its description."""
    describe, loading, scoring, wire = [sibling(name) for name in ("describe", "loading", "scoring", "wire")]
    if order.get("plan"):
        model, caught = sibling("chain").load_chain(
            order["artifact"], order["digest"], order["plan"], order.get("code") or ""
        )
    else:
        model, caught = loading.load_model(order["artifact"], order["digest"], order["format"], order.get("code") or "")
    model = sibling("boosters").servable(model)
    loading.run_on_one_core(model)
    if threads is not None:
        sibling("process_setup").limit_threads(threads)
    description = describe.describe(model, order["methods"], caught, order.get("sample"))
    dense_limit, shorter = order.get("dense_limit_bytes") or scoring.DENSE_LIMIT, order.get("fast") is not False
    scorer = scoring.Scorer(model, description, wire.arrays_from, wire.Body, dense_limit, shorter)
    description["scoring"] = scorer.scoring()
    return scorer, description


def _script(order: "Header") -> "Tuple[Any, Header]":
    """A scorer for an entry script, which loads the model itself from the path in Azure's variables."""
    sibling("loading").verify(order["artifact"], order["digest"], order["kind"])
    os.environ["AZUREML_MODEL_DIR"], os.environ["AML_APP_ROOT"] = order["model_dir"], order["app_root"]
    for folder in (os.path.dirname(order["script"]), order["code"]):
        sys.path.insert(0, folder)
    if order["code"]:
        sibling("loading").use_definitions(order["code"])
    if importlib.util.find_spec("azureml") is None:  # for `Model.get_model_path` and the like
        ours = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        sys.path.append(os.path.join(ours, "trainer", "shim"))
    wire = sibling("wire")
    script = sibling("entry_script").Script(order["script"], wire.arrays_from, wire.Body)
    return script, script.describe()


def main(arguments: "Sequence[str]") -> None:
    """A child in an interpreter of its own: `child.py --control-fd N --supervisor-pid P`."""
    options = dict(zip(arguments[::2], arguments[1::2]))
    control = int(options["--control-fd"])
    os.set_inheritable(control, False)
    care = sibling("process_setup")
    care.settle()
    care.die_with(int(options["--supervisor-pid"]))
    run_child(control)


if __name__ == "__main__":
    main(sys.argv[1:])
