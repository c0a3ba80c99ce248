"""Supervision: what a launcher does from Starting to the end. Runs in the launcher process only."""

import logging
import os
import selectors
import signal
import socket
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

from registry.errors import FitserveError, OperatorError
from registry.limits.base import Group
from registry.records import Json, RunRecord
from registry.resources import ResourceConfiguration
from registry.workspace import Workspace
from trainer.ending import finish, label_of
from trainer.folder import RunFolder
from trainer.history import TERMINAL, add_details, move, take_in
from trainer.log import BoundedLog
from trainer.mark import ProcessMark
from trainer.outcome import Outcome, outcome_of, with_last_lines
from trainer.process import ScriptProcess
from trainer.shim.azureml._fitserve.wire import EventReader
from trainer.variables import script_variables

log = logging.getLogger(__name__)

TICK_S: Final = 0.5
GRACE_S: Final = 5.0  # between SIGTERM and SIGKILL


class _Stopped(Exception):
    """Raised out of the building of an environment when the run is to end."""


@dataclass(frozen=True)
class _Stop:
    """Why the script is to end before its time."""

    status: str
    sentence: str | None = None


class Notes:
    """What signals have said. The handlers write here and to a socket that wakes the loop, nothing else."""

    def __init__(self) -> None:
        self.told_to_stop = False
        self.wake, self._write = socket.socketpair()
        self.wake.setblocking(False)
        self._write.setblocking(False)
        signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.told_to_stop = True


class Supervision:
    """One run from Starting to a terminal status."""

    def __init__(self, workspace: Workspace, run_id: str) -> None:
        self.workspace = workspace
        self.store = workspace.metadata
        self.run_id = run_id
        self.folder = RunFolder(workspace.runs_dir / run_id)
        self.reader = EventReader(str(self.folder.events))
        self.notes = Notes()

    def run(self) -> int:
        """Carry the run out; 0 when it is Completed or Canceled."""
        mark = ProcessMark.of(os.getpid())
        add_details(self.store, self.run_id, {"launcher": mark.to_json()})
        run = move(self.store, self.run_id, "Starting", pid=mark.pid)
        if run.status in TERMINAL:
            return 0  # it was canceled before it began
        try:
            outcome = self._carry_out(run)
        except _Stopped:
            stop = self._stop(run)
            outcome = Outcome(stop.status, stop.sentence)
        except FitserveError as error:
            outcome = Outcome("Failed", str(error))
        except Exception as error:
            log.exception("run %s", self.run_id)
            outcome = Outcome("Failed", f"the launcher itself failed: {type(error).__name__}: {error}")
        finish(self.workspace, run, outcome, self.reader)
        return 0 if outcome.status != "Failed" else 1

    def _carry_out(self, run: RunRecord) -> Outcome:
        if move(self.store, self.run_id, "Preparing").status == "CancelRequested":
            raise _Stopped
        python, variables = self._prepare(run)
        limits = limits_of(run)
        with ExitStack() as stack:
            group = self._group(stack, limits)
            output = stack.enter_context(BoundedLog(self.folder.log))
            command = run.details.get("command")
            process = ScriptProcess(
                python,
                command or [str(run.script), *run.arguments],
                is_command=bool(command),
                folder=self.folder.snapshot,
                environment=self._variables(run, python, limits, variables),
            )
            stack.callback(process.close)
            if group is not None:
                group.add(process.pid)
                group.set_cpu(group.limits.cores)
            process.release(group.rlimits() if group is not None else {})
            add_details(self.store, self.run_id, {"script_pid": process.pid})
            move(self.store, self.run_id, "Running")
            stop = self._watch(process, output, run)
            process.kill_rest()
            self._drain(process, output)
            move(self.store, self.run_id, "Finalizing")
            usage = group.usage() if group is not None else None
            if group is not None and usage is not None:
                used: Json = {
                    "enforcement": group.enforcement,
                    "memory_peak_bytes": usage.memory_peak_bytes,
                    "cpu_seconds": usage.cpu_seconds,
                    "oom_kills": usage.oom_kills,
                }
                add_details(self.store, self.run_id, {"usage": used})
            code = process.poll()
            assert code is not None
            last_lines = output.last_lines()
        if stop is not None:
            return Outcome(stop.status, stop.sentence and with_last_lines(stop.sentence, last_lines), code)
        return outcome_of(label_of(run), code, last_lines, limits, usage)

    def _prepare(self, run: RunRecord) -> tuple[Path, dict[str, str]]:
        """The interpreter and the variables of the run's environment, built when it is not there yet."""
        if run.environment is None:
            return Path(sys.executable), {}
        from registry.interpreters import interpreter_for

        spec = self.store.get_environment_by_digest(run.environment).spec
        started = False

        def progress(line: str) -> None:
            nonlocal started
            with self.folder.build_log.open("a", encoding="utf-8") as file:
                if not started:
                    file.write("Building environment…\n")
                    started = True
                file.write(line.rstrip("\n") + "\n")
            if self.notes.told_to_stop:
                raise _Stopped

        interpreter = interpreter_for(dict(spec), self.workspace.interpreters_dir, progress=progress)
        facts: Json = {
            "digest": interpreter.digest,
            "python": interpreter.version,
            "frozen": list(interpreter.frozen),
        }
        add_details(self.store, self.run_id, {"interpreter": facts})
        if self.notes.told_to_stop:
            raise _Stopped
        return interpreter.python, {str(k): str(v) for k, v in dict(spec.get("variables") or {}).items()}

    def _group(self, stack: ExitStack, limits: ResourceConfiguration | None) -> Group | None:
        if limits is None:
            return None
        from registry.limits import choose_backend

        backend = choose_backend(f"fitserve-run-{os.getpid()}")
        stack.callback(backend.close)
        group = backend.create(self.run_id, limits)
        stack.callback(group.close)
        return group

    def _variables(
        self, run: RunRecord, python: Path, limits: ResourceConfiguration | None, variables: dict[str, str]
    ) -> dict[str, str]:
        if limits is None:
            from registry.limits import machine_cores

            threads = max(1, int(machine_cores()))
        else:
            threads = limits.threads
        return script_variables(
            run,
            self.folder.root,
            python,
            workspace_name=self.workspace.name,
            threads=threads,
            limited=limits is not None,
            variables=variables,
        )

    def _watch(self, process: ScriptProcess, output: BoundedLog, run: RunRecord) -> _Stop | None:
        """Until the script has ended. Gives why it was ended, or None when it ended by itself."""
        began = time.monotonic()
        duration = run.details.get("max_run_duration_seconds")
        end = began + float(duration) if duration else float("inf")
        stop: _Stop | None = None
        kill_at = float("inf")
        next_tick = 0.0
        with selectors.DefaultSelector() as selector:
            selector.register(self.notes.wake, selectors.EVENT_READ)
            selector.register(process.output, selectors.EVENT_READ)
            exit_descriptor = _exit_descriptor(process.pid)
            if exit_descriptor is not None:
                selector.register(exit_descriptor, selectors.EVENT_READ)
            try:
                while process.poll() is None:
                    now = time.monotonic()
                    wait = min(next_tick, end, kill_at) - now
                    ready = {key.fileobj for key, _ in selector.select(max(0.0, wait if exit_descriptor else 0.02))}
                    if self.notes.wake in ready:
                        self.notes.wake.recv(4096)
                    if process.output in ready and not self._pump(process, output):
                        selector.unregister(process.output)
                    now = time.monotonic()
                    if now >= next_tick:
                        next_tick = now + TICK_S
                        self._tick(run)
                        if stop is None and self._is_canceled():
                            stop = _Stop("Canceled")
                    if stop is None and self.notes.told_to_stop:
                        stop = self._stop(run)
                    if stop is None and now >= end:
                        stop = _Stop("Failed", f"{label_of(run)} ran longer than its {duration:g} seconds")
                    if stop is not None and kill_at == float("inf"):
                        process.signal(signal.SIGTERM)
                        kill_at, end = now + GRACE_S, float("inf")
                    if now >= kill_at:
                        process.signal(signal.SIGKILL)
                        kill_at = now + GRACE_S
            finally:
                if exit_descriptor is not None:
                    os.close(exit_descriptor)
        return stop

    def _pump(self, process: ScriptProcess, output: BoundedLog) -> bool:
        """Bring what was printed into the log; False when nothing more can come."""
        data = process.read()
        if data:
            output.write(data)
        return data is not None

    def _drain(self, process: ScriptProcess, output: BoundedLog) -> None:
        while data := process.read():
            output.write(data)

    def _tick(self, run: RunRecord) -> None:
        """What was logged, into the store. A workspace that is locked now will take it at the next tick."""
        reader = self.reader
        try:
            events = reader.read()
            if events:
                take_in(self.store, run, events)
        except OperatorError:
            log.exception("run %s: its metrics are taken in later", self.run_id)
            self.reader = EventReader(str(self.folder.events))  # what is there already stays as it is

    def _is_canceled(self) -> bool:
        try:
            return self.store.get_run(self.run_id).status == "CancelRequested"
        except OperatorError:
            return False

    def _stop(self, run: RunRecord) -> _Stop:
        """Why the launcher was signalled: a cancellation, or somebody ends all processes."""
        if self._is_canceled():
            return _Stop("Canceled")
        return _Stop("Failed", f"the launcher of {label_of(run)} was told to stop (SIGTERM)")


def limits_of(run: RunRecord) -> ResourceConfiguration | None:
    given = run.details.get("resources")
    return ResourceConfiguration(cpu=given["cpu"], memory_in_gb=given["memory_in_gb"]) if given else None


def _exit_descriptor(pid: int) -> int | None:
    """A descriptor that is readable when the process has ended; None where the kernel has none."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None
