"""What packaging refuses, in sentences."""

from registry.errors import CallerError, OperatorError, shown


class UnsafeValue(CallerError):
    """A value that would stand in a Dockerfile or a manifest and does not match its pattern."""

    def __init__(self, what: str, value: object, expected: str) -> None:
        super().__init__(f"{shown(value)} cannot be used as {what}: {expected}")


class NothingToPackage(CallerError):
    def __init__(self) -> None:
        super().__init__("the workspace holds no model to package; register one first")


class FolderInUse(CallerError):
    def __init__(self, folder: str) -> None:
        super().__init__(f"{folder} holds something else; choose a new folder, or one that an earlier package is in")


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
