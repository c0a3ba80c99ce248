"""Deaths in a row: the pauses between starts, what starts the count anew, and what speaks against a version."""

from gateway.ipc.routing_table import LastDeath
from gateway.supervisor.backoff import RestartBackoff

KILLED = LastDeath("signal 9", "a process of model iris:1 ended")


def test_the_pause_doubles_to_ten_seconds() -> None:
    deaths = RestartBackoff()
    pauses = []
    for _ in range(10):
        deaths.note(KILLED)
        pauses.append(deaths.pause_s)
    assert pauses == [0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10]
    assert deaths.by_cause == {"signal 9": 10}


def test_a_child_that_had_answered_does_not_count() -> None:
    deaths = RestartBackoff()
    deaths.note(KILLED)
    deaths.note(KILLED, sound=True)
    assert (deaths.in_a_row, deaths.pause_s, deaths.last) == (0, 0, KILLED)


def test_the_news_of_an_answer_may_come_after_that_of_the_death() -> None:
    deaths = RestartBackoff()
    for child in range(40):
        deaths.note(KILLED, child=child)
    assert not deaths.answered(3)
    assert deaths.in_a_row == 40
    assert deaths.answered(30)
    assert deaths.in_a_row == 0


def test_requests_are_to_blame_where_a_version_is_known_to_answer_others() -> None:
    deaths = RestartBackoff()
    for child in range(30):
        deaths.note(KILLED, child=child)
        assert deaths.over_request(child)
        assert not deaths.over_request(child)  # told by another HTTP process, say
    assert deaths.against(proven=True) == 0
    assert deaths.against(proven=False) == 30
    assert deaths.pause_s == 1
    deaths.note(KILLED, child=30)
    deaths.note(KILLED)
    assert deaths.against(proven=True) == 2
    assert deaths.pause_s == 10
    deaths.start_anew()
    assert not deaths.over_request(30)
    assert deaths.against(proven=False) == 0
