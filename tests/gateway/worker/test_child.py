"""Real children: what they load, what they answer, what they say when they cannot."""

import asyncio
import os
import pickle
import socket
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_diabetes
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC

from gateway.supervisor.worker_client import ScoringClient, ScoringError
from gateway.supervisor.worker_process import ChildFailed, ChildHandle
from gateway.worker import wire
from tests.gateway.worker.models import (
    IRIS,
    LABELS,
    Stored,
    custom,
    dumped,
    iris_forest,
    iris_svc,
    pickled,
    rows,
    stored,
)
from tests.gateway.worker.nest import Nest, open_descriptors
from tests.waiting import until


def ask(place: Nest, model: Stored, method: str, X: np.ndarray[Any, Any], **options: Any) -> Any:
    async def work() -> Any:
        async with place.serving(model, **options) as (_, client):
            return await client.array(method, X)

    return place.run(work())


def refused(place: Nest, model: Stored, **order: Any) -> ChildFailed:
    async def work() -> ChildFailed:
        child = await place.fork()
        with pytest.raises(ChildFailed) as raised:
            await child.go(model.order(place.socket(), **order), 20)
        await child.exited
        return raised.value

    return place.run(work())


@pytest.mark.parametrize("fresh", [False, True], ids=["forked", "fresh"])
def test_an_svc_answers_as_it_does_here(place: Nest, tmp_path: Path, fresh: bool) -> None:
    model = iris_svc(tmp_path)
    answer = ask(place, model, "predict", rows(150), fresh=fresh)
    assert answer.dtype == LABELS.dtype
    assert (answer == LABELS).mean() > 0.9
    assert (answer == model.model.predict(rows(150))).all()


def test_a_forest_made_with_all_cores_is_served_with_one(place: Nest, tmp_path: Path) -> None:
    model = iris_forest(tmp_path)

    async def work() -> tuple[Any, int]:
        async with place.serving(model) as (child, client):
            answer = await client.array("predict_proba", rows(50))
            return answer, len(os.listdir(f"/proc/{child.pid}/task"))

    answer, threads = place.run(work())
    model.model.n_jobs = 1
    assert (answer == model.model.predict_proba(rows(50))).all()
    assert threads == 1


def test_a_pipeline_with_names_takes_columns_in_any_order(place: Nest, tmp_path: Path) -> None:
    """Lesson: columns."""
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    model = dumped(make_pipeline(StandardScaler(), Ridge()).fit(X, y), tmp_path)

    async def work() -> tuple[ChildHandle, Any, Any]:
        async with place.serving(model) as (child, client):
            shuffled = list(X.columns[::-1])
            by_name = await client.columns("predict", shuffled, [X[name].to_numpy() for name in shuffled])
            return child, by_name, await client.array("predict", X.to_numpy())

    child, by_name, by_position = place.run(work())
    assert child.description is not None
    assert child.description["feature_names"] == list(X.columns)
    assert np.allclose(by_name, model.model.predict(X), rtol=1e-12)
    assert (by_name == by_position).all()
    assert not any("feature names" in line for line in child.log.lines())


def mixed_model() -> tuple[Any, pd.DataFrame]:
    frame = pd.DataFrame({"city": ["Bern", "Rome", "Bern", "Oslo"], "size": [1.0, 2.0, 3.0, 4.0]})
    parts = ColumnTransformer([("c", OneHotEncoder(), ["city"]), ("s", StandardScaler(), ["size"])])
    return make_pipeline(parts, LogisticRegression()).fit(frame, ["a", "b", "a", "b"]), frame


def test_text_columns_reach_a_column_transformer(place: Nest, tmp_path: Path) -> None:
    fitted, frame = mixed_model()
    model = dumped(fitted, tmp_path)

    async def work() -> tuple[Any, str, str]:
        async with place.serving(model) as (_, client):
            columns = [frame["size"].to_numpy(), frame["city"].to_numpy(object)]
            answer = await client.columns("predict", ["size", "city"], columns)
            with pytest.raises(ScoringError) as unknown:
                await client.columns("predict", ["size", "city"], [np.ones(1), np.array(["Nowhere"], object)])
            with pytest.raises(ScoringError) as missing:
                await client.columns("predict", ["size"], [np.ones(1)])
            return answer, unknown.value.kind, missing.value.kind

    answer, unknown, missing = place.run(work())
    assert answer.tolist() == fitted.predict(frame).tolist()
    assert (unknown, missing) == ("input", "input")


def test_texts_are_a_list(place: Nest, tmp_path: Path) -> None:
    texts = ["good day", "bad night", "good night"]
    model = dumped(make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, [1, 0, 1]), tmp_path)

    async def work() -> Any:
        async with place.serving(model) as (_, client):
            return await client.values("predict_proba", texts)

    assert np.allclose(place.run(work()), model.model.predict_proba(texts), rtol=1e-12)


def test_sparse_answers_are_written_out_up_to_a_limit(place: Nest, tmp_path: Path) -> None:
    model = dumped(CountVectorizer().fit(["a1 b1 c1 d1"]), tmp_path)

    async def work() -> tuple[Any, ScoringError]:
        async with place.serving(model, dense_limit_bytes=1000) as (_, client):
            small = await client.values("transform", ["a1 a1 d1"])
            with pytest.raises(ScoringError) as raised:
                await client.values("transform", ["a1"] * 100)
            return small, raised.value

    small, error = place.run(work())
    assert small.tolist() == [[2, 0, 0, 1]]
    assert error.kind == "input"
    assert "100 rows and 4 columns" in error.message


def test_neighbours_come_as_a_tuple(place: Nest, tmp_path: Path) -> None:
    model = dumped(KNeighborsClassifier(3).fit(IRIS, LABELS), tmp_path)
    distances, indices = ask(place, model, "kneighbors", rows(4))
    expected = model.model.kneighbors(rows(4))
    assert (distances == expected[0]).all()
    assert (indices == expected[1]).all()


def test_errors_say_whose_they_are(place: Nest, tmp_path: Path) -> None:
    model = custom(
        tmp_path, "if X[0, 0] == 1: raise ValueError('no ones')\nif X[0, 0] == 2: raise KeyError('two')\nsys.exit(3)"
    )

    async def work() -> tuple[list[tuple[str, str]], list[str]]:
        async with place.serving(model) as (child, client):
            found = []
            for method, value in (
                ("predict", 1.0),
                ("predict", 2.0),
                ("predict", 3.0),
                ("fit", 1.0),
                ("__class__", 1.0),
            ):
                with pytest.raises(ScoringError) as raised:
                    await client.array(method, np.full((1, 4), value))
                found.append((raised.value.kind, raised.value.type))
            await until(lambda: any("KeyError: 'two'" in line for line in child.log.lines()))
            return found, child.log.lines()

    found, log = place.run(work())
    assert found == [
        ("input", "ValueError"),
        ("model", "KeyError"),
        ("model", "SystemExit"),
        ("method", "KeyError"),
        ("method", "KeyError"),
    ]
    assert any("Traceback" in line for line in log)


def test_a_method_that_the_instance_lacks_is_not_there(place: Nest, tmp_path: Path) -> None:
    model = dumped(SVC().fit(IRIS, LABELS), tmp_path)  # probability=False: no predict_proba

    async def work() -> tuple[Any, ScoringError]:
        async with place.serving(model) as (child, client):
            with pytest.raises(ScoringError) as raised:
                await client.array("predict_proba", rows(1))
            return child.description, raised.value

    description, error = place.run(work())
    assert description["methods"] == ["predict", "decision_function"]
    assert error.message == "the model has no method 'predict_proba'; it has: decision_function, predict"


def test_what_a_model_prints_goes_to_its_log_only(place: Nest, tmp_path: Path) -> None:
    body = "print('to stdout', len(X)); os.write(1, b'raw bytes\\n'); sys.stderr.write('to stderr\\n')\nreturn X[:, 0]"
    model = custom(tmp_path, body, before="print('at import')")

    async def work() -> list[str]:
        async with place.serving(model) as (child, client):
            for count in (1, 5):
                assert (await client.array("predict", rows(count))).tolist() == rows(count)[:, 0].tolist()
            await until(lambda: len(child.log.lines()) >= 7)
            return child.log.lines()

    assert place.run(work()) == [
        "at import",
        "to stdout 1",
        "raw bytes",
        "to stderr",
        "to stdout 5",
        "raw bytes",
        "to stderr",
    ]


def test_a_warning_is_logged_once(place: Nest, tmp_path: Path) -> None:
    body = "with warnings.catch_warnings():\n    warnings.warn('look out')\nreturn X[:, 0]"
    model = custom(tmp_path, body)

    async def work() -> list[str]:
        async with place.serving(model) as (child, client):
            for _ in range(5):
                await client.array("predict", rows(1))
            await child.end()
            return child.log.lines()

    assert sum("look out" in line and "UserWarning" in line for line in place.run(work())) == 1


def test_secrets_do_not_reach_a_child(place: Nest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FITSERVE_KEY", "s3cret")
    monkeypatch.setenv("DATABASE_PASSWORD", "s3cret")
    model = custom(tmp_path, "return np.array(['%s=%s' % item for item in os.environ.items()] + [os.getcwd()])")

    async def work(fresh: bool) -> list[str]:
        async with place.serving(model, fresh=fresh) as (child, client):
            start = Path(f"/proc/{child.pid}/environ").read_bytes()
            assert b"s3cret" not in start
            found: list[str] = (await client.array("predict", rows(1))).tolist()
            return found

    for fresh in (False, True):
        environment = place.run(work(fresh))
        assert not any("s3cret" in item or item.startswith("FITSERVE_") for item in environment)
        assert "OMP_NUM_THREADS=1" in environment


@pytest.mark.parametrize("fresh", [False, True], ids=["forked", "fresh"])
def test_a_child_has_only_its_own_descriptors(place: Nest, tmp_path: Path, fresh: bool) -> None:
    model = iris_svc(tmp_path)

    async def work() -> set[str]:
        async with place.serving(model, fresh=fresh) as (child, client):
            await client.ping()  # it has accepted the connection
            return open_descriptors(child.pid)

    kinds = sorted(item.split()[1].split(":")[0] for item in place.run(work()))
    # nothing, its note twice, two ends of the log, control, listening socket, one connection
    assert kinds == ["/dev/null", "/memfd", "/memfd", "pipe", "pipe", "socket", "socket", "socket"]


def test_processes_of_a_model_inherit_no_wire(place: Nest, tmp_path: Path) -> None:
    body = (
        "import subprocess\n"
        "out = subprocess.run(['ls', '-l', '/proc/self/fd'], stdout=subprocess.PIPE, close_fds=False).stdout.decode()\n"
        "return np.array([out.count('socket:')])"
    )
    assert ask(place, custom(tmp_path, body), "predict", rows(1)).tolist() == [0]


def test_a_child_is_confined(place: Nest, tmp_path: Path) -> None:
    body = (
        "import resource\nreturn np.array([resource.getrlimit(resource.RLIMIT_CORE)[1], os.getsid(0) == os.getpid()])"
    )
    assert ask(place, custom(tmp_path, body), "predict", rows(1)).tolist() == [0, 1]


@pytest.mark.parametrize("fresh", [False, True], ids=["forked", "fresh"])
def test_thread_pools_follow_the_order(place: Nest, tmp_path: Path, fresh: bool) -> None:
    """Lesson: CPU quota without thread caps."""
    body = (
        "import threadpoolctl, joblib\n"
        "pools = [pool['num_threads'] for pool in threadpoolctl.threadpool_info()]\n"
        "return np.array([min(pools), max(pools), joblib.cpu_count(), int(os.environ['OPENBLAS_NUM_THREADS'])])"
    )
    model = custom(tmp_path, body, before="import sklearn.ensemble")
    assert ask(place, model, "predict", rows(1), fresh=fresh, threads=2).tolist() == [2, 2, 2, 2]
    assert ask(place, model, "predict", rows(1), fresh=fresh, threads=1).tolist() == [1, 1, 1, 1]


def test_changed_bytes_are_not_loaded(place: Nest, tmp_path: Path) -> None:
    marker = tmp_path / "loaded"
    model = custom(tmp_path, "return X", before=f"open({str(marker)!r}, 'w')")
    failure = refused(place, Stored(model.path, "0" * 64, "pickle", code=model.code))
    assert failure.kind == "digest"
    assert "changed on disk" in failure.reason
    assert not marker.exists()


def test_a_missing_module_is_named(place: Nest, tmp_path: Path) -> None:
    path = tmp_path / "m.pkl"
    path.write_bytes(b"cnobodys.sklearn\nClassifier\n.")
    failure = refused(place, stored(path))
    assert failure.kind == "load"
    assert failure.reason.startswith("module nobodys is not installed in this model's environment; name one that has")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            b"csklearn.ensemble.forest\nForest\n.",
            "has no module sklearn.ensemble.forest: the model was written with another",
        ),
        (
            b"c__main__\nNet\n.",
            "Net was defined in the training script itself: register the model with the script (--code train.py)",
        ),
        (b"\x80\x04", "the file ends too early"),
        (b"hello", "it could not be loaded"),
        (pickle.dumps({"a": 1}), "a dict has none of the methods that can be served (predict, "),
    ],
)
def test_what_cannot_be_served_says_why(place: Nest, tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "m.pkl"
    path.write_bytes(content)
    failure = refused(place, stored(path))
    assert failure.kind == "load"
    assert sentence in failure.reason
    assert str(tmp_path) not in failure.reason
    assert "gateway/worker" not in failure.reason


def test_classes_of_the_training_script_come_from_its_definitions(place: Nest, tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "__fitserve_main__.py").write_text(
        "from dataclasses import dataclass\nFACTOR = 3\ndef times(x): return x * FACTOR\n"
        "@dataclass\nclass Net:\n    by: int = 1\n    def predict(self, X): return [times(self.by) for _ in X]\n"
    )
    path = tmp_path / "m.pkl"
    path.write_bytes(b"\x80\x04c__main__\nNet\n)\x81}X\x02\x00\x00\x00byK\x05sb.")
    assert ask(place, stored(path, code=code), "predict", rows(2)).tolist() == [15, 15]
    for text, sentence in (
        (
            "import nothing_of_that_name",
            "the definitions of its training script cannot be run: module nothing_of_that_name is",
        ),
        ("class Other: pass", "Net was defined in the training script itself"),
        ("1 / 0", "the definitions of its training script cannot be run: ZeroDivisionError"),
    ):
        (code / "__fitserve_main__.py").write_text(text)
        failure = refused(place, stored(path, code=code))
        assert sentence in failure.reason
        assert str(tmp_path) not in failure.reason


def test_the_declared_format_decides_the_loader(place: Nest, tmp_path: Path) -> None:
    """R18."""
    model = dumped(SVC().fit(IRIS, LABELS), tmp_path)
    assert refused(place, model, format="pickle").kind == "load"
    assert "'skops' cannot be served" in refused(place, model, format="skops").reason


@pytest.mark.parametrize("compress", [("zlib", 3), ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3)], ids=str)
def test_compressed_files_load(place: Nest, tmp_path: Path, compress: tuple[str, int]) -> None:
    model = dumped(Ridge().fit(IRIS, LABELS), tmp_path, compress=compress)
    assert (ask(place, model, "predict", rows(2)) == model.model.predict(rows(2))).all()


def test_a_plain_pickle_loads(place: Nest, tmp_path: Path) -> None:
    model = pickled(Ridge().fit(IRIS, LABELS), tmp_path)
    assert (ask(place, model, "predict", rows(2)) == model.model.predict(rows(2))).all()


def test_a_folder_is_checked_as_a_whole(place: Nest, tmp_path: Path) -> None:
    from registry.stores.files import FileArtifacts

    folder = tmp_path / "folder"
    (folder / "more").mkdir(parents=True)
    (folder / "more" / "notes ü.txt").write_text("x")
    fitted = Ridge().fit(IRIS, LABELS)
    joblib.dump(fitted, folder / "model.joblib")
    store = FileArtifacts(tmp_path / "artifacts", tmp_path / "cache")
    artifact = store.put_folder(folder)
    laid = store.local_path(artifact.digest)
    model = Stored(laid, artifact.digest, "folder")
    assert (ask(place, model, "predict", rows(2)) == fitted.predict(rows(2))).all()
    (laid / "more" / "notes ü.txt").unlink()
    (laid / "more" / "notes ü.txt").write_text("y")
    assert refused(place, model).kind == "digest"
    (laid / "model.joblib").rename(laid / "other.txt")
    assert "must hold model.joblib" in refused(place, model).reason


@pytest.mark.parametrize("compress", [0, 3])
def test_a_folder_s_pickle_may_be_joblib_s(place: Nest, tmp_path: Path, compress: int) -> None:
    from registry.stores.files import FileArtifacts

    fitted = Ridge().fit(IRIS, LABELS)
    (tmp_path / "folder").mkdir()
    joblib.dump(fitted, tmp_path / "folder" / "model.pkl", compress=compress)
    store = FileArtifacts(tmp_path / "artifacts", tmp_path / "cache")
    artifact = store.put_folder(tmp_path / "folder")
    model = Stored(store.local_path(artifact.digest), artifact.digest, "folder")
    assert (ask(place, model, "predict", rows(2)) == fitted.predict(rows(2))).all()


def test_frames_of_several_peers_are_answered_in_order(place: Nest, tmp_path: Path) -> None:
    model = custom(tmp_path, "time.sleep(0.002)\nglobal n\nn += 1\nreturn np.full(len(X), n)", before="n = 0")

    async def work() -> list[list[float]]:
        async with place.serving(model) as (child, first):
            assert child.socket_path is not None
            async with await ScoringClient.open(child.socket_path) as second:

                async def many(client: ScoringClient) -> list[float]:
                    return [float((await client.array("predict", rows(1)))[0]) for _ in range(20)]

                return await asyncio.gather(many(first), many(second))

    first, second = place.run(work())
    assert first == sorted(first)
    assert second == sorted(second)
    assert sorted(first + second) == list(range(1, 41))


def test_frames_sent_at_once_are_all_answered(place: Nest, tmp_path: Path) -> None:
    model = iris_svc(tmp_path)

    async def work() -> list[int]:
        async with place.serving(model) as (child, _):
            reader, writer = await asyncio.open_unix_connection(child.socket_path)
            for number in range(20):
                body = wire.Body()
                header = {
                    "id": number,
                    "method": "predict",
                    "input": {"kind": "array", "array": body.add(rows(number + 1))},
                }
                writer.writelines(wire.encode_frame(header, body.arrays))
            frames, got = wire.FrameReader(), []
            while len(got) < 20:
                for answer, data in frames.feed(await reader.read(65536)):
                    assert wire.arrays_from(answer["output"], data).shape == (answer["id"] + 1,)
                    got.append(answer["id"])
            writer.close()
            await writer.wait_closed()
            return got

    assert place.run(work()) == list(range(20))


def test_a_peer_that_does_not_read_holds_up_nobody(place: Nest, tmp_path: Path) -> None:
    model = custom(tmp_path, "return np.zeros((len(X) * 2000, 4)) if X[0, 0] > 50 else X[:, 0]")

    async def work() -> tuple[int, int]:
        async with place.serving(model) as (child, client):
            assert child.socket_path is not None
            slow = socket.socket(socket.AF_UNIX)
            slow.connect(child.socket_path)
            body = wire.Body()
            header = {
                "id": 1,
                "method": "predict",
                "input": {"kind": "array", "array": body.add(np.full((100, 4), 99.0))},
            }
            slow.sendall(b"".join(wire.encode_frame(header, body.arrays)))
            for _ in range(20):
                async with asyncio.timeout(5):
                    assert (await client.array("predict", rows(2))).shape == (2,)
            reader, size = wire.FrameReader(), 0
            frames: list[Any] = []
            while not frames:
                frames = reader.feed(slow.recv(1 << 20))
            size = wire.arrays_from(frames[0][0]["output"], frames[0][1]).shape[0]
            slow.close()
            await client.ping()
            return size, frames[0][0]["id"]

    assert place.run(work()) == (200_000, 1)


def test_large_frames_go_both_ways(place: Nest, tmp_path: Path) -> None:
    model = custom(tmp_path, "return X * 2.0")
    X = np.random.default_rng(0).random((50_000, 20))
    assert (ask(place, model, "predict", X) == X * 2).all()


def test_a_peer_that_talks_nonsense_loses_only_itself(place: Nest, tmp_path: Path) -> None:
    model = iris_svc(tmp_path)

    async def work() -> bytes:
        async with place.serving(model) as (child, client):
            reader, writer = await asyncio.open_unix_connection(child.socket_path)
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = await asyncio.wait_for(reader.read(), 5)
            writer.close()
            await client.array("predict", rows(1))
            return answer

    assert place.run(work()) == b""


def test_a_polite_end_answers_what_was_sent(place: Nest, tmp_path: Path) -> None:
    marker = tmp_path / "computing"
    model = custom(tmp_path, f"open({str(marker)!r}, 'w').close()\ntime.sleep(0.1)\nreturn X[:, 0]")

    async def work() -> tuple[Any, Any, int | None, bool]:
        async with place.serving(model) as (child, client):
            assert child.socket_path is not None
            async with await ScoringClient.open(child.socket_path) as other:
                first = asyncio.ensure_future(client.array("predict", rows(3)))
                await until(marker.exists)
                second = asyncio.ensure_future(other.array("predict", rows(2)))
                await asyncio.sleep(0)  # the second frame lies in its socket now
                end = await child.end(5)
                return await first, await second, end.code, Path(child.socket_path).exists()

    first, second, code, left = place.run(work())
    assert first.tolist() == rows(3)[:, 0].tolist()
    assert second.tolist() == rows(2)[:, 0].tolist()
    assert code == 0
    assert not left
