"""What a `@rawhttp` scoring script has in its hands: the request, of Flask's the part that such scripts use, and Azure's answer.

Runs inside the model's own Python (3.6 and later), beside script.py.
"""

import importlib
import importlib.util
import io
import json
import shutil
import sys
import types
from email import message_from_bytes
from typing import Any, Dict, List, Optional, Tuple
from urllib.parse import parse_qsl

MOST_PARTS = 1000  # of a form


class Several(dict):  # type: ignore[type-arg]
    """Names that may come several times: the first value by `[]`, all by `getlist`."""

    def __init__(self, pairs: "List[Tuple[str, Any]]") -> None:
        dict.__init__(self)
        self._all = {}  # type: Dict[str, List[Any]]
        for name, value in pairs:
            self.setdefault(name, value)
            self._all.setdefault(name, []).append(value)

    def get(self, name: Any, default: Any = None, type: Any = None) -> Any:  # noqa: A002 - Flask's name
        if name not in self:
            return default
        try:
            return self[name] if type is None else type(self[name])
        except ValueError:
            return default

    def getlist(self, name: str) -> "List[Any]":
        return list(self._all.get(name, ()))

    def to_dict(self, flat: bool = True) -> "Dict[str, Any]":
        return dict(self) if flat else {name: list(values) for name, values in self._all.items()}


class Headers(dict):  # type: ignore[type-arg]
    """Names in any case."""

    def __init__(self, given: "Dict[str, str]") -> None:
        dict.__init__(self, ((name.title(), value) for name, value in given.items()))

    def get(self, name: str, default: Any = None, type: Any = None) -> Any:  # noqa: A002 - Flask's name
        value = dict.get(self, name.title(), default)
        return value if type is None or value is default else type(value)

    def __getitem__(self, name: str) -> str:
        return str(dict.__getitem__(self, name.title()))

    def __setitem__(self, name: str, value: Any) -> None:
        dict.__setitem__(self, name.title(), value)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and dict.__contains__(self, name.title())


class File(io.BytesIO):
    """A file of a form: `request.files["image"]`."""

    def __init__(self, content: bytes, name: str, filename: "Optional[str]", content_type: str) -> None:
        io.BytesIO.__init__(self, content)
        self.name, self.filename, self.content_type, self.mimetype = name, filename, content_type, content_type
        self.stream = self
        self.content_length = len(content)

    def save(self, to: Any) -> None:
        if hasattr(to, "write"):
            shutil.copyfileobj(self, to)
            return
        with open(to, "wb") as file:
            shutil.copyfileobj(self, file)


class Request(object):
    """`form` and `files` are read when they are asked for. A body that is no JSON raises ValueError in `get_json`."""

    def __init__(self, head: "Dict[str, Any]", body: bytes) -> None:
        self.method = head["method"]
        self.path = head["path"]
        self.query_string = head["query"].encode("latin-1")
        self.headers = Headers(head["headers"])
        self.args = Several(parse_qsl(head["query"], keep_blank_values=True))
        self.scheme = "http"
        self.host = self.headers.get("host", "localhost")
        self.host_url = self.url_root = self.root_url = "http://" + self.host + "/"
        self.base_url = "http://" + self.host + self.path
        self.full_path = self.path + "?" + head["query"]
        self.url = "http://" + self.host + self.full_path.rstrip("?")
        self.data = body
        self.content_type = self.headers.get("content-type", "")
        self.mimetype = self.content_type.split(";")[0].strip().lower()
        self.content_length = len(body)
        self.stream = io.BytesIO(body)
        self._form = None  # type: Optional[Tuple[Several, Several]]

    def get_data(self, cache: bool = True, as_text: bool = False, parse_form_data: bool = False) -> Any:  # noqa: ARG002
        return self.data.decode("utf-8", "replace") if as_text else self.data

    @property
    def is_json(self) -> bool:
        return is_json(self.content_type)

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

    @property
    def form(self) -> Several:
        """Fields of a form, of both kinds."""
        return self._forms()[0]

    @property
    def files(self) -> Several:
        """Files of a ``multipart/form-data`` body."""
        return self._forms()[1]

    @property
    def values(self) -> Several:
        pairs = [(name, value) for name in self.args for value in self.args.getlist(name)]
        return Several(pairs + [(name, value) for name in self.form for value in self.form.getlist(name)])

    def _forms(self) -> "Tuple[Several, Several]":
        if self._form is None:
            if self.mimetype == "multipart/form-data":
                self._form = _multipart(self.content_type, self.data)
            elif self.mimetype == "application/x-www-form-urlencoded":
                text = self.data.decode("utf-8", "replace")
                self._form = Several(parse_qsl(text, keep_blank_values=True)), Several([])
            else:
                self._form = Several([]), Several([])
        return self._form


class Response(object):
    """Azure's AMLResponse: what is no JSON is text/html unless `response_headers` say otherwise, as there.

    Flask's own passes as well: it has the same `status_code`, `headers` and `get_data`.
    """

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
        self.headers = Headers(dict(response_headers or {}))
        as_json = json_str or message is None
        self.headers.setdefault("Content-Type", "application/json" if as_json else "text/html; charset=utf-8")
        if run_function_failed:
            self.headers["X-Ms-Run-Function-Failed"] = "True"
        self._body = json.dumps({} if message is None else message) if as_json else message

    @property
    def data(self) -> bytes:
        return self._body if isinstance(self._body, bytes) else str(self._body).encode("utf-8")

    @data.setter
    def data(self, content: Any) -> None:
        self._body = content

    def get_data(self, as_text: bool = False) -> Any:
        return self.data.decode("utf-8", "replace") if as_text else self.data

    def set_data(self, content: Any) -> None:
        self._body = content


def rawhttp(function: Any) -> Any:
    function.fitserve_rawhttp = True
    return function


def is_raw(function: Any) -> bool:
    return bool(getattr(function, "fitserve_rawhttp", False))


def is_json(content_type: str) -> bool:
    kind = content_type.split(";", 1)[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


def _multipart(content_type: str, body: bytes) -> "Tuple[Several, Several]":
    """Fields and files. Parts without a name are let fall, as is what follows the last one that may be."""
    fields = []  # type: List[Tuple[str, Any]]
    files = []  # type: List[Tuple[str, Any]]
    boundary = message_from_bytes(b"Content-Type: " + content_type.encode("latin-1", "replace")).get_boundary()
    if not boundary:
        return Several(fields), Several(files)
    parts = (b"\r\n" + body).split(b"\r\n--" + boundary.encode("latin-1", "replace"), MOST_PARTS + 1)
    for part in parts[1 : MOST_PARTS + 1]:
        if part.startswith(b"--"):
            break
        head, _, content = part.partition(b"\r\n\r\n")
        told = message_from_bytes(head.lstrip(b" \t\r\n"))
        name = told.get_param("name", None, "content-disposition")
        if not isinstance(name, str):
            continue
        filename = told.get_filename()
        if filename is None:
            fields.append((name, content.decode("utf-8", "replace")))
        else:
            kind = told.get_content_type() if "content-type" in told else "application/octet-stream"
            files.append((name, File(content, name, filename, kind)))
    return Several(fields), Several(files)


def offer_azures_modules() -> None:
    """`rawhttp`, `AMLRequest` and `AMLResponse` under the names by which scripts import them."""
    for package in ("azureml.contrib.services", "azureml_inference_server_http.api"):
        words = package.split(".")
        for end in range(1, len(words) + 1):
            _module(".".join(words[:end]))
        request, response = _module(package + ".aml_request"), _module(package + ".aml_response")
        request.rawhttp, request.AMLRequest = rawhttp, Request  # type: ignore[attr-defined]
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
