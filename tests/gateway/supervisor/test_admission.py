"""Admission adds up promises, and says with numbers what does not fit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.supervisor.admission import Admission, Candidate
from registry.errors import DoesNotFit
from registry.resources import GB


def test_promises_are_added_up_and_given_back() -> None:
    admission = Admission(4 * GB, GB)
    admission.promise("a", "model a:1", 2 * GB)
    with pytest.raises(DoesNotFit, match=r"model b:1 asks for 1\.5 GB of memory; 1\.00 GB of 3\.00 GB"):
        admission.promise("b", "model b:1", GB * 3 // 2)
    admission.release("a")
    admission.promise("b", "model b:1", GB * 3 // 2)
    assert admission.free == GB * 3 // 2


def test_a_key_that_asks_again_gives_up_its_old_promise() -> None:
    admission = Admission(3 * GB, 0)
    admission.promise("a", "model a:1", 2 * GB)
    admission.promise("a", "model a:1", 3 * GB)
    assert admission.free == 0
    with pytest.raises(DoesNotFit):
        admission.promise("a", "model a:1", 4 * GB)
    assert admission.promised == 3 * GB


def test_five_gb_never_fit_into_two() -> None:
    admission = Admission(2 * GB, 0)
    with pytest.raises(DoesNotFit, match=r"asks for 5 GB of memory; 2\.00 GB of 2\.00 GB"):
        admission.check("model big:1", 5 * GB)
    admission.check("model right:1", 2 * GB)


def test_the_reserve_leaves_at_least_half_of_a_small_machine() -> None:
    assert Admission(GB, 4 * GB).total == GB // 2


def test_the_least_recently_used_make_room() -> None:
    admission = Admission(3 * GB, 0)
    for key in "abc":
        admission.promise(key, key, GB)
    used = [Candidate("a", GB, 30), Candidate("b", GB, 10), Candidate("c", GB, 20)]
    chosen = admission.room_for(2 * GB, used)
    assert chosen is not None
    assert [c.key for c in chosen] == ["b", "c"]
    assert admission.room_for(4 * GB, used) is None


@given(
    st.lists(st.tuples(st.integers(1, 100), st.floats(0, 1e6)), max_size=20),
    st.integers(1, 400),
)
def test_room_is_made_with_no_needless_stop(promises: list[tuple[int, float]], asked: int) -> None:
    admission = Admission(500, 0)
    held: list[Candidate] = []
    for number, (size, used) in enumerate(promises):
        if size <= admission.free:
            admission.promise(str(number), "m", size)
            held.append(Candidate(str(number), size, used))
    chosen = admission.room_for(asked, held)
    assert chosen is not None  # 500 without any promise is more than is ever asked for
    for candidate in chosen[:-1]:
        admission.release(candidate.key)
    if chosen:
        assert admission.free < asked
        admission.release(chosen[-1].key)
    admission.promise("new", "m", asked)
