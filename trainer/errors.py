"""Errors of the trainer, leaves of the tree in `registry.errors`.

::

    CallerError      ScriptNotFound · SnapshotTooLarge · SnapshotTooManyFiles · SnapshotUnreadable · FileExists · PropertyIsFixed
                     NotInteractive · RunFileExists · SeveralModelsInRun
      NotFound       RunFileNotFound
    OperatorError    LaunchFailed
    ModelError       NoModelInRun
      RunFailed      ActivityFailed
"""

from collections.abc import Iterable, Sequence

from registry.errors import CallerError, ModelError, NotFound, OperatorError, RunFailed, shown


class ScriptNotFound(CallerError):
    def __init__(self, script: str, folder: str, there: Iterable[str]) -> None:
        names = sorted(there)
        some = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
        super().__init__(
            f"script {script} does not exist in {folder}"
            + (f", which has: {some}" if names else ", which has no .py files")
        )


class SnapshotError(CallerError):
    """The source folder cannot be copied as it is."""


class SnapshotTooLarge(SnapshotError):
    """`largest` are the largest entries as (name, bytes)."""

    def __init__(self, folder: str, limit_mb: float, largest: Sequence[tuple[str, int]]) -> None:
        most = ", ".join(f"{name} ({size / 1e6:.1f} MB)" for name, size in largest)
        super().__init__(
            f"While attempting to take snapshot of {folder}\n"
            f"Your total snapshot size exceeds the limit of {limit_mb} MB.\n"
            f"Largest: {most}. Name in .amlignore what the script does not need, or set FITSERVE_SNAPSHOT_MAX_MB."
        )


class SnapshotTooManyFiles(SnapshotError):
    """`fullest` are the entries with the most files as (name, number)."""

    def __init__(self, folder: str, limit: int, fullest: Sequence[tuple[str, int]]) -> None:
        most = ", ".join(f"{name} ({number} files)" for name, number in fullest)
        super().__init__(
            f"While attempting to take snapshot of {folder}\n"
            f"Your project exceeds the file limit of {limit}.\n"
            f"Most are in: {most}. Name in .amlignore what the script does not need, set FITSERVE_SNAPSHOT_MAX_FILES, or "
            "set AML_SNAPSHOT_NO_FILE_LIMIT=True."
        )


class SnapshotUnreadable(SnapshotError):
    def __init__(self, path: str, problem: str) -> None:
        super().__init__(
            f"{path} cannot be copied into the snapshot ({problem}); name it in .amlignore if the script does not need it"
        )


class RunFileNotFound(NotFound):
    def __init__(self, name: str, files: Iterable[str]) -> None:
        super().__init__(f"File with path {name} was not found, available files include: {', '.join(sorted(files))}")


class NoModelInRun(ModelError):
    def __init__(self, run_id: str, files: Iterable[str]) -> None:
        there = ", ".join(sorted(set(files)))
        super().__init__(
            f"run {run_id} finished, but its script saved no model, so there is nothing to serve"
            f"{f' (it wrote: {there})' if there else ''}. Save the fitted model at the end of the script: "
            "import joblib; joblib.dump(model, 'model.joblib') — with the name of your own variable in place of model"
        )


class SeveralModelsInRun(CallerError):
    def __init__(self, names: Iterable[str]) -> None:
        first, *rest = names
        super().__init__(
            f"the run wrote several model files ({', '.join([first, *rest])}): choose one, such as --model-path {first}"
        )


class FileExists(CallerError):
    def __init__(self, path: str) -> None:
        super().__init__(f"{path} already exists and is not overwritten")


class RunFileExists(CallerError):
    def __init__(self, run_id: str, name: str) -> None:
        super().__init__(f"Resource Conflict: ArtifactId ExperimentRun/dcid.{run_id}/{name} already exists.")


class PropertyIsFixed(CallerError):
    def __init__(self, key: str, value: str) -> None:
        super().__init__(f"the property {shown(key)} is already {shown(value)}, and properties cannot be changed")


class NotInteractive(CallerError):
    def __init__(self, run_id: str) -> None:
        super().__init__(f"run {run_id} was submitted, so its status depends on how its script ends")


class LaunchFailed(OperatorError):
    def __init__(self, run_id: str, problem: str) -> None:
        super().__init__(f"run {run_id} could not be started: {problem}")


class ActivityFailed(RunFailed):
    """The awaited run has failed; `reason` is the error of the run."""

    def __init__(self, run_id: str, reason: str) -> None:
        self.run_id, self.reason = run_id, reason
        super().__init__(run_id, reason)
