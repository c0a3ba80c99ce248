"""Interpreters for the environments that versions need. Environments are built in a separate process.

A build takes minutes and waits for processes (uv, pip), which only the reaper may do in the supervisor.
"""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from gateway.supervisor.environment_builder import REFUSED
from gateway.supervisor.log_tail import LogPipe, LogTail, Sink
from gateway.supervisor.reaper import Reaper
from registry.errors import FitserveError, OperatorError
from registry.interpreters import ready_interpreter
from registry.serving_environment import ServingEnvironment


@dataclass(frozen=True)
class Ready:
    """An interpreter that can be started. `digest` names the need that it meets, None for the gateway's own."""

    python: Path
    version: str
    digest: str | None = None
    variables: Mapping[str, str] | None = None
    warnings: tuple[str, ...] = ()  # what differs from what was asked for


class EnvironmentNotReady(OperatorError):
    """The builder's message; if the environment was not named by a person, also what can be done about it."""

    def __init__(self, sentence: str, serving: ServingEnvironment) -> None:
        if serving.rule in ("artifact", "declared"):
            sentence += (
                f" ({serving.reason}); name another environment at registration, or `--environment own` to try it with "
                "the gateway's own"
            )
        super().__init__(sentence)


OWN = Ready(Path(sys.executable), ".".join(str(part) for part in sys.version_info[:3]))


class Interpreters:
    """Each environment is made once, however many versions share it."""

    def __init__(self, root: Path, reaper: Reaper) -> None:
        self._root = root
        self._reaper = reaper
        self._ready: dict[str, asyncio.Task[Ready]] = {}
        self._listeners: dict[str, list[Sink]] = {}

    async def get(self, serving: ServingEnvironment, progress: Sink) -> Ready:
        """
        Args:
            progress: gets what the building prints, also when another version asked for it first.

        Raises:
            EnvironmentNotReady: with the sentence of what failed; the next call tries again.
        """
        key = serving.key
        if key is None:
            return OWN
        listeners = self._listeners.setdefault(key, [])
        task = self._ready.get(key)
        if task is None or (task.done() and not await self._still_there(task)):
            task = self._ready[key] = asyncio.create_task(self._make(key, serving))
        listeners.append(progress)
        try:
            return await asyncio.shield(task)  # cancelling one waiter must not cancel the build for the others
        finally:
            listeners.remove(progress)

    async def _still_there(self, task: "asyncio.Task[Ready]") -> bool:
        """Whether it was built and has not been removed since."""
        if task.cancelled() or task.exception() is not None:
            return False
        return await asyncio.to_thread(os.access, task.result().python, os.X_OK)

    async def _make(self, key: str, serving: ServingEnvironment) -> Ready:
        assert serving.spec is not None
        variables = serving.spec.get("variables")
        try:
            found = await asyncio.to_thread(
                ready_interpreter,
                serving.spec,
                self._root,
                strict=serving.strict,
                name=serving.name,
                frozen=serving.frozen,
            )
        except FitserveError as error:
            raise EnvironmentNotReady(str(error), serving) from None
        if found is not None:
            return Ready(found.python, found.version, key, variables, found.warnings)
        told = json.loads(await self._built(key, serving))
        return Ready(Path(told["python"]), told["version"], key, variables, tuple(told["warnings"]))

    async def _built(self, key: str, serving: ServingEnvironment) -> str:
        """Run a builder; gives the last line of its output."""

        def tell(data: bytes) -> None:
            for listener in list(self._listeners[key]):
                listener(data)

        said, errors = LogTail(), LogTail(tell)
        frozen = None if serving.frozen is None else asdict(serving.frozen)
        wanted = {"spec": dict(serving.spec or {}), "frozen": frozen, "strict": serving.strict, "name": serving.name}
        command = [
            sys.executable,
            "-P",
            "-m",
            "gateway.supervisor.environment_builder",
            str(self._root),
            json.dumps(wanted),
        ]
        environ = {name: value for name, value in os.environ.items() if not name.startswith("FITSERVE_")}
        try:
            with contextlib.closing(LogPipe(said)) as out, contextlib.closing(LogPipe(errors)) as err:
                _, exited = self._reaper.spawn(command, env=environ, stdout=out.writing, stderr=err.writing)
                out.close_writing()
                err.close_writing()
                end = await exited
        except OSError as error:
            sentence = f"environment {serving.name!r} could not be built: its builder could not be started"
            raise EnvironmentNotReady(f"{sentence}: {error.strerror or error}", serving) from error
        last = said.lines(1)
        if end.code == 0 and last:
            return last[0]
        if last and end.code == REFUSED:
            raise EnvironmentNotReady(last[0], serving)
        raise EnvironmentNotReady(f"environment {serving.name!r} could not be built: the builder {end}", serving)
