"""What only the command line can run into."""

from http.client import BAD_REQUEST, NOT_FOUND, REQUEST_ENTITY_TOO_LARGE, UNSUPPORTED_MEDIA_TYPE
from typing import Final

from registry.errors import CallerError, ModelError, NotFound, OperatorError


class GatewayNotRunning(OperatorError):
    def __init__(self, where: str) -> None:
        super().__init__(f"no gateway serves the workspace {where}: start one with `fitserve serve`")


class ScoringRefused(CallerError):
    """The gateway answered, but not with a result; `status` is its HTTP status."""

    exit_code = ModelError.exit_code

    def __init__(self, status: int, sentence: str) -> None:
        self.status, self.sentence = status, sentence
        super().__init__(f"{sentence} (HTTP {status})")


class RequestRefused(ScoringRefused):
    """What was sent is wrong."""

    exit_code = CallerError.exit_code


class NothingToAsk(ScoringRefused):
    """There is no such model or version."""

    exit_code = NotFound.exit_code


_REFUSALS: Final[dict[int, type[ScoringRefused]]] = {
    BAD_REQUEST: RequestRefused,
    REQUEST_ENTITY_TOO_LARGE: RequestRefused,
    UNSUPPORTED_MEDIA_TYPE: RequestRefused,
    NOT_FOUND: NothingToAsk,
}


def refused(status: int, sentence: str) -> ScoringRefused:
    """The error of that status, with its exit code."""
    return _REFUSALS.get(status, ScoringRefused)(status, sentence)


class CommandNotFound(NotFound):
    def __init__(self, command: str) -> None:
        super().__init__(f"there is no program {command} on the PATH: fitserve exec python client.py")


_NO_SERVER: Final = ("neither jupyter-notebook nor jupyter-lab", "notebook")


class NoJupyter(OperatorError):
    def __init__(self, execute: bool = False) -> None:
        missing, package = ("no jupyter-execute", "nbclient ipykernel") if execute else _NO_SERVER
        super().__init__(
            f"{missing} is on the PATH: pip install {package} into the Python of your notebooks and activate it; a script "
            "needs neither: fitserve exec python client.py"
        )
