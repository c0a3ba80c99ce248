"""An HTTP process: ``python -m gateway.http.process --control-fd N --listen-fd M --settings JSON``.

Started by the supervisor, which it does not outlive. It accepts on a socket that it shares with its siblings, and never
unpickles anything.
"""

import argparse
import asyncio
import contextlib
import ctypes
import gc
import json
import logging
import resource
import signal
import socket
import sys
from collections.abc import Callable, Collection, Sequence
from typing import Final, cast

import uvicorn

from gateway.auth.guard import Guard
from gateway.dataplane.models import ModelTable
from gateway.http.acceptor import Acceptor
from gateway.http.admin import Admin
from gateway.http.app import Application
from gateway.http.cors import Cors
from gateway.http.logging import AccessLog, set_up
from gateway.http.malloc import keep_freed_memory, refuse_huge_pages
from gateway.http.protocol import HttpProtocol
from gateway.http.routes import Routes
from gateway.http.scoring import Scoring
from gateway.http.targets import target_of
from gateway.ipc.control import ControlClient, Message
from gateway.protocols import dialects, forms
from gateway.settings import Settings
from registry.records import Json

_PR_SET_PDEATHSIG: Final = 1

LAST_CALL_S: Final = 0.2  # at the end, for requests that are on their way on a connection

log = logging.getLogger("fitserve.http")


class Server(uvicorn.Server):
    """uvicorn's server with our acceptor, a callback when it accepts connections, and a periodic sweep over them."""

    def __init__(
        self, config: uvicorn.Config, on_started: Callable[[], None], sweep_every_s: float, siblings: bool
    ) -> None:
        super().__init__(config)
        self._on_started, self._sweep_every_s, self._siblings = on_started, sweep_every_s, siblings
        self._acceptors: list[Acceptor] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup([])  # it has none to accept on: the acceptor does that
        for sock in sockets or ():
            self._acceptors.append(Acceptor(sock, self._protocol, self._siblings))
            self._acceptors[-1].open()
        self._on_started()
        self._sweep()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for acceptor in self._acceptors:
            await acceptor.close()
        connections = self._connections()
        for connection in connections:
            connection.last_call()
        if connections:
            await asyncio.sleep(LAST_CALL_S)
        await super().shutdown(sockets)

    def _protocol(self) -> asyncio.Protocol:
        return HttpProtocol(self.config, self.server_state, {})

    def _connections(self) -> list[HttpProtocol]:
        return list(cast(set[HttpProtocol], self.server_state.connections))

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in self._connections():
            connection.sweep(now)
        cast(Application, self.config.app).scoring.offload.check_alive(now)
        loop.call_later(self._sweep_every_s, self._sweep)


async def serve(settings: Settings, control_sock: socket.socket, listening: socket.socket) -> None:
    """Answer until the supervisor says "drain" or goes away."""
    guard = Guard()
    first_table, gone = asyncio.Event(), asyncio.Event()

    def in_force(names: Collection[str]) -> None:
        guard.update(models.table.keys)
        routes.update(names)
        first_table.set()

    def supervisor_gone() -> None:
        if not server.should_exit:
            log.error("the supervisor has gone, stopping")
        server.should_exit = True
        gone.set()

    def drain() -> None:
        server.should_exit = True

    def table(message: Message) -> None:
        models.apply(message)

    def busy() -> list[int]:
        return models.busy()

    def counted() -> dict[str, Json]:
        return models.counted()

    control = ControlClient(table, drain, supervisor_gone, busy, counted)
    models = ModelTable(settings, control, target_of, in_force)
    routes = Routes(models, dialects())
    access_log = AccessLog() if settings.access_log else None
    cors = Cors(settings.cors_origins)
    forms.allow_origins(cors.origins)
    scoring = Scoring(models, guard, cors, access_log)
    application = Application(routes, scoring, Admin(models))
    sweep_every_s = min(1.0, settings.body_timeout_s / 4)

    def started() -> None:
        gc.collect()
        gc.freeze()  # what is there now stays: the collector need not walk it again
        control.send("ready")

    server = Server(_config(application, settings), started, sweep_every_s, settings.http_processes > 1)

    await control.connect(control_sock)
    await _first(first_table, gone)  # no key is checked and no model known before the first table
    if not server.should_exit:
        await server.serve(sockets=[listening])
    control.close()
    models.close()
    scoring.offload.close()
    if access_log is not None:
        access_log.close()


async def _first(*events: asyncio.Event) -> None:
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()


def _config(app: Application, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=HttpProtocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=max(1, round(settings.drain_s)),
        backlog=2048,
    )


def _die_with_parent() -> None:
    """Linux ends this process when the supervisor's main thread does, however that happens."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _allow_many_files() -> None:
    """A connection each for callers and children: as many as the hard limit gives."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="gateway.http.process")
    parser.add_argument("--control-fd", type=int, required=True)
    parser.add_argument("--listen-fd", type=int, required=True)
    parser.add_argument("--settings", required=True)
    options = parser.parse_args(argv)
    settings = Settings.from_json(json.loads(options.settings))
    _die_with_parent()
    _allow_many_files()
    keep_freed_memory()
    refuse_huge_pages()
    set_up(settings.log_level)
    listening = socket.socket(fileno=options.listen_fd)
    # Accepted connections inherit it: without, small answers wait up to 44 ms for an acknowledgement.
    if listening.family in (socket.AF_INET, socket.AF_INET6):
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    control = socket.socket(fileno=options.control_fd)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(serve(settings, control, listening))
    return 0


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """uvloop where it is installed (everywhere but on Windows and some exotic Pythons)."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


if __name__ == "__main__":
    sys.exit(main())
