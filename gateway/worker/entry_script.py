"""A scoring script of the user's own (`init()`, `run()`) in place of a model's methods: in a scoring child only.

Runs inside the model's own Python (3.6 and later), beside child.py. A request is two arrays of bytes, a JSON head (`method`,
`path`, `query`, `headers`) and the body; so is an answer (`status`, `headers`; or `error`, `message`). What `run` is called with
follows Azure's inference server.
"""

import importlib
import importlib.util
import inspect
import json
import math
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import numpy as np

from .inference_schema_fixes import mend, offer_mended_types, parameter_of
from .rawhttp import Headers, Request, is_json, is_raw, offer_azures_modules

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Header = dict[str, Any]

METHOD = "run"
_clock = getattr(time, "perf_counter_ns", None) or (lambda: int(time.perf_counter() * 1e9))  # before Python 3.7


class ScriptFailed(Exception):
    """The script cannot serve; the message is a sentence."""


class Refused(Exception):
    """The request is not what `run` takes. `kind` is input or media."""

    def __init__(self, kind: str, message: str) -> None:
        Exception.__init__(self, message)
        self.kind = kind


class Script:
    """A loaded script, initialised; `answer` is what `Scorer.answer` is for a model."""

    def __init__(
        self,
        path: str,
        arrays_from: "Callable[[Header, Any], Any]",
        new_body: "Callable[[], Any]",
    ) -> None:
        self._arrays_from, self._new_body = arrays_from, new_body
        self._folder = os.path.dirname(os.path.abspath(path))
        self.name = os.path.basename(path)
        offer_azures_modules()
        offer_mended_types()
        module = self._loaded(path)
        mend()  # what the script imported itself
        module = getattr(module, "driver_module", module)
        self._run: Any = getattr(module, "run", None)
        init: Any = getattr(module, "init", None)
        if not callable(self._run) or not callable(init):
            raise ScriptFailed(f"{self.name} must define both init() and run()")
        self._raw = is_raw(self._run)
        self.decorated = _is_decorated(self._run)
        self._look_at_parameters()
        try:
            init()
        except MemoryError:
            raise
        except BaseException as error:
            raise ScriptFailed(f"init() of {self.name} raised {_short(error)}") from error

    def _loaded(self, path: str) -> Any:
        name = self.name[:-3]
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise ScriptFailed(f"{self.name} is no Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except MemoryError:
            raise
        except BaseException as error:
            raise ScriptFailed(f"{self.name} could not be imported: {_short(error)}") from error
        return module

    def _look_at_parameters(self) -> None:
        parameters = list(inspect.signature(self._run).parameters.values())
        bad = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY)
        if any(parameter.kind in bad for parameter in parameters):
            raise ScriptFailed(f"run() of {self.name} takes *args, **kwargs or positional-only arguments")
        if self._raw and self.decorated:
            raise ScriptFailed(f"run() of {self.name} has both @rawhttp and a schema: take one")
        self._wants_headers = any(parameter.name == "request_headers" for parameter in parameters)
        self._parameters = [parameter for parameter in parameters if parameter.name != "request_headers"]
        if not self._parameters:
            raise ScriptFailed(f"run() of {self.name} takes no argument to get the request in")

    def describe(self) -> "Header":
        """The description D of the wire."""
        return {
            "class": self.name,
            "module": "",
            "sklearn": getattr(sys.modules.get("sklearn"), "__version__", None),
            "numpy": np.__version__,
            "python": "{}.{}.{}".format(*sys.version_info[:3]),
            "methods": [METHOD],
            **self._documented(),
            "kind": "script",
            "batchable": False,
            "warnings": [],
        }

    def _documented(self) -> "Header":
        """What its decorators say of input and output, as Swagger has it, and in which versions of it; {} without decorators."""
        if not self.decorated:
            return {}
        util = importlib.import_module("inference_schema.schema_util")
        try:
            given, gives = json.loads(json.dumps([util.get_input_schema(self._run), util.get_output_schema(self._run)]))
        except (TypeError, ValueError):  # an example that is no JSON
            return {}
        for part in ("properties", "example"):  # headers are not sent in the body
            given.get(part, {}).pop("request_headers", None)
        return {
            "input_schema": given,
            "output_schema": gives,
            "swagger_versions": util.get_supported_versions(self._run),
        }

    def prove(self, known: Any = None) -> "Iterator[None]":  # noqa: ARG002 - as `Scorer.prove`
        """Nothing: there is one way to answer."""
        return iter(())

    def scoring(self) -> "dict[str, Header]":
        return {METHOD: {"path": "script"}}

    def answer(self, header: "Header", body: Any) -> "tuple[Header, Sequence[Array], bool]":
        """As `Scorer.answer`. What the caller did wrong and what `run` raised are answers too: the head says which."""
        number = header.get("id")
        out = self._new_body()
        spent, fatal = 0, False
        try:
            head, content = [bytes(self._arrays_from(part, body)) for part in header["input"]["columns"]]
            arguments = self._arguments(json.loads(head.decode("utf-8")), content)
            started = _clock()
            result = self._run(**arguments)
            spent = _clock() - started
            reply, data = self._reply(result)
        except Refused as refusal:
            reply, data = {"error": refusal.kind, "message": str(refusal)}, b""
        except MemoryError:
            traceback.print_exc()
            error = {"kind": "memory", "type": "MemoryError", "message": "the script ran out of memory"}
            return {"id": number, "ok": False, "error": error}, [], True
        except BaseException as error:  # also SystemExit: a script does not end its process by an ordinary raise
            traceback.print_exc()
            if self._is_about_input(error):
                reply, data = {"error": "input", "message": _about_input(error)}, b""
            else:
                reply, data = {"error": "run", "message": ""}, b""
        parts = [np.frombuffer(part, np.uint8) for part in (json.dumps(reply).encode("ascii"), data)]
        output = {"tuple": [out.add(part) for part in parts]}
        return {"id": number, "ok": True, "output": output, "exec_ns": spent}, out.arrays, fatal

    def _is_about_input(self, error: BaseException) -> bool:
        """True for what a schema decorator raised before a line of the user's `run` was reached."""
        if not self.decorated:
            return False
        frame = error.__traceback__
        files = []
        while frame is not None:
            files.append(os.path.abspath(frame.tb_frame.f_code.co_filename))
            frame = frame.tb_next
        return not any(file.startswith(self._folder + os.sep) for file in files)

    # the caller's side

    def _arguments(self, head: "Header", body: bytes) -> "Header":
        if self._raw:
            given: Header = {self._parameters[0].name: Request(head, body)}
        elif head["method"] == "GET":
            asked = _asked(head["query"])
            given = self._named(asked) if self.decorated else {self._parameters[0].name: json.dumps(asked)}
        elif self.decorated:
            given = self._named(_json_object(head, body))
        else:
            try:
                given = {self._parameters[0].name: body.decode("utf-8")}
            except UnicodeDecodeError as error:
                raise Refused("input", f"POST body could not be decoded as UTF-8: {error}") from None
        if self._wants_headers:
            given["request_headers"] = dict(Headers(head["headers"]))
        return given

    def _named(self, body: "Header") -> "Header":
        """One argument a parameter; what else there is in the body is let be, as Azure does."""
        given = {}
        for parameter in self._parameters:
            if parameter.name in body:
                given[parameter.name] = body[parameter.name]
            elif parameter.default is parameter.empty:
                raise Refused("input", f"A value is not provided for the {parameter.name!r} parameter.")
            else:  # said aloud, as Azure does: a schema decorator does not know of defaults
                given[parameter.name] = parameter.default
        return given

    # the answer's side

    def _reply(self, result: Any) -> "tuple[Header, bytes]":
        if hasattr(result, "status_code") and hasattr(result, "get_data"):
            headers = [[str(name), str(value)] for name, value in result.headers.items()]
            return {"status": int(result.status_code), "headers": headers}, bytes(result.get_data())
        try:
            text = json.dumps({} if result is None else _finite(result))
        except (TypeError, ValueError, RecursionError) as error:
            sys.stderr.write(f"what run() gave is no JSON: {error}\n")
            return {"error": "result", "message": ""}, b""
        return {"status": 200, "headers": [["content-type", "application/json"]]}, text.encode("ascii")


def _asked(query: str) -> "Header":
    """A query string's arguments: each value is JSON where it can be, a repeated one a list."""
    asked: Header = {}
    for key, texts in parse_qs(query, keep_blank_values=True).items():
        values: list[Any] = []
        for text in texts:
            try:
                values.append(json.loads(text))
            except ValueError:
                values.append(text)
        asked[key] = values[0] if len(values) == 1 else values
    return asked


def _json_object(head: "Header", body: bytes) -> "Header":
    if not is_json(head["headers"].get("content-type", "")):
        raise Refused("media", head["headers"].get("content-type", ""))
    if not body:
        raise Refused("input", "POST body is empty. Expecting a JSON dictionary.")
    try:
        value = json.loads(body.decode("utf-8-sig"))
    except RecursionError:
        raise Refused("input", "POST body could not be decoded as JSON: it is nested too deeply") from None
    except ValueError as error:
        raise Refused("input", f"POST body could not be decoded as JSON: {error}") from None
    if not isinstance(value, dict):
        raise Refused("input", "POST body should be a JSON dictionary.")
    return value


def _is_decorated(run: Any) -> bool:
    if "inference_schema.schema_decorators" not in sys.modules:
        return False
    return bool(importlib.import_module("inference_schema.schema_util").is_schema_decorated(run))


def _finite(value: Any) -> Any:
    """NaN and infinities are no JSON: null, as everywhere here. numpy's arrays and numbers are lists and numbers."""
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.astype(str).tolist() if value.dtype.kind in "mM" else value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key.item() if isinstance(key, np.generic) else key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def _about_input(error: BaseException) -> str:
    name = parameter_of(error)
    text = " ".join(str(error).split()) if isinstance(error, ValueError) else _short(error)
    return text[:300] if name is None else f"the parameter {name!r}: {text[:300]}"


def _short(error: BaseException, limit: int = 300) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
