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
import types
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import numpy as np

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


class Request:
    """What a `@rawhttp` script gets: of Flask's request the part that scoring scripts use."""

    def __init__(self, head: "Header", body: bytes) -> None:
        self.method = head["method"]
        self.path = head["path"]
        self.query_string = head["query"].encode("latin-1")
        self.headers = Headers(head["headers"])
        self.args = {key: values[0] for key, values in parse_qs(head["query"], keep_blank_values=True).items()}
        self.full_path = self.path + "?" + head["query"]
        self.url = "http://" + self.headers.get("host", "localhost") + self.full_path.rstrip("?")
        self.data = body
        self.content_type = self.headers.get("content-type", "")
        self.mimetype = self.content_type.split(";")[0].strip().lower()
        self.content_length = len(body)

    def get_data(self, cache: bool = True, as_text: bool = False, parse_form_data: bool = False) -> Any:  # noqa: ARG002
        return self.data.decode("utf-8", "replace") if as_text else self.data

    @property
    def is_json(self) -> bool:
        return _is_json(self.content_type)

    def get_json(self, force: bool = False, silent: bool = False, cache: bool = True) -> Any:  # noqa: ARG002
        if not (force or self.is_json):
            return None
        try:
            return json.loads(self.data.decode("utf-8"))
        except ValueError:
            if silent:
                return None
            raise

    @property
    def json(self) -> Any:
        return self.get_json()


class Headers(dict):  # type: ignore[type-arg]
    """Names in any case."""

    def __init__(self, given: "dict[str, str]") -> None:
        dict.__init__(self, ((name.title(), value) for name, value in given.items()))

    def get(self, name: str, default: Any = None) -> Any:
        return dict.get(self, name.title(), default)

    def __getitem__(self, name: str) -> str:
        return str(dict.__getitem__(self, name.title()))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and dict.__contains__(self, name.title())


class Response:
    """Azure's AMLResponse. What is no JSON is text/html unless `response_headers` says otherwise, as there."""

    def __init__(
        self,
        message: Any = "",
        status_code: int = 200,
        response_headers: Any = None,
        json_str: bool = False,
        run_function_failed: bool = False,
        **_: Any,
    ) -> None:
        self.status_code = status_code
        given = dict(response_headers or {})
        as_json = json_str or message is None
        self.headers = {} if as_json else {"Content-Type": "text/html; charset=utf-8"}
        for name, value in given.items():
            if name.lower() == "content-type":
                self.headers.pop("Content-Type", None)
            self.headers[name] = value
        if as_json:
            self.headers.setdefault("Content-Type", "application/json")
        if run_function_failed:
            self.headers["x-ms-run-function-failed"] = "True"
        self._body = json.dumps({} if message is None else message) if as_json else message

    def get_data(self) -> bytes:
        return self._body if isinstance(self._body, bytes) else str(self._body).encode("utf-8")


def _rawhttp(function: Any) -> Any:
    function.fitserve_rawhttp = True
    return function


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
        _offer_azures_modules()
        module = self._loaded(path)
        module = getattr(module, "driver_module", module)
        self._run: Any = getattr(module, "run", None)
        init: Any = getattr(module, "init", None)
        if not callable(self._run) or not callable(init):
            raise ScriptFailed(f"{self.name} must define both init() and run()")
        self._raw = bool(getattr(self._run, "fitserve_rawhttp", False))
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
            "input_schema": self._documented(),
            "kind": "script",
            "batchable": False,
            "warnings": [],
        }

    def _documented(self) -> "Any":
        """What its decorators say of the input, as Swagger has it; None without decorators."""
        if not self.decorated:
            return None
        util = importlib.import_module("inference_schema.schema_util")
        try:
            documented = json.loads(json.dumps(util.get_input_schema(self._run)))
        except (TypeError, ValueError):  # an example that is no JSON
            return None
        for part in ("properties", "example"):  # headers are not sent in the body
            documented.get(part, {}).pop("request_headers", None)
        return documented

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
                reply, data = {"error": "input", "message": _short(error)}, b""
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
            headers = [[str(name), str(value)] for name, value in dict(result.headers).items()]
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
    if not _is_json(head["headers"].get("content-type", "")):
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


def _is_json(content_type: str) -> bool:
    kind = content_type.split(";", maxsplit=1)[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


def _is_decorated(run: Any) -> bool:
    if "inference_schema.schema_decorators" not in sys.modules:
        return False
    return bool(importlib.import_module("inference_schema.schema_util").is_schema_decorated(run))


def _finite(value: Any) -> Any:
    """NaN and infinities are no JSON: null, as everywhere here."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def _offer_azures_modules() -> None:
    """`rawhttp`, `AMLRequest` and `AMLResponse` under the names by which scripts import them."""
    for package in ("azureml.contrib.services", "azureml_inference_server_http.api"):
        words = package.split(".")
        for end in range(1, len(words) + 1):
            _module(".".join(words[:end]))
        request, response = _module(package + ".aml_request"), _module(package + ".aml_response")
        request.rawhttp, request.AMLRequest = _rawhttp, Request  # type: ignore[attr-defined]
        response.AMLResponse = Response  # type: ignore[attr-defined]


def _module(name: str) -> "types.ModuleType":
    """The module of that name: one that is there, else an empty one that can hold others."""
    if name not in sys.modules:
        made = types.ModuleType(name)
        try:
            found = importlib.util.find_spec(name)
        except (ImportError, ValueError, AttributeError):
            found = None
        if found is not None and found.submodule_search_locations and not name.endswith(("services", "api")):
            return importlib.import_module(name)
        made.__path__ = []
        sys.modules[name] = made
        parent, _, last = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], last, made)
    return sys.modules[name]


def _short(error: BaseException, limit: int = 300) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
