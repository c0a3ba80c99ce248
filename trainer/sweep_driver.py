"""The launcher of a sweep: starts the runs of its script, a few at a time, and learns from their metrics.

For the sweep's own run it does what `trainer.supervision` does for a script's: statuses, log, cancellation, completion.
"""

import copy
import json
import logging
import os
import select
import time
from pathlib import Path
from typing import Any, Final

from registry.errors import FitserveError
from registry.limits import machine_cores
from registry.locate import Identity
from registry.records import RunRecord
from registry.workspace import Workspace
from trainer.completion import finish
from trainer.folder import RunFolder
from trainer.history import TERMINAL, add_details, move
from trainer.log import BoundedLog
from trainer.outcome import Outcome
from trainer.process_id import ProcessId
from trainer.script import ScriptRunConfig
from trainer.sdk import Experiment, Run
from trainer.signals import Signals
from trainer.submission import config_of
from trainer.sweep import Sweep
from trainer.sweep_results import parameters_of, sorted_rows, values_of
from trainer.sweep_space import Parameters, sampler_of

log = logging.getLogger(__name__)

_LOOK_S: Final = 0.1
_HOPELESS: Final = 3  # failures without any success, after which the sweep fails


class SweepDriver:
    def __init__(self, workspace: str | None, run_id: str, folder: Path) -> None:
        self.signals = Signals()
        self._where, self._run_id, self._folder = workspace, run_id, RunFolder(folder)

    def run(self) -> int:
        """Execute the sweep until its run has a terminal status; returns 0 for Completed and Canceled."""
        with Workspace.open(self._where, create=False) as workspace, BoundedLog(self._folder.log) as text:
            workspace.identity = Identity(**self._folder.read_facts()["workspace"])  # its runs inherit this name
            store = workspace.metadata
            process = ProcessId.of(os.getpid())
            add_details(store, self._run_id, {"launcher": process.to_json()})
            record = move(store, self._run_id, "Starting", pid=process.pid)
            if record.status in TERMINAL:
                return 0  # canceled before it started
            record = move(store, self._run_id, "Running")
            course: Course | None = None
            try:
                course = Course(workspace, record, text, self.signals)
                outcome = course.run()
            except FitserveError as error:
                outcome = Outcome("Failed", str(error))
            except Exception as error:
                log.exception("sweep %s", self._run_id)
                outcome = Outcome("Failed", f"internal error of the sweep: {type(error).__name__}: {error}")
            if course is not None:
                course.end_all()
            finish(workspace, record, outcome)
            return 0 if outcome.status in ("Completed", "Canceled") else 1


class Course:
    """One sweep in progress."""

    def __init__(self, workspace: Workspace, record: RunRecord, text: BoundedLog, signals: Signals) -> None:
        self._store, self._record, self._text, self._signals = workspace.metadata, record, text, signals
        self._experiment = Experiment(workspace, record.experiment)
        self._config = config_of(workspace, record)
        self.sweep = Sweep.from_json(record.details["sweep"], self._config)
        self._sampler = sampler_of(self.sweep.sampling, maximize=self.sweep.maximize)
        self._resume()
        self._max_concurrent = self.sweep.max_concurrent_runs or max(1, int(machine_cores()))
        self._running: dict[str, tuple[Run, int]] = {}  # run and number of its draw
        self._values: dict[str, list[float]] = {}
        self._begun = self._failed = self._completed = 0
        self._last_error = ""
        self._exhausted = False

    def _resume(self) -> None:
        """Pass the results of earlier sweeps to the sampler."""
        known = 0
        for run_id in self.sweep.resume_from:
            for row in sorted_rows(self._store, run_id, discard_no_metric=True):
                if row["status"] == "Completed":
                    self._sampler.know(json.loads(row["hyperparameters"]), row["best_primary_metric"])
                    known += 1
        if known:
            self._say(f"reusing the results of {known} runs of earlier sweeps")
        for run_id in self.sweep.resume_child_runs:
            self._sampler.first(parameters_of(self._store.get_run(run_id)))

    def run(self) -> Outcome:
        until = time.monotonic() + self.sweep.max_duration_minutes * 60
        self._say(
            f"up to {self.sweep.max_total_runs} runs, {self._max_concurrent} at a time, by {self.sweep.primary_metric}"
        )
        while True:
            if self._store.get_run(self._record.id).status == "CancelRequested":
                return Outcome("Canceled")
            if self._signals.stop_requested:
                return Outcome("Failed", "the launcher of the sweep received a stop signal (SIGTERM)")
            if time.monotonic() > until:
                self._say(f"the time limit of {self.sweep.max_duration_minutes:g} minutes is over")
                self.end_all()
                break
            if self._failed >= _HOPELESS and not self._completed and not any(self._values.values()):
                return Outcome("Failed", f"the first {self._failed} runs failed: {self._last_error}")
            self._begin()
            if not self._running:
                break
            select.select([self._signals.wake], [], [], _LOOK_S)
            self._look()
        return self._outcome()

    def end_all(self) -> None:
        """Cancel the running children and wait for them."""
        for run, _ in self._running.values():
            run.cancel()
        while self._running:
            time.sleep(_LOOK_S)
            self._look()

    def _begin(self) -> None:
        """Start runs up to the concurrency limit."""
        while (
            len(self._running) < self._max_concurrent
            and self._begun < self.sweep.max_total_runs
            and not self._exhausted
        ):
            drawn = self._sampler.draw()
            if drawn is None:
                self._exhausted = True
                self._say(f"all {self._begun} combinations have been tried")
                return
            number, parameters = drawn
            text = json.dumps(parameters)
            run = self._experiment.submit_child(
                with_parameters(self._config, parameters), self._record.id, self._begun, {"hyperparameters": text}
            )
            Run(self._experiment, self._record.id).tag(f"_aml_system_{run.id}", text)
            self._running[run.id] = run, number
            self._values[run.id] = []
            self._begun += 1
            self._say(f"{run.id} started with {text}")

    def _look(self) -> None:
        """Read new metrics, apply the policy, and handle runs that have ended."""
        for run, number in list(self._running.values()):
            status = run.get_status()
            values = values_of(self._store, run.id, self.sweep.primary_metric)
            for value in values[len(self._values[run.id]) :]:
                self._values[run.id].append(value)
                ends = self.sweep.policy.ends(run.id, self._values, [*self._running], maximize=self.sweep.maximize)
                if status not in TERMINAL and ends:
                    self._say(f"{run.id} terminated by the {self.sweep.policy.kind} policy at {value:g}")
                    run.tag("ended_by_policy", self.sweep.policy.kind)
                    run.cancel()
                    status = run.get_status()
            if status in TERMINAL:
                self._ended(run, number, status)

    def _ended(self, run: Run, number: int, status: str) -> None:
        del self._running[run.id]
        values = self._values[run.id]
        best = self._best(values)
        self._sampler.tell(number, best if status == "Completed" else None)
        self._completed += status == "Completed"
        if status == "Failed":
            self._failed += 1
            self._last_error = (self._store.get_run(run.id).error or "no reason was recorded").partition("\n")[0]
        overall = self._best([value for of in self._values.values() for value in of])
        found = f"{self.sweep.primary_metric} {best:g}" if best is not None else f"no {self.sweep.primary_metric}"
        so_far = "" if overall is None else f"; best so far: {overall:g}"
        why = f" ({self._last_error})" if status == "Failed" else ""
        done = self._begun - len(self._running)
        self._say(f"{run.id} {status}: {found}{why}{so_far} [{done}/{self.sweep.max_total_runs}]")

    def _best(self, values: list[float]) -> float | None:
        return None if not values else max(values) if self.sweep.maximize else min(values)

    def _outcome(self) -> Outcome:
        if self._begun and self._failed == self._begun:
            return Outcome("Failed", f"all {self._begun} runs failed, the last: {self._last_error}")
        if not any(self._values.values()):
            warning = f"no run logged a number as {self.sweep.primary_metric!r}, so there is no best one"
            self._say(f"warning: {warning}")
            add_details(self._store, self._record.id, {"warnings": [warning]})
        return Outcome("Completed")

    def _say(self, line: str) -> None:
        self._text.write(line.encode() + b"\n")


def with_parameters(config: ScriptRunConfig, parameters: Parameters) -> ScriptRunConfig:
    """A copy of the configuration with the sampled arguments appended."""
    words: list[Any] = []
    for name, value in parameters.items():
        words += [name if name.startswith("-") else f"--{name}", value]
    made = copy.copy(config)
    if config.command is None:
        made.arguments = [*config.arguments, *words]
    else:
        made.command = [*(config.command_list() or []), *words]
    return made
