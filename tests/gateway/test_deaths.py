"""Deaths in a row: the pauses between starts, and what starts the count anew."""

from gateway.deaths import Deaths
from gateway.table import LastDeath

KILLED = LastDeath("signal 9", "a process of model iris:1 ended")


def test_the_pause_doubles_to_ten_seconds() -> None:
    deaths = Deaths()
    pauses = []
    for _ in range(10):
        deaths.note(KILLED, sound=False)
        pauses.append(deaths.pause_s)
    assert pauses == [0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10]
    assert deaths.by_cause == {"signal 9": 10}


def test_a_child_that_had_answered_does_not_count() -> None:
    deaths = Deaths()
    deaths.note(KILLED, sound=False)
    deaths.note(KILLED, sound=True)
    assert (deaths.in_a_row, deaths.pause_s, deaths.last) == (0, 0, KILLED)


def test_the_news_of_an_answer_may_come_after_that_of_the_death() -> None:
    deaths = Deaths()
    for child in range(40):
        deaths.remember(child)
        deaths.note(KILLED, sound=False)
    assert not deaths.answered(3)
    assert deaths.in_a_row == 40
    assert deaths.answered(30)
    assert deaths.in_a_row == 0
