"""What every metadata store must do. A subclass gives the backend: `reopen` opens the same store once more."""

import json
import math
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from registry.errors import (
    EnvironmentNotFound,
    InvalidArgument,
    ModelInUse,
    ModelNotFound,
    RunNotFound,
    ServiceNotFound,
)
from registry.records import Artifact, MetricRecord, ModelVersion, RunRecord, ServiceRecord
from registry.resources import ResourceConfiguration
from registry.stores.base import MetadataStore

NOW = datetime(2026, 11, 23, 19, 50, 0, 123456, tzinfo=UTC)
DIGEST = "ab" * 32
ODD_TEXT = "naïve ☃ \x00 \n 'quote\" \\ %s :name ${x}"


def draft(name: str = "iris", **values: Any) -> ModelVersion:
    artifact = Artifact(digest=DIGEST, size=2**33 + 1, kind="file", name="model.joblib", format="joblib")
    return ModelVersion(name=name, version=0, created_time=NOW, artifact=artifact, **values)


def run(run_id: str = "exp_1", experiment: str = "exp", **values: Any) -> RunRecord:
    return RunRecord(id=run_id, experiment=experiment, number=0, status="NotStarted", created_time=NOW, **values)


def metric(sequence: int, value: object = 0.5, run_id: str = "exp_1") -> MetricRecord:
    return MetricRecord(run_id=run_id, sequence=sequence, time=NOW, name="Accuracy", kind="scalar", value=value)


def service(name: str = "iris-service", models: tuple[str, ...] = ("iris",), **values: Any) -> ServiceRecord:
    return ServiceRecord(name=name, models=models, created_time=NOW, updated_time=NOW, **values)


class MetadataStoreSuite:
    @pytest.fixture
    def reopen(self) -> Iterator[Callable[[], MetadataStore]]:
        raise pytest.UsageError("a subclass gives the backend")

    @pytest.fixture
    def store(self, reopen: Callable[[], MetadataStore]) -> MetadataStore:
        return reopen()

    # models

    def test_versions_count_from_one_for_each_name(self, store: MetadataStore) -> None:
        given = [store.add_model(draft(name)).id for name in ("iris", "wine", "iris")]
        assert given == ["iris:1", "wine:1", "iris:2"]

    def test_a_model_reads_back_as_it_was_written(
        self, store: MetadataStore, reopen: Callable[[], MetadataStore]
    ) -> None:
        full = draft(
            framework="ScikitLearn",
            framework_version="0.19.1",
            description="naïve ☃ \n 'quote\" \\ %s :name ${x}",
            tags={"a": ODD_TEXT, "empty": ""},
            properties={"k": "v"},
            resource_configuration=ResourceConfiguration(cpu=0.1, memory_in_gb=0.3),
            run_id="exp_1",
            experiment_name="exp",
            created_by="ann",
            environment="12" * 32,
            code="34" * 32,
            sample="56" * 32,
            sample_name="sample.csv",
            golden="78" * 32,
            facts={"modules": ["sklearn"], "min_python": [3, 8], "nested": {"x": None}},
            settings={"batching": False, "limit": 1e-17},
        )
        added = store.add_model(full)
        assert added == replace(full, version=1)
        assert store.get_model("iris") == added
        assert reopen().get_model("iris", 1) == added
        assert store.get_model("iris").created_time.utcoffset() == timedelta(0)

    def test_the_latest_version_is_given_when_none_is_named(self, store: MetadataStore) -> None:
        for _ in range(11):
            store.add_model(draft())
        assert store.get_model("iris").version == 11
        assert store.get_model("iris", 2).version == 2

    def test_a_model_that_is_not_there_is_named_with_what_is(self, store: MetadataStore) -> None:
        store.add_model(draft())
        with pytest.raises(ModelNotFound, match=r"'iris' version 7 .*there is: 1"):
            store.get_model("iris", 7)
        with pytest.raises(ModelNotFound, match=r"'irsi' .*there is: iris"):
            store.get_model("irsi")

    def test_models_are_listed_by_name_then_version(self, store: MetadataStore) -> None:
        for name in ("wine", "iris", *["wine"] * 10):
            store.add_model(draft(name))
        listed = [model.id for model in store.list_models()]
        assert listed == ["iris:1", *[f"wine:{n}" for n in range(1, 12)]]
        assert [model.id for model in store.list_models("iris")] == ["iris:1"]
        assert store.list_models("none") == []

    def test_a_version_number_is_never_given_twice(self, store: MetadataStore) -> None:
        store.add_model(draft())
        store.add_model(draft())
        store.delete_model("iris", 2)
        store.delete_model("iris", 1)
        assert store.list_models() == []
        assert store.add_model(draft()).version == 3

    def test_a_version_of_another_workspace_keeps_its_number(self, store: MetadataStore) -> None:
        model = replace(draft(tags={"a": "1"}), version=7)
        assert store.put_model(model) == store.put_model(model) == store.get_model("iris", 7) == model
        assert store.add_model(draft()).version == 8
        for taken in (replace(model, tags={}), replace(model, version=3)):
            with pytest.raises(InvalidArgument, match=f"iris:{taken.version}"):
                store.put_model(taken)
        assert [found.version for found in store.list_models()] == [7, 8]

    def test_a_change_sees_what_is_stored_and_is_stored(self, store: MetadataStore) -> None:
        store.add_model(draft(tags={"a": "1"}))
        changed = store.update_model("iris", 1, lambda old: replace(old, tags={**old.tags, "b": "2"}, golden=DIGEST))
        assert changed.tags == {"a": "1", "b": "2"}
        assert store.get_model("iris") == changed

    def test_a_change_that_fails_changes_nothing(self, store: MetadataStore) -> None:
        before, revision = store.add_model(draft()), store.revision()

        def fail(_old: ModelVersion) -> ModelVersion:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            store.update_model("iris", 1, fail)
        assert (store.get_model("iris"), store.revision()) == (before, revision)

    def test_a_change_cannot_rename_a_model(self, store: MetadataStore) -> None:
        store.add_model(draft())
        with pytest.raises(InvalidArgument, match="iris:1 into wine:1"):
            store.update_model("iris", 1, lambda old: replace(old, name="wine"))

    def test_two_writers_never_lose_an_update(self, reopen: Callable[[], MetadataStore]) -> None:
        stores = [reopen(), reopen()]
        stores[0].add_model(draft(tags={"n": "0"}))

        def count(store: MetadataStore) -> None:
            for _ in range(20):
                store.update_model("iris", 1, lambda old: replace(old, tags={"n": str(int(old.tags["n"]) + 1)}))

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(count, stores * 2))
        assert stores[1].get_model("iris").tags == {"n": "80"}

    def test_writers_in_threads_get_distinct_versions(self, store: MetadataStore) -> None:
        with ThreadPoolExecutor(6) as pool:
            versions = list(pool.map(lambda _: store.add_model(draft()).version, range(60)))
        assert sorted(versions) == list(range(1, 61))

    @pytest.mark.parametrize("named", ["iris", "iris:1"])
    def test_a_model_that_a_service_needs_stays(self, store: MetadataStore, named: str) -> None:
        store.add_model(draft())
        store.put_service(service(models=(named,)))
        with pytest.raises(ModelInUse, match="iris:1 is used by iris-service"):
            store.delete_model("iris", 1)
        store.delete_service("iris-service")
        store.delete_model("iris", 1)
        assert store.list_models() == []

    def test_a_service_of_the_name_does_not_need_every_version(self, store: MetadataStore) -> None:
        store.add_model(draft())
        store.add_model(draft())
        store.put_service(service(models=("iris",)))
        store.delete_model("iris", 1)
        with pytest.raises(ModelInUse):
            store.delete_model("iris", 2)

    def test_what_is_not_there_cannot_be_changed_or_deleted(self, store: MetadataStore) -> None:
        with pytest.raises(ModelNotFound):
            store.update_model("iris", 1, lambda old: old)
        with pytest.raises(ModelNotFound):
            store.delete_model("iris", 1)

    # revision

    def test_every_change_raises_the_revision(self, store: MetadataStore) -> None:
        store.add_model(draft())
        store.add_run(run())
        changes: list[Callable[[], object]] = [
            lambda: store.add_model(draft()),
            lambda: store.update_model("iris", 1, lambda old: replace(old, description="x")),
            lambda: store.delete_model("iris", 2),
            lambda: store.put_environment("env", DIGEST, {}),
            lambda: store.add_run(run("exp_2")),
            lambda: store.update_run("exp_1", lambda old: replace(old, status="Running")),
            lambda: store.add_metrics([metric(0)]),
            lambda: store.put_service(service()),
            lambda: store.put_service(service(tags={"a": "b"})),
            lambda: store.delete_service("iris-service"),
            lambda: store.set_value("key", 1),
        ]
        for change in changes:
            before = store.revision()
            change()
            assert store.revision() > before

    def test_reading_and_failing_leave_the_revision(self, store: MetadataStore) -> None:
        store.add_model(draft())
        before = store.revision()
        store.list_models()
        store.get_value("key")
        with pytest.raises(ModelNotFound):
            store.delete_model("wine", 1)
        assert store.revision() == before

    def test_a_watcher_sees_what_another_writes(self, reopen: Callable[[], MetadataStore]) -> None:
        watcher, writer = reopen(), reopen()
        before = watcher.revision()
        writer.add_model(draft())
        assert watcher.revision() > before
        assert watcher.get_model("iris").version == 1

    def test_the_revision_may_be_asked_by_several_threads(self, store: MetadataStore) -> None:
        stop = threading.Event()
        wrong: list[object] = []

        def watch() -> None:
            last = 0
            while not stop.is_set():
                now = store.revision()
                if now < last:
                    wrong.append((last, now))
                last = now

        threads = [threading.Thread(target=watch) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(30):
            store.add_model(draft())
        stop.set()
        for thread in threads:
            thread.join()
        assert wrong == []

    # environments

    def test_the_same_spec_is_the_same_version(self, store: MetadataStore) -> None:
        first = store.put_environment("env", DIGEST, {"pip": ["numpy"], "python": None})
        again = store.put_environment("env", DIGEST, {"pip": ["numpy"], "python": None})
        other = store.put_environment("env", "cd" * 32, {"pip": []})
        assert (first, first.version, other.version) == (again, 1, 2)
        assert store.get_environment("env") == other
        assert store.get_environment("env", 1) == first
        assert store.get_environment_by_digest(DIGEST).spec == {"pip": ["numpy"], "python": None}
        assert [record.version for record in store.list_environments()] == [1, 2]

    def test_an_unknown_environment_is_named(self, store: MetadataStore) -> None:
        with pytest.raises(EnvironmentNotFound, match="'env' version 3"):
            store.get_environment("env", 3)
        with pytest.raises(EnvironmentNotFound):
            store.get_environment_by_digest(DIGEST)

    # runs

    def test_runs_count_from_one_for_each_experiment(self, store: MetadataStore) -> None:
        numbers = [
            store.add_run(run(run_id, experiment)).number
            for run_id, experiment in [("a1", "a"), ("b1", "b"), ("a2", "a")]
        ]
        assert numbers == [1, 1, 2]
        assert store.list_experiments() == ["a", "b"]

    def test_a_run_reads_back_as_it_was_written(self, store: MetadataStore) -> None:
        full = run(
            start_time=NOW,
            end_time=NOW + timedelta(seconds=1),
            script="train.py",
            arguments=("--kernel", "linear"),
            target="here",
            environment=DIGEST,
            snapshot=DIGEST,
            parent="exp_0",
            type="hyperdrive",
            display_name="brave_cat",
            description="x",
            tags={"a": ODD_TEXT},
            properties={"p": "q"},
            error="it broke",
            exit_code=-9,
            pid=2**31,
            details={"logs": ["a", "b"]},
        )
        assert store.add_run(full) == replace(full, number=1)
        assert store.get_run("exp_1") == replace(full, number=1)

    def test_runs_are_listed_newest_first(self, store: MetadataStore) -> None:
        for number in range(3):
            store.add_run(replace(run(f"r{number}"), created_time=NOW + timedelta(microseconds=number)))
        store.add_run(run("child", "other", parent="r1"))
        assert [record.id for record in store.list_runs("exp")] == ["r2", "r1", "r0"]
        assert [record.id for record in store.list_runs(parent="r1")] == ["child"]
        assert len(store.list_runs()) == 4

    def test_a_run_is_changed_in_place(self, store: MetadataStore) -> None:
        store.add_run(run())
        store.update_run("exp_1", lambda old: replace(old, status="Completed", exit_code=0))
        assert (store.get_run("exp_1").status, store.get_run("exp_1").exit_code) == ("Completed", 0)
        with pytest.raises(InvalidArgument):
            store.update_run("exp_1", lambda old: replace(old, number=9))

    def test_an_unknown_run_is_named_and_a_known_id_refused(self, store: MetadataStore) -> None:
        for ask in (
            lambda: store.get_run("x"),
            lambda: store.list_metrics("x"),
            lambda: store.add_metrics([metric(0, run_id="x")]),
            lambda: store.update_run("x", lambda old: old),
        ):
            with pytest.raises(RunNotFound, match="'x'"):
                ask()
        store.add_run(run())
        with pytest.raises(InvalidArgument, match="exp_1"):
            store.add_run(run())
        assert store.add_run(run("exp_2")).number == 2  # the refused one used no number

    def test_metrics_come_in_order_and_only_once(self, store: MetadataStore) -> None:
        store.add_run(run())
        store.add_metrics([metric(2, 0.2), metric(0, 0.0)])
        store.add_metrics([metric(0, "again"), metric(1, 0.1), metric(1, "twice")])
        store.add_metrics([])
        assert [(m.sequence, m.value) for m in store.list_metrics("exp_1")] == [(0, 0.0), (1, 0.1), (2, 0.2)]

    @pytest.mark.parametrize("value", [0.1 + 0.2, 2**70, "linear", None, True, [1, "a"], {"data": [[1, 2]]}, ODD_TEXT])
    def test_a_metric_keeps_its_value(self, store: MetadataStore, value: object) -> None:
        store.add_run(run())
        store.add_metrics([metric(0, value)])
        found = store.list_metrics("exp_1")[0].value
        assert json.dumps(found) == json.dumps(value)

    def test_a_metric_may_be_nan_or_infinite(self, store: MetadataStore) -> None:
        store.add_run(run())
        store.add_metrics([metric(0, math.nan), metric(1, -math.inf)])
        nan, infinity = [found.value for found in store.list_metrics("exp_1")]
        assert math.isnan(nan)
        assert infinity == -math.inf

    # services

    def test_a_service_is_put_changed_listed_and_deleted(self, store: MetadataStore) -> None:
        first = store.put_service(service(settings={"cpu": 0.5}, tags={"a": "b"}, properties={"c": "d"}))
        later = store.put_service(replace(service("b-service", ("iris:1", "wine")), created_time=NOW + timedelta(1)))
        assert store.get_service("iris-service") == first
        assert store.list_services() == [first, later]
        store.put_service(replace(first, models=("wine:2",), description="now wine"))
        assert store.get_service("iris-service").models == ("wine:2",)
        store.delete_service("iris-service")
        assert store.list_services() == [later]

    def test_an_unknown_service_is_named(self, store: MetadataStore) -> None:
        with pytest.raises(ServiceNotFound, match="'x'"):
            store.get_service("x")
        with pytest.raises(ServiceNotFound, match="'x'"):
            store.delete_service("x")

    # values

    def test_a_value_is_none_until_it_is_set(self, store: MetadataStore) -> None:
        assert store.get_value("key") is None
        assert store.set_value("key", {"a": [1]}) == {"a": [1]}
        assert store.set_value("key", "b") == "b"
        assert store.get_value("key") == "b"

    def test_only_the_first_of_many_sets_a_value_if_absent(self, reopen: Callable[[], MetadataStore]) -> None:
        stores = [reopen(), reopen()]
        with ThreadPoolExecutor(4) as pool:
            given = pool.map(lambda n: stores[n % 2].set_value("key", n, only_if_absent=True), range(12))
        assert len(set(given)) == 1
