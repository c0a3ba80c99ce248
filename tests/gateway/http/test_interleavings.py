"""Whatever happens in whatever order, each caller gets the response of an unbatched call on its own rows, or the right error."""

import asyncio
import contextlib
import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from uvicorn.server import ServerState

from gateway.auth.guard import Guard
from gateway.dataplane.batcher import MAX_DEATHS
from gateway.dataplane.models import ModelTable
from gateway.http.admin import Admin
from gateway.http.app import Application
from gateway.http.cors import Cors
from gateway.http.protocol import HttpProtocol
from gateway.http.routes import Routes
from gateway.http.scoring import Scoring
from gateway.http.targets import target_of
from gateway.ipc.control import ControlClient
from gateway.protocols import dialects
from gateway.settings import Settings
from tests.gateway.dataplane.stub_child import BROKEN, HUNGRY, POISON, REFUSED, SLOW, Double
from tests.gateway.supervisor.small_supervisor import SmallSupervisor, small_supervisor
from tests.waiting import until as eventually

HEAD = b"POST /score HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
DIED = (503, "its process ended")
#: Status and words of the right error, by the row that causes it.
ERRORS = {
    POISON: DIED,
    REFUSED: (400, "refused this input"),
    BROKEN: (500, "failed on this input"),
    HUNGRY: (503, "memory limit"),
}


@dataclass(frozen=True)
class Ask:
    """One caller: its rows, its method, and whether it gives up after so many milliseconds."""

    rows: list[list[float]]
    method: str
    gives_up_after_ms: int | None = None


Kill = type("Kill", (), {"__repr__": lambda self: "Kill()"})
Pause = type("Pause", (), {"__repr__": lambda self: "Pause()"})

numbers = st.one_of(
    st.floats(-1e6, 1e6).filter(lambda x: x not in (POISON, REFUSED, BROKEN, HUNGRY, SLOW, 17.0)),
    st.sampled_from([0.0, 1.5, 2.0**53 + 2, SLOW, REFUSED, BROKEN]),
)
rows = st.lists(st.lists(numbers, min_size=2, max_size=2), min_size=1, max_size=4)
asks = st.builds(
    Ask,
    rows,
    st.sampled_from(["predict", "predict", "transform", "kneighbors"]),
    st.sampled_from([None, None, None, 0, 5]),
)
deadly = st.builds(Ask, st.sampled_from([[[POISON, 1.0]], [[HUNGRY, 1.0], [2.0, 3.0]]]), st.just("predict"))
steps = st.one_of(asks, asks, asks, asks, asks, asks, st.builds(Pause), st.builds(Pause), st.builds(Kill), deadly)


class Gateway:
    """The protocol in front of real children, in a loop of its own thread, shared by all examples."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.stack = contextlib.AsyncExitStack()
        self.run(self._start())

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(110)

    async def _start(self) -> None:
        self.supervisor: SmallSupervisor = await self.stack.enter_async_context(small_supervisor())
        self.supervisor.spares = 2
        await self.supervisor.add("m", children=2)

        def table(message: dict[str, Any]) -> None:
            models.apply(message)

        def busy() -> list[int]:
            return models.busy()

        def changed(names: Collection[str]) -> None:
            routes.update(names)

        control = ControlClient(table, lambda: None, busy=busy)
        models = ModelTable(Settings(), control, target_of, changed)
        routes = Routes(models, dialects())
        application = Application(routes, Scoring(models, Guard(), Cors()), Admin(models))
        config, state = uvicorn.Config(application, http=HttpProtocol), ServerState()
        self.models, self.control = models, control
        await control.connect(await self.supervisor.connect())
        await eventually(lambda: "/score" in routes.by_path, "the first table")
        self.server = await self.loop.create_server(lambda: HttpProtocol(config, state, {}), "127.0.0.1", 0)

    async def _close(self) -> None:
        self.server.close()
        self.models.close()
        self.control.close()
        await self.stack.aclose()

    def close(self) -> None:
        self.run(self._close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    async def play(self, script: list[Any]) -> list[tuple[Ask, Any]]:
        """What each caller got: the decoded answer or the exception."""
        tasks: list[tuple[Ask, asyncio.Task[Any]]] = []
        for step in script:
            if isinstance(step, Ask):
                tasks.append((step, asyncio.create_task(self._ask(step))))
            elif isinstance(step, Kill):
                await asyncio.sleep(0)
                for child in list(self.supervisor.children.values())[:1]:
                    child.kill()
            else:
                await asyncio.sleep(0.003)
        results = await asyncio.gather(*(task for _, task in tasks), return_exceptions=True)
        return [(ask, result) for (ask, _), result in zip(tasks, results, strict=True)]

    async def _ask(self, ask: Ask) -> Any:
        """Status and decoded body."""
        reader, writer = await asyncio.open_connection(*self.server.sockets[0].getsockname())
        body = orjson.dumps({"data": ask.rows, "method": ask.method})
        writer.write(HEAD % len(body) + body)
        try:
            async with asyncio.timeout(None if ask.gives_up_after_ms is None else ask.gives_up_after_ms / 1000):
                head, _, answer = (await reader.read()).partition(b"\r\n\r\n")
        finally:
            writer.transport.abort()
        return int(head[9:12]), orjson.loads(answer)


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    running = Gateway()
    try:
        yield running
    finally:
        running.close()


def is_deadly(ask: Ask) -> bool:
    return any(value in (POISON, HUNGRY) for row in ask.rows for value in row)


def expected(ask: Ask) -> tuple[int, Any]:
    """The status, and the local answer or words of the right error."""
    values = {value for row in ask.rows for value in row}
    if ask.method == "predict":
        for bad, error in ERRORS.items():
            if bad in values:
                return error
    local = getattr(Double(), ask.method)(np.array([[value + 0.0 for value in row] for row in ask.rows]))
    plain = [part.tolist() for part in local] if isinstance(local, tuple) else local.tolist()
    return 200, {ask.method: plain}


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(script=st.lists(steps, min_size=1, max_size=25))
def test_each_caller_gets_its_own_answer_or_a_typed_error(gateway: Gateway, script: list[Any]) -> None:
    """Lesson: batching that lost or mixed answers."""
    killers = sum(isinstance(step, Kill) or (isinstance(step, Ask) and is_deadly(step)) for step in script)
    for ask, got in gateway.run(gateway.play(script)):
        if isinstance(got, TimeoutError) and ask.gives_up_after_ms is not None:
            continue
        (status, answer), (right_status, right) = got, expected(ask)
        if status == 429:
            continue
        if status == DIED[0] and DIED[1] in answer["message"] and killers >= MAX_DEATHS:
            continue  # nobody is asked more often than that, however innocent
        assert status == right_status, (ask, got)
        assert (right in answer["message"]) if isinstance(right, str) else (answer == right), (ask, got)
    load = gateway.models.models["m"].load
    gateway.run(eventually(lambda: (load.requests, load.nbytes) == (0, 0), "nothing waits"))
