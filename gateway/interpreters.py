"""Ready interpreters by environment digest. What has to be built is built in a process of its own.

Building waits for processes (uv, pip), and in the supervisor only the reaper may do that; it may also take minutes.
"""

import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.interpreter_builder import REFUSED
from gateway.workers.log_tail import LogPipe, LogTail, Sink
from gateway.workers.process import Reaper
from registry.errors import OperatorError
from registry.records import Json


@dataclass(frozen=True)
class Ready:
    """An interpreter that can be started. `digest` is None for the gateway's own."""

    python: Path
    version: str
    digest: str | None = None
    variables: Mapping[str, str] | None = None
    warnings: tuple[str, ...] = ()  # what differs from what was asked for


class EnvironmentNotReady(OperatorError):
    """The builder's own sentence."""


OWN = Ready(Path(sys.executable), ".".join(str(part) for part in sys.version_info[:3]))


class Interpreters:
    """Asked once per digest, however many versions share it."""

    def __init__(self, root: Path, reaper: Reaper) -> None:
        self._root = root
        self._reaper = reaper
        self._ready: dict[str, asyncio.Task[Ready]] = {}

    async def get(self, digest: str | None, spec: Mapping[str, Json] | None, progress: Sink) -> Ready:
        """
        Args:
            progress: gets what the building prints.

        Raises:
            EnvironmentNotReady: with the sentence of what failed; the next call tries again.
        """
        if digest is None or spec is None:
            return OWN
        task = self._ready.get(digest)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = self._ready[digest] = asyncio.create_task(self._build(digest, spec, progress))
        return await asyncio.shield(task)  # who gives up does not take it from the others

    async def _build(self, digest: str, spec: Mapping[str, Json], progress: Sink) -> Ready:
        said, errors = LogTail(), LogTail(progress)
        out, err = LogPipe(said), LogPipe(errors)
        command = [sys.executable, "-P", "-m", "gateway.interpreter_builder", str(self._root), json.dumps(dict(spec))]
        _, exited = self._reaper.spawn(command, stdout=out.writing, stderr=err.writing)
        out.close_writing()
        err.close_writing()
        end = await exited
        out.close()
        err.close()
        last = said.lines(1)
        if end.code != 0 or not last:
            if last and end.code == REFUSED:
                raise EnvironmentNotReady(last[0])
            raise EnvironmentNotReady(f"environment {digest[:12]} could not be built: the builder {end}")
        told = json.loads(last[0])
        return Ready(Path(told["python"]), told["version"], digest, spec.get("variables"), tuple(told["warnings"]))
