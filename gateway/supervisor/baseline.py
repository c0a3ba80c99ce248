"""Baseline recording: golden rows are recorded in the environment in which a version was trained, else registered.

A version that is first loaded in another environment, because its service names one or another was chosen after the
run, would otherwise only be compared with itself. So it is loaded once in its own environment, recorded and ended
before.
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
        recorded: whether golden rows of a version were recorded.
    """

    def __init__(self, host: Host, recorded: Callable[[ModelVersion], bool]) -> None:
        self._host = host
        self._recorded = recorded
        self._running: set[VersionController] = set()

    async def before(self, version: VersionState, registered: VersionController | None) -> str | None:
        """Record the answers that `version` is to be compared with, if it is about to be loaded in another environment.

        Args:
            registered: the model's own copy of the version, which may be loading at this moment.

        Returns:
            Why there are none, in which case the answers in the other environment must not be recorded instead; else None.

        Raises:
            NoRoomNow: the memory for the recording run is promised to others.
        """
        home = in_own_environment(version.record if registered is None else registered.record)
        if version.record.environment == home.environment or self._settled(version.record):
            return None
        if registered is not None and registered is not version and registered.wanted:
            await registered.live()
            if self._settled(version.record):
                return None
        log.info("%s: recording its answers in its own environment first", version.id)
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
        """Scripts' answers are never compared, and answers given at registration hold in any environment."""
        settings = record.settings
        return bool(settings.get("entry_script") or settings.get("expected")) or self._recorded(record)


def in_own_environment(registered: ModelVersion) -> ModelVersion:
    """A registered version with its run's environment; unchanged if it has no run."""
    trained = registered.facts.get(TRAINED_IN)
    return registered if trained is None else replace(registered, environment=trained.get("environment"))
