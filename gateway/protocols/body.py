"""What all JSON dialects do first: the body as JSON, the query string, the two common options."""

import contextlib
import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import parse_qsl

import orjson

from gateway.errors import InvalidJson, InvalidRequest, UnsupportedMediaType
from gateway.types import Call

_SPACED_KEY: Final = re.compile(rb'"\s+:')
JSON_TYPES = frozenset({b"application/json", b"application/json; charset=utf-8", b"application/json;charset=utf-8"})


@dataclass(frozen=True, slots=True)
class Options:
    """What a query string may ask of any answer: ``?classes=1`` adds labels, ``?nonfinite=string`` keeps NaN and infinities."""

    classes: bool = False
    nonfinite: bool = False
    outputs: bool = False  # the answer's key is ``outputs``, as for TensorFlow Serving's columns
    ignored: tuple[str, ...] = ()  # parameters that mean nothing here


PLAIN = Options()


@functools.lru_cache(256)
def options(query: bytes) -> Options:
    """The options in a raw query string.

    Raises:
        InvalidRequest: an option has a value that it does not know.
    """
    if not query:
        return PLAIN
    given = dict(query_pairs(query))
    nonfinite = given.get("nonfinite", "null")
    if nonfinite not in ("null", "string"):
        raise InvalidRequest("nonfinite is either null or string")
    return Options(classes=given.get("classes", "0").lower() in ("1", "true", ""), nonfinite=nonfinite == "string")


def asked_options(call: Call, body: Mapping[str, Any]) -> Options:
    """The options of the query, and ``"include": ["classes"]`` of the body."""
    asked = options(call.query) if call.query else PLAIN
    include = body.get("include")
    if not asked.classes and isinstance(include, list) and "classes" in include:
        return replace(asked, classes=True)
    return asked


def query_pairs(query: bytes) -> list[tuple[str, str]]:
    """Decoded (key, value) pairs of a raw query string, in order.

    Raises:
        InvalidRequest: there are more than a person would send.
    """
    try:
        return parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=1_000, errors="replace")
    except ValueError:
        raise InvalidRequest("the query string has more than 1,000 fields") from None


def check_json_type(call: Call) -> None:
    """As Flask's `is_json`, so as Azure: ``application/json`` or ``application/*+json``, with or without parameters.

    Raises:
        UnsupportedMediaType: it is another type, or none is given.
    """
    given = call.headers.get(b"content-type")
    if given in JSON_TYPES:
        return
    text = (given or b"").split(b";", 1)[0].strip().lower()
    if text != b"application/json" and not (text.startswith(b"application/") and text.endswith(b"+json")):
        raise UnsupportedMediaType()


def call_object(call: Call) -> dict[str, Any]:
    """As `json_object` of the call's body; or what is known of it already, where large lists of numbers are arrays."""
    return json_object(call.body) if call.json is None else call.json


def json_body(body: bytes | memoryview) -> Any:
    """The body as JSON. Bare ``NaN``, ``Infinity`` and a byte order mark are accepted, as Python clients send them.

    Numbers and texts come out exactly.

    Raises:
        InvalidJson
        InvalidRequest: an object has a key twice.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        value = _tolerant(bytes(body))
    text = body if type(body) is bytes else bytes(body)
    if text.count(b":") > (len(value) if type(value) is dict else 0):
        _check_keys(text, value)
    return value


def _check_keys(text: bytes, value: Any) -> None:
    """Each key has a colon behind it: where there are no more colons than keys came out, no key was there twice."""
    keys = _count_keys(value)
    if text.count(b":") == keys or text.count(b'":') + len(_SPACED_KEY.findall(text)) == keys:
        return
    with contextlib.suppress(RecursionError, ValueError):
        json.loads(text.decode("utf-8-sig", "replace"), object_pairs_hook=_unique)


def _count_keys(value: Any) -> int:
    found, waiting = 0, [value]
    while waiting:
        item = waiting.pop()
        if type(item) is dict:
            found += len(item)
            waiting.extend(item.values())
        elif type(item) is list and item and type(item[0]) in (dict, list):
            waiting.extend(item)
        elif type(item) is list:
            waiting.extend(each for each in item if type(each) in (dict, list))
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in found if keys.count(key) > 1)
        raise InvalidRequest(f"the key {twice!r} is given more than once in one JSON object")
    return found


def json_object(body: bytes | memoryview) -> dict[str, Any]:
    """The body as a JSON object, with Azure's sentences for what is none.

    Raises:
        InvalidJson
        InvalidRequest: it is empty or not an object.
    """
    if not body:
        raise InvalidRequest("POST body is empty. Expecting a JSON dictionary.")
    value = json_body(body)
    if type(value) is not dict:
        raise InvalidRequest("POST body should be a JSON dictionary.")
    return value


def _tolerant(body: bytes) -> Any:
    try:
        text = body.decode("utf-8-sig")
        value = json.loads(text)
        if "\\u" in text:
            # Half of a surrogate pair is no text and could not be sent on.
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise InvalidJson("it is nested too deeply") from None
    except UnicodeEncodeError:
        raise InvalidJson("a string holds half of a surrogate pair") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InvalidJson(str(error)[:200]) from None
    except ValueError:
        raise InvalidJson("an integer has more than 4,300 digits") from None
    return value
