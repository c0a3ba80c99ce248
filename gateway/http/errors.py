"""Error class → HTTP status, headers, and the sentence for the caller. The body's form is the dialect's (`Dialect.error`)."""

from typing import Final

from gateway import errors as gateway
from registry import errors as registry

STATUS: Final[dict[type[BaseException], int]] = {
    registry.CallerError: 400,
    registry.NotFound: 404,
    registry.OperatorError: 503,
    registry.DoesNotFit: 507,
    registry.DiskFull: 507,
    registry.ModelError: 500,
    gateway.Unauthorized: 401,
    gateway.Forbidden: 403,
    gateway.RouteNotFound: 404,
    gateway.MethodNotAllowed: 405,
    gateway.SlowSender: 408,
    gateway.BodyTooLarge: 413,
    gateway.UnsupportedMediaType: 415,
    gateway.QueueFull: 429,
    gateway.HeaderTooLong: 431,
    gateway.ModelUnavailable: 503,
    gateway.DeadlineExceeded: 504,
    gateway.InsufficientMemory: 507,
    gateway.ModelFailed: 500,
    gateway.BoundlessAnswer: 500,
    gateway.ScriptAnswerUnusable: 500,
    gateway.TransferCodingUnsupported: 501,
    gateway.NoScoringMethod: 400,
}

UNEXPECTED: Final = "An unexpected internal error occurred. Check the logs for more info."


def status_of(error: BaseException) -> int:
    """By the nearest base class in `STATUS`; 500 for the rest."""
    for cls in type(error).__mro__:
        if cls in STATUS:
            return STATUS[cls]
    return 500


def sentence_of(error: BaseException) -> str:
    """What the caller may read.

    The sentences of the gateway's own errors and of all `CallerError`s are written for callers. Other errors may name paths of this
    machine: they go to the log, and the caller gets a fixed sentence.
    """
    if isinstance(error, registry.CallerError) or type(error).__module__ == gateway.__name__:
        return str(error)
    return UNEXPECTED


def headers_of(error: BaseException) -> dict[str, str]:
    """Headers of the error, the same for all dialects."""
    headers: dict[str, str] = {}
    retry_after = getattr(error, "retry_after", None)
    if retry_after is not None:
        headers["retry-after"] = str(retry_after)
    if isinstance(error, gateway.Unauthorized):
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, gateway.MethodNotAllowed) and error.allowed:
        headers["allow"] = ", ".join(error.allowed)
    return headers
