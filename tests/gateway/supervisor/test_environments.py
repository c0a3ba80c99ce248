"""Interpreters for versions: a builder that cannot be started is a sentence, and leaves nothing open."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from gateway.supervisor.environments import EnvironmentNotReady, Interpreters
from gateway.supervisor.reaper import Reaper
from registry.serving_environment import ServingEnvironment


def test_a_builder_that_cannot_be_started_is_a_sentence_and_leaves_no_pipe_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        reaper = Reaper()
        reaper.start()
        try:
            wanted = ServingEnvironment("named", "it was asked for", spec={"pip": ["numpy"]}, name="scientific")
            interpreters = Interpreters(tmp_path / "interpreters", reaper)
            monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
            before = len(os.listdir("/proc/self/fd"))
            with pytest.raises(EnvironmentNotReady, match=r"'scientific' could not be built: .*: No such file"):
                await interpreters.get(wanted, lambda _: None)
            assert len(os.listdir("/proc/self/fd")) == before
        finally:
            reaper.stop()

    asyncio.run(story())
