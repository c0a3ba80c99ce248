"""What can go wrong between a request and its answer, by who can mend it.

::

    CallerError                     a 4xx: the sentence says what would be right
    ├── InvalidRequest              400, the body or a parameter
    │   ├── SchemaMismatch          400, columns, widths and types
    │   ├── UnknownMethod · InputRejected · AnswerTooLarge
    ├── Unauthorized 401 · Forbidden 403 · RouteNotFound 404 · MethodNotAllowed 405 · SlowSender 408
    ├── ModelUnloaded               404, somebody unloaded it
    ├── BodyTooLarge 413 · UnsupportedMediaType 415 · HeaderTooLong 431 · TransferCodingUnsupported 501
    ├── QueueFull               429, too much waits
    │   ├── NotInTime           429, expected after the deadline
    OperatorError                   a 5xx that whoever runs the gateway can mend
    ├── ModelUnavailable            503, starting, failed, stopped
    │   ├── MemoryLimitExceeded · ModelDied
    ├── DeadlineExceeded            504
    ├── ScriptAnswerUnusable        500, a scoring script gave no JSON
    ├── InsufficientMemory          507
    │   └── StartRefused
    ModelError
    ├── ModelFailed                 500, the model's own code raised; the message is in its log, not in the answer
    ├── BoundlessAnswer             500, it sends more than is taken
    ├── ScriptFailed                500, the `run` of a scoring script raised
    └── NoScoringMethod             400

Statuses are not known here: `gateway.http.errors` maps them. No sentence holds a path, a pid or a traceback.
"""

import math
import re
from collections.abc import Sequence
from typing import Final

from registry.errors import CallerError, ModelError, NotFound, OperatorError, shown
from registry.units import memory_text, peak_text


class InvalidRequest(CallerError):
    """`problem` is the whole sentence."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)


class InvalidJson(InvalidRequest):
    """Azure's sentence, with the reason of the JSON reader."""

    def __init__(self, reason: object) -> None:
        super().__init__(f"POST body could not be decoded as JSON: {reason}")


class SchemaMismatch(InvalidRequest):
    """Columns, widths or types are not what the model takes."""


class UnknownMethod(InvalidRequest):
    def __init__(self, method: object, available: Sequence[str]) -> None:
        self.available = tuple(available)
        super().__init__(
            f"the model has no method {shown(method)}; it has: {', '.join(available)}"
            if available
            else f"the model has no method {shown(method)}, nor any other that can be called"
        )


class InputRejected(InvalidRequest):
    """The model's method raised on these rows: its own sentence, shortened."""

    def __init__(self, message: str, kind: str = "ValueError") -> None:
        self.kind = kind
        text = " ".join(message.split())
        super().__init__(f"the model refused this input: {text if len(text) <= 500 else text[:499] + '…'}")


class AnswerTooLarge(InvalidRequest):
    def __init__(self, what: str, size: int, limit: int) -> None:
        super().__init__(f"{what} would have {size:,} values, more than the {limit:,} that are sent in one answer")


class Unauthorized(CallerError):
    def __init__(self, problem: str = "a key is needed: send the header Authorization: Bearer <key>") -> None:
        super().__init__(problem)


class Forbidden(CallerError):
    def __init__(self, problem: str = "this key does not allow that") -> None:
        super().__init__(problem)


class RouteNotFound(CallerError):
    """Azure's sentence, where there is none of the path's own, and what helps."""

    def __init__(
        self,
        problem: str = "The requested URL was not found on the server. If you entered the URL manually please check your "
        "spelling and try again. GET /openapi.json lists what there is.",
    ) -> None:
        super().__init__(problem)


class SwaggerVersionNotFound(RouteNotFound):
    """Azure's sentence."""

    def __init__(self, version: str) -> None:
        super().__init__(f"Swagger version [{version[:20]}] is not valid. Supported versions: [2, 3, 3.1].")


class SwaggerVersionUnsupported(RouteNotFound):
    """Azure's sentence."""

    def __init__(self, version: str, known: Sequence[str]) -> None:
        super().__init__(
            f"Swagger version [{version}] is not supported for the scoring script. Supported swagger versions: "
            f"[{', '.join(known)}]."
        )


class MethodNotAllowed(CallerError):
    """Azure's sentence."""

    def __init__(self, allowed: Sequence[str] = ()) -> None:
        self.allowed = tuple(allowed)
        super().__init__("The method is not allowed for the requested URL.")


class TransferCodingUnsupported(CallerError):
    def __init__(self, codings: str) -> None:
        super().__init__(
            f"Transfer-Encoding: {codings[:100]} is not supported; send the body chunked, or with its length"
        )


class SlowSender(CallerError):
    def __init__(self, seconds: float) -> None:
        super().__init__(f"the body did not arrive within {seconds:g} s")


class BodyTooLarge(CallerError):
    """Sizes in bytes. `size` is None where the sender did not say and was cut off at the limit."""

    def __init__(self, limit: int, size: int | None = None) -> None:
        what = "the body" if size is None else f"the body of {size:,} bytes"
        super().__init__(f"{what} is larger than the limit of {limit:,} bytes; send fewer rows at a time")


class UnsupportedMediaType(CallerError):
    """Azure's sentence; where more is taken than Azure's server takes, also what was sent."""

    def __init__(self, given: str | None = None, expected: str = "application/json") -> None:
        got = f", not {shown(given)}" if given else ""
        super().__init__(f"Expects Content-Type to be {expected}{got}")


class QueueFull(CallerError):
    """`retry_after` in whole seconds goes into the answer's header."""

    def __init__(self, model: str, waiting: int, limit: int, unit: str = "requests", retry_after: int = 1) -> None:
        self.retry_after = retry_after
        super().__init__(f"model {model} has {waiting:,} {unit} waiting, its limit is {limit:,}; try again shortly")


class NotInTime(QueueFull):
    """So much waits already that the answer would come after the caller's deadline. Times in seconds and milliseconds."""

    def __init__(self, model: str, wait_s: float, timeout_ms: float) -> None:
        self.retry_after = max(1, math.ceil(wait_s))
        super(QueueFull, self).__init__(
            f"model {model} has so much to do that the answer would take about {wait_s:.2g} s, and the request's deadline is "
            f"{timeout_ms:g} ms; try again shortly"
        )


class HeaderTooLong(CallerError):
    """Azure's sentences."""

    def __init__(self, names: Sequence[str], limit: int = 100) -> None:
        super().__init__(f"{' and '.join(names)} must not exceed {limit} characters")


class ModelUnloaded(NotFound):
    """Somebody unloaded it, so nobody is at fault: for callers it is as one that is not there."""

    def __init__(self, model: str) -> None:
        super().__init__(f"model {model} is unloaded; `load` of the Open Inference protocol starts it again")


class ModelUnavailable(OperatorError):
    """The model is registered but does not answer now. `reason` is safe to show to callers."""

    def __init__(self, model: str, reason: str, retry_after: int | None = None) -> None:
        self.retry_after = retry_after
        super().__init__(f"model {model} is not available: {reason}")


class MemoryLimitExceeded(ModelUnavailable):
    """Sizes in GB (2**30 bytes)."""

    def __init__(self, model: str, limit_gb: float, peak_gb: float | None = None) -> None:
        peak = peak_text(limit_gb, peak_gb)
        super().__init__(model, f"memory limit {memory_text(limit_gb)} exceeded{peak}; register it with more memory", 1)


class ModelDied(ModelUnavailable):
    def __init__(self, model: str, how: str = "its process ended while it computed") -> None:
        super().__init__(model, how, 1)


class DeadlineExceeded(OperatorError):
    def __init__(self, milliseconds: float) -> None:
        super().__init__(f"Scoring timeout after {milliseconds:g} ms")


class InsufficientMemory(OperatorError):
    """Sizes in GB (2**30 bytes)."""

    def __init__(self, model: str, asked_gb: float, free_gb: float) -> None:
        super().__init__(
            f"model {model} cannot be started now: it asks for {memory_text(asked_gb)} of memory, {max(free_gb, 0):.2f} GB are free"
        )


class StartRefused(InsufficientMemory):
    """The supervisor's own sentence, with its numbers."""

    def __init__(self, sentence: str) -> None:
        OperatorError.__init__(self, sentence)


class ModelFailed(ModelError):
    """The model's own code raised something that is not about the input."""

    def __init__(self, model: str) -> None:
        super().__init__(f"model {model} failed on this input; the reason is in its log (`fitserve logs {model}`)")


class BoundlessAnswer(ModelError):
    """A model sends more than is taken, without a word that it does. Sizes in bytes."""

    def __init__(self, model: str, limit: int) -> None:
        super().__init__(
            f"the answer of model {model} is larger than the {limit / 1e6:g} MB that are accepted of a model"
        )


class ScriptFailed(ModelError):
    """Azure's sentence. What `run` raised is in the log."""

    def __init__(self) -> None:
        super().__init__("An unexpected error occurred in scoring script. Check the logs for more info.")


class ScriptAnswerUnusable(OperatorError):
    """Azure's sentence for a `run` that gave something that is no JSON."""

    def __init__(self) -> None:
        super().__init__("An unexpected internal error occurred. Check the logs for more info.")


class NoScoringMethod(ModelError):
    def __init__(self) -> None:
        super().__init__(
            "this model has no method that can be called with new data; a scoring script answers at /score and at /models/NAME/score only"
        )


_URL_OR_PATH: Final = re.compile(
    r"(?P<url>\b(?!(?:[\w+]*\+)?file:)[a-zA-Z][a-zA-Z0-9+.-]*://[^\s'\"<>]+)"
    r"|(?:\b(?:[\w+]*\+)?file://)?(?<![\w.])/[\w.+-]+(?:/[\w.+-]*)+"
)


def redact_paths(sentence: str) -> str:
    """Remove paths of this machine from a sentence that a model or a loader wrote. URLs stay."""
    return _URL_OR_PATH.sub(lambda found: found["url"] or "…", sentence)
