"""The routing table: what was published is what is looked up, and only what changed travels."""

import orjson
import pytest

from gateway.ipc.routing_table import ChildAddress, LastDeath, ModelEntry, Publisher, RoutingTable, VersionEntry


def version(name: str, number: int, *children: int, **values: object) -> VersionEntry:
    addresses = tuple(ChildAddress(child, f"/run/{child}") for child in children)
    return VersionEntry(name=name, version=number, state="live", children=addresses, **values)  # type: ignore[arg-type]


def model(name: str, *versions: VersionEntry, live: int | None = 1) -> ModelEntry:
    return ModelEntry(name, max(v.version for v in versions), live, {v.version: v for v in versions})


def over_the_wire(message: object) -> dict[str, object]:
    return dict(orjson.loads(orjson.dumps(message)))


@pytest.fixture
def publisher() -> Publisher:
    return Publisher()


def test_what_was_published_is_looked_up_by_name_and_version(publisher: Publisher) -> None:
    death = LastDeath("memory", "model iris:2 exceeded its memory limit", 0.5, 0.51)
    first = version("iris", 1, 7, 8, description={"classes": [0, 1]}, tags={"a": "b"}, cpu=2.0)
    second = version("iris", 2, last_death=death)
    message = publisher.update({"iris": model("iris", first, second)}, "iris", frozenset({"ab"}))
    table = RoutingTable()
    assert table.apply(over_the_wire(message)) == {"iris"}
    assert table.version("iris") == table.version("iris", 1) == first
    assert table.version("iris", 2) == second
    assert table.version("iris", 3) is None
    assert table.version("other") is None
    assert table.model("iris") == model("iris", first, second)
    assert (table.default, table.revision) == ("iris", 1)
    assert table.keys == frozenset({"ab"})
    assert table.children() == {7, 8}


def test_a_model_without_a_live_version_answers_with_its_latest() -> None:
    entry = model("iris", version("iris", 1), version("iris", 2), live=None)
    assert entry.current.version == 2


def test_only_what_changed_is_sent(publisher: Publisher) -> None:
    iris, wine = model("iris", version("iris", 1, 1)), model("wine", version("wine", 1, 2))
    publisher.update({"iris": iris, "wine": wine}, "iris", None)
    assert publisher.update({"iris": iris, "wine": wine}, "iris", None) is None
    assert publisher.update({"other": None}, "iris", None) is None
    swapped = model("wine", version("wine", 1, 3))
    message = publisher.update({"wine": swapped}, "iris", None)
    assert message is not None
    assert (message["revision"], set(message["set"]), message["remove"]) == (2, {"wine"}, [])


def test_a_removed_model_is_gone_and_a_late_process_gets_the_whole_table(publisher: Publisher) -> None:
    iris, wine = model("iris", version("iris", 1, 1)), model("wine", version("wine", 1, 2))
    table = RoutingTable()
    table.apply(over_the_wire(publisher.update({"iris": iris, "wine": wine}, "iris", None)))
    assert table.apply(over_the_wire(publisher.update({"iris": None}, "wine", None))) == {"iris"}
    late = RoutingTable()
    late.apply(over_the_wire(publisher.whole()))
    assert late.models == table.models == {"wine": wine}
    assert late.revision == table.revision == 2


def test_an_empty_table_is_published_once(publisher: Publisher) -> None:
    assert publisher.update({}, None, None) is not None
    assert publisher.update({}, None, None) is None
    assert publisher.update({}, None, frozenset()) is not None
