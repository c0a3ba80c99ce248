"""Golden rows are recorded at home: in the environment that a version was trained in, else in the one it was registered for.

A version that is first loaded elsewhere, because a service has an environment of its own or another one was chosen since the
run, would have nothing to be compared with but itself. So it is loaded at home before, once, recorded and ended.
"""

import logging
from collections.abc import Callable
from dataclasses import replace

from gateway.supervisor.version import VersionController
from gateway.supervisor.version_host import Host, NoRoomNow
from gateway.supervisor.version_state import VersionState
from registry.records import TRAINED_IN, ModelVersion

log = logging.getLogger("fitserve.supervisor")


class BaselineRecorder:
    """
    Args:
        host: what versions need of the supervisor.
        recorded: whether there are golden rows of a version.
    """

    def __init__(self, host: Host, recorded: Callable[[ModelVersion], bool]) -> None:
        self._host = host
        self._recorded = recorded
        self._running: set[VersionController] = set()

    async def before(self, version: VersionState, registered: VersionController | None) -> str | None:
        """Have the answers recorded that `version` is to be compared with, where it is about to be loaded away from home.

        Args:
            registered: the same version as its model has it, which may be loading at this moment.

        Returns:
            Why there are none, so that what it answers away from home must not be recorded instead; None where all is well.

        Raises:
            NoRoomNow: its memory at home is promised to others.
        """
        home = in_own_environment(version.record if registered is None else registered.record)
        if version.record.environment == home.environment or self._settled(version.record):
            return None
        if registered is not None and registered is not version and registered.wanted:
            await registered.live()
            if self._settled(version.record):
                return None
        log.info("%s: its answers are recorded in the environment that it is from first", version.id)
        recording_run = VersionController(home, self._host, version.service)
        self._running.add(recording_run)
        try:
            recording_run.start(urgent=version.urgent)
            await recording_run.live()
            if self._recorded(home):
                return None
            if recording_run.crowded_out:
                raise NoRoomNow(str(recording_run.reason))
            why = recording_run.golden.get("unverified") or recording_run.entry().reason
            return f"its own environment recorded no answers to compare with: {why}"
        finally:
            await recording_run.close()
            self._running.discard(recording_run)

    def kill(self) -> None:
        """End everything now."""
        for recording_run in self._running:
            recording_run.kill()

    def _settled(self, record: ModelVersion) -> bool:
        """What a script answers is never compared, and answers that were registered are true anywhere."""
        settings = record.settings
        return bool(settings.get("entry_script") or settings.get("expected")) or self._recorded(record)


def in_own_environment(registered: ModelVersion) -> ModelVersion:
    """A registered version in the environment that its run had; without one, as it is."""
    trained = registered.facts.get(TRAINED_IN)
    return registered if trained is None else replace(registered, environment=trained.get("environment"))
