"""This test process as a supervisor: a loop, a reaper, a nursery and children that end with the test."""

import asyncio
import ctypes
import itertools
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from gateway.supervisor.log_tail import LogTail
from gateway.supervisor.nursery import Nursery
from gateway.supervisor.reaper import PR_SET_CHILD_SUBREAPER, Reaper, become_subreaper
from gateway.supervisor.worker_client import ScoringClient
from gateway.supervisor.worker_process import ChildHandle, start_child
from tests.gateway.worker.models import Stored

T = TypeVar("T")


def running(pid: int) -> bool:
    """Whether it exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


class Nest:
    """Children by one nursery, or (`fresh`) in interpreters of their own."""

    def __init__(self, runner: asyncio.Runner, folder: Path, python: str = sys.executable) -> None:
        self.runner, self.folder, self.python = runner, folder, python
        self.reaper = Reaper()
        self.nursery: Nursery
        self._numbers = itertools.count()
        self._children: list[ChildHandle] = []

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    async def open(self) -> None:
        assert become_subreaper()
        self.reaper.start()
        self.nursery = await Nursery.start(self.python, self.reaper)

    async def close(self) -> None:
        self.kill_children()
        await self.nursery.close()
        for child in self._children:
            await child.exited
        self.reaper.stop()

    def socket(self) -> Path:
        return self.folder / f"{next(self._numbers)}.sock"

    async def fork(self, fresh: bool = False, log: LogTail | None = None) -> ChildHandle:
        """A child that waits for its `go`."""
        child = start_child(self.python, self.reaper, log=log) if fresh else await self.nursery.fork(log=log)
        self._children.append(child)
        await child.hello()
        return child

    async def start(self, model: Stored, *, fresh: bool = False, **changes: Any) -> ChildHandle:
        """A child that has loaded `model`."""
        child = await self.fork(fresh)
        await child.go(model.order(self.socket(), **changes), 30)
        return child

    @asynccontextmanager
    async def serving(self, model: Stored, **changes: Any) -> AsyncIterator[tuple[ChildHandle, ScoringClient]]:
        child = await self.start(model, **changes)
        try:
            assert child.socket_path is not None
            async with await ScoringClient.open(child.socket_path) as client:
                yield child, client
        finally:
            child.kill()
            await child.exited

    def kill_children(self) -> None:
        for child in self._children:
            child.kill()


@contextmanager
def nest(python: str = sys.executable) -> Iterator[Nest]:
    folder = Path(tempfile.mkdtemp(prefix="fs-"))  # short: a socket's path has 107 bytes at most
    with asyncio.Runner() as runner:
        place = Nest(runner, folder, python)
        try:
            place.run(place.open())
            yield place
        finally:
            if hasattr(place, "nursery"):
                place.run(place.close())
            # Other tests want to see their orphans go to init.
            ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
            place.reaper.reap()
            shutil.rmtree(folder)


def open_descriptors(pid: int) -> set[str]:
    """What the descriptors of `pid` are, such as ``socket:[123]``."""
    found = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.add(f"{name} {os.readlink(f'/proc/{pid}/fd/{name}')}")
        except FileNotFoundError:  # closed in the meantime
            continue
    return found
