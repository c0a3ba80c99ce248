"""Overload is refused at the door while there is still time, and a burst at an idle model is not."""

import asyncio

import pytest

from gateway.dataplane.batch_policy import BatchPolicy
from gateway.dataplane.latency import ServiceTimeEstimator
from gateway.errors import NotInTime
from tests.gateway.dataplane.test_batcher import OffloadClient, turn


def learnt(*frames: tuple[int, float]) -> ServiceTimeEstimator:
    pace = ServiceTimeEstimator()
    for rows, seconds in frames:
        pace.learn(rows, seconds)
    return pace


def test_nothing_is_said_before_something_was_seen() -> None:
    assert ServiceTimeEstimator().seconds(1, 1000) == 0
    assert learnt((1, 9.0), (1, 9.0)).seconds(3, 1000) == 0


def test_the_start_of_a_frame_and_its_rows_are_told_apart() -> None:
    pace = learnt(*[(rows, 0.05 + 0.001 * rows) for rows in (1, 10, 40, 90, 10, 2)])
    assert pace.start == pytest.approx(0.05)
    assert pace.each == pytest.approx(0.001)
    assert pace.seconds(2, 100) == pytest.approx(0.2)


def test_single_rows_say_nothing_against_many_together() -> None:
    pace = learnt(*[(1, 0.05)] * 10)
    assert pace.seconds(1, 500) == pytest.approx(0.05)
    assert pace.seconds(500, 500) == pytest.approx(25)


def test_frames_of_one_size_count_by_their_rows() -> None:
    assert learnt(*[(50, 0.5)] * 10).seconds(1, 100) == pytest.approx(1.0)


def test_noise_makes_no_row_cost_less_than_nothing() -> None:
    pace = learnt((1, 0.5), (100, 0.1), (1, 0.5), (100, 0.1))
    assert pace.each == 0
    assert pace.seconds(1, 100) > 0


def test_what_was_slow_once_is_forgotten() -> None:
    pace = learnt((1, 30.0), *[(1, 0.001)] * 100)
    assert pace.seconds(1, 1) < 0.01


async def slow_desk(seconds: float, policy: BatchPolicy | None = None) -> OffloadClient:
    """Its frames of one row took so long each, by the loop's clock."""
    desk = OffloadClient(policy=policy)
    for _ in range(5):
        answer = desk.ask(1)
        desk.child.frames[0].sent_at -= seconds
        desk.child.answer()
        await answer
    return desk


def test_a_request_that_would_be_late_is_refused_with_the_time_it_would_take() -> None:
    async def test() -> None:
        desk = await slow_desk(0.05, BatchPolicy(batching=False))
        accepted = [desk.ask(1) for _ in range(16)]  # within 0.8 of the second that each has
        with pytest.raises(NotInTime, match=r"about 0\.8\d* s.* deadline is 1000 ms") as refused:
            desk.ask(1)
        assert refused.value.retry_after == 1
        await turn()
        while desk.child.frames:
            desk.child.answer()
        assert all(answer.done() for answer in accepted)

    asyncio.run(test())


def test_a_burst_that_may_travel_together_is_taken() -> None:
    async def test() -> None:
        desk = await slow_desk(0.1)
        answers = [desk.ask(1) for _ in range(90)]
        await turn()
        while desk.child.frames:
            desk.child.answer()
        assert all(answer.done() for answer in answers)

    asyncio.run(test())


def test_nobody_is_refused_while_the_children_are_away() -> None:
    async def test() -> None:
        desk = await slow_desk(10, BatchPolicy(batching=False))
        desk.child.die()
        answers = [desk.ask(1) for _ in range(50)]
        assert not any(answer.done() for answer in answers)
        for answer in answers:
            answer.cancel()

    asyncio.run(test())
