"""The nurseries of a gateway: one for each environment, started when it is needed first and replaced when it dies."""

import asyncio
import logging
import time
from typing import Final

from gateway.supervisor.environments import Ready
from gateway.supervisor.nursery import Nursery
from gateway.supervisor.reaper import Reaper

log = logging.getLogger("fitserve.supervisor")

_SOUND_S: Final = 0.5  # a nursery that died sooner is restarted only when it is needed


class NurseryPool:
    """Nurseries by the digest of their environment."""

    def __init__(self, reaper: Reaper) -> None:
        self._reaper = reaper
        self._nurseries: dict[str | None, asyncio.Task[Nursery]] = {}
        self._closing = False

    @property
    def pids(self) -> list[int]:
        started = [task.result() for task in self._nurseries.values() if task.done() and not task.cancelled()]
        return [nursery.pid for nursery in started if nursery.alive]

    async def get(self, ready: Ready) -> Nursery:
        """The nursery of an environment.

        Raises:
            NurseryFailed: it cannot be started.
        """
        task = self._nurseries.get(ready.digest)
        if task is None or (task.done() and (task.cancelled() or task.exception() or not task.result().alive)):
            task = self._nurseries[ready.digest] = asyncio.create_task(self._start(ready))
        return await asyncio.shield(task)

    async def close(self) -> None:
        self._closing = True
        for task in self._nurseries.values():
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled() and task.exception() is None:
                await task.result().close()

    async def _start(self, ready: Ready) -> Nursery:
        """Start a nursery that is replaced when it dies, so that the next start of a model need not wait for imports."""
        nursery = await Nursery.start(ready.python, self._reaper, variables=ready.variables)
        since = time.monotonic()
        nursery.exited.add_done_callback(lambda _: self._died(ready, since))
        return nursery

    def _died(self, ready: Ready, since: float) -> None:
        if self._closing or time.monotonic() - since < _SOUND_S:
            return
        log.warning("a nursery died, starting another")
        self._nurseries[ready.digest] = again = asyncio.create_task(self._start(ready))
        again.add_done_callback(_ignore)  # the next user tries again and reports


def _ignore(done: "asyncio.Task[Nursery]") -> None:
    if not done.cancelled():
        done.exception()
