"""The keeping of HTTP processes where the machine does not give any; see test_supervisor for the rest."""

import asyncio
import errno
import socket
from typing import Any, cast

import pytest

from gateway.ipc.routing_table import Publisher
from gateway.settings import Settings
from gateway.supervisor import http_processes
from gateway.supervisor.http_processes import HttpProcesses, HttpProcessFailed
from gateway.supervisor.reaper import Exit, Reaper
from tests.waiting import until


class PoorMachine:
    """Has no process to give for the first `refusals` times."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals
        self.asked = 0
        self.exited: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()

    def spawn(self, arguments: object, **options: Any) -> "tuple[int, asyncio.Future[Exit]]":
        self.asked += 1
        if self.asked <= self.refusals:
            raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
        return 4_000_000, self.exited


def processes(machine: PoorMachine, listening: socket.socket) -> HttpProcesses:
    return HttpProcesses(Settings(), listening, Publisher(), lambda *_: None, cast(Reaper, machine))


def test_a_process_that_could_not_be_started_is_tried_again() -> None:
    async def story() -> None:
        machine = PoorMachine(refusals=2)
        with socket.socket() as listening:
            http = processes(machine, listening)
            starting = asyncio.create_task(http.start())
            await until(lambda: http.pids, "a process, as soon as there is one to be had")
            assert machine.asked == 3
            machine.exited.set_result(Exit(code=0))
            starting.cancel()
            await http.drain(1)

    asyncio.run(story())


def test_a_machine_that_never_gives_a_process_is_said_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_processes, "_LONGEST_PAUSE_S", 0.01)

    async def story() -> None:
        with socket.socket() as listening:
            http = processes(PoorMachine(refusals=1000), listening)
            with pytest.raises(HttpProcessFailed, match=r"could not be started: Resource temporarily unavailable$"):
                async with asyncio.timeout(5):
                    await http.start()
            await http.drain(1)

    asyncio.run(story())
