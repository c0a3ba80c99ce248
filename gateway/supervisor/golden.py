"""Golden rows in the supervisor: recorded by the first limited child of a version, replayed at every load.

`registry.golden` makes inputs and compares answers; this module asks the child. Golden answers count neither as use of
the model nor as a sign that the child is sound.
"""

import asyncio
import logging
import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np

from gateway.dataplane.collate import splits
from gateway.dataplane.connection import output_of
from gateway.supervisor.replicas import Child
from gateway.supervisor.worker_client import Question, ScoringClient, ScoringError
from gateway.supervisor.worker_process import ChildFailed
from gateway.types import sliced
from registry.errors import FitserveError
from registry.golden import GoldenInput, Recording, compare, expected_answers, make_inputs, max_ulp_difference
from registry.records import Json, ModelVersion
from registry.workspace import Workspace

log = logging.getLogger("fitserve.supervisor")

_BUDGET_S: Final = 2.0  # for recording; a slow model is recorded in part
_MOST_VALUES: Final = 100_000  # of one answer; larger ones are not recorded
_LAST_WORDS_S: Final = 2.0
_NOISE: Final = 1e-6
_MOST_REPORTED: Final = 2  # methods whose largest difference is reported
_BATCH_ULP: Final = 4
_BATCH_ROWS: Final = 8
_BATCH_BUDGET_S: Final = 1.0
_FITTED_ATTRIBUTE: Final = re.compile(r"has no attribute '[a-z]\w*_'")
_NEVER_THE_ROWS: Final = frozenset({"ImportError", "ModuleNotFoundError"})
_PROBES: Final = (
    GoldenInput("array", np.zeros((1, 1))),
    GoldenInput("list", values=("a",)),
)  # for a model of unknown width
_VERSIONS: Final = ("python", "sklearn", "numpy")


@dataclass(frozen=True)
class Report:
    """Result of the golden rows at one load.

    `difference` describes the largest difference, None if all answers were right. `unverified` says why there was
    nothing to compare with, None if there was. `implausible` describes an answer that no model of its kind gives.
    """

    difference: str | None = None
    unverified: str | None = None
    recorded_in: Mapping[str, Json] = field(default_factory=dict)
    answers: int = 0
    max_ulp: float = 0.0
    implausible: str | None = None

    @property
    def problem(self) -> str | None:
        """Why the version must not answer, to follow "model iris:3" in a sentence."""
        if self.implausible is not None:
            return self.implausible
        if self.difference is None:
            return None
        truth = "expected" if "expected" in self.recorded_in else "recorded"
        return f"answers differently than {truth}: {self.difference}"

    def to_json(self) -> dict[str, Json]:
        return {
            "recorded_in": dict(self.recorded_in),
            "checked_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "answers": self.answers,
            "max_difference_ulp": self.max_ulp if math.isfinite(self.max_ulp) else None,
            "difference": self.difference,
            "unverified": self.unverified,
        }


class GoldenRows:
    """Records and replays golden rows for all versions of a workspace.

    Args:
        timeout_s: longest time that a child may take to answer its golden rows.
    """

    def __init__(self, workspace: Workspace, timeout_s: float) -> None:
        self._workspace = workspace
        self._timeout_s = timeout_s
        self._recorded: dict[str, Recording] = {}  # by version, until the registry's record names them
        # Versions that died over rows of ours, with their environment.
        self._fatal: set[tuple[str, str | None]] = set()
        self._storing: set[asyncio.Task[None]] = set()

    def recorded(self, record: ModelVersion) -> bool:
        return record.golden is not None or record.id in self._recorded

    async def check(self, record: ModelVersion, child: Child, sample: Any, unrecorded: str | None = None) -> Report:
        """Replay the recorded rows; at the first load, record them.

        Args:
            sample: the registered sample's rows (`registry.golden_inputs.SampleRows`), or None.
            unrecorded: why this child's answers must not be recorded (see `gateway.supervisor.baseline`), or None.

        Raises:
            ChildFailed: the child died or did not answer in time.
            FitserveError: what was recorded cannot be read.
        """
        if child.description["kind"] == "script":
            return Report(unverified="a scoring script is asked only what callers send")
        recording = await self._known(record)
        patience = 2 * _BUDGET_S if recording is None else self._timeout_s
        try:
            async with asyncio.timeout(patience), await ScoringClient.open(child.socket) as client:
                if recording is None:
                    return await self._record(record, child, client, sample, unrecorded)
                child.recording = recording
                return await _replayed(client, recording)
        except TimeoutError:
            if recording is None:
                return Report(
                    unverified=f"the model did not answer the rows that were made for it within {patience:g} s"
                )
            raise ChildFailed("timeout", f"it did not answer its golden rows within {self._timeout_s:g} s") from None
        except OSError:  # the connection broke, or the child no longer listens
            if recording is None:
                self._fatal.add((record.id, record.environment))
            end = await child.handle.end(_LAST_WORDS_S)
            raise ChildFailed("died", "its process ended over its golden rows", end) from None

    def store(self, record: ModelVersion) -> None:
        """Store what was recorded, in the background: called when no caller waits for the version."""
        recording = self._recorded.get(record.id)
        if recording is not None and record.golden is None:
            task = asyncio.create_task(asyncio.to_thread(_store, self._workspace, record, recording))
            self._storing.add(task)
            task.add_done_callback(self._storing.discard)

    async def together(self, child: Child) -> dict[str, Json]:
        """The result of `unbatchable` for a child that has been checked.

        Raises:
            OSError, TimeoutError: the child died or did not answer in time.
        """
        if child.recording is None:
            return {}
        async with asyncio.timeout(self._timeout_s), await ScoringClient.open(child.socket) as client:
            return await unbatchable(client, child.recording)

    async def close(self) -> None:
        if self._storing:
            await asyncio.wait(self._storing)

    async def _known(self, record: ModelVersion) -> Recording | None:
        if record.golden is None:
            return self._recorded.get(record.id)
        self._recorded.pop(record.id, None)
        return await asyncio.to_thread(_read, self._workspace, record.golden)

    async def _record(
        self, record: ModelVersion, child: Child, client: ScoringClient, sample: Any, unrecorded: str | None
    ) -> Report:
        if (record.id, record.environment) in self._fatal:
            return Report(unverified="the model's process died over the rows that were made for it")
        try:
            inputs = make_inputs(child.description, sample)
        except FitserveError as error:
            return Report(unverified=str(error))
        if record.settings.get("expected"):
            return await self._checked(record, child, client, inputs)
        recorded_in = {name: child.description.get(name) for name in _VERSIONS}
        if not inputs:
            unfitted = await _unfitted(client, child.description)
            if unfitted is not None:
                return Report(recorded_in=recorded_in, implausible=unfitted)
            return Report(unverified="the model does not tell enough of its input; register it with a sample")
        recording, refusals = await _recorded(client, inputs, child.description["methods"], recorded_in)
        if refusals:
            return _refused(child.description, refusals, recorded_in, sampled=sample is not None)
        if not recording.inputs:
            return Report(unverified="the model answers differently each time, or more than is recorded")
        implausible = _implausible(record, child, recording)
        if implausible is not None:
            return Report(recorded_in=recorded_in, implausible=implausible)
        child.recording = recording
        if unrecorded is not None:
            return Report(unverified=unrecorded)
        self._recorded[record.id] = recording
        return Report(recorded_in=recorded_in, answers=sum(map(len, recording.answers)))

    async def _checked(
        self, record: ModelVersion, child: Child, client: ScoringClient, inputs: Sequence[GoldenInput] | None
    ) -> Report:
        """Compare with the answers given at registration; keep them as golden rows if the model agrees."""
        truth = await asyncio.to_thread(self._workspace.artifacts.read_bytes, record.settings["expected"])
        if not inputs:
            return Report(unverified="the answers that were registered need a sample as their input")
        recording = child.recording = expected_answers(truth, inputs[0])
        report = await _replayed(client, recording)
        if report.difference is None:
            self._recorded[record.id] = recording
        return report


async def _recorded(
    client: ScoringClient, inputs: Sequence[GoldenInput], methods: Sequence[str], recorded_in: Mapping[str, Json]
) -> tuple[Recording, list[tuple[str, ScoringError]]]:
    """All successful answers that are the same when asked twice. If there was no successful answer at all, also the errors by
    method."""
    until = time.monotonic() + _BUDGET_S
    kept: list[tuple[GoldenInput, dict[str, Any]]] = []
    steady: dict[str, bool] = {}
    refusals: list[tuple[str, ScoringError]] = []
    answered = False
    for given in inputs:
        asked = [(m, again) for m in methods if steady.get(m) is not False for again in _times(m, steady)]
        replies = await _ask(client, given, [method for method, _ in asked], until)
        found: dict[str, Any] = {}
        for (method, again), answer in zip(asked, replies, strict=False):
            if isinstance(answer, ScoringError):
                refusals.append((method, answer))
                answered = answered or answer.type == "AnswerRefused"  # it is only too large to be sent
                continue
            answered = True
            if again:
                steady[method] = compare(found[method], answer) is None if method in found else True
            else:
                found[method] = answer
        answers = {m: found[m] for m in found if steady.get(m) and _size(found[m]) <= _MOST_VALUES}
        if answers:
            kept.append((given, answers))
    recording = Recording(recorded_in, tuple(given for given, _ in kept), tuple(answers for _, answers in kept))
    return recording, [] if answered else refusals


async def _unfitted(client: ScoringClient, description: Mapping[str, Json]) -> str | None:
    """Why a model is not fitted, None if it seems to be. scikit-learn's check alone is not enough, since it takes estimators
    of others for unfitted: the methods have to fail too."""
    if description.get("fitted", True):
        return None
    replies = [answer for given in _PROBES for answer in await _ask(client, given, description["methods"])]
    errors = [answer for answer in replies if isinstance(answer, ScoringError)]
    said = next(filter(_is_unfitted, errors), None)
    if said is not None:
        return f"is not fitted: {said.message}"
    if description.get("any_row") and errors and len(errors) == len(replies):
        return f"is not fitted: {errors[0].message}"
    return None


def _is_unfitted(error: ScoringError) -> bool:
    """scikit-learn's error, one that a library derived from it, or a missing attribute of those that `fit` sets."""
    if error.type == "AttributeError":
        return _FITTED_ATTRIBUTE.search(error.message) is not None
    return error.type.endswith("NotFittedError")


def _refused(
    description: Mapping[str, Json],
    refusals: Sequence[tuple[str, ScoringError]],
    recorded_in: Mapping[str, Json],
    *,
    sampled: bool,
) -> Report:
    """The model answered none of its golden rows: it cannot be served, unless the rows themselves may be at fault."""
    method, error = refusals[0]
    unfitted = next((each for _, each in refusals if _is_unfitted(each)), None)
    if unfitted is not None and (unfitted.type != "AttributeError" or not description.get("fitted", True)):
        return Report(recorded_in=recorded_in, implausible=f"is not fitted: {unfitted.message}")
    what = "none of the rows of its sample" if sampled else "none of the rows that were made for it"
    sentence = f"answers {what}: {method} fails with {error}"
    if sampled or error.type in _NEVER_THE_ROWS or (description.get("any_row") and not _guessed(description)):
        return Report(recorded_in=recorded_in, implausible=sentence)
    return Report(unverified=f"the model {sentence}")


def _guessed(description: Mapping[str, Json]) -> bool:
    """Whether a column, or a transformer of labels, takes certain values only that may be missing in the rows made for it."""
    if description.get("item") == "label":
        return True
    types = description.get("column_types") or {}
    closed = description.get("closed_categories") or ()
    return any(types.get(column) not in {"number", "string", "boolean"} for column in closed)


def _times(method: str, steady: Mapping[str, bool]) -> tuple[bool, ...]:
    """One entry per call: False for the first, True for the repetition."""
    return (False,) if method in steady else (False, True)


async def _replayed(client: ScoringClient, recording: Recording) -> Report:
    worst: dict[str, tuple[float, str]] = {}  # by method
    largest, count = 0.0, 0
    for given, answers in zip(recording.inputs, recording.answers, strict=True):
        now = await _ask(client, given, list(answers))
        for (method, expected), got in zip(answers.items(), now, strict=True):
            found, ulp = _difference(method, expected, got)
            count += 1
            if found is not None and ulp > worst.get(method, (-1.0, ""))[0]:
                worst[method] = ulp, found
            largest = max(largest, ulp)
    difference = "; ".join(text for _, text in list(worst.values())[:_MOST_REPORTED]) or None
    return Report(difference, None, recording.recorded_in, count, largest)


def _difference(method: str, expected: Any, got: Any) -> tuple[str | None, float]:
    """How one answer differs, if it does, and by how many units in the last place."""
    if isinstance(got, ScoringError):
        return f"{method} fails with {got}", math.inf
    found = compare(expected, got)
    return found and f"{method}, {found}", max_ulp_difference(expected, got)


async def unbatchable(client: ScoringClient, recording: Recording) -> dict[str, Json]:
    """Methods that answer batched rows differently than single ones, with the difference (None: in a label) in units
    in the last place of the row's largest value. Differences up to `_BATCH_ULP` are ignored: BLAS picks its kernels by
    batch size."""
    until = time.monotonic() + _BATCH_BUDGET_S
    found: dict[str, Json] = {}
    for given, answers in zip(recording.inputs, recording.answers, strict=True):
        rows = min(given.rows, _BATCH_ROWS)
        for method in answers:
            if rows < 2 or method in found or time.monotonic() > until:
                continue
            ulp = await _apart(client, method, given, rows)
            if ulp > _BATCH_ULP:
                found[method] = ulp if math.isfinite(ulp) else None
    return found


async def _apart(client: ScoringClient, method: str, given: GoldenInput, rows: int) -> float:
    """The largest difference of the first `rows` rows asked together and one by one."""
    parts = [given.part(0, rows), *(given.part(row, row + 1) for row in range(rows))]
    together, *alone = await client.ask_all([_question(method, part) for part in parts])
    if isinstance(together, ScoringError):
        return math.inf
    whole = output_of(together)
    if not splits(whole, rows):
        return 0.0  # answers of such a method are never batched
    if any(isinstance(answer, ScoringError) for answer in alone):
        return math.inf
    return max(max_ulp_difference(output_of(answer), sliced(whole, row, row + 1)) for row, answer in enumerate(alone))


async def _ask(client: ScoringClient, given: GoldenInput, methods: Sequence[str], until: float = math.inf) -> list[Any]:
    """The answers of the public `methods`, or their errors, in order; fewer if the time is over.

    Raises:
        ConnectionError: the child died, or ends itself because it ran out of memory.
    """
    answers = await client.ask_all([_question(method, given, remember=True) for method in methods], until)
    if any(isinstance(answer, ScoringError) and answer.kind == "memory" for answer in answers):
        raise ConnectionResetError
    return answers


def _question(method: str, given: GoldenInput, *, remember: bool = False) -> Question:
    match given.kind:
        case "array":
            assert given.array is not None
            return Question.array(method, given.array, remember=remember)
        case "columns":
            return Question.columns(method, given.names, given.columns, remember=remember)
        case "list":
            return Question.values(method, given.values, remember=remember)


def _implausible(record: ModelVersion, child: Child, recording: Recording) -> str | None:
    """Another scikit-learn than the one that wrote the file may load it wrongly without an error."""
    written_by, served = record.facts.get("sklearn_version"), child.description.get("sklearn")
    if written_by is None or written_by == served:
        return None
    for answers in recording.answers:
        found = answers.get("predict_proba")
        for part in found if isinstance(found, list | tuple) else [] if found is None else [found]:
            values = np.asarray(getattr(part, "array", part))
            if values.dtype.kind == "f" and values.size and (values.min() < -_NOISE or values.max() > 1 + _NOISE):
                worst = float(values.flat[np.argmax(np.abs(values - 0.5))])
                return f"answers probabilities such as {worst:.4g} with scikit-learn {served}: the file was written by {written_by}"
    return None


def _size(answer: Any) -> int:
    if isinstance(answer, list | tuple):
        return sum(map(_size, answer))
    return int(np.size(getattr(answer, "array", answer)))


def _read(workspace: Workspace, digest: str) -> Recording:
    return Recording.from_bytes(workspace.artifacts.read_bytes(digest))


def _store(workspace: Workspace, record: ModelVersion, recording: Recording) -> None:
    """Called in a thread. Golden rows that were stored in the meantime are kept."""
    try:
        stored = workspace.artifacts.put_bytes(recording.to_bytes(), f"{record.name}-{record.version}.golden.json")
        workspace.metadata.update_model(
            record.name, record.version, lambda now: now if now.golden else replace(now, golden=stored.digest)
        )
    except (FitserveError, TypeError) as error:
        log.warning("%s: its golden rows could not be kept: %s", record.id, error)
