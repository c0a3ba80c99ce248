"""What HTTP processes say to the supervisor, without either of them."""

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from gateway.auth.keys import Keys
from gateway.ipc.control import ControlPeer
from gateway.settings import Settings
from gateway.supervisor.supervisor import Supervisor


class Peer(ControlPeer):
    """Keeps what is answered."""

    def __init__(self) -> None:
        super().__init__(lambda *_: None, lambda _: None)
        self.refused: list[str] = []

    def refuse(self, request: Any, sentence: str, kind: str) -> None:
        self.refused.append(f"{request['id']} {kind}: {sentence}")


def test_an_error_of_ours_costs_its_question_an_answer_and_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = cast(Any, None)
    supervisor = Supervisor(nothing, Settings(), Keys(), nothing, nothing, nothing, Path())

    def failing(_: object) -> None:
        raise OSError("a file of the limit group has gone")

    monkeypatch.setattr(supervisor, "_status", failing)
    peer = Peer()
    supervisor._received(peer, {"op": "status", "id": 7, "model": "iris"})
    assert peer.refused == ["7 failed: an internal error of the gateway; its log has the traceback"]
    supervisor._received(peer, {"op": "used", "versions": 3})  # a note gets no answer
    assert len(peer.refused) == 1


@pytest.mark.parametrize(("question", "work"), [("want", "_want"), ("metrics", "_metrics")])
def test_who_waits_hears_of_an_error_of_ours(monkeypatch: pytest.MonkeyPatch, question: str, work: str) -> None:
    nothing = cast(Any, None)
    supervisor = Supervisor(nothing, Settings(), Keys(), nothing, nothing, nothing, Path())
    peer = Peer()

    async def failing(*_: object) -> None:
        await asyncio.sleep(0)
        raise OSError("a file of the limit group has gone")

    async def story() -> None:
        monkeypatch.setattr(supervisor, work, failing)
        supervisor._received(peer, {"op": question, "id": 8, "model": "iris", "version": 1})
        await asyncio.wait(supervisor._wants)

    asyncio.run(story())
    assert peer.refused == ["8 failed: an internal error of the gateway; its log has the traceback"]
