"""Supervision: what a launcher does from Starting to completion, between the script's job and the store."""

import logging
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

from registry.errors import FitserveError, OperatorError
from registry.records import Json, RunRecord
from registry.workspace import Workspace
from trainer.completion import finish
from trainer.folder import RunFolder
from trainer.history import TERMINAL, add_details, move, take_in
from trainer.launch_plan import LaunchPlan
from trainer.log import BuildLog
from trainer.outcome import Outcome, outcome_of, with_last_lines
from trainer.process_id import ProcessId
from trainer.script_job import Ended, ScriptJob, Stop
from trainer.shim.azureml._fitserve.wire import EventReader
from trainer.signals import Signals

if TYPE_CHECKING:
    from registry.interpreters import Interpreter

log = logging.getLogger(__name__)

OK: Final = frozenset({"Completed", "Canceled"})


class Supervision:
    """Supervises one run. If no environment has to be built, the script starts before the store is open: opening it imports
    SQLAlchemy, which takes longer than everything else before the script's first line.
    """

    def __init__(self, workspace: str | None, run_id: str, folder: Path) -> None:
        self.signals = Signals()
        self.folder = RunFolder(folder)
        self.plan = LaunchPlan.from_facts(self.folder.read_facts())
        assert self.plan.run_id == run_id
        self._where = workspace

    def run(self) -> int:
        """Execute the run until a terminal status; returns 0 for Completed and Canceled."""
        with ExitStack() as stack, ExitStack() as jobs:
            job: ScriptJob | None = None
            failure: Exception | None = None
            if self.plan.environment is None:  # no environment to build
                try:
                    python = Path(self.plan.interpreter or sys.executable)
                    job = jobs.enter_context(ScriptJob(self.plan, self.folder, self.signals, python))
                except (FitserveError, OSError) as error:
                    failure = error
            workspace = stack.enter_context(Workspace.open(self._where, create=False))
            return Recorded(workspace, self, jobs).run(job, failure)


class Recorded:
    """The part of supervision that uses the store."""

    def __init__(self, workspace: Workspace, supervision: Supervision, jobs: ExitStack) -> None:
        self.workspace = workspace
        self.store = workspace.metadata
        self.plan, self.folder, self.signals = supervision.plan, supervision.folder, supervision.signals
        self.run_id = self.plan.run_id
        self.jobs = jobs
        self.reader = EventReader(str(self.folder.events))
        self.record: RunRecord = self.store.get_run(self.run_id)

    def run(self, job: ScriptJob | None, failure: Exception | None) -> int:
        process = ProcessId.of(os.getpid())
        add_details(self.store, self.run_id, {"launcher": process.to_json()})
        self.record = move(self.store, self.run_id, "Starting", pid=process.pid)
        if self.record.status in TERMINAL:
            return 0  # canceled before it started, or given up
        try:
            if failure is not None:
                raise failure
            outcome = self._carry_out(job)
        except _Stopped:
            stop = self._why_stopped()
            outcome = Outcome(stop.status, stop.sentence)
        except FitserveError as error:
            outcome = Outcome("Failed", str(error))
        except Exception as error:
            log.exception("run %s", self.run_id)
            outcome = Outcome("Failed", f"internal error of the launcher: {type(error).__name__}: {error}")
        self.jobs.close()  # no process writes to the files any more
        finish(self.workspace, self.record, outcome, self.reader)
        return 0 if outcome.status in OK else 1

    def _carry_out(self, job: ScriptJob | None) -> Outcome:
        move(self.store, self.run_id, "Preparing")
        if job is not None:
            from registry.interpreters import own_interpreter  # late: the script is already running

            if self.plan.interpreter is None:
                self._note_interpreter(own_interpreter())
        else:
            python, variables = self._prepare()
            job = self.jobs.enter_context(ScriptJob(self.plan, self.folder, self.signals, python, variables))
        add_details(self.store, self.run_id, {"script_pid": job.pid})
        move(self.store, self.run_id, "Running")
        ended = job.watch(self._tick, self._why_stopped)
        move(self.store, self.run_id, "Finalizing")
        if ended.usage is not None:
            used: Json = {
                "enforcement": ended.enforcement,
                "memory_peak_bytes": ended.usage.memory_peak_bytes,
                "cpu_seconds": ended.usage.cpu_seconds,
                "oom_kills": ended.usage.oom_kills,
            }
            add_details(self.store, self.run_id, {"usage": used})
        return self._outcome(ended)

    def _outcome(self, ended: Ended) -> Outcome:
        stop = ended.stop
        if stop is None:
            return outcome_of(self.plan.label, ended.code, ended.last_lines, self.plan.limits, ended.usage)
        sentence = with_last_lines(stop.sentence, ended.last_lines) if stop.sentence else None
        return Outcome(stop.status, sentence, ended.code)

    def _prepare(self) -> tuple[Path, dict[str, str]]:
        """The interpreter and variables of the run's environment, which is built if necessary."""
        from registry.interpreters import interpreter_for  # late: a run in fitserve's own Python starts without it

        if self._is_canceled():
            raise _Stopped
        spec = self.store.get_environment_by_digest(str(self.plan.environment)).spec
        variables = {str(k): str(v) for k, v in dict(spec.get("variables") or {}).items()}
        if self.plan.interpreter is not None:
            return Path(self.plan.interpreter), variables
        build_log = BuildLog(self.folder.build_log)

        def progress(line: str) -> None:
            build_log.write(line)
            if self.signals.stop_requested:
                raise _Stopped

        interpreter = interpreter_for(
            dict(spec),
            self.workspace.interpreters_dir,
            progress=progress,
            strict=bool(self.record.details.get("strict_python")),
            name=self.record.details["environment_name"],
        )
        for name in spec.get("shimmed") or ():
            build_log.write(f"{name} is not installed; fitserve's own azureml replaces it")
        for name in (spec.get("skipped") or ()) if interpreter.made_by in ("uv", "pip") else ():
            build_log.write(f"{name} is not installed; it is only available from conda")
        for warning in interpreter.warnings:
            build_log.write(f"WARNING: {warning}")
        self._note_interpreter(interpreter)
        if self.signals.stop_requested:
            raise _Stopped
        return interpreter.python, variables

    def _note_interpreter(self, interpreter: "Interpreter") -> None:
        """Record the packages installed in the script's interpreter."""
        facts: Json = {
            "digest": interpreter.digest,
            "python": interpreter.version,
            "frozen": list(interpreter.frozen),
        }
        add_details(self.store, self.run_id, {"interpreter": facts, "warnings": list(interpreter.warnings)})

    def _tick(self) -> Stop | None:
        """Store what was logged, and check for cancellation. If the workspace is locked, a later tick stores it."""
        try:
            events = self.reader.read()
            if events:
                take_in(self.store, self.record, events)
        except OperatorError:
            log.exception("run %s: its metrics will be stored later", self.run_id)
            self.reader = EventReader(str(self.folder.events))  # start over; stored events are kept
        return Stop("Canceled") if self._is_canceled() else None

    def _is_canceled(self) -> bool:
        try:
            return self.store.get_run(self.run_id).status == "CancelRequested"
        except OperatorError:
            return False

    def _why_stopped(self) -> Stop:
        """A stop signal arrived: either a cancellation, or all processes are being stopped."""
        if self._is_canceled():
            return Stop("Canceled")
        return Stop("Failed", f"the launcher of {self.plan.label} received a stop signal (SIGTERM)")


class _Stopped(Exception):
    """Aborts the build of an environment when the run must stop."""
