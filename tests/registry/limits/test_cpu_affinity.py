from registry.limits.cpu_affinity import Pins


def test_groups_are_spread_over_the_cpus() -> None:
    pins = Pins(range(4))
    assert len({pins.take(group, 1) for group in range(4)}) == 4


def test_who_may_use_all_is_not_pinned() -> None:
    pins = Pins(range(2))
    assert pins.take(1, 2) == pins.take(2, 5) == frozenset({0, 1})


def test_two_busy_groups_do_not_stay_on_one_cpu() -> None:
    pins = Pins(range(2))
    at = {group: pins.take(group, 1) for group in range(4)}
    together = [group for group in at if at[group] == at[0]]
    assert len(together) == 2
    moved = pins.balance(dict.fromkeys(together, 1.0))
    assert len(moved) == 1
    assert at[0] not in moved.values()


def test_what_is_well_spread_stays() -> None:
    pins = Pins(range(2))
    pins.take(1, 1)
    pins.take(2, 1)
    assert pins.balance({1: 1.0, 2: 1.0}) == {}
    assert pins.balance({1: 0.1, 2: 0.1}) == {}


def test_a_dropped_group_leaves_its_place() -> None:
    pins = Pins(range(2))
    first = pins.take(1, 1)
    pins.take(2, 1)
    pins.drop(1)
    assert pins.take(3, 1) == first
