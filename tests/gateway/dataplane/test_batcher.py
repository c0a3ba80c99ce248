"""The batcher by itself: links are lists, time is told."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gateway.dataplane.batch_policy import BatchPolicy
from gateway.dataplane.batcher import CHECK_FROM, VersionQueue
from gateway.dataplane.collate import ReadyInputs
from gateway.dataplane.frame import Frame, Refusal
from gateway.dataplane.request_queue import ClientGone, Load, Moved, Pending
from gateway.errors import (
    DeadlineExceeded,
    InputRejected,
    MemoryLimitExceeded,
    ModelDied,
    ModelFailed,
    NotInTime,
    QueueFull,
    SchemaMismatch,
)
from gateway.ipc.routing_table import ChildAddress, LastDeath, VersionEntry
from gateway.schema.rows import NumberRows
from gateway.types import ArrayInput, FrameResult, RowsInput, ScoreRequest

READER = NumberRows(2)


class Child:
    """A link whose answers the test gives."""

    def __init__(self, number: int, queue: VersionQueue) -> None:
        self.id, self.queue = number, queue
        self.frames: deque[Frame] = deque()
        self.sent: list[np.ndarray[Any, Any]] = []
        self.closed = False
        self.computed: int | None = None  # a child that leaves no note

    def send(self, frame: Frame, method: str, inputs: ReadyInputs, checked: bool) -> None:
        assert isinstance(inputs, ArrayInput)
        self.frames.append(frame)
        self.sent.append(inputs.array)

    def close(self) -> None:
        self.closed = True

    def answer(self, output: Any = None) -> None:
        """Twice the rows, or what the test wants."""
        frame = self.frames.popleft()
        rows = self.sent[-1 - len(self.frames)]
        answer = output if isinstance(output, Refusal) else FrameResult(rows * 2 if output is None else output, 1000)
        self.queue.answered(self, frame, answer)

    def die(self) -> None:
        frames, self.frames = list(self.frames), deque()
        self.queue.lost(self, frames)


class OffloadClient:
    """A queue with what it needs round it."""

    def __init__(self, children: int = 1, policy: BatchPolicy | None = None, load: Load | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        self.released_count = 0
        self.stuck_children: list[int] = []
        self.entry = VersionEntry(
            name="m", version=1, state="live", children=tuple(ChildAddress(n, "s") for n in range(children))
        )
        self.queue = VersionQueue(self.entry, policy or BatchPolicy(), load or Load(100, 10**6), self)
        self.children = [Child(number, self.queue) for number in range(children)]
        for child in self.children:
            self.queue.connected(child)

    def wake(self, queue: VersionQueue) -> None:
        pass

    def stuck(self, child: int) -> None:
        self.stuck_children.append(child)

    def released(self) -> None:
        self.released_count += 1

    def ask(
        self, *values: Any, key: Any = "k", rows: int = 1, deadline: float = 1e9, once: bool = False, **more: Any
    ) -> asyncio.Future[Any]:
        """One request whose rows are [value, value], `rows` of them for each value."""
        data = [[value, value] for value in values for _ in range(rows)]
        request = ScoreRequest("predict", RowsInput(data, READER), len(data), 16 * len(data), key, once=once)
        answer: asyncio.Future[Any] = self.loop.create_future()
        self.queue.submit(Pending(request, answer, deadline, 1000.0, **more))
        return answer

    def update(self, **changes: Any) -> None:
        fields = {name: getattr(self.entry, name) for name in self.entry.__dataclass_fields__}
        self.entry = VersionEntry(**(fields | changes))
        self.queue.update(self.entry, self.queue.policy)

    @property
    def child(self) -> Child:
        return self.children[0]


def run(test: Callable[[], Any]) -> None:
    asyncio.run(test())


async def turn() -> None:
    """Let what was scheduled happen."""
    for _ in range(3):
        await asyncio.sleep(0)


def values(answer: asyncio.Future[Any]) -> list[list[float]]:
    got = answer.result().values()
    assert isinstance(got, list)
    return got


def test_a_lone_request_is_sent_before_submit_returns() -> None:
    """Lesson: batching that punishes a lone caller."""

    async def test() -> None:
        desk = OffloadClient()
        answer = desk.ask(3)
        assert len(desk.child.frames) == 1
        desk.child.answer()
        assert values(answer) == [[6, 6]]

    run(test)


def test_rows_that_arrive_while_the_child_computes_travel_in_its_next_frame() -> None:
    async def test() -> None:
        desk = OffloadClient()
        answers = [desk.ask(n) for n in range(5)]
        await turn()
        assert [len(frame.batch) for frame in desk.child.frames] == [1, 4]
        late = [desk.ask(n) for n in range(5, 8)]
        await turn()
        assert len(desk.child.frames) == 2, "at most two frames are outstanding"
        desk.child.answer()
        assert [len(frame.batch) for frame in desk.child.frames] == [4, 3]
        desk.child.answer()
        desk.child.answer()
        assert [values(answer) for answer in answers + late] == [[[2 * n, 2 * n]] for n in range(8)]

    run(test)


def test_limits_of_rows_and_bytes_are_kept_but_a_larger_request_goes_alone() -> None:
    async def test() -> None:
        desk = OffloadClient(policy=BatchPolicy(rows=4, nbytes=10**6))
        desk.ask(0)
        asked = [desk.ask(n, rows=count) for n, count in ((1, 2), (2, 2), (3, 1), (4, 9), (5, 1))]
        await turn()
        while desk.child.frames:
            desk.child.answer()
        assert [len(rows) for rows in desk.child.sent] == [1, 4, 1, 9, 1]
        assert all(answer.done() for answer in asked)
        small = OffloadClient(policy=BatchPolicy(rows=1000, nbytes=40))
        for n in range(5):
            small.ask(n)
        await turn()
        small.child.answer()
        assert [len(rows) for rows in small.child.sent] == [1, 2, 2]

    run(test)


def test_only_equal_keys_share_a_frame_and_no_key_starves() -> None:
    async def test() -> None:
        desk = OffloadClient(policy=BatchPolicy(rows=2))
        desk.ask(0)
        desk.ask(0)
        await turn()
        popular = [desk.ask(n, key="popular") for n in range(1, 7)]
        rare = desk.ask(99, key="rare")
        lone = [desk.ask(n, key=None) for n in (100, 101)]
        await turn()
        for _ in range(5):
            desk.child.answer()
        assert rare.done()
        while desk.child.frames:
            desk.child.answer()
        for rows in desk.child.sent:
            kinds = {"lone" if value >= 100 else "rare" if value == 99 else "popular" for value in rows[:, 0]}
            assert len(kinds) == 1
            assert len(rows) == 1 or kinds == {"popular"}
        assert all(answer.done() for answer in (*popular, *lone))

    run(test)


def test_a_cancelled_or_gone_caller_takes_nobody_along() -> None:
    class Source:
        disconnected = True

    async def test() -> None:
        desk = OffloadClient()
        desk.ask(0)
        desk.ask(0)
        await turn()
        first, gone, second, third = desk.ask(1), desk.ask(2, source=Source()), desk.ask(3), desk.ask(4)
        second.cancel()
        desk.child.answer()
        third.cancel()  # after its rows were sent
        desk.child.answer()
        desk.child.answer()
        assert values(first) == [[2, 2]]
        assert isinstance(gone.exception(), ClientGone)
        assert [len(rows) for rows in desk.child.sent] == [1, 1, 2]

    run(test)


def test_the_guilty_one_of_a_refused_batch_fails_alone() -> None:
    async def test() -> None:
        desk = OffloadClient()
        desk.ask(0)
        answers = [desk.ask(n) for n in (1, 13, 2)]
        await turn()
        desk.child.answer()
        desk.child.answer(Refusal("input", "ValueError", "no 13"))
        while desk.child.frames:
            rows = desk.child.sent[-len(desk.child.frames)]
            desk.child.answer(Refusal("input", "ValueError", "no 13") if 13 in rows else None)
        assert values(answers[0]) == [[2, 2]]
        assert values(answers[2]) == [[4, 4]]
        assert isinstance(answers[1].exception(), InputRejected)

    run(test)


def test_each_kind_of_refusal_has_its_error() -> None:
    async def test() -> None:
        desk = OffloadClient()
        for kind, error in (("input", InputRejected), ("model", ModelFailed)):
            answer = desk.ask(1)
            desk.child.answer(Refusal(kind, "E", "secret"))
            assert isinstance(answer.exception(), error)
        assert "secret" not in str(answer.exception())

    run(test)


def test_rows_that_do_not_fit_together_are_read_one_by_one() -> None:
    async def test() -> None:
        desk = OffloadClient()
        desk.ask(0)
        big = 2**53 + 1
        good, wrong, integer = desk.ask(1.5), desk.ask("x"), desk.ask(big)
        await turn()
        while desk.child.frames:
            desk.child.answer()
            await turn()
        assert values(good) == [[3.0, 3.0]]
        assert isinstance(wrong.exception(), SchemaMismatch)
        assert values(integer) == [[2 * big, 2 * big]], "an integer keeps its bits whoever travels along"

    run(test)


def test_an_answer_that_cannot_be_split_is_asked_again_alone_and_remembered() -> None:
    async def test() -> None:
        desk = OffloadClient()
        desk.ask(0)
        answers = [desk.ask(n) for n in (1, 2)]
        await turn()
        desk.child.answer(np.array([7.0]))
        desk.child.answer(np.array([7.0]))
        while desk.child.frames:
            desk.child.answer(np.array([7.0]))
        assert [answer.result().values() for answer in answers] == [[7.0], [7.0]]
        later = [desk.ask(n) for n in range(4)]
        await turn()
        assert all(len(frame.batch) == 1 for frame in desk.child.frames)
        while desk.child.frames:
            desk.child.answer(np.array([7.0]))
        assert all(answer.done() for answer in later)

    run(test)


def test_batching_can_be_off() -> None:
    async def test() -> None:
        desk = OffloadClient(policy=BatchPolicy(batching=False))
        answers = [desk.ask(n) for n in range(5)]
        await turn()
        while desk.child.frames:
            desk.child.answer()
        assert [len(rows) for rows in desk.child.sent] == [1] * 5
        assert [values(answer) for answer in answers] == [[[2 * n, 2 * n]] for n in range(5)]

    run(test)


def test_what_waits_is_bounded_by_requests_and_bytes() -> None:
    async def test() -> None:
        desk = OffloadClient(load=Load(max_requests=3, max_bytes=10**6))
        desk.ask(0)
        answers = [desk.ask(n) for n in range(3)]
        with pytest.raises(QueueFull, match="3 requests waiting"):
            desk.ask(9)
        await turn()
        desk.ask(9)
        while desk.child.frames:
            desk.child.answer()
        assert all(answer.done() for answer in answers)
        assert (desk.queue.load.requests, desk.queue.load.nbytes) == (0, 0)
        heavy = OffloadClient(load=Load(max_requests=100, max_bytes=100))
        heavy.ask(0)
        heavy.ask(1, rows=1000)  # nothing else waits, so it may
        with pytest.raises(QueueFull, match="bytes"):
            heavy.ask(2)

    run(test)


def test_in_a_crowd_what_could_not_be_in_time_is_refused_at_once() -> None:
    async def test() -> None:
        desk = OffloadClient(policy=BatchPolicy(rows=1))
        for n in range(3):
            desk.ask(n)
            desk.child.frames[0].sent_at -= 0.5  # of the 1 s that every caller here has
            desk.child.answer()
        for n in range(CHECK_FROM):  # two travel, the others wait: too long, but a few are let in all the same
            desk.ask(n)
            await turn()
        assert desk.queue.load.requests == CHECK_FROM - 2
        with pytest.raises(NotInTime, match="about 2 s, and the request's deadline is 1000 ms") as refused:
            desk.ask(9)
        assert refused.value.retry_after == 3

    run(test)


def test_a_deadline_ends_one_wait_and_drops_what_was_not_sent() -> None:
    """Lesson: no bound, no deadline."""

    async def test() -> None:
        desk = OffloadClient()
        desk.ask(0)
        desk.ask(0)
        await turn()
        short, long = desk.ask(1, deadline=10.0), desk.ask(2, deadline=20.0)
        sent = desk.child.frames[0].batch[0]
        assert desk.queue.tick(9.0)
        assert not short.done()
        desk.queue.tick(10.0)
        assert isinstance(short.exception(), DeadlineExceeded)
        assert desk.queue.load.requests == 1
        assert not long.done()
        desk.child.answer()
        desk.child.answer()
        assert desk.child.sent[-1].tolist() == [[2, 2]]
        desk.child.answer()
        assert values(long) == [[4, 4]]
        assert sent.answer.done()
        assert not desk.queue.tick(11.0), "nothing is left to look after"

    run(test)


def test_a_deadline_counts_for_rows_that_were_sent_too() -> None:
    async def test() -> None:
        desk = OffloadClient()
        answer = desk.ask(0, deadline=5.0)
        desk.queue.tick(5.0)
        assert isinstance(answer.exception(), DeadlineExceeded)
        desk.child.answer()

    run(test)


def test_requests_of_a_dead_childs_frame_are_asked_alone_and_the_next_frame_as_it_was() -> None:
    async def test() -> None:
        desk = OffloadClient(children=1)
        desk.ask(0)
        computed = [desk.ask(n) for n in (1, 2)]
        await turn()
        desk.child.answer()
        behind = [desk.ask(n) for n in (3, 4)]
        await turn()
        desk.child.die()
        other = Child(7, desk.queue)
        desk.queue.connected(other)
        while other.frames:
            other.answer()
        assert sorted(len(rows) for rows in other.sent) == [1, 1, 2]
        assert [values(answer) for answer in (*computed, *behind)] == [[[2 * n, 2 * n]] for n in (1, 2, 3, 4)]

    run(test)


def test_a_request_that_kills_three_children_fails_and_its_neighbours_do_not() -> None:
    async def test() -> None:
        desk = OffloadClient()
        desk.ask(0)
        good, poison = desk.ask(1), desk.ask(666)
        await turn()
        desk.child.answer()
        desk.child.die()
        deaths = 1
        for number in range(10, 20):
            if good.done() and poison.done():
                break
            desk.update(children=(ChildAddress(number, "s"),), last_death=LastDeath("signal 9", "it died"))
            child = Child(number, desk.queue)
            desk.queue.connected(child)
            await turn()
            while child.frames:
                if 666 in child.sent[-len(child.frames)]:
                    child.die()
                    deaths += 1
                else:
                    child.answer()
        assert values(good) == [[2, 2]]
        assert isinstance(poison.exception(), ModelDied)
        assert deaths == 3

    run(test)


def test_a_request_that_the_child_had_not_begun_is_not_to_blame_for_its_deaths() -> None:
    """It computed for another process, whose poisonous request killed it, as often as that was tried and of whatever it died."""

    async def test() -> None:
        desk = OffloadClient()
        answer = desk.ask(1)
        child = desk.child
        for number, cause in enumerate(("signal 9", "signal 9", "memory", "signal 9"), 10):
            assert len(child.frames) == 1
            child.computed = child.frames[0].id + 1
            assert not desk.queue.asked(child, list(child.frames))
            child.die()
            desk.update(children=(ChildAddress(number, "s"),), last_death=LastDeath(cause, "it died"))
            child = Child(number, desk.queue)
            desk.queue.connected(child)
            await turn()
        child.answer()
        assert values(answer) == [[2, 2]]

    run(test)


def test_the_frame_that_the_child_had_begun_is_the_one_to_blame() -> None:
    async def test() -> None:
        desk = OffloadClient()
        first, second = desk.ask(1), desk.ask(2, key="other")
        await turn()
        child = desk.child
        child.computed = child.frames[1].id  # the first one's answer was lost on its way
        assert desk.queue.asked(child, list(child.frames))
        child.die()
        desk.update(children=(ChildAddress(7, "s"),), last_death=LastDeath("memory", "it died", 0.5, 0.5))
        other = Child(7, desk.queue)
        desk.queue.connected(other)
        await turn()
        while other.frames:
            other.answer()
        assert values(first) == [[2, 2]]
        assert isinstance(second.exception(), MemoryLimitExceeded)

    run(test)


def test_a_death_by_memory_answers_the_lone_request_at_once() -> None:
    async def test() -> None:
        desk = OffloadClient(children=2)
        answer = desk.ask(15)
        desk.child.die()
        await turn()
        assert not answer.done(), "first the supervisor says what it died of"
        assert not desk.children[1].frames
        death = LastDeath("memory", "…", limit_gb=0.5, peak_gb=0.51)
        desk.update(children=(ChildAddress(1, "s"),), last_death=death)
        error = answer.exception()
        assert isinstance(error, MemoryLimitExceeded)
        assert "0.5 GB" in str(error)
        assert "0.51 GB" in str(error)

    run(test)


def test_a_child_that_says_it_has_no_memory_gets_nothing_more_and_its_peak_is_told() -> None:
    async def test() -> None:
        desk = OffloadClient(children=2)
        answer = desk.ask(15)
        desk.child.answer(Refusal("memory", "MemoryError", ""))
        assert not answer.done(), "the supervisor knows the peak"
        other = desk.ask(1)
        assert len(desk.children[1].frames) == 1
        desk.children[1].answer()
        assert values(other) == [[2, 2]]
        desk.child.die()
        desk.update(children=(ChildAddress(1, "s"),), last_death=LastDeath("memory", "…", limit_gb=0.5, peak_gb=0.51))
        assert "0.51 GB" in str(answer.exception())

        silent = OffloadClient()
        answer = silent.ask(15)
        silent.child.answer(Refusal("memory", "MemoryError", ""))
        silent.queue.tick(silent.loop.time() + 1)
        assert isinstance(answer.exception(), MemoryLimitExceeded)

    run(test)


def test_what_was_behind_a_request_without_memory_is_not_suspected() -> None:
    async def test() -> None:
        desk = OffloadClient()
        hungry, behind = desk.ask(15), desk.ask(1)
        await turn()
        desk.child.answer(Refusal("memory", "MemoryError", ""))
        desk.child.die()
        death = LastDeath("memory", "…", limit_gb=0.5, peak_gb=0.51)
        desk.update(children=(ChildAddress(9, "s"),), last_death=death)
        child = Child(9, desk.queue)
        desk.queue.connected(child)
        child.answer()
        assert values(behind) == [[2, 2]]
        assert isinstance(hungry.exception(), MemoryLimitExceeded)

    run(test)


def test_a_lone_request_does_not_wait_for_ever_for_the_verdict() -> None:
    async def test() -> None:
        desk = OffloadClient(children=2)
        answer = desk.ask(1)
        desk.child.die()
        assert desk.queue.tick(desk.loop.time() + 0.1)
        assert not desk.children[1].frames
        desk.queue.tick(desk.loop.time() + 60)
        await turn()
        desk.children[1].answer()
        assert values(answer) == [[2, 2]]

    run(test)


def test_a_frame_that_computes_too_long_has_its_child_replaced() -> None:
    async def test() -> None:
        desk = OffloadClient(policy=BatchPolicy(max_compute_s=5))
        answer = desk.ask(17)
        now = desk.loop.time()
        desk.queue.tick(now + 4)
        assert not desk.stuck_children
        desk.queue.tick(now + 6)
        desk.queue.tick(now + 7)
        assert desk.stuck_children == [0]
        assert isinstance(answer.exception(), DeadlineExceeded)

    run(test)


def test_the_time_of_a_frame_starts_when_it_is_its_turn() -> None:
    async def test() -> None:
        desk = OffloadClient(policy=BatchPolicy(max_compute_s=5))
        desk.ask(1)
        desk.ask(2)
        await turn()
        desk.child.frames[1].sent_at -= 100
        desk.child.answer()
        desk.queue.tick(desk.loop.time())
        assert not desk.stuck_children

    run(test)


def test_a_retired_child_finishes_what_was_accepted_and_says_when_it_is_idle() -> None:
    async def test() -> None:
        desk = OffloadClient()
        desk.ask(0)
        desk.ask(0)
        await turn()
        accepted = desk.ask(1)
        desk.queue.retire(desk.child)
        assert desk.queue.busy() == [0]
        desk.child.answer()
        desk.child.answer()
        assert desk.queue.busy() == [0]
        assert desk.released_count == 0
        desk.child.answer()
        assert values(accepted) == [[2, 2]]
        assert desk.child.closed
        assert desk.released_count == 1
        assert desk.queue.busy() == []

    run(test)


def test_a_retired_child_gets_nothing_where_another_one_is_live() -> None:
    async def test() -> None:
        desk = OffloadClient(children=2)
        desk.queue.retire(desk.child)
        for n in range(6):
            desk.ask(n)
        await turn()
        assert not desk.child.sent
        assert len(desk.children[1].frames) == 2

    run(test)


def test_what_waits_can_be_refused_or_sent_elsewhere() -> None:
    async def test() -> None:
        desk = OffloadClient(children=1)
        desk.child.die()
        default, pinned = desk.ask(1), desk.ask(2, movable=False)
        desk.queue.refuse(lambda pending: Moved() if pending.movable else None)
        assert isinstance(default.exception(), Moved)
        child = Child(5, desk.queue)
        desk.queue.connected(child)
        child.answer()
        assert values(pinned) == [[4, 4]]

    run(test)


def test_what_may_not_be_asked_twice_is_not_sent_elsewhere_after_it_was_begun() -> None:
    async def test() -> None:
        desk = OffloadClient()
        script = desk.ask(1, once=True)
        desk.child.die()
        again = desk.ask(2)
        desk.queue.refuse(lambda _: Moved())
        assert isinstance(script.exception(), ModelDied)
        assert isinstance(again.exception(), Moved)

    run(test)


def test_two_children_share_the_work() -> None:
    async def test() -> None:
        desk = OffloadClient(children=2, policy=BatchPolicy(rows=1))
        for n in range(4):
            desk.ask(n)
        await turn()
        assert [len(child.frames) for child in desk.children] == [2, 2]

    run(test)


def test_a_frame_that_cannot_be_formed_is_answered_and_the_next_one_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        desk = OffloadClient()
        first = desk.ask(1)
        monkeypatch.setattr(Child, "send", lambda *_: _raise(MemoryError("no memory for the frame")))
        waiting = [desk.ask(2), desk.ask(3)]
        await turn()
        monkeypatch.undo()
        assert all(isinstance(answer.exception(), MemoryError) for answer in waiting)
        desk.child.answer()
        assert values(first) == [[2, 2]]
        last = desk.ask(4)
        await turn()
        desk.child.answer()
        assert values(last) == [[8, 8]]

    run(test)


def _raise(error: Exception) -> None:
    raise error
