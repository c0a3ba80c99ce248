"""What packaging refuses, in sentences."""

from collections.abc import Sequence

from registry.errors import CallerError, OperatorError, shown


class UnsafeValue(CallerError):
    """A value that would stand in a Dockerfile or a manifest and does not match its pattern."""

    def __init__(self, what: str, value: object, expected: str) -> None:
        super().__init__(f"{shown(value)} cannot be used as {what}: {expected}")


class NothingToPackage(CallerError):
    def __init__(self) -> None:
        super().__init__("the workspace holds no model to package; register one first")


class FolderInUse(CallerError):
    """`foreign` are the paths in it that no earlier package wrote."""

    def __init__(self, folder: str, foreign: Sequence[str] = ()) -> None:
        problem = f"{folder} is not a folder"
        if foreign:
            more = f" and {len(foreign) - 5:,} more" if len(foreign) > 5 else ""
            problem = (
                f"{folder} holds files that `fitserve package` did not write: {', '.join(map(repr, foreign[:5]))}{more}"
            )
        super().__init__(
            f"{problem}; move them away, or choose another folder" if foreign else f"{problem}; choose another"
        )


class CannotPin(OperatorError):
    """An environment that could not be had again elsewhere."""

    def __init__(self, model: str, requirement: str) -> None:
        super().__init__(
            f"model {model} is served with {shown(requirement)}, which is not a release that can be pinned: publish that "
            "package, or register the model with an environment that names releases"
        )


class AnswersTwice(CallerError):
    def __init__(self, model: str, service: str) -> None:
        super().__init__(
            f"service {service} has a script or an environment of its own for model {model}, which is also to be packaged "
            "without them: make two packages"
        )


class NotAPackage(OperatorError):
    def __init__(self, folder: str, problem: str) -> None:
        super().__init__(f"{folder} is not a package of fitserve: {problem}")
