"""Large bodies are read in a process of their own: same requests, same answers, same errors as in the loop."""

import asyncio
import gzip
import json
import os
import signal
import zlib
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dataplane.collate import join
from gateway.dataplane.connection import RawResult, described, described_inputs
from gateway.http.offload import SILENT_S, OffloadClient, OffloadGone, Refused
from gateway.http.responses import failed_answer
from gateway.http.targets import target_of
from gateway.ipc.routing_table import VersionEntry
from gateway.protocols import dialects
from gateway.schema.infer import schema_for
from gateway.types import Answer, Call, DescribedInput, FrameResult, ScoreResult
from gateway.worker import wire

LIMIT = 1_000_000
DIALECTS = {dialect.name: dialect for dialect in dialects()}
PLAIN = {"methods": ["predict", "predict_proba"], "n_features": 3, "kind": "array", "allows_nan": False}
TOLERANT = {**PLAIN, "allows_nan": True}
NAMED = {**PLAIN, "kind": "columns", "feature_names": ["a", "b", "c"], "column_types": {"a": "number", "b": "string"}}


def entry_of(description: dict[str, Any]) -> VersionEntry:
    return VersionEntry(name="m", version=1, state="live", description=description, schema=schema_for(description))


ENTRIES = [entry_of(PLAIN), entry_of(TOLERANT), entry_of(NAMED)]


@asynccontextmanager
async def at_the_desk() -> AsyncIterator[OffloadClient]:
    desk = OffloadClient()
    try:
        yield desk
    finally:
        desk.close()
        await asyncio.sleep(0)  # the transport's own turn


def shown(inputs: Any) -> tuple[bytes, bytes]:
    """The text that describes `inputs` for the child, and its arrays."""
    if isinstance(inputs, DescribedInput):
        return bytes(inputs.text), bytes(inputs.body)
    body = wire.Body()
    text = json.dumps(described_inputs(inputs, body), separators=(",", ":")).encode()
    return text, b"".join(array.tobytes() + b"\0" * (-array.nbytes % wire.ALIGN) for array in body.arrays)


def in_the_loop(name: str, call: Call, entry: VersionEntry) -> Any:
    dialect = DIALECTS[name]
    try:
        request = dialect.parse(call, target_of(entry))
        inputs = join([request])
    except Exception as error:
        return failed_answer(dialect, error)
    return request, (request.method, request.n_rows, request.nbytes, request.checked, shown(inputs))


async def compare(desk: OffloadClient, name: str, call: Call, entry: VersionEntry) -> None:
    expected = in_the_loop(name, call, entry)
    if len(expected) == 3:  # status, body, headers
        with pytest.raises(Refused) as caught:
            await desk.parse(name, call, entry, LIMIT)
        assert (caught.value.status, caught.value.body, caught.value.headers) == expected
        return
    ticket = await desk.parse(name, call, entry, LIMIT)
    request, facts = expected
    given = ticket.request
    assert (given.method, given.n_rows, given.nbytes, given.checked, shown(given.inputs)) == facts
    output = np.arange(2.0 * request.n_rows).reshape(-1, 2) / 7
    result = ScoreResult(FrameResult(output, 5), 0, -1)
    assert await desk.format(ticket, result) == DIALECTS[name].format(request, result, target_of(entry))


value = (
    st.floats()
    | st.integers(-(2**70), 2**70)
    | st.booleans()
    | st.none()
    | st.text(max_size=3)
    | st.lists(st.integers(), max_size=2)
)
rows = st.lists(st.lists(st.floats(-10, 10), min_size=3, max_size=3), min_size=1, max_size=6) | st.lists(
    st.lists(value, min_size=2, max_size=4), max_size=4
)
records = st.lists(st.fixed_dictionaries({"a": value, "b": st.text(max_size=3) | value, "c": value}), max_size=3)


def test_requests_answers_and_errors_are_the_same() -> None:
    loop = asyncio.new_event_loop()
    desk = OffloadClient()

    @settings(max_examples=150, deadline=None)
    @given(
        data=rows | records | value,
        which=st.sampled_from(ENTRIES),
        name=st.sampled_from(["azure", "mlflow", "kserve_v1"]),
    )
    def check(data: Any, which: VersionEntry, name: str) -> None:
        key = {"azure": "data", "mlflow": "inputs", "kserve_v1": "instances"}[name]
        call = Call(json.dumps({key: data}).encode(), {b"content-type": b"application/json"})
        loop.run_until_complete(compare(desk, name, call, which))

    try:
        check()
    finally:
        desk.close()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"data": 1', b'{"data": [[1,2,3]], "method": "nonsense"}', b"\xff\xfe"]
)
def test_broken_bodies_get_the_same_sentence(body: bytes) -> None:
    async def run() -> None:
        async with at_the_desk() as desk:
            await compare(desk, "azure", Call(body or b" ", {b"content-type": b"application/json"}), ENTRIES[0])

    asyncio.run(run())


def test_a_dialect_finds_again_what_it_left() -> None:
    tensor = {"name": "x", "shape": [2, 3], "datatype": "FP64", "data": [1, 2, 3, 4, 5, 6]}
    asked = {"id": "mine", "inputs": [tensor], "outputs": [{"name": "predict"}]}

    async def run() -> None:
        async with at_the_desk() as desk:
            call = Call(orjson.dumps(asked), {b"content-type": b"application/json"})
            ticket = await desk.parse("open_inference", call, ENTRIES[0], LIMIT)
            answer = await desk.format(ticket, ScoreResult(FrameResult(np.arange(2), 5), 0, -1))
            assert orjson.loads(answer.body if isinstance(answer, Answer) else answer)["id"] == "mine"

    asyncio.run(run())


def test_when_its_process_dies_those_that_wait_hear_it_and_the_next_gets_another() -> None:
    call = Call(orjson.dumps({"data": [[1, 2, 3]] * 200_000}), {b"content-type": b"application/json"})

    async def run() -> None:
        async with at_the_desk() as desk:
            small = Call(orjson.dumps({"data": [[1, 2, 3]]}), {b"content-type": b"application/json"})
            kept = await desk.parse("azure", small, ENTRIES[0], LIMIT)
            waiting = asyncio.ensure_future(desk.parse("azure", call, ENTRIES[0], LIMIT))
            await asyncio.sleep(0)
            assert desk._process is not None
            os.kill(desk._process.pid, signal.SIGKILL)
            with pytest.raises(OffloadGone):
                await waiting
            with pytest.raises(OffloadGone):
                await desk.format(kept, ScoreResult(FrameResult(np.arange(1), 5), 0, -1))
            assert (await desk.parse("azure", small, ENTRIES[0], LIMIT)).request.n_rows == 1

    asyncio.run(run())


def test_a_desk_that_says_nothing_is_ended_and_its_work_done_elsewhere() -> None:
    small = Call(orjson.dumps({"data": [[1, 2, 3]]}), {b"content-type": b"application/json"})

    async def run() -> None:
        async with at_the_desk() as desk:
            await desk.parse("azure", small, ENTRIES[0], LIMIT)
            assert desk._process is not None
            os.kill(desk._process.pid, signal.SIGSTOP)
            now = asyncio.get_running_loop().time()
            desk.check_alive(now + 2 * SILENT_S)  # it owes nothing
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(desk.parse("azure", small, ENTRIES[0], LIMIT), 0.05)
            waiting = asyncio.ensure_future(desk.parse("azure", small, ENTRIES[0], LIMIT))
            await asyncio.sleep(0)
            desk.check_alive(now + SILENT_S / 2)
            assert desk._process.poll() is None
            desk.check_alive(now + 2 * SILENT_S)
            with pytest.raises(OffloadGone):
                await waiting
            assert (await desk.parse("azure", small, ENTRIES[0], LIMIT)).request.n_rows == 1

    asyncio.run(run())


def test_a_caller_that_gives_up_leaves_nothing_behind() -> None:
    call = Call(orjson.dumps({"data": [[1, 2, 3]] * 100_000}), {b"content-type": b"application/json"})

    async def run() -> None:
        async with at_the_desk() as desk:
            gone = asyncio.ensure_future(desk.parse("azure", call, ENTRIES[0], LIMIT))
            await asyncio.sleep(0)
            gone.cancel()
            with pytest.raises(asyncio.CancelledError):
                await gone
            ticket = await desk.parse("azure", call, ENTRIES[0], LIMIT)
            assert ticket.request.n_rows == 100_000
            desk.drop(ticket)
            with pytest.raises(OffloadGone, match="knows nothing"):
                await desk.format(ticket, ScoreResult(FrameResult(np.arange(1), 5), 0, -1))

    asyncio.run(run())


NUMBERS = np.random.default_rng(3).normal(size=(12, 3)).tolist()
FLAT = [value for row in NUMBERS for value in row]
COLUMNS = {"a": FLAT[:12] * 3, "b": FLAT[12:24] * 3, "c": FLAT[24:] * 3}
BY_NAME = {**PLAIN, "kind": "columns", "feature_names": ["a", "b", "c"], "column_types": dict.fromkeys("abc", "number")}
TURNED = {name: COLUMNS[name] for name in "bca"}


def tensor(data: Any, shape: list[int], datatype: str = "FP64", **more: Any) -> dict[str, Any]:
    return {"id": "1", "inputs": [{"name": "x", "shape": shape, "datatype": datatype, "data": data, **more}]}


@pytest.mark.parametrize("description", [PLAIN, TOLERANT, NAMED, BY_NAME, {**PLAIN, "n_features": None}])
@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("azure", {"data": NUMBERS}),
        ("azure", {"data": {"columns": ["c", "a", "b"], "data": NUMBERS}}),
        ("azure", {"data": {"columns": ["c", "a"], "data": NUMBERS}}),
        ("azure", {"data": TURNED}),
        ("azure", {"data": {**TURNED, "c": [1, 2]}}),
        ("azure", {"data": {"columns": COLUMNS["a"], "data": COLUMNS["b"]}}),
        ("azure", {"data": FLAT}),
        ("azure", {"data": NUMBERS, "method": FLAT}),
        ("azure", {"data": NUMBERS, "include": FLAT}),
        ("azure", {"data": [row[:2] for row in NUMBERS]}),
        ("azure", {"data": NUMBERS, "method": "predict_proba", "include": ["classes"]}),
        ("mlflow", {"dataframe_split": {"data": NUMBERS}}),
        ("mlflow", {"dataframe_split": {"columns": ["b", "c", "a"], "index": list(range(50)), "data": NUMBERS}}),
        ("mlflow", {"inputs": TURNED}),
        ("kserve_v1", {"instances": NUMBERS}),
        ("open_inference", tensor(FLAT, [12, 3])),
        ("open_inference", tensor(NUMBERS, [12, 3])),
        ("open_inference", tensor(NUMBERS, [3, 12])),
        ("open_inference", tensor(FLAT, [36])),
        ("open_inference", tensor(FLAT, [12, 3], "FP32")),
        ("open_inference", tensor([value * 1e300 for value in FLAT], [12, 3], "FP32")),
        ("open_inference", tensor(FLAT, [12, 3], "FP16")),
        ("open_inference", tensor(FLAT, [12, 3], "BYTES")),
        ("open_inference", tensor([round(value * 9) for value in FLAT], [12, 3], "INT64")),
        ("open_inference", tensor(FLAT, [12, 3], parameters={"content_type": "np"})),
        ("open_inference", tensor(FLAT, FLAT)),
    ],
)
def test_each_form_of_numbers_means_the_same_as_in_the_loop(
    name: str, body: dict[str, Any], description: dict[str, Any], desk_of_all: "Together"
) -> None:
    call = Call(orjson.dumps(body), {b"content-type": b"application/json"})
    desk_of_all.run(compare(desk_of_all.desk, name, call, entry_of(description)))


class Together:
    """One desk, and the loop it lives in, for many tests."""

    def __init__(self) -> None:
        self.loop, self.desk = asyncio.new_event_loop(), OffloadClient()

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        self.loop.run_until_complete(asyncio.wait_for(work, 30))


@pytest.fixture(scope="module")
def desk_of_all() -> Iterator[Together]:
    together = Together()
    yield together
    together.desk.close()
    together.loop.run_until_complete(asyncio.sleep(0))
    together.loop.close()


def test_compressed_bodies_are_unpacked_there_and_bombs_refused(desk_of_all: Together) -> None:
    headers = {b"content-type": b"application/json"}
    plain = Call(orjson.dumps({"data": NUMBERS}), headers)
    _, (_, _, _, _, expected) = in_the_loop("azure", plain, ENTRIES[0])

    async def check() -> None:
        for encoding, packed in ((b"gzip", gzip.compress(plain.body)), (b"deflate", zlib.compress(plain.body))):
            call = Call(packed, headers, encoding=encoding)
            ticket = await desk_of_all.desk.parse("azure", call, ENTRIES[0], LIMIT)
            assert shown(ticket.request.inputs) == expected
        bomb = Call(gzip.compress(b" " * (LIMIT + 1)), headers, encoding=b"gzip")
        with pytest.raises(Refused) as caught:
            await desk_of_all.desk.parse("azure", bomb, ENTRIES[0], LIMIT)
        assert caught.value.status == 413

    desk_of_all.run(check())


@pytest.mark.parametrize(
    "output",
    [
        np.random.default_rng(0).normal(size=(3, 40_000)),
        np.array(["yes", "no", None] * 5_000, object).reshape(3, -1),
        [np.arange(60_000.0).reshape(3, -1), np.zeros(3, np.float32)],
    ],
)
def test_large_answers_are_the_same_wherever_they_are_written(output: Any, desk_of_all: Together) -> None:
    call = Call(orjson.dumps({"data": [[1, 2, 3]] * 3, "method": "predict"}), {b"content-type": b"application/json"})
    body = wire.Body()
    spec = described(output, body)
    frame = memoryview(b"".join(wire.encode_frame({"output": spec}, body.arrays)))
    ((header, rest),) = wire.FrameReader().feed(frame)
    target = target_of(ENTRIES[0])

    async def check() -> None:
        for name in ("azure", "kserve_v1"):
            asked = Call(call.body.replace(b"data", b"instances") if name == "kserve_v1" else call.body, call.headers)
            dialect = DIALECTS[name]
            expected = dialect.format(dialect.parse(asked, target), ScoreResult(FrameResult(output, 5), 0, -1), target)
            as_it_came = ScoreResult(RawResult(header["output"], rest, 5), 0, -1)
            assert bytes(await desk_of_all.desk.write(name, asked, ENTRIES[0], as_it_came)) == expected
            ticket = await desk_of_all.desk.parse(name, asked, ENTRIES[0], LIMIT)
            assert bytes(await desk_of_all.desk.format(ticket, as_it_came)) == expected
            part = ScoreResult(as_it_came.frame, 1, 2)
            expected = dialect.format(dialect.parse(asked, target), part, target)
            assert bytes(await desk_of_all.desk.write(name, asked, ENTRIES[0], part)) == expected

    desk_of_all.run(check())
