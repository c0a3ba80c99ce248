"""The shared words of the scoring path: what a dialect takes and gives, and what travels to a child and back.

A dialect knows a wire format and nothing of processes; the batcher knows rows and nothing of formats. This is all that
they share. Shapes: `n` rows first, always.
"""

from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Rows = list[list[Any]]


class RowReader(Protocol):
    """Turns rows as they came out of JSON into one array; a compiled schema is one."""

    def alone(self, rows: Rows) -> Array:
        """The rows of one request as an array (n, columns).

        Raises:
            registry.errors.CallerError: a value does not fit; the sentence names its row and column.
        """

    def together(self, rows: Rows) -> Array | None:
        """The rows of several requests as one array, or None unless that is sure to be what `alone` gives for each.

        Cheap and never raises: rows of unequal width, strings among numbers, a value that must be refused, or integers whose
        precision depends on the neighbours all mean None.
        """


@dataclass(slots=True)
class RowsInput:
    """Rows not yet made an array: the batcher makes one array a frame, which is cheaper than one a request."""

    rows: Rows
    reader: RowReader


@dataclass(slots=True)
class ArrayInput:
    """A C-contiguous array (n, …), numeric, boolean, datetime64 or object."""

    array: Array


@dataclass(slots=True)
class ColumnsInput:
    """Named columns, each an array (n,); the child makes a DataFrame of them."""

    names: tuple[str, ...]
    columns: list[Array]


@dataclass(slots=True)
class ListInput:
    """Plain values, one a row, for models that take a list: texts, dicts."""

    values: list[Any]


@dataclass(slots=True)
class DescribedInput:
    """Inputs as they go to the child: the JSON text that describes them, and the bytes of their arrays. Nobody looks inside."""

    text: bytes | memoryview
    body: bytes | memoryview


Inputs = RowsInput | ArrayInput | ColumnsInput | ListInput | DescribedInput


@dataclass(slots=True)
class ScoreRequest:
    """One caller's rows and the method to call on them.

    Attributes:
        key: requests with equal keys may share a frame: method, width or column names, dtypes, `checked`, reader. None: travels
            alone.
        nbytes: about the memory that the inputs take, for the bounds of queue and frame; 8 a number is near enough.
        checked: the inputs passed the schema, so the child may skip the model's own input checks.
        once: never asked a second time: asking may change something.
        extra: whatever the dialect wants to find again in `format` (an id, asked outputs, "classes").
    """

    method: str
    inputs: Inputs
    n_rows: int
    nbytes: int
    key: Hashable | None
    checked: bool = False
    extra: Any = None
    once: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """The answer of a transformer whose output is a DataFrame. `array` is (n, len(names))."""

    names: tuple[str, ...]
    array: Array


# What a method gave. A list is a multi-output model's (one array per output), a tuple that of `kneighbors` and its like;
# each member has the rows first.
Output = Array | Table | list[Any] | tuple[Any, ...]


def plain(output: Output) -> Any:
    """`output` as JSON knows it: lists of Python numbers, float32 widened as `tolist` does, times as ISO 8601.

    Tables become their rows, tuples lists.
    """
    if isinstance(output, Table):
        return plain(output.array)
    if isinstance(output, np.ndarray):
        return _times(output) if output.dtype.kind in "mM" else output.tolist()
    return [plain(part) for part in output]


def _times(array: Array) -> Any:
    """ISO 8601 text, None for what is no time: `tolist` would give nanoseconds as integers."""
    values = array.astype(str).astype(object)
    values[np.isnat(array)] = None
    return values.tolist()


def sliced(output: Output, start: int, stop: int) -> Output:
    """Rows `start` to `stop` of `output`, without a copy."""
    if isinstance(output, np.ndarray):
        return output[start:stop]
    if isinstance(output, Table):
        return Table(output.names, output.array[start:stop])
    parts = [sliced(part, start, stop) for part in output]
    return tuple(parts) if isinstance(output, tuple) else parts


class FrameResult:
    """The answer of a child to one frame, shared by its callers."""

    __slots__ = ("_values", "exec_ns", "output")

    def __init__(self, output: Output, exec_ns: int) -> None:
        self.output, self.exec_ns = output, exec_ns
        self._values: list[Any] | None = None

    def values(self) -> list[Any]:
        """The whole array as lists, made once a frame however many callers share it."""
        if self._values is None:
            self._values = plain(self.output)
        return self._values


class ScoreResult:
    """One caller's part of a frame's answer: rows `start` to `stop`, or the whole frame when `stop` is -1."""

    __slots__ = ("frame", "start", "stop")

    def __init__(self, frame: FrameResult, start: int, stop: int) -> None:
        self.frame, self.start, self.stop = frame, start, stop

    @property
    def exec_ns(self) -> int:
        """Nanoseconds that the model's method took, for all rows of the frame."""
        return self.frame.exec_ns

    @property
    def output(self) -> Output:
        """The rows of this caller as arrays."""
        if self.stop < 0:
            return self.frame.output
        return sliced(self.frame.output, self.start, self.stop)

    def values(self) -> Any:
        """The rows of this caller as JSON knows them; NaN and infinities are still floats."""
        if self.stop < 0:
            return self.frame.values()
        if isinstance(self.frame.output, np.ndarray | Table):
            return self.frame.values()[self.start : self.stop]
        return plain(self.output)


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """Where a request goes: one version of one model, as far as a dialect needs to know it. Made once per table revision.

    Attributes:
        methods: allow-listed methods that this instance has.
        description: what the child said of the model (see gateway.worker.describe); {} while unknown.
        schema: the compiled schema of gateway.schema.schema, or None while the version has never been loaded.
        settings: the version's own settings, such as `default_method`.
    """

    model: str
    version: int
    methods: tuple[str, ...]
    description: Mapping[str, Any]
    schema: Any
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Call:
    """What came in, before anybody understood it.

    Attributes:
        headers: lower-case names as ASGI gives them; of a repeated header the last one.
        query: the raw query string.
        method: the model's method when the path names one (`/models/{name}/{method}`).
        json: the body as a JSON object in which large lists of numbers are arrays, where somebody has read it already (see
            `gateway.protocols.matrices`).
        encoding: how `body` is still compressed; None when a dialect sees it.
    """

    body: bytes | memoryview
    headers: Mapping[bytes, bytes]
    query: bytes = b""
    method: str | None = None
    verb: str = "POST"
    json: dict[str, Any] | None = None
    encoding: bytes | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A body with what its headers must say. Plain `bytes` from `Dialect.format` stand for JSON and no other headers."""

    body: bytes | memoryview
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    status: int = 200


@dataclass(frozen=True, slots=True)
class Known:
    """A model, or one version of it, as a `View` sees it.

    Attributes:
        ready: a request sent now would be answered without waiting for more than a start from idle.
        versions: all that are registered.
    """

    target: Target
    ready: bool
    state: str
    reason: str | None
    versions: tuple[int, ...]

    @property
    def status(self) -> int:
        """Of an answer that tells whether it is ready. An unloaded model is for callers as one that is not there."""
        return 200 if self.ready else 404 if self.state == "unloaded" else 503


class Catalogue(Protocol):
    """What a dialect may ask about models. The HTTP process is one."""

    def names(self) -> Sequence[str]:
        """All models, sorted."""

    def default(self) -> str | None:
        """The model of ``POST /score`` and its like."""

    def known(self, model: str, version: int | None = None) -> Known:
        """One version; without `version` the one that answers. Raises ModelNotFound."""

    async def load(self, model: str) -> None:
        """Have it started if it is not running, and wait for that. Raises ModelNotFound, ModelUnavailable, …"""

    async def unload(self, model: str) -> None:
        """Have it stopped until it is loaded again, and wait until what was accepted is answered. Raises ModelNotFound."""

    async def counted(self) -> Mapping[str, Any]:
        """By model, what all HTTP processes counted: see `gateway.dataplane.models.Model.counted`."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request to a `View`. `path` holds the values of the path's placeholders, as text."""

    path: Mapping[str, str]
    headers: Mapping[bytes, bytes]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class View:
    """A path of a dialect that is not scoring: metadata, readiness, lists.

    `answer` may raise any error that scoring may; the dialect formats it. Views ask for a key like every other path.
    """

    path: str
    answer: Callable[[Catalogue, Asked], Awaitable[Answer]]
    verb: str = "GET"


class Dialect(Protocol):
    """One way to write scoring requests and answers. Stateless; adding one is adding a file and a line in
    `gateway.protocols.PROTOCOLS`.

    The first frame of reference is Azure's, so `parse` checks everything that is the caller's to get right: content type,
    JSON, method, columns.

    Attributes:
        paths: of scoring, for POST. Placeholders: ``{model}``, ``{version}``, ``{method}`` (each of `METHODS`); a path without
            ``{model}`` is the default model's.
        verbs: that a scoring path takes.
        prefix: of all its paths, for the errors of paths that do not exist; empty for Azure's, whose errors are everybody's.
        views: its other paths.
    """

    name: str
    paths: tuple[str, ...]
    verbs: tuple[str, ...]
    prefix: str
    views: tuple[View, ...]

    def parse(self, call: Call, target: Target) -> ScoreRequest:
        """The request in `call`, whose body is not compressed any more.

        Raises:
            registry.errors.CallerError: a leaf of gateway.errors whose status gateway.http.errors knows.
        """

    def format(self, request: ScoreRequest, result: ScoreResult, target: Target) -> bytes | Answer:
        """A 200."""

    def error(self, message: str, error: Exception | None = None) -> bytes:
        """The body of any other status. `message` is fit for callers; `error` tells the kind, where a dialect cares."""
