"""Everything that fitserve raises on purpose.

::

    FitserveError
    ├── CallerError                 the one who called can mend it: an HTTP 4xx
    │   ├── InvalidName
    │   ├── InvalidResource
    │   ├── InvalidArgument         FrameworkMissing
    │   ├── ModelInUse · ServiceExists
    │   └── NotFound
    │       ├── ModelNotFound · RunNotFound · EnvironmentNotFound · ModelPathNotFound · ExperimentNotFound
    │       ├── ServiceNotFound · LocalPathNotFound
    ├── OperatorError               who runs the machine can mend it: one line and an exit code
    │   ├── WorkspaceError          WorkspaceNotFound · WorkspaceLocked · WorkspaceReadOnly · WorkspaceCorrupt · WorkspaceTooNew
    │   │                           NoWorkspace · WorkspaceOnNetworkDisk · WorkspaceUnreachable · WorkspaceReplaced · WorkspaceExists · WorkspaceConfigError · WorkspaceNotOurs
    │   ├── DiskFull
    │   ├── DoesNotFit
    │   ├── LimitsUnavailable
    │   ├── MissingExtra
    │   └── EnvironmentBuildError
    └── ModelError                  whoever wrote the script or the model can mend it
        ├── ArtifactError           NotAnArtifact · ArtifactChanged · ArtifactMissing · MainModuleClass · NeedsRunning
        └── RunFailed

Each class writes its own sentence from its arguments, so the sentence exists once. Packages above add their
own leaves (`gateway.errors`, `trainer.errors`). HTTP statuses are not known here: `gateway.http.errors` maps them.
"""

from collections.abc import Iterable
from shlex import quote
from typing import ClassVar

from registry.units import memory_text


class FitserveError(Exception):
    """Root of all errors that carry a sentence meant for a person."""

    exit_code: ClassVar[int] = 1


class CallerError(FitserveError):
    """The request, argument or name is wrong; the sentence says what would be right."""

    exit_code = 2


class OperatorError(FitserveError):
    """The machine or the workspace is not as it should be."""

    exit_code = 3


class ModelError(FitserveError):
    """The script or the model itself is at fault."""

    exit_code = 1


def shown(value: object, limit: int = 80) -> str:
    """`value` as a short one-line literal, for use inside a sentence."""
    text = ascii(value) if not isinstance(value, str) or not value.isprintable() else repr(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


class InvalidName(CallerError):
    def __init__(self, kind: str, name: object, pattern: str) -> None:
        super().__init__(
            f"{shown(name)} is not a name for {'an' if kind[0] in 'aeiou' else 'a'} {kind}: it must match {pattern} and hold no '..'"
        )


class InvalidResource(CallerError):
    def __init__(self, field: str, value: object, expected: str) -> None:
        super().__init__(f"{field} is {shown(value)}, expected {expected}")


class InvalidArgument(CallerError):
    """`what` names the argument, `problem` is the rest of the sentence."""

    def __init__(self, what: str, problem: str) -> None:
        super().__init__(f"{what}: {problem}")


class FrameworkMissing(InvalidArgument):
    def __init__(self) -> None:
        super().__init__("model_framework_version", "model_framework is needed with it")


class ModelInUse(CallerError):
    def __init__(self, model_id: str, services: Iterable[str]) -> None:
        super().__init__(f"model {model_id} is used by {', '.join(sorted(services))}; delete or update that first")


class ServiceExists(CallerError):
    def __init__(self, name: str) -> None:
        super().__init__(
            f"service {name} exists already: choose another name, delete it first, or replace it "
            "(overwrite=True, `fitserve deploy --overwrite`)"
        )


class NotFound(CallerError):
    exit_code = 4


class ModelNotFound(NotFound):
    def __init__(self, name: str, version: int | None = None, known: Iterable[object] = ()) -> None:
        self.name, self.version = name, version
        known = list(known)
        what = f"model {shown(name)}" + (f" version {version}" if version is not None else "")
        some = ", ".join(str(k) for k in known[:10]) + (", …" if len(known) > 10 else "")
        hint = f"; there is: {some}" if known else ""
        super().__init__(f"{what} is not registered in this workspace{hint}")


class RunNotFound(NotFound):
    def __init__(self, run_id: str) -> None:
        super().__init__(f"run {shown(run_id)} is not in this workspace; `fitserve runs` lists them")


class ExperimentNotFound(NotFound):
    def __init__(self, name: str) -> None:
        super().__init__(f"experiment {shown(name)} is not in this workspace")


class EnvironmentNotFound(NotFound):
    def __init__(self, name: str, version: str | None = None, known: Iterable[str] = ()) -> None:
        what = f"environment {shown(name)}" + (f" version {version}" if version else "")
        hint = f"; there is: {', '.join(known)}" if known else ""
        super().__init__(f"{what} is not in this workspace{hint}")


class ModelPathNotFound(NotFound):
    """Azure's sentence, with the files that there are."""

    def __init__(self, path: str, files: Iterable[str]) -> None:
        super().__init__(
            f"Could not locate the provided model_path {path} in the set of files uploaded to the run: {sorted(files)}"
        )


class ServiceNotFound(NotFound):
    def __init__(self, name: str) -> None:
        super().__init__(f"service {shown(name)} is not in this workspace; `fitserve services` lists them")


class LocalPathNotFound(NotFound):
    """A file or folder that was named on this machine does not exist."""

    def __init__(self, what: str, path: str, there: Iterable[str] = ()) -> None:
        names = sorted(there)
        some = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
        super().__init__(f"{what} {path} does not exist" + (f"; beside it there is: {some}" if names else ""))


class WorkspaceError(OperatorError):
    pass


class WorkspaceExists(WorkspaceError):
    def __init__(self, where: str) -> None:
        super().__init__(f"there is a workspace in {where} already; pass exist_ok=True to use it")


class WorkspaceConfigError(WorkspaceError):
    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"the workspace configuration file {path} {problem}")


class WorkspaceOnNetworkDisk(WorkspaceError):
    def __init__(self, where: str, filesystem: str) -> None:
        super().__init__(
            f"the workspace {where} lies on a network disk ({filesystem}), where SQLite loses data; choose a local folder, "
            "or keep the records in PostgreSQL: FITSERVE_WORKSPACE=postgresql://USER@HOST/DATABASE"
        )


class WorkspaceUnreachable(WorkspaceError):
    def __init__(self, where: str, detail: str) -> None:
        super().__init__(f"the database of the workspace {where} cannot be reached ({detail})")


class WorkspaceReplaced(WorkspaceError):
    def __init__(self, where: str) -> None:
        super().__init__(
            f"the workspace {where} was removed or replaced while it was served: what runs goes on, and nothing else is seen "
            "until it is back or the gateway is started again"
        )


class WorkspaceNotFound(WorkspaceError):
    def __init__(self, where: str) -> None:
        super().__init__(
            f"the workspace configuration file config.json could not be found in {where} or its parent directories"
        )


class NoWorkspace(WorkspaceNotFound):
    """The place is known, but no workspace is there; or, where `found` is given, another one."""

    def __init__(self, where: str, found: str | None = None) -> None:
        WorkspaceError.__init__(
            self,
            f"the workspace in {where} is {found}"
            if found
            else f"there is no workspace in {where}; `fitserve up` and `fitserve register` make one, --workspace names another",
        )


class WorkspaceLocked(WorkspaceError):
    def __init__(self, where: str) -> None:
        super().__init__(
            f"the workspace {where} is locked by another process for too long; try again when it has finished"
        )


class WorkspaceReadOnly(WorkspaceError):
    def __init__(self, where: str, detail: str = "check the owner and the mode of that folder") -> None:
        super().__init__(f"the workspace {where} cannot be written: {detail}")


class WorkspaceCorrupt(WorkspaceError):
    def __init__(self, where: str, detail: str) -> None:
        super().__init__(f"the database of the workspace {where} is damaged ({detail}); restore it from a backup")


class WorkspaceNotOurs(WorkspaceError):
    def __init__(self, where: str, detail: str) -> None:
        super().__init__(
            f"the database of the workspace {where} is used by something else ({detail}); "
            "give fitserve a database or a schema of its own"
        )


class WorkspaceTooNew(WorkspaceError):
    def __init__(self, where: str, found: str) -> None:
        super().__init__(
            f"the workspace {where} was written by a newer fitserve (schema {found}); upgrade fitserve to open it, or restore "
            "the backup that was made before the upgrade"
        )


class DiskFull(OperatorError):
    def __init__(self, where: str) -> None:
        super().__init__(f"no space is left on the disk that holds {where}; nothing was registered or changed")


class DoesNotFit(OperatorError):
    """Admission: memory limits are promises, so they are added up. Sizes in GB (2**30 bytes)."""

    def __init__(self, what: str, asked_gb: float, free_gb: float, total_gb: float) -> None:
        super().__init__(
            f"{what} asks for {memory_text(asked_gb)} of memory; {max(free_gb, 0):.2f} GB of {total_gb:.2f} GB is not promised to other models"
        )


class LimitsUnavailable(OperatorError):
    """A way to hold limits was asked for by name and does not work here."""

    def __init__(self, enforcement: str, reason: str) -> None:
        super().__init__(f"limits by {enforcement} are not possible here: {reason}")


class MissingExtra(OperatorError):
    """A package that only some need. `extra` is fitserve's extra that brings it, None where there is none.

    The sentence names the package itself: that can be installed wherever fitserve itself came from.
    """

    def __init__(self, package: str, extra: str | None, purpose: str) -> None:
        brought = f" (fitserve's extra {extra!r} brings it too)" if extra else ""
        super().__init__(
            f"{purpose} needs {package}, which is not installed: pip install {quote(package.lower())}{brought}"
        )


class EnvironmentBuildError(OperatorError):
    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"environment {shown(name)} could not be built: {problem}")


class ArtifactError(ModelError):
    pass


class NotAnArtifact(ArtifactError):
    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name} is not a model file: {problem}")


class ArtifactChanged(ArtifactError):
    def __init__(self, name: str, expected: str, found: str) -> None:
        super().__init__(
            f"the stored bytes of {name} changed on disk since registration: SHA-256 {found[:12]}…, registered as {expected[:12]}…; "
            "register it again"
        )


class ArtifactMissing(ArtifactError):
    def __init__(self, name: str) -> None:
        super().__init__(f"the stored bytes of {name} are missing from the workspace; register it again")


class MainModuleClass(ArtifactError):
    """`class_name` is a class or function of the training script, whose definition is not known."""

    def __init__(self, class_name: str, script: str | None = None) -> None:
        if "<" in class_name:
            problem = f"{class_name} was made while the script ran: define it at the script's top level, by a name, and retrain"
        elif script is None:
            problem = (
                f"{class_name} was defined in the training script itself: register the model with the script "
                "(--code train.py), whose definitions travel with it then"
            )
        else:
            problem = f"the model needs {class_name} of the training script, and {script} does not define it"
        super().__init__(problem)


class NeedsRunning(ArtifactError):
    """A definition of the training script uses what only running the script gives."""

    def __init__(self, script: str, user: str, name: str, line: int) -> None:
        super().__init__(
            f"the model needs {user} of {script}, which uses {name}, and only running the script gives {name} (line {line}): "
            f"keep it as an attribute of the estimator, or make it a constant"
        )


class RunFailed(ModelError):
    def __init__(self, run_id: str, reason: str) -> None:
        super().__init__(f"run {run_id} failed: {reason}")
