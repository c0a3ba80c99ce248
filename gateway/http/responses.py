"""What goes back to the caller of a scoring route: status, body and headers, whether it went well or not."""

import logging
from typing import Final

from gateway.errors import DeadlineExceeded, MemoryLimitExceeded, ModelDied, SlowSender
from gateway.http import errors
from gateway.http.request_id import Headers
from gateway.types import Answer, Dialect
from registry.errors import FitserveError, ModelError

Body = bytes | memoryview
Written = Body | Answer  # by a dialect, or beside the loop

WELL: Final = (b"x-ms-run-function-failed", b"False")
_FAILED: Final = (b"x-ms-run-function-failed", b"True")
_JSON: Final = (b"content-type", b"application/json")

log = logging.getLogger("fitserve.http")


def failed_answer(dialect: Dialect, error: Exception, number: str = "-") -> tuple[int, bytes, Headers]:
    """As `Scoring.failure`; `number` is the request's id, for the log."""
    status = errors.status_of(error)
    sentence = errors.sentence_of(error)
    if status >= 500 and not isinstance(error, FitserveError):
        log.error("request %s: unexpected %s", number, type(error).__name__, exc_info=error)
    failed = status >= 500 and isinstance(error, ModelError | ModelDied | MemoryLimitExceeded | DeadlineExceeded)
    headers = [_JSON, _FAILED if failed else WELL]
    headers += [(name.encode("ascii"), value.encode("latin-1")) for name, value in errors.headers_of(error).items()]
    if isinstance(error, SlowSender):
        headers.append((b"connection", b"close"))
    return status, dialect.error(sentence, error), headers


def told(headers: Headers, exec_ns: int) -> Headers:
    """How it went with the model, unless the answer's own headers say so already."""
    failed = any(name == WELL[0] for name, _ in headers)
    return [*([] if failed else [WELL]), (b"x-ms-run-fn-exec-ms", b"%.3f" % (exec_ns / 1e6))]


def dressed(answer: Written) -> tuple[int, Body, Headers]:
    """Status, body and the headers that the dialect wants."""
    if not isinstance(answer, Answer):
        return 200, answer, [_JSON]
    headers = [(b"content-type", answer.content_type.encode("latin-1"))]
    headers += [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
    return answer.status, answer.body, headers
