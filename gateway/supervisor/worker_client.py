"""A small asyncio client of a child's scoring socket, for golden rows and tests. The data plane has its own."""

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from gateway.worker import wire

_LARGEST: Final = 64 * 2**20  # bytes of an answer; what a model loaded may send anything
_TOGETHER: Final = 32  # questions on their way at most
_QUICK_S: Final = 0.05


class ScoringError(Exception):
    """The child answered with an error. `kind`: input, model, memory or method."""

    def __init__(self, kind: str, type_name: str, message: str) -> None:
        super().__init__(f"{type_name}: {message}")
        self.kind, self.type, self.message = kind, type_name, message


@dataclass(frozen=True, eq=False)
class Question:
    """One call of a method, made by one of the functions below.

    With `remember` the public method answers, and the child holds its shorter way against that later.
    """

    method: str
    given: dict[str, Any]
    body: wire.Body
    remember: bool = False

    @classmethod
    def array(cls, method: str, X: NDArray[Any], *, remember: bool = False) -> Self:
        """A 2-D array."""
        body = wire.Body()
        return cls(method, {"kind": "array", "array": body.add(np.asarray(X))}, body, remember)

    @classmethod
    def columns(
        cls, method: str, names: Sequence[str], columns: Sequence[NDArray[Any]], *, remember: bool = False
    ) -> Self:
        """Named columns of shape (n,)."""
        body = wire.Body()
        specs = [body.add(np.asarray(column)) for column in columns]
        return cls(method, {"kind": "columns", "names": list(names), "columns": specs}, body, remember)

    @classmethod
    def values(cls, method: str, values: Sequence[Any], *, remember: bool = False) -> Self:
        """A list such as texts."""
        return cls(method, {"kind": "list", "values": list(values)}, wire.Body(), remember)

    def frame(self, number: int) -> list[bytes | memoryview]:
        header = {"id": number, "method": self.method, "input": self.given, "checked": False}
        if self.remember:
            header["prove"] = True
        return wire.encode_frame(header, self.body.arrays)


class ScoringClient:
    """One connection: ``async with await ScoringClient.open(path) as client``."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._frames = wire.FrameReader(_LARGEST)
        self._arrived: deque[tuple[dict[str, Any], Any]] = deque()
        self._number = 0

    @classmethod
    async def open(cls, socket_path: str) -> Self:
        """Raises OSError when nobody listens there."""
        return cls(*await asyncio.open_unix_connection(socket_path))

    async def array(self, method: str, X: NDArray[Any]) -> Any:
        """What `method` answers for a 2-D array: an array, or a list, tuple or `wire.Table` of such.

        Raises:
            ScoringError: the model refused, or failed.
            ConnectionError: the child died.
        """
        return await self.ask(Question.array(method, X))

    async def columns(self, method: str, names: Sequence[str], columns: Sequence[NDArray[Any]]) -> Any:
        """As `array`, for named columns of shape (n,)."""
        return await self.ask(Question.columns(method, names, columns))

    async def values(self, method: str, values: Sequence[Any]) -> Any:
        """As `array`, for a list such as texts."""
        return await self.ask(Question.values(method, values))

    async def ask(self, question: Question) -> Any:
        """The answer; raises as `array`."""
        (answer,) = await self._asked([question])
        if isinstance(answer, ScoringError):
            raise answer
        return answer

    async def ask_all(self, questions: Sequence[Question], until: float = math.inf) -> list[Any]:
        """The answers, or the ScoringErrors, in order; fewer when the time `until` (time.monotonic) has come.

        The more travel together the quicker the model answers, so that a slow one is not asked much that nobody waits
        for.

        Raises:
            ConnectionError: the child died.
        """
        answers: list[Any] = []
        together = 1
        while len(answers) < len(questions) and time.monotonic() < until:
            began = time.monotonic()
            answers += await self._asked(questions[len(answers) : len(answers) + together])
            quick = time.monotonic() - began < _QUICK_S
            together = min(2 * together, _TOGETHER) if quick else 1
        return answers

    async def ping(self) -> None:
        """Returns when the child is between two frames. Raises ConnectionError when it has died."""
        self._number += 1
        self._writer.writelines(wire.encode_frame({"id": self._number, "op": "ping"}))
        await self._received()

    async def _asked(self, questions: Sequence[Question]) -> list[Any]:
        for question in questions:
            self._number += 1
            self._writer.writelines(question.frame(self._number))
        received = [await self._received() for _ in questions]
        return [_answer(header, body) for header, body in received]

    async def _received(self) -> tuple[dict[str, Any], Any]:
        while not self._arrived:
            data = await self._reader.read(1 << 20)
            if not data:
                raise ConnectionResetError("the child closed the connection before it answered")
            try:
                self._arrived.extend(self._frames.feed(data))
            except (wire.BrokenFrame, MemoryError) as error:
                raise ConnectionResetError(f"the child does not speak the protocol: {error}") from None
        return self._arrived.popleft()

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()


def _answer(header: dict[str, Any], body: Any) -> Any:
    try:
        if header["ok"]:
            return wire.arrays_from(header["output"], body)
        error = header["error"]
        return ScoringError(error["kind"], error["type"], error["message"])
    except (ValueError, LookupError, TypeError, AttributeError, MemoryError) as error:
        raise ConnectionResetError(f"the child does not speak the protocol: {error}") from None
