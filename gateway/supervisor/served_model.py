"""One model in the supervisor: which of its versions answers, and which ones should run.

The latest version that was live answers; a version that never was is passed over.
"""

import asyncio
import logging

from gateway.ipc.routing_table import ModelEntry
from gateway.settings import Settings
from gateway.supervisor.version import VersionController

log = logging.getLogger("fitserve.supervisor")


class ServedModel:
    """One model, or a service's own copy of one. `live` is the version that answers when a request names none; None
    until there is one."""

    def __init__(self, name: str, settings: Settings, service: str | None = None) -> None:
        self.name = name
        self.service = service
        self.asked: int | None = None  # the version that the service names; None: the latest that gets live
        self.versions: dict[int, VersionController] = {}
        self.live: int | None = None
        self.pinned: frozenset[int] = frozenset()  # versions that services name; they run beside the live one
        self._settings = settings
        self._tried: set[int] = set()  # started ahead once, whatever the outcome

    @property
    def live_version(self) -> VersionController | None:
        return None if self.live is None else self.versions.get(self.live)

    def entry(self) -> ModelEntry:
        latest = max(self.versions)
        live = self.live
        if self.asked is not None:
            latest = self.asked if self.asked in self.versions else latest
        elif live is None and self.versions[latest].rejected:
            target = self._target()
            live = None if target is None else target.record.version
        return ModelEntry(self.name, latest, live, {number: v.entry() for number, v in sorted(self.versions.items())})

    def settle(self) -> None:
        """Decide which version answers and which should run. Idempotent."""
        live = self.live_version
        if self.live is not None and (live is None or live.rejected):
            self.live = live = None
            self._tried.difference_update(number for number, v in self.versions.items() if v.was_live)
        target = self._target()
        if target is None or target is live:
            return
        number = target.record.version
        if target.state == "live":
            log.info("%s: answers for %s", target.id, self.name)
            self.live = number
            if live is not None and live.record.version not in self.pinned:
                live.stop()
            self._stop_overtaken(number)
        elif self._settings.start == "first-use" and (live is None or live.replicas is None):
            self.live = number
        elif number not in self._tried:
            self._tried.add(number)
            target.start(urgent=live is not None and live.replicas is not None)

    def _stop_overtaken(self, by: int) -> None:
        """Stop older versions that were overtaken while they started and that had no requests."""
        for number, version in self.versions.items():
            if number < by and number not in self.pinned and version.wanted and not version.last_used:
                self._tried.discard(number)
                version.stop()

    def pin(self, numbers: frozenset[int]) -> None:
        """Set the versions that services name: new ones start; ones no longer named stop when idle."""
        new, self.pinned = numbers - self.pinned, numbers
        if self._settings.start == "ahead":
            for number in new & self.versions.keys():
                self._tried.add(number)
                self.versions[number].start()

    async def unload(self) -> None:
        """Stop all versions until `load`, or until a new one is registered. Returns when accepted requests are
        answered."""
        for version in self.versions.values():
            version.unload()
        await asyncio.gather(*(version.stopped() for version in self.versions.values()))

    def load(self) -> None:
        """Start the answering version and those that services name, and allow starts of the others."""
        for version in self.versions.values():
            version.load()
        for number in {self.entry().current.version, *self.pinned}:
            self.versions[number].start(urgent=True)

    def crowded_out(self) -> list[VersionController]:
        """Versions that should run and did not fit when they were to start."""
        target = self._target()
        numbers = self.pinned if target is None else self.pinned | {target.record.version}
        found = [self.versions[number] for number in numbers & self.versions.keys()]
        return [version for version in found if version.crowded_out and not version.wanted]

    def forget_attempt(self, number: int) -> None:
        """Allow another start ahead: its limits or environment changed."""
        self._tried.discard(number)

    def left_behind(self) -> list[int]:
        """Versions that the service no longer names and that no longer answer for it."""
        if self.asked is None:
            return []
        return [number for number in self.versions if number not in {self.asked, self.live}]

    def _target(self) -> VersionController | None:
        if self.asked is not None:
            asked = self.versions.get(self.asked)
            return None if asked is None or asked.rejected else asked
        usable = [number for number, version in self.versions.items() if not version.rejected]
        return self.versions[max(usable)] if usable else None
