"""The supervisor: one process that owns the socket, the HTTP processes, the scoring children and their limits.

It decides and starts; it never answers a scoring call and never unpickles. One thread runs one loop, another watches
the registry. Signal handlers only set flags.
"""

import asyncio
import contextlib
import logging
import os
import resource
import secrets
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from gateway.auth.keys import Keys, digest, keys_in_force
from gateway.ipc.control import ControlPeer, Message
from gateway.ipc.routing_table import Publisher
from gateway.rundir import applied
from gateway.rundir.listen import bind, url_of
from gateway.rundir.state import GatewayLock, make_runtime_dir, workspace_tag
from gateway.settings import Settings
from gateway.supervisor.admission import Admission
from gateway.supervisor.http_processes import COMMAND, HttpProcesses
from gateway.supervisor.launcher import WorkerLauncher
from gateway.supervisor.models import ModelManager
from gateway.supervisor.reaper import Reaper, become_subreaper
from gateway.supervisor.registry_watch import Registered, RegistryWatch, read_registered
from gateway.supervisor.status import gateway_status, model_status, version_metrics
from gateway.supervisor.version_state import UNLOADED
from registry.errors import FitserveError, ModelNotFound
from registry.limits import choose_backend, machine_cores, machine_memory_bytes
from registry.limits.base import Backend
from registry.records import Json
from registry.resources import GB
from registry.workspace import Workspace

log = logging.getLogger("fitserve.supervisor")

_Work = Callable[[ControlPeer, Message], Coroutine[Any, Any, None]]

_TICK_S: Final = 1.0
_STOP_CHILDREN_S: Final = 5.0
_LOG_LINES: Final = 1000
_COUNT_S: Final = 2.0  # longest time for an HTTP process to send its counters


def serve(
    workspace: Workspace,
    settings: Settings,
    *,
    on_ready: Callable[[str], None] | None = None,
    http_command: Sequence[str] = COMMAND,
) -> int:
    """Serve the workspace until SIGTERM or SIGINT; gives the exit code. Call on the main thread.

    Args:
        on_ready: gets the URL as soon as it answers.
        http_command: starts an HTTP process, see `gateway.supervisor.http_processes`.

    Raises:
        OperatorError: another gateway serves it, the port is in use, the HTTP process cannot start, …
    """
    keys = keys_in_force(workspace.metadata, settings)
    with GatewayLock(workspace.root) as lock, bind(settings.host, settings.port) as listening:
        _show(keys)
        _allow_many_files()
        backend = choose_backend(f"fitserve-{workspace_tag(workspace.root)}")
        try:
            stale = backend.clean_stale()
            if stale:
                log.info("removed %d limit groups of a gateway that was killed", stale)
            runtime = make_runtime_dir(workspace.root)
            try:
                supervisor = Supervisor(workspace, settings, keys, lock, listening, backend, runtime)
                return asyncio.run(supervisor.run(on_ready, http_command))
            finally:
                shutil.rmtree(runtime, ignore_errors=True)
        finally:
            backend.close()


class Supervisor:
    """One run of a gateway; `serve` makes it."""

    def __init__(
        self,
        workspace: Workspace,
        settings: Settings,
        keys: Keys,
        lock: GatewayLock,
        listening: socket.socket,
        backend: Backend,
        runtime: Path,
    ) -> None:
        self._workspace = workspace
        self._settings = settings
        self._token = secrets.token_urlsafe(32) if keys.digests else ""
        self._keys = self._keys_with_own(keys)
        self._lock = lock
        self._listening = listening
        self._backend = backend
        self._runtime = runtime
        self._stop_signals = 0
        self._signalled = asyncio.Event()
        self._wants: set[asyncio.Task[None]] = set()
        self._applied = -1
        self._reloads = 0

    async def run(self, on_ready: Callable[[str], None] | None, http_command: Sequence[str]) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._note_signal)
        loop.add_signal_handler(signal.SIGHUP, self._note_reload)
        become_subreaper()
        reaper = Reaper()
        reaper.start()
        publisher = self._publisher = Publisher()
        self._launcher = WorkerLauncher(
            self._workspace, self._settings, self._backend, reaper, self._runtime, machine_cores()
        )
        self._http = HttpProcesses(self._settings, self._listening, publisher, self._received, reaper, http_command)
        admission = Admission(machine_memory_bytes(), int(self._settings.reserve_gb * GB))
        self._models = ModelManager(self._settings, self._launcher, admission, publisher, self._http, self._keys)
        registered = await asyncio.to_thread(read_registered, self._workspace)
        watch = RegistryWatch(
            self._workspace, lambda now: _call_in(loop, self._reconcile, now), seen=registered.revision
        )
        warm = asyncio.create_task(self._launcher.warm(registered.models))
        try:
            self._reconcile(registered)
            await self._started(on_ready, [warm] if self._settings.start == "first-use" else [])
            watch.start()
            await self._serve()
            return 0
        finally:
            await asyncio.to_thread(watch.stop)
            await self._stop()
            warm.cancel()
            await asyncio.wait([warm])
            await self._launcher.close()
            reaper.stop()

    async def _started(self, on_ready: Callable[[str], None] | None, also: Iterable[asyncio.Task[None]]) -> None:
        """Wait until all HTTP processes accept connections and `also` is done, or until a signal; then announce the
        gateway."""
        starting = asyncio.create_task(self._ready(also))
        noted = asyncio.create_task(self._signalled.wait())
        await asyncio.wait([starting, noted], return_when=asyncio.FIRST_COMPLETED)
        noted.cancel()
        if not starting.done():
            starting.cancel()
            return
        starting.result()
        url = url_of(self._listening)
        host, port = self._listening.getsockname()[:2]
        self._lock.write(url, host, port, self._token)
        log.info("serving %s at %s, limits by %s", self._workspace.root, url, self._backend.enforcement)
        if on_ready is not None:
            on_ready(url)

    async def _ready(self, also: Iterable[asyncio.Task[None]]) -> None:
        await self._http.start()
        await asyncio.gather(*map(asyncio.shield, also))

    async def _serve(self) -> None:
        """Run until a stopping signal."""
        while not self._stop_signals:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._signalled.wait(), _TICK_S)
            if self._reloads:
                self._reloads = 0
                self._signalled.clear()
                await self._reload()
            self._models.stop_idle()

    async def _reload(self) -> None:
        """SIGHUP: the keys are read again and in force at once; nothing is stopped."""
        try:
            keys = await asyncio.to_thread(keys_in_force, self._workspace.metadata, self._settings)
        except FitserveError as error:
            log.error("the keys stay as they are: %s", error)
            return
        if bool(keys.digests) != bool(self._token):
            log.error("the keys stay as they are: whether a key is asked for changes only with a new start")
            return
        self._models.keys = self._keys_with_own(keys)
        self._models.flush()
        log.info("the keys were read again; other settings count from the next start")

    def _keys_with_own(self, keys: Keys) -> frozenset[str] | None:
        """Those of callers, and the one of this run, for the commands of whoever owns the workspace."""
        return frozenset({*keys.digests, digest(self._token)}) if keys.digests else None

    async def _stop(self) -> None:
        """Drain within bounds; stop at once on a second signal."""
        log.info("stopping")
        self._listening.close()  # HTTP processes close theirs; then no connection is accepted any more
        self._lock.withdraw()
        draining = asyncio.create_task(self._drain())
        while not draining.done() and self._stop_signals < 2:
            self._signalled.clear()
            noted = asyncio.create_task(self._signalled.wait())
            await asyncio.wait([draining, noted], return_when=asyncio.FIRST_COMPLETED)
            noted.cancel()
        if not draining.done():
            log.warning("a second signal: stopping at once")
            draining.cancel()
            await asyncio.wait([draining])
        self._http.kill()
        self._models.kill()
        for task in self._wants:
            task.cancel()

    async def _drain(self) -> None:
        await self._http.drain(self._settings.drain_s)
        closing = asyncio.create_task(self._models.close())
        await asyncio.wait([closing], timeout=_STOP_CHILDREN_S)
        closing.cancel()

    def _note_reload(self) -> None:
        self._reloads += 1
        self._signalled.set()

    def _note_signal(self) -> None:
        self._stop_signals += 1
        self._signalled.set()

    def _reconcile(self, registered: Registered) -> None:
        if self._stop_signals:
            return
        default = registered.default
        if default is None and registered.models:
            default = min(registered.models, key=lambda record: (record.created_time, record.version)).name
            self._background(asyncio.to_thread(_set_default, self._workspace, default))
        self._models.reconcile(registered.models, default, registered.services)
        self._models.flush()
        self._background(self._in_force(registered.revision, self._publisher.revision))

    async def _in_force(self, registered: int, published: int) -> None:
        """Note that all HTTP processes answer by that revision of the registry."""
        await self._http.acknowledged(published)
        if registered > self._applied:
            self._applied = registered
            applied.write(self._workspace.root, registered)

    # messages of HTTP processes

    def _received(self, peer: ControlPeer, message: Message) -> None:
        try:
            match message["op"]:
                case "want":
                    self._background(self._answered(self._want, peer, message))
                case "load":
                    self._load(message["model"])
                    peer.answer(message, None)
                case "unload":
                    self._background(self._answered(self._unload, peer, message))
                case "status":
                    peer.answer(message, self._status(message.get("model")))
                case "metrics":
                    self._background(self._answered(self._metrics, peer, message))
                case "logs":
                    peer.answer(message, self._logs(message))
                case "used":
                    for name, number, answers in message["versions"]:
                        self._models.used(name, number, answers)
                case "answered":
                    self._models.child_answered(message["child"])
                case "stuck":
                    self._replace(message["child"])
                case "lost":  # the reaper sees the death itself, with its cause
                    if message.get("asked"):
                        self._models.child_lost(message["child"])
                case other:
                    log.warning("an HTTP process sent an unknown message: %r", other)
        except ModelNotFound as error:
            peer.refuse(message, str(error), "not-found")
        except Exception:  # if it propagated, it would close the channel and so end the HTTP process
            _refuse_after_error(peer, message)

    async def _answered(self, work: _Work, peer: ControlPeer, message: Message) -> None:
        """Answer even if `work` fails, so that the caller does not wait for ever."""
        try:
            await work(peer, message)
        except Exception:
            _refuse_after_error(peer, message)

    async def _want(self, peer: ControlPeer, message: Message) -> None:
        try:
            version = self._models.version(message["model"], message["version"])
        except ModelNotFound as error:
            peer.refuse(message, str(error), "not-found")
            return
        version.used()
        version.start(urgent=True)
        if await version.live():
            self._models.flush()  # the table first, so that a child is known when the answer arrives
            peer.answer(message, {"state": "live"})
            return
        if version.unloaded:
            peer.refuse(message, f"version {version.record.version} is unloaded: {UNLOADED}", "unloaded")
            return
        kind = version.state if version.state in {"failed", "quarantined"} else "does-not-fit"
        peer.refuse(message, version.reason or f"model {version.id} was stopped", kind)

    async def _unload(self, peer: ControlPeer, message: Message) -> None:
        await self._models.model(message["model"]).unload()
        self._models.flush()  # the table first, so that the next request sees it
        peer.answer(message, None)

    def _load(self, name: str) -> None:
        self._models.model(name).load()
        self._models.flush()

    def _status(self, name: str | None) -> dict[str, Json]:
        enforcement = self._backend.enforcement
        if name is None:
            nurseries = self._launcher.nursery_pids
            pids = {"supervisor": os.getpid(), "http": self._http.pids, "nurseries": nurseries}
            return gateway_status(self._models, enforcement, pids)
        model = self._models.models.get(name)
        if model is None:
            raise ModelNotFound(name, known=sorted(self._models.models))
        return model_status(model, self._launcher.log_of, enforcement, self._models.of_services(name))

    async def _metrics(self, peer: ControlPeer, message: Message) -> None:
        counted = await self._http.counted(_COUNT_S)
        versions = [v for model in self._models.models.values() for _, v in sorted(model.versions.items())]
        known = {name: of for name, of in counted.items() if name in self._models.models}
        peer.answer(message, {"counted": known, "versions": [version_metrics(version) for version in versions]})

    def _logs(self, message: Message) -> list[str]:
        version = self._models.version(message["model"], message.get("version"))
        return self._launcher.log_of(version).tail(min(int(message.get("lines", 200)), _LOG_LINES))

    def _replace(self, number: int) -> None:
        """End a child that computes for too long; another takes its place."""
        owner = self._models.child_owner(number)
        if owner is not None:
            version, child = owner
            log.warning("%s: child %d computes longer than max_compute_s, killed", version.id, child.pid)
            child.stuck = True
            child.handle.kill()

    def _background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._wants.add(task)
        task.add_done_callback(self._wants.discard)


def _refuse_after_error(peer: ControlPeer, message: Message) -> None:
    log.exception("a %r message of an HTTP process could not be handled", message["op"])
    if "id" in message:
        peer.refuse(message, "an internal error of the gateway; its log has the traceback", "failed")


def _call_in(loop: asyncio.AbstractEventLoop, function: Callable[[Registered], None], value: Registered) -> None:
    """Called in the watching thread; the loop may have just ended."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(function, value)


def _set_default(workspace: Workspace, name: str) -> None:
    """Keep the first model behind ``/score`` until the operator names another."""
    try:
        workspace.metadata.set_value("default_service", name, only_if_absent=True)
    except FitserveError as error:
        log.warning("the default model could not be stored: %s", error)


def _show(keys: Keys) -> None:
    if keys.generated is not None:
        print(f"key (shown this once, stored only as a hash): {keys.generated}", file=sys.stderr, flush=True)


def _allow_many_files() -> None:
    """Raise the limit of open files to its hard limit: each child needs three descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
