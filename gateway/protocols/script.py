"""Requests to a scoring script of the user's own: nothing is parsed here, the script's process does that. Azure's paths only.

Head and body travel as two arrays of bytes, there and back; see gateway/worker/entry_script.py for what is in them.
"""

import re
from typing import Any, Final

import numpy as np
import orjson

from gateway.errors import InvalidRequest, ScriptAnswerUnusable, ScriptFailed, UnsupportedMediaType
from gateway.schema.methods import check_method
from gateway.types import Answer, Call, ColumnsInput, ScoreRequest, ScoreResult, Target

METHOD: Final = "run"

_OURS: Final = frozenset({"content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "content-type"})
_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_BODILESS: Final = frozenset({204, 205, 304})  # a client reads none: it would take one for the start of the next answer
_FAILED: Final = ("x-ms-run-function-failed", "True")


def is_script(target: Target) -> bool:
    return target.description.get("kind") == "script"


def script_request(call: Call, target: Target) -> ScoreRequest:
    """Travels alone, and is not asked again when the process dies over it: a script may have done something by then.

    Raises:
        UnknownMethod: the path names a method of a model.
    """
    if call.method is not None:
        check_method(call.method, target.methods)
    head = orjson.dumps(
        {
            "method": call.verb,
            "path": "/score",
            "query": call.query.decode("latin-1"),
            "headers": {name.decode("latin-1"): value.decode("latin-1") for name, value in call.headers.items()},
        }
    )
    columns = [np.frombuffer(part, np.uint8) for part in (head, call.body)]
    nbytes = len(head) + len(call.body)
    return ScoreRequest(METHOD, ColumnsInput(("head", "body"), columns), 1, nbytes, None, once=True)


def script_answer(result: ScoreResult) -> Answer:
    """What `run` gave, or made of its own.

    Raises:
        InvalidRequest · UnsupportedMediaType: the request is not what `run` takes.
        ScriptFailed: `run` raised.
        ScriptAnswerUnusable: what it gave is no JSON.
    """
    parts: Any = result.output
    head, body = (bytes(part) for part in parts)
    told = orjson.loads(head)
    match told.get("error"):
        case "input":
            raise InvalidRequest(told["message"])
        case "media":
            raise UnsupportedMediaType()
        case "run":
            raise ScriptFailed()
        case "result":
            raise ScriptAnswerUnusable()
    status = told["status"]
    if not 200 <= status <= 599:
        raise ScriptAnswerUnusable()
    if status in _BODILESS:
        body = b""
    given = [(name, value) for name, value in told["headers"] if _sendable(name, value)]
    content_type = next((value for name, value in given if name.lower() == "content-type"), "text/html; charset=utf-8")
    failed = status >= 500
    ours = {*_OURS, _FAILED[0]} if failed else _OURS
    headers = tuple((name, value) for name, value in given if name.lower() not in ours)
    return Answer(body, content_type, (*headers, _FAILED) if failed else headers, status)


def _sendable(name: str, value: str) -> bool:
    """One that breaks no line of the answer's head."""
    return bool(_NAME.fullmatch(name)) and value.isascii() and value.isprintable()
