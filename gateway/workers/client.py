"""A small asyncio client of a child's scoring socket, for golden rows and tests. The data plane has its own."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gateway.workers import wire


class ScoringError(Exception):
    """The child answered with an error. `kind`: input, model, memory or method."""

    def __init__(self, kind: str, type_name: str, message: str) -> None:
        super().__init__(f"{type_name}: {message}")
        self.kind, self.type, self.message = kind, type_name, message


class ScoringClient:
    """One connection, one frame at a time: ``async with await ScoringClient.open(path) as client``."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._frames = wire.FrameReader()
        self._number = 0
        self.proving = False  # ask for the public methods, and for a comparison with the shorter ways

    @classmethod
    async def open(cls, socket_path: str) -> Self:
        """Raises OSError when nobody listens there."""
        return cls(*await asyncio.open_unix_connection(socket_path))

    async def array(self, method: str, X: NDArray[Any]) -> Any:
        """What `method` answers for a 2-D array: an array, or a list, tuple or `child.Table` of such.

        Raises:
            ScoringError: the model refused, or failed.
            ConnectionError: the child died.
        """
        body = wire.Body()
        return await self._ask(method, {"kind": "array", "array": body.add(np.asarray(X))}, body)

    async def columns(self, method: str, names: Sequence[str], columns: Sequence[NDArray[Any]]) -> Any:
        """As `array`, for named columns of shape (n,)."""
        body = wire.Body()
        specs = [body.add(np.asarray(column)) for column in columns]
        return await self._ask(method, {"kind": "columns", "names": list(names), "columns": specs}, body)

    async def values(self, method: str, values: Sequence[Any]) -> Any:
        """As `array`, for a list such as texts."""
        return await self._ask(method, {"kind": "list", "values": list(values)}, wire.Body())

    async def ping(self) -> None:
        """Returns when the child is between two frames. Raises ConnectionError when it has died."""
        self._number += 1
        await self._exchange({"id": self._number, "op": "ping"}, wire.Body())

    async def scoring(self) -> dict[str, Any]:
        """By method, which way its answers go: ``{"predict": {"path": "libsvm", "gain": 20.1}, …}``."""
        self._number += 1
        header, _ = await self._exchange({"id": self._number, "op": "scoring"}, wire.Body())
        return dict(header["scoring"])

    async def _ask(self, method: str, given: dict[str, Any], body: wire.Body) -> Any:
        self._number += 1
        request = {"id": self._number, "method": method, "input": given, "checked": False}
        if self.proving:
            request["prove"] = True
        header, data = await self._exchange(request, body)
        if not header["ok"]:
            error = header["error"]
            raise ScoringError(error["kind"], error["type"], error["message"])
        return wire.arrays_from(header["output"], data)

    async def _exchange(self, header: dict[str, Any], body: wire.Body) -> tuple[dict[str, Any], Any]:
        self._writer.writelines(wire.encode_frame(header, body.arrays))
        await self._writer.drain()
        while True:
            data = await self._reader.read(1 << 20)
            if not data:
                raise ConnectionResetError("the child closed the connection before it answered")
            for answer in self._frames.feed(data):
                return answer

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()
