"""The arithmetic of running and resting, against a clock and a group that exist only here."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.limits.duty_cycle import DutyCycle


def simulate(
    cores: float, parallel: float, seconds: float, late: float = 0.0, busy: float = 1.0
) -> tuple[float, float]:
    """(cores used, share of time at rest) of a group that would use `busy` of `parallel` CPUs."""
    now = used = 0.0
    duty = DutyCycle(cores, parallel, now, used)
    while now < seconds:
        wait = duty.step(now, used) + late
        used += 0.0 if duty.resting else wait * parallel * busy
        now += wait
    duty.step(now, used)
    return used / now, duty.rested_seconds / now


@given(cores=st.floats(0.05, 7.5), extra=st.floats(0.0, 8.0), late=st.floats(0.0, 0.02))
def test_what_spins_uses_its_limit_however_late_we_look(cores: float, extra: float, late: float) -> None:
    parallel = max(1.0, cores + extra)
    used, _ = simulate(cores, parallel, 30.0, late)
    assert used == pytest.approx(cores, rel=0.05, abs=0.02)


def test_half_a_core_rests_half_of_the_time_in_short_pauses() -> None:
    used, rested = simulate(0.5, 1.0, 10.0)
    assert used == pytest.approx(0.5, abs=0.02)
    assert rested == pytest.approx(0.5, abs=0.02)


def test_who_stays_below_the_limit_never_rests() -> None:
    used, rested = simulate(0.5, 1.0, 10.0, busy=0.4)
    assert used == pytest.approx(0.4)
    assert rested == 0.0


def test_a_limit_of_all_the_cpus_it_is_pinned_to_needs_no_rest() -> None:
    used, rested = simulate(2.0, 2.0, 10.0)
    assert used == pytest.approx(2.0)
    assert rested == 0.0


def test_what_was_saved_up_in_an_idle_hour_is_one_short_burst() -> None:
    duty = DutyCycle(0.5, 1.0, 0.0, 0.0)
    duty.step(3600.0, 0.0)
    assert not duty.resting
    duty.step(3600.05, 0.05)
    assert duty.resting
