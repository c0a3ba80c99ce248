"""Responses as bytes: status lines, the headers that every response has, and those that say how a model did."""

import logging
from collections.abc import Iterable
from http import HTTPStatus
from importlib.metadata import version
from typing import Final

from gateway.errors import DeadlineExceeded, MemoryLimitExceeded, ModelDied
from gateway.http import errors
from gateway.http.request_id import Headers
from gateway.types import Answer, Dialect
from registry.errors import FitserveError, ModelError

Body = bytes | memoryview
Formatted = Body | Answer  # by a dialect, in this process or in the offload process

VERSION: Final = version("fitserve")

SERVER: Final = (b"x-ms-server-version", f"fitserve/{VERSION}".encode())
WELL: Final = (b"x-ms-run-function-failed", b"False")
JSON: Final = (b"content-type", b"application/json")
CLOSE: Final = (b"connection", b"close")
_FAILED: Final = (b"x-ms-run-function-failed", b"True")
_PHRASES: Final = {int(status): status.phrase for status in HTTPStatus}

log = logging.getLogger("fitserve.http")


def response_head(status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Status line and headers, with the empty line behind them."""
    lines = [b"HTTP/1.1 %d %b\r\n" % (status, _PHRASES.get(status, "").encode("ascii"))]
    lines += [b"%b: %b\r\n" % pair for pair in headers]
    return b"".join(lines) + b"\r\n"


def failed_answer(dialect: Dialect, error: Exception, request_id: str = "-") -> tuple[int, bytes, Headers]:
    """Status, body and headers for `error`. What is not meant for callers goes to the log, with the request's id."""
    status = errors.status_of(error)
    if status >= 500 and not isinstance(error, FitserveError):
        log.error("request %s: unexpected %s", request_id, type(error).__name__, exc_info=error)
    failed = status >= 500 and isinstance(error, ModelError | ModelDied | MemoryLimitExceeded | DeadlineExceeded)
    headers = [JSON, _FAILED if failed else WELL]
    headers += [(name.encode("ascii"), value.encode("latin-1")) for name, value in errors.headers_of(error).items()]
    return status, dialect.error(errors.sentence_of(error), error), headers


def outcome_headers(headers: Headers, exec_ns: int) -> Headers:
    """Whether the model's method succeeded, unless `headers` say so already, and how long it took."""
    stated = any(name == WELL[0] for name, _ in headers)
    return [*([] if stated else [WELL]), (b"x-ms-run-fn-exec-ms", b"%.3f" % (exec_ns / 1e6))]


def response_parts(answer: Formatted) -> tuple[int, Body, Headers]:
    """Status, body and the headers that the dialect wants."""
    if not isinstance(answer, Answer):
        return 200, answer, [JSON]
    headers = [(b"content-type", answer.content_type.encode("latin-1"))]
    headers += [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
    return answer.status, answer.body, headers
