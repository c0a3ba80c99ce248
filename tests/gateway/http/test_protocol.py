"""Raw bytes on a connection: what is no HTTP, offers of other protocols, and what all answers have in common."""

import asyncio
import json
import re
import select
import socket
from typing import Final

import httpx
import pytest

from gateway.auth.keys import digest
from tests.gateway.dataplane.stub_child import SLOW
from tests.gateway.http.test_scoring import serving
from tests.gateway.supervisor.small_supervisor import HttpServer, SmallSupervisor

BODY: Final = b'{"data": [[1, 2]]}'
ANSWER: Final = b'{"predict":[[2.0,5.0]]}'
PATH: Final = "/models/m/score"


def request(path: str = PATH, *headers: str, verb: str = "POST", body: bytes = BODY) -> bytes:
    lines = [f"{verb} {path} HTTP/1.1", "Host: x", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode("latin-1") + body


async def talk(server: HttpServer, *parts: bytes) -> bytes:
    """Send `parts` one after the other, and read until the other end closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    for part in parts:
        writer.write(part)
        await writer.drain()
        await asyncio.sleep(0)
    try:
        return await asyncio.wait_for(reader.read(), 20)
    finally:
        writer.close()


OFFERS: Final = (
    ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"),
    ("Connection: upgrade", "Upgrade: websocket"),
    ("Connection: Upgrade", "Upgrade: TLS/1.0"),
)


def test_an_offered_upgrade_is_not_taken_and_its_body_not_lost() -> None:
    """Java's HttpClient sends the first of these with every request to an http:// URL."""

    async def test(server: HttpServer, _: httpx.AsyncClient) -> None:
        last = request(PATH, "Connection: close")
        for offered in (request(path, *offer) for offer in OFFERS for path in (PATH, PATH + "?x=1")):
            for parts in ([offered + offered + last], [offered[:20], offered[20:-7], offered[-7:] + offered, last]):
                answer = await talk(server, *parts)
                assert answer.count(b"HTTP/1.1 200 OK") == 3, answer
                assert answer.count(ANSWER) == 3
        head = request(PATH, *OFFERS[0], "Transfer-Encoding: chunked", body=b"").replace(b"Content-Length: 0\r\n", b"")
        chunks = b"5\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (BODY[:5], len(BODY) - 5, BODY[5:])
        assert (await talk(server, head + chunks + last)).count(ANSWER) == 2

    serving(test)


def test_what_is_no_http_gets_a_sentence_and_a_request_id() -> None:
    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        for sent in (
            b"\0\1\r\n\r\n",
            b"get / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"CONNECT x:443 HTTP/1.1\r\n\r\n",
        ):
            head, _, body = (await talk(server, sent)).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 400 ")
            assert json.loads(body) == {"message": "What was sent is no HTTP request."}
            assert re.search(rb"\r\nx-request-id: [0-9a-f-]{36}\r\n", head)
            # Behind a whole request it is not taken for that one's answer.
            answer = await talk(server, request() + sent)
            assert (answer.count(b"HTTP/1.1 "), answer.endswith(ANSWER)) == (1, True), answer

    serving(test)


def test_a_head_without_end_gets_a_sentence_and_a_request_id() -> None:
    async def test(server: HttpServer, _: httpx.AsyncClient) -> None:
        answer = await talk(server, b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 431 ")
        assert json.loads(body) == {"message": "The headers of a request must not exceed 65,536 bytes"}
        assert b"\r\nx-request-id: " in head

    serving(test)


def test_every_answer_carries_the_ids_and_the_server() -> None:
    async def test(_: HttpServer, client: httpx.AsyncClient) -> None:
        for verb, path in (
            *(("GET", path) for path in ("/", "/healthz", "/swagger.json", "/models", "/v2", "/v1/models", "/ping")),
            *(("GET", path) for path in ("/nothing", "/models/nobody", "/v2/nothing", "/score/", "/models/")),
            *(("POST", path) for path in ("/", "/models", "/v2", "/ping", "/v1/models/m:explain")),
        ):
            answer = await client.request(verb, path, headers={"x-ms-client-request-id": "mine"})
            told = answer.headers
            assert told.get_list("x-ms-client-request-id") == ["mine"], path
            assert told.get_list("x-ms-request-id") == ["mine"], path
            assert len(told.get_list("x-request-id")) == 1, path
            assert told["x-ms-server-version"].startswith("fitserve/")
            if told["content-type"] == "application/json":
                assert told["x-ms-run-function-failed"] == "False"
            if answer.status_code == 405:
                assert "GET" in told["allow"], path
            assert answer.status_code not in {301, 302, 307, 308}, path
        long = await client.get("/models", headers={"x-request-id": "x" * 101})
        assert long.status_code == 431

    serving(test)


def test_only_azures_paths_score_by_get() -> None:
    async def test(_: HttpServer, client: httpx.AsyncClient) -> None:
        assert (await client.get("/score", params={"data": "[[1, 2]]"})).status_code == 200
        for path in ("/v2/models/m/infer", "/v1/models/m:predict", "/invocations", "/models/m/invocations"):
            answer = await client.get(path)
            assert (answer.status_code, answer.headers["allow"]) == (405, "OPTIONS, POST"), path
            assert (await client.options(path)).status_code == 200

    serving(test)


def test_who_reads_no_answer_is_read_from_no_further_and_cut_off_in_the_end() -> None:
    """Answers to millions of requests on one connection, and the requests, would pile up in memory."""

    async def test(server: HttpServer, _: httpx.AsyncClient) -> None:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", server.port))
        sock.settimeout(0.3)
        many = b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n" * 10_000
        with pytest.raises(TimeoutError):  # the system's buffers hold a few MB of them
            sock.sendall(many * 150)
        end = select.poll()
        end.register(sock, 0)
        (seen,) = await asyncio.to_thread(end.poll, 20_000)
        assert seen[1] & select.POLLHUP
        sock.close()

    serving(test, body_timeout_s=1)


def test_many_requests_in_one_go_are_answered_in_their_order() -> None:
    async def test(server: HttpServer, _: httpx.AsyncClient) -> None:
        ways = [("/score", "POST"), ("/score?x=1", "POST"), ("/healthz", "GET"), (PATH, "POST")]
        many = [request(*ways[n % 4][:1], f"x-request-id: n{n}", verb=ways[n % 4][1]) for n in range(1000)]
        answer = await talk(server, b"".join(many) + request(PATH, "Connection: close"))
        assert re.findall(rb"x-request-id: n(\d+)", answer) == [b"%d" % n for n in range(1000)]
        assert answer.count(ANSWER) == 751

    serving(test)


def test_who_has_no_key_need_not_send_the_body() -> None:
    async def prepare(supervisor: SmallSupervisor) -> None:
        supervisor.keys = frozenset([digest("secret")])
        await supervisor.add("m")

    async def test(server: HttpServer, _: httpx.AsyncClient) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request(body=b"1" * 1_000_000)[:500])
        async with asyncio.timeout(10):
            assert b" 401 " in await reader.readline()
        writer.close()
        # Who sends it nevertheless, and nothing after it, sees the answer.
        assert b"a key is needed" in await talk(server, request(PATH, "Connection: close", body=b"1" * 3_000_000))

    serving(test, prepare)


@pytest.mark.parametrize("path", [PATH, PATH + "?x=1", "/models", "/v2/models/m/infer", "/nothing"])
@pytest.mark.parametrize(
    ("lines", "status", "words"),
    [
        ([], 400, "exactly one Host header"),
        (["Host: x", "Host: x"], 400, "exactly one Host header"),
        (["Host: x", "Host: y"], 400, "exactly one Host header"),
        (["Host: x", "Authorization: Bearer a", "Authorization: Bearer b"], 400, "one Authorization header"),
        (["Host: x", "Transfer-Encoding: gzip, chunked"], 501, "gzip, chunked is not supported"),
        (["Host: x", "Transfer-Encoding: gzip", "Transfer-Encoding: chunked"], 501, "is not supported"),
    ],
    ids=lambda value: " + ".join(value) or "no Host" if isinstance(value, list) else None,
)
def test_a_head_that_others_may_read_differently_is_refused(
    path: str, lines: list[str], status: int, words: str
) -> None:
    body = b"5\r\n12345\r\n0\r\n\r\n" if any("Transfer" in line for line in lines) else b""
    head = "\r\n".join([f"POST {path} HTTP/1.1", "Content-Type: application/json", *lines, "", ""]).encode()

    async def test(server: HttpServer, _: httpx.AsyncClient) -> None:
        before, _, refusal = (await talk(server, request() + head + body)).partition(ANSWER)
        assert before.startswith(b"HTTP/1.1 200 ")  # the request before it is answered
        head_of_refusal, _, content = refusal.partition(b"\r\n\r\n")
        assert head_of_refusal.startswith(b"HTTP/1.1 %d " % status), refusal
        assert b"\r\nconnection: close" in head_of_refusal
        assert b"\r\nx-request-id: " in head_of_refusal
        assert words in content.decode()

    serving(test)


def test_http_1_0_needs_no_host_and_a_host_may_be_empty() -> None:
    async def test(server: HttpServer, _: httpx.AsyncClient) -> None:
        old = request(PATH).replace(b"HTTP/1.1", b"HTTP/1.0").replace(b"Host: x\r\n", b"")
        assert (await talk(server, old)).endswith(ANSWER)
        for empty in (b"Host:\r\n", b"Host: \r\n"):
            sent = request(PATH, "Connection: close").replace(b"Host: x\r\n", empty)
            assert (await talk(server, sent)).endswith(ANSWER)

    serving(test)


def test_a_caller_that_half_closes_gets_the_answers_to_its_whole_requests() -> None:
    async def half_closed(server: HttpServer, sent: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(sent)
        writer.write_eof()
        try:
            return await asyncio.wait_for(reader.read(), 20)
        finally:
            writer.close()

    async def test(server: HttpServer, _: httpx.AsyncClient) -> None:
        slow = request(body=b'{"data": [[%d, 2]]}' % SLOW)
        for sent, answers in (
            (request(), 1),
            (slow, 1),
            (request(PATH + "?x=1"), 1),
            (request("/healthz", verb="GET", body=b""), 1),
            (slow + request() + request("/healthz", verb="GET", body=b"") + request(), 4),
            (slow + request()[:-3], 1),  # what is cut off is not answered
            (request()[:-3], 0),
            (request()[:20], 0),
            (b"", 0),
        ):
            answer = await half_closed(server, sent)
            assert answer.count(b"HTTP/1.1 200 OK") == answer.count(b"HTTP/1.1 ") == answers, (sent, answer)

    serving(test)


def test_what_follows_a_last_request_is_not_answered() -> None:
    async def test(server: HttpServer, _: httpx.AsyncClient) -> None:
        answer = await talk(server, request(PATH, "Connection: close") + request() + b"\0\0")
        assert (answer.count(b"HTTP/1.1 "), answer.endswith(ANSWER)) == (1, True), answer

    serving(test)


def test_a_body_for_a_view_that_comes_too_slowly_is_a_408() -> None:
    async def test(server: HttpServer, _: httpx.AsyncClient) -> None:
        head = request("/v2/repository/index", body=b"{}" * 20)[:-1]
        answer = await talk(server, head)
        assert b" 408 " in answer.partition(b"\r\n")[0]
        assert b"did not arrive within 0.5 s" in answer

    serving(test, body_timeout_s=0.5)
