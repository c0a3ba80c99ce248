"""ScriptJob: the script of one run with its limits and its log. Does not use the store; runs in the launcher only."""

import os
import selectors
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from registry.limits import Enforcement, Group, Usage, choose_backend, machine_cores
from trainer.broker import Broker
from trainer.folder import RunFolder
from trainer.launch_plan import LaunchPlan
from trainer.log import BoundedLog
from trainer.notebook import is_notebook
from trainer.process import ScriptProcess
from trainer.signals import Signals
from trainer.variables import script_variables

TICK_S: Final = 0.5
GRACE_S: Final = 5.0  # between SIGTERM and SIGKILL


@dataclass(frozen=True)
class Stop:
    """Why a script must end early: the resulting status and, for Failed, the message."""

    status: str
    sentence: str | None = None


@dataclass(frozen=True)
class Ended:
    """`code` is as in `subprocess`. `usage` and `enforcement` are None for a run without limits."""

    code: int
    last_lines: str
    stop: Stop | None
    usage: Usage | None
    enforcement: Enforcement | None


class ScriptJob:
    """Starts a script; closing the job kills what is left of it.

    Raises:
        OperatorError: the limits cannot be enforced on this machine.
        OSError: the interpreter cannot be started, or the log cannot be written.
    """

    def __init__(
        self,
        plan: LaunchPlan,
        folder: RunFolder,
        signals: Signals,
        python: Path,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self._plan, self._signals = plan, signals
        with ExitStack() as stack:
            self._group = _make_group(stack, plan)
            self._log = stack.enter_context(BoundedLog(folder.log))
            self._broker = Broker(folder.root)
            stack.callback(self._broker.close)
            argv, is_command = _what_runs(plan, python)
            self._process = ScriptProcess(
                python,
                argv,
                is_command=is_command,
                folder=folder.snapshot,
                environment=script_variables(plan, folder.root, python, threads=_threads(plan), more=variables or {}),
            )
            stack.callback(self._process.close)
            if self._group is not None:
                self._group.add(self._process.pid)
                self._group.set_cpu(self._group.limits.cores)
            self._process.release(self._group.rlimits() if self._group is not None else {})
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def pid(self) -> int:
        """Also the id of the script's session."""
        return self._process.pid

    def watch(self, tick: Callable[[], Stop | None], stopped: Callable[[], Stop]) -> Ended:
        """Copy the output to the log until the script and all its processes have ended.

        Args:
            tick: called about twice a second; a returned `Stop` ends the script.
            stopped: called when this process received a stop signal; returns the reason.
        """
        stop = self._wait(tick, stopped)
        self._process.kill_rest()
        while data := self._process.read():
            self._log.write(data)
        code = self._process.poll()
        assert code is not None
        usage = self._group.usage() if self._group is not None else None
        enforcement = self._group.enforcement if self._group is not None else None
        return Ended(code, self._log.last_lines(), stop, usage, enforcement)

    def _wait(self, tick: Callable[[], Stop | None], stopped: Callable[[], Stop]) -> Stop | None:
        """Wait until the script itself has ended."""
        end = time.monotonic() + (self._plan.duration_s or float("inf"))
        stop: Stop | None = None
        next_tick, kill_at = 0.0, float("inf")
        with ExitStack() as stack:
            selector = stack.enter_context(selectors.DefaultSelector())
            selector.register(self._signals.wake, selectors.EVENT_READ)
            selector.register(self._process.output, selectors.EVENT_READ)
            selector.register(self._broker.listening, selectors.EVENT_READ)
            longest = _watch_exit(stack, selector, self.pid)
            while self._process.poll() is None:
                wait = min(next_tick, end, kill_at) - time.monotonic()
                self._react(selector, max(0.0, min(wait, longest)))
                now = time.monotonic()
                if now >= next_tick:
                    next_tick = now + TICK_S
                    stop = tick() if stop is None else stop
                if stop is None and self._signals.stop_requested:
                    stop = stopped()
                if stop is None and now >= end:
                    stop = Stop("Failed", f"{self._plan.label} ran longer than its {self._plan.duration_s:g} seconds")
                if stop is not None and kill_at == float("inf"):
                    self._process.signal(signal.SIGTERM)
                    kill_at, end = now + GRACE_S, float("inf")
                if now >= kill_at:
                    self._process.signal(signal.SIGKILL)
                    kill_at = now + GRACE_S
        return stop

    def _react(self, selector: selectors.BaseSelector, wait_s: float) -> None:
        ready = {key.fileobj for key, _ in selector.select(wait_s)}
        if self._signals.wake in ready:
            self._signals.wake.recv(4096)
        if self._broker.listening in ready:
            self._broker.accept()
        if self._process.output in ready:
            data = self._process.read()
            if data is None:  # the script closed its output and continues
                selector.unregister(self._process.output)
            elif data:
                self._log.write(data)


def _what_runs(plan: LaunchPlan, python: Path) -> tuple[Sequence[str], bool]:
    """What follows the interpreter, and whether that is a command of its own."""
    if is_notebook(plan.script):
        return [sys.executable, "-P", "-m", "trainer.execute_notebook", str(plan.script), str(python)], True
    return plan.command or (str(plan.script), *plan.arguments), plan.command is not None


def _make_group(stack: ExitStack, plan: LaunchPlan) -> Group | None:
    if plan.limits is None:
        return None
    backend = choose_backend("fitserve-run")
    stack.callback(backend.close)
    backend.clean_stale()  # groups of killed launchers; groups record their owner, so live ones are not touched
    group = backend.create(plan.run_id, plan.limits)
    stack.callback(group.close)
    return group


def _threads(plan: LaunchPlan) -> int:
    """Size of thread pools: by the CPU limit, else the cores of this machine or container."""
    if plan.limits is not None:
        return plan.limits.threads
    return max(1, int(machine_cores()))


def _watch_exit(stack: ExitStack, selector: selectors.BaseSelector, pid: int) -> float:
    """Wake the selector when a process ends. Returns the longest wait, which is short where the kernel has no pidfd."""
    try:
        descriptor = os.pidfd_open(pid)
    except (AttributeError, OSError):
        return 0.02
    stack.callback(os.close, descriptor)
    selector.register(descriptor, selectors.EVENT_READ)
    return float("inf")
