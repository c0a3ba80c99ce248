"""The scoring routes over real sockets: one HTTP process, real children, a small supervisor."""

import asyncio
import re
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.gateway.dataplane.stub_child import BROKEN, HUNGRY, POISON, REFUSED, SLOW, STUCK
from tests.gateway.supervisor.small_supervisor import (
    HttpServer,
    SmallSupervisor,
    http_process,
    small_supervisor,
)
from tests.waiting import until

Test = Callable[[HttpServer, httpx.AsyncClient], Awaitable[None]]
UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def serving(test: Test, prepare: Callable[[SmallSupervisor], Awaitable[None]] | None = None, **settings: Any) -> None:
    """Run `test` against a gateway that serves the model "m"."""

    async def main() -> None:
        async with small_supervisor() as supervisor:
            await (prepare or (lambda s: s.add("m")))(supervisor)
            async with http_process(supervisor, **settings) as server:
                limits = httpx.Limits(max_connections=500)
                async with httpx.AsyncClient(base_url=server.url, timeout=30, limits=limits, trust_env=False) as client:
                    await test(server, client)

    asyncio.run(main())


def post(client: httpx.AsyncClient, *rows: list[float], path: str = "/models/m/score", **more: Any) -> Any:
    return client.post(path, json={"data": list(rows)}, **more)


def test_every_scoring_path_answers() -> None:
    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        for path in (
            "/score",
            "/models/m/score",
            "/models/m/versions/1/score",
            "/api/v1/service/m/score",
            "/models/m/predict",
        ):
            answer = await post(client, [1, 2], [3, 4], path=path)
            assert answer.status_code == 200, answer.text
            assert answer.json() == {"predict": [[2, 5], [6, 9]]}
        got = await client.get("/score", params={"data": "[[1, 2]]", "method": "transform"})
        assert got.json() == {"transform": [3]}
        two = await post(client, [1, 2], path="/models/m/kneighbors")
        assert two.json() == {"kneighbors": [[[3, 6]], [2]]}

    serving(test)


def test_headers_are_azures() -> None:
    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        headers = (await post(client, [1, 2])).headers
        assert headers["content-type"] == "application/json"
        assert headers["x-ms-run-function-failed"] == "False"
        assert re.fullmatch(r"\d+\.\d{3}", headers["x-ms-run-fn-exec-ms"])
        assert headers["x-ms-server-version"].startswith("fitserve/")
        assert UUID4.fullmatch(headers["x-request-id"])
        assert headers["x-ms-request-id"] == headers["x-request-id"]
        assert "x-ms-client-request-id" not in headers
        assert (await post(client, [1, 2])).headers["x-request-id"] != headers["x-request-id"]

        given = (await post(client, [1, 2], headers={"x-request-id": "a", "x-ms-client-request-id": "b"})).headers
        assert (given["x-request-id"], given["x-ms-request-id"], given["x-ms-client-request-id"]) == ("a", "b", "b")
        old = (await post(client, [1, 2], headers={"x-ms-request-id": "c", "TraceId": "t"})).headers
        assert (old["x-ms-request-id"], old["x-ms-client-request-id"], old["traceid"]) == ("c", "c", "t")

        for name in ("x-request-id", "x-ms-request-id", "x-ms-client-request-id"):
            long = await post(client, [1, 2], headers={name: "x" * 101})
            assert long.status_code == 431
            assert name in long.json()["message"]

    serving(test)


def test_wrong_requests_get_their_status_and_a_sentence() -> None:
    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        cases: list[tuple[int, str, Any]] = [
            (
                400,
                "could not be decoded",
                client.post("/score", content=b"{", headers={"content-type": "application/json"}),
            ),
            (400, "empty", client.post("/score", content=b"", headers={"content-type": "application/json"})),
            (400, "takes 2 values", post(client, [1, 2, 3])),
            (400, "no method 'fit'", client.post("/score", json={"data": [[1, 2]], "method": "fit"})),
            (400, "I refuse 13", post(client, [REFUSED, 1])),
            (400, "positive number", post(client, [1, 2], headers={"x-request-timeout-ms": "soon"})),
            (
                404,
                "'nobody' is not registered in this workspace; there is: m",
                post(client, [1], path="/models/nobody/score"),
            ),
            (404, "version 9", post(client, [1, 2], path="/models/m/versions/9/score")),
            (400, "no method 'fit'; it has: predict", post(client, [1, 2], path="/models/m/fit")),
            (404, "no 'fit/'", post(client, [1, 2], path="/models/m/fit/")),
            (404, "no 'fit'", client.get("/models/m/fit")),
            (405, "not allowed", client.put("/score", content=b"{}")),
            (405, "not allowed", client.post("/", content=b"{}")),
            (404, "The requested URL was not found on the server", client.get("/nothing")),
            (415, "application/json", client.post("/score", content=b"x", headers={"content-type": "text/plain"})),
            (500, "failed on this input", post(client, [BROKEN, 1])),
        ]
        for status, words, call in cases:
            answer = await call
            assert answer.status_code == status, (words, answer.text)
            assert words in answer.json()["message"]
            assert answer.headers["x-request-id"]
            assert "passwd" not in answer.text
            assert "Traceback" not in answer.text
        assert (await post(client, [BROKEN, 1])).headers["x-ms-run-function-failed"] == "True"
        options = await client.options("/score")
        assert (options.status_code, options.content) == (200, b"")
        assert options.headers["content-type"].startswith("text/html")

    serving(test)


def test_a_large_body_is_refused_with_and_without_its_length() -> None:
    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        headers = {"content-type": "application/json"}
        known = await client.post("/score", content=b"x" * 300_000, headers=headers)
        assert known.status_code == 413
        assert "100,000 bytes" in known.json()["message"]

        async def pieces() -> Any:
            for _ in range(30):
                yield b"x" * 10_000

        unknown = await client.post("/score", content=pieces(), headers=headers)
        assert unknown.status_code == 413
        assert (await post(client, [1, 2])).status_code == 200
        exact = b'{"data": [[1, 2]]}' + b" " * (100_000 - 18)
        assert (await client.post("/score", content=exact, headers=headers)).status_code == 200

    serving(test, body_limit_mb=0.1)


def test_slow_senders_are_cut_off() -> None:
    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        body = await asyncio.open_connection("127.0.0.1", server.port)
        body[1].write(
            b"POST /score HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n{"
        )
        head = await asyncio.open_connection("127.0.0.1", server.port)
        head[1].write(b"POST /score HTTP/1.1\r\nhost: x\r\n")
        silent = await asyncio.open_connection("127.0.0.1", server.port)
        async with asyncio.timeout(10):
            assert b" 408 " in await body[0].readline()
            assert b"did not arrive within 0.5 s" in await body[0].read()
            assert await head[0].read() == b""
            assert await silent[0].read() == b""
        for _, writer in (body, head, silent):
            writer.close()
            await writer.wait_closed()

    serving(test, body_timeout_s=0.5)


def test_a_body_in_pieces_and_requests_in_a_row_on_one_connection() -> None:
    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        body = b'{"data": [[1, 2]]}'
        head = b"POST /score HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(
            body
        )
        for part in (head[:20], head[20:], body[:5], body[5:]):
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.02)
        pipelined = [body.replace(b"1", b"%d" % n) for n in range(3, 9)]
        writer.write(b"".join(head + each for each in pipelined))
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n" + head + body)
        answers = []
        async with asyncio.timeout(10):
            for _ in range(9):
                text = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", text)
                assert length is not None
                answers.append(await reader.readexactly(int(length[1])))
        expected = [b'{"predict":[[%d.0,5.0]]}' % (2 * n) for n in (1, *range(3, 9))]
        assert answers == [*expected, b'{"status":"ok"}', expected[0]]
        writer.close()
        await writer.wait_closed()

    serving(test)


def test_expect_100_continue() -> None:
    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(
            b"POST /score HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 18\r\n"
            b"expect: 100-continue\r\nconnection: close\r\n\r\n"
        )
        async with asyncio.timeout(10):
            assert b" 100 " in await reader.readline()
            writer.write(b'{"data": [[1, 2]]}')
            assert b'{"predict":[[2.0,5.0]]}' in await reader.read()
        writer.close()
        await writer.wait_closed()

    serving(test)


def test_http_1_0_connection_close_and_head() -> None:
    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(
            b"POST /score HTTP/1.0\r\ncontent-type: application/json\r\ncontent-length: 18\r\n\r\n"
            + b'{"data": [[1, 2]]}'
        )
        async with asyncio.timeout(10):
            assert b'{"predict":[[2.0,5.0]]}' in await reader.read()
        writer.close()
        await writer.wait_closed()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        head = b"POST /score HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\n"
        writer.write(head + b"content-length: 18\r\n\r\n" + b'{"data": [[1, 2]]}')
        async with asyncio.timeout(10):
            answer = await reader.read()
        assert b"connection: close\r\n" in answer
        assert answer.endswith(b'{"predict":[[2.0,5.0]]}')
        writer.close()
        await writer.wait_closed()
        assert (await client.head("/")).status_code == 200
        assert (await client.head("/score")).status_code == 405

    serving(test)


def test_a_deadline_is_the_callers_own() -> None:
    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        slow = asyncio.create_task(post(client, [SLOW, 1]))
        await asyncio.sleep(0.05)
        short = asyncio.create_task(post(client, [1, 2], headers={"x-request-timeout-ms": "50"}))
        patient = asyncio.create_task(post(client, [3, 4]))
        assert (await short).status_code == 504
        assert "50 ms" in (await short).json()["message"]
        assert (await slow).status_code == 200
        assert (await patient).json() == {"predict": [[6, 9]]}

    serving(test)


def test_a_full_queue_answers_429_and_the_accepted_are_answered() -> None:
    """Lesson: no bound, no deadline."""

    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        refused: list[Any] = []
        async with asyncio.timeout(30):
            while not refused:  # a busy machine may be too slow to fill the queue at the first try
                slow = [asyncio.create_task(post(client, [SLOW, n])) for n in range(2)]
                answers = await asyncio.gather(*(post(client, [100 + n, 0]) for n in range(40)))
                refused = [answer for answer in answers if answer.status_code == 429]
                for n, answer in enumerate(answers):
                    if answer.status_code != 429:
                        assert answer.json() == {"predict": [[200 + 2 * n, 1]]}
                await asyncio.gather(*slow)
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)

    serving(test, queue_requests=10)


def test_a_poisonous_request_is_the_only_one_to_fail() -> None:
    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        calls = [post(client, [SLOW, 0])]
        calls += [post(client, [POISON if n == 7 else 100 + n, 0]) for n in range(15)]
        answers = await asyncio.gather(*calls)
        for n, answer in enumerate(answers[1:]):
            if n == 7:
                assert answer.status_code == 503
                assert "its process ended" in answer.json()["message"]
            else:
                assert answer.json() == {"predict": [[200 + 2 * n, 1]]}, answer.text

    serving(test)


def test_a_model_out_of_memory_says_so_at_once() -> None:
    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        told = await post(client, [HUNGRY, 0])  # the child itself ran into its limit
        assert told.status_code == 503
        assert "memory limit 0.5 GB exceeded" in told.json()["message"]
        assert (await post(client, [1, 2])).status_code == 200
        server.supervisor.memory_death = (0.5, 0.512)  # it was killed from outside
        started = time.monotonic()
        killed = await post(client, [POISON, 0])
        assert killed.status_code == 503
        assert "(peak 0.512 GB)" in killed.json()["message"]
        assert time.monotonic() - started < 0.9
        assert killed.headers["retry-after"] == "1"

    serving(test)


def test_a_stuck_child_is_replaced() -> None:
    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        stuck = asyncio.create_task(post(client, [STUCK, 0]))
        await asyncio.sleep(0.05)
        behind = asyncio.create_task(post(client, [1, 2]))
        assert (await stuck).status_code == 504
        assert (await behind).json() == {"predict": [[2, 5]]}
        assert server.supervisor.noted("stuck")

    async def prepare(supervisor: SmallSupervisor) -> None:
        await supervisor.add("m", settings={"max_compute_s": 0.3})

    serving(test, prepare)


def test_children_killed_under_load_lose_nothing() -> None:
    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        failures: list[str] = []
        stop = asyncio.Event()
        count = 0

        async def caller(number: int) -> None:
            nonlocal count
            while not stop.is_set():
                answer = await post(client, [number, 1])
                count += 1
                if answer.status_code != 200 or answer.json() != {"predict": [[2 * number, 3]]}:
                    failures.append(answer.text)

        callers = [asyncio.create_task(caller(n)) for n in range(8)]
        for _ in range(4):
            await asyncio.sleep(0.2)
            victims = list(server.supervisor.children.values())
            for victim in victims:  # both at once
                victim.kill()
            await asyncio.gather(*(victim.process.wait() for victim in victims))
            await until(lambda: server.supervisor.children, "a new child")
        stop.set()
        await asyncio.gather(*callers)
        assert not failures
        assert count > 10

    async def prepare(supervisor: SmallSupervisor) -> None:
        await supervisor.add("m", children=2)

    serving(test, prepare)


def test_swaps_under_load_lose_nothing() -> None:
    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        failures: list[str] = []
        stop = asyncio.Event()

        async def caller(number: int) -> None:
            while not stop.is_set():
                answer = await post(client, [number, 1])
                if answer.status_code != 200 or answer.json() != {"predict": [[2 * number, 3]]}:
                    failures.append(answer.text)

        callers = [asyncio.create_task(caller(n)) for n in range(8)]
        supervisor = server.supervisor
        for version in range(2, 8):
            (old,) = supervisor.entries["m"][version - 1].children
            await supervisor.add("m", version, publish=False)
            supervisor.change("m", version - 1, state="draining", children=())
            await supervisor.publish()
            revision = supervisor.publisher.revision
            await until(lambda r=revision, c=old.id: supervisor.peer.released(c, r), "released")  # type: ignore[misc]
            await supervisor.end(old.id)
        stop.set()
        await asyncio.gather(*callers)
        assert not failures

    serving(test)


def test_a_version_without_a_child_is_started_by_its_first_request() -> None:
    async def prepare(supervisor: SmallSupervisor) -> None:
        supervisor.restart = False
        await supervisor.add("m")
        await supervisor.add("m", 2, live=False, children=0, state="idle")

    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        answers = await asyncio.gather(*(post(client, [n, 2], path="/models/m/versions/2/score") for n in range(5)))
        assert [answer.json() for answer in answers] == [{"predict": [[2 * n, 5]]} for n in range(5)]
        assert server.supervisor.wanted == [("m", 2)]

    serving(test, prepare)


@pytest.mark.parametrize(
    ("kind", "status"), [("does-not-fit", 507), ("quarantined", 503), ("failed", 503), ("not-found", 503)]
)
def test_a_version_that_cannot_be_started_says_why(kind: str, status: int) -> None:
    async def prepare(supervisor: SmallSupervisor) -> None:
        supervisor.refuse_want = ("it needs 5 GB of memory, 1 GB is free", kind)
        await supervisor.add("m", children=0, state="idle", live=False)

    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        answer = await post(client, [1, 2])
        assert answer.status_code == status
        assert "needs 5 GB" in answer.json()["message"]

    serving(test, prepare)


def test_a_failed_version_answers_503_without_waiting_and_a_starting_one_until_the_deadline() -> None:
    async def prepare(supervisor: SmallSupervisor) -> None:
        await supervisor.add(
            "m", children=0, state="failed", reason="a 1 GB file at /home/someone/x.py, limit 0.5 GB", live=False
        )
        await supervisor.add("n", children=0, state="starting", live=False)

    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        failed = await post(client, [1, 2])
        assert failed.status_code == 503
        assert "a 1 GB file at …, limit 0.5 GB" in failed.json()["message"]
        starting = await post(client, [1, 2], path="/models/n/score", headers={"x-request-timeout-ms": "100"})
        assert starting.status_code == 504

    serving(test, prepare)


def test_a_model_deleted_and_one_added_while_running() -> None:
    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        await server.supervisor.add("other")
        assert (await post(client, [1, 2], path="/models/other/score")).status_code == 200
        del server.supervisor.entries["m"]
        server.supervisor.default = "other"
        await server.supervisor.publish()
        assert (await post(client, [1, 2])).status_code == 404
        assert (await post(client, [1, 2], path="/score")).json() == {"predict": [[2, 5]]}

    serving(test)


def test_what_a_deleted_version_leaves_when_it_dies_is_asked_of_the_next() -> None:
    async def prepare(supervisor: SmallSupervisor) -> None:
        supervisor.restart = False
        await supervisor.add("m")

    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        supervisor = server.supervisor
        (first,) = supervisor.children.values()
        await supervisor.add("m", 2, live=False)
        answer = asyncio.create_task(post(client, [SLOW, 2], headers={"x-request-timeout-ms": "8000"}))
        await asyncio.sleep(0.05)
        del supervisor.entries["m"][1]
        supervisor.live["m"] = 2
        await supervisor.publish()
        await supervisor.end(first.id)
        assert (await answer).json() == {"predict": [[2 * SLOW, 5]]}

    serving(test, prepare)


def test_small_answers_are_not_delayed() -> None:
    """No 44 ms of Nagle's algorithm and delayed acknowledgements."""

    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        await post(client, [1, 2])
        times = []
        for _ in range(20):
            started = time.perf_counter()
            await post(client, [1, 2])
            times.append(time.perf_counter() - started)
        assert sorted(times)[10] < 0.03

    serving(test)


def test_it_drains_in_bounded_time_with_idle_connections_open() -> None:
    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        idle = socket.create_connection(("127.0.0.1", server.port))
        await post(client, [1, 2])  # leaves a keep-alive connection
        slow = asyncio.create_task(post(client, [SLOW, 1]))
        await asyncio.sleep(0.05)
        server.supervisor.peer.drain()
        assert (await slow).status_code == 200, "what was accepted is answered"
        async with asyncio.timeout(5):
            assert await server.process.wait() == 0
        idle.close()

    serving(test, drain_s=2)


def test_requests_on_their_way_when_it_is_told_to_stop_are_answered() -> None:
    """On a connection that rests, on one that has just been made, and on one that nobody has looked at."""
    body = b'{"data": [[1, 2]]}'
    asked = b"POST /score HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(
        body
    )

    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        resting, new = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(2)]
        resting[1].write(asked + body)
        await resting[0].readuntil(b"]}")
        server.process.send_signal(signal.SIGSTOP)
        server.supervisor.peer.drain()
        unseen = await asyncio.open_connection("127.0.0.1", server.port)
        for _, writer in (resting, new, unseen):
            writer.write(asked + body)
        server.process.send_signal(signal.SIGCONT)
        async with asyncio.timeout(10):
            for reader, writer in (resting, new, unseen):
                assert (await reader.read()).endswith(b'{"predict":[[2.0,5.0]]}')
                writer.close()
            assert await server.process.wait() == 0

    serving(test)


def test_it_ends_with_its_supervisor() -> None:
    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        server.supervisor.peer.close()
        async with asyncio.timeout(5):
            await server.process.wait()

    serving(test)


def test_cors() -> None:
    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        right = await post(client, [1, 2], headers={"origin": "https://b"})
        assert right.headers["access-control-allow-origin"] == "https://b"
        wrong = await post(client, [1, 2], headers={"origin": "https://evil"})
        assert wrong.status_code == 200
        assert "access-control-allow-origin" not in wrong.headers
        preflight = await client.options("/score", headers={"origin": "https://a"})
        assert preflight.headers["access-control-allow-methods"] == "GET, POST"

    serving(test, cors_origins="https://a, https://b")


@pytest.mark.parametrize(
    "odd",
    [
        {"settings": {"max_compute_s": "soon"}},
        {"schema": {"kind": "of another time"}},
        {"description": {"methods": 7, "kind": "array"}},
    ],
    ids=str,
)
def test_what_is_said_of_one_model_cannot_stop_the_others(odd: dict[str, Any]) -> None:
    async def prepare(supervisor: SmallSupervisor) -> None:
        await supervisor.add("m")
        await supervisor.add("odd", **odd)

    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        answer = await post(client, [1, 2])
        assert answer.json() == {"predict": [[2, 5]]}
        assert (await post(client, [1, 2], path="/models/odd/predict")).status_code < 500
        assert (await client.get("/models/odd")).status_code == 200

    serving(test, prepare)


def test_a_child_that_could_not_be_reached_is_tried_again() -> None:
    async def prepare(supervisor: SmallSupervisor) -> None:
        await supervisor.add("m")
        (child,) = supervisor.children.values()
        Path(child.path).rename(f"{child.path}.away")

    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        await until(lambda: server.supervisor.noted("lost"), "it could not be reached")
        (child,) = server.supervisor.children.values()
        Path(f"{child.path}.away").rename(child.path)
        answer = await post(client, [1, 2], headers={"x-request-timeout-ms": "5000"})
        assert answer.json() == {"predict": [[2, 5]]}

    serving(test, prepare)
