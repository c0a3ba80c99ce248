"""The plain routes, and the door in front of all of them."""

import asyncio
import hashlib

import httpx
import pytest

from gateway.auth.guard import PUBLIC_PATHS, Guard
from gateway.http.admin import Admin
from gateway.http.app import plain_routes
from gateway.protocols import dialects
from tests.gateway.http.test_scoring import post, serving
from tests.gateway.supervisor.small_supervisor import HttpServer, SmallSupervisor

KEY = "right-key-0123456789"


async def with_key(supervisor: SmallSupervisor) -> None:
    supervisor.keys = frozenset(
        {hashlib.sha256(KEY.encode()).hexdigest(), hashlib.sha256(b"the-other-key").hexdigest()}
    )
    await supervisor.add("m")


def all_paths() -> list[str]:
    """Every route of the product with its placeholders filled in, and some that are none."""
    plain = [route.path for route in plain_routes(object.__new__(Admin))]
    scoring = [path for dialect in dialects() for path in dialect.paths]
    views = [view.path for dialect in dialects() for view in dialect.views]
    filled = {
        path.replace("{name}", "m").replace("{model}", "m").replace("{version}", "1").replace("{method}", "predict")
        for path in [*plain, *scoring, *views]
    }
    return sorted(
        {path.replace("{rest:path}", "anything") for path in filled} | {"/nothing", "/models/nobody", "/metrics"}
    )


def test_every_route_asks_for_a_key_unless_it_is_listed_as_public() -> None:
    """R4, R13."""

    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        paths = all_paths()
        assert "/models/m/predict" in paths
        assert len(paths) > 15
        for path in paths:
            for verb in ("GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"):
                answer = await client.request(verb, path)
                if path in PUBLIC_PATHS:
                    assert answer.status_code in (200, 405, 503), (verb, path)
                    continue
                assert answer.status_code == 401, (verb, path, answer.text)
                assert answer.headers["www-authenticate"] == "Bearer"
                if verb != "HEAD":
                    assert "a key is needed" in answer.text
        for key in (KEY, "the-other-key"):
            headers = {"authorization": f"Bearer {key}"}
            assert (await post(client, [1, 2], headers=headers)).status_code == 200
            assert (await client.get("/models", headers=headers)).status_code == 200
        for wrong in ("Bearer wrong", "Bearer", f"Basic {KEY}", KEY, f"Bearer {KEY}x", ""):
            assert (await post(client, [1, 2], headers={"authorization": wrong})).status_code == 401
            assert (await client.get("/models", headers={"authorization": wrong})).status_code == 401
        # What is asked for decides, not what the Host header says (a URL rebuilt from it would).
        assert (await client.get("/models", headers={"host": "x/healthz?"})).status_code == 401

    serving(test, with_key)


def test_a_browser_may_ask_first_without_a_key_but_only_from_an_allowed_origin() -> None:
    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
        preflight = await client.options("/score", headers={"origin": "https://a", **asked})
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-headers"] == "authorization"
        assert (await client.options("/score", headers={"origin": "https://evil", **asked})).status_code == 401
        assert (await post(client, [1, 2], headers={"origin": "https://a"})).status_code == 401

    serving(test, with_key, cors_origins="https://a")


def test_keys_can_change_while_running() -> None:
    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        assert (await post(client, [1, 2])).status_code == 200
        server.supervisor.keys = frozenset()
        await server.supervisor.publish()
        assert (await post(client, [1, 2])).status_code == 401, "no key in force lets nobody in"
        server.supervisor.keys = None
        await server.supervisor.publish()
        assert (await post(client, [1, 2])).status_code == 200

    serving(test)


@pytest.mark.parametrize(
    "header", [b"", b"Bearer", b"Bearer  ", b"bearer \xff\xfe", b"Token abc", b"Bearer " + b"x" * 9000]
)
def test_the_guard_takes_any_bytes(header: bytes) -> None:
    from gateway.errors import Unauthorized

    guard = Guard()
    guard.check({b"authorization": header})
    guard.update({hashlib.sha256(b"k").hexdigest()})
    with pytest.raises(Unauthorized):
        guard.check({b"authorization": header})
    guard.check({b"authorization": b"bearer k"})


def test_probes() -> None:
    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        root = await client.get("/")
        assert (root.status_code, root.text) == (200, "Healthy")
        assert root.headers["content-type"] == "text/html; charset=utf-8"
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        ready = await client.get("/readyz")
        assert ready.status_code == 200
        assert ready.json()["ready"] is True
        assert (await client.get("/models/m/ready")).json()["ready"] is True
        await server.supervisor.add("broken", children=0, state="failed", reason="it does not load", live=False)
        await server.supervisor.add("lazy", children=0, state="idle")
        assert (await client.get("/models/broken/ready")).status_code == 503
        assert (await client.get("/models/lazy/ready")).status_code == 200
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()["not_ready"]) == (200, 0)  # nobody ever relied on it
        await server.supervisor.add("slow", children=0, state="starting", live=False)
        assert (await client.get("/readyz")).json() == {"ready": True, "models": 3, "not_ready": 1}
        strict = await client.get("/readyz?strict=1")
        assert (strict.status_code, strict.json()["not_ready"]) == (503, 1)
        assert (await client.get("/models/nobody/ready")).status_code == 404

    serving(test)


def test_what_models_there_are() -> None:
    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        await server.supervisor.add("m", 2, live=False, children=0, state="failed", reason="golden rows differ")
        listed = (await client.get("/models")).json()
        assert listed["default"] == "m"
        (short,) = listed["models"]
        assert (short["name"], short["latest"], short["live"], short["state"]) == ("m", 2, 1, "live")
        assert short["scoring_uri"] == f"{server.url}/models/m/score"

        full = (await client.get("/models/m")).json()
        assert full["pids"] == [child.process.pid for child in server.supervisor.children.values()]
        assert full["schema"]["width"] == 2
        assert [(version["version"], version["state"]) for version in full["versions"]] == [(1, "live"), (2, "failed")]
        assert full["limits"] == {"cpu": 1.0, "memory_in_gb": 0.5}
        one = (await client.get("/models/m/versions/2")).json()
        assert one["reason"] == "golden rows differ"
        for path in ("/models", "/models/m", "/models/m/versions/1"):
            assert str(server.supervisor.folder) not in (await client.get(path)).text, "a socket's name left the house"
        assert (await client.get("/models/m/versions/7")).status_code == 404
        assert (await client.get("/models/m/versions/x")).status_code == 400
        assert (await client.get("/models/nobody")).status_code == 404

    serving(test)


def test_documents() -> None:
    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        for path in ("/swagger.json", "/models/m/swagger.json", "/api/v1/service/m/swagger.json"):
            document = (await client.get(path)).json()
            assert document["swagger"] == "2.0"
            prefix = path.removesuffix("/swagger.json")
            assert f"{prefix}/score" in document["paths"]
            assert (await client.get(path, params={"version": "3"})).json()["openapi"] == "3.0.3"
            assert (await client.get(path, params={"version": "3.1"})).json()["openapi"].startswith("3.1")
            wrong = await client.get(path, params={"version": "9"})
            assert wrong.status_code == 404
            assert "Swagger version [9] is not valid" in wrong.json()["message"]
        assert "/models/m/score" in (await client.get("/openapi.json")).json()["paths"]

    serving(test)


def test_a_gateway_without_models() -> None:
    async def nothing(supervisor: SmallSupervisor) -> None:
        await supervisor.publish()

    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        for call in (post(client, [1, 2], path="/score"), client.get("/swagger.json")):
            answer = await call
            assert answer.status_code == 404
            assert "no model is registered yet" in answer.json()["message"]
        assert (await client.get("/models")).json() == {"models": [], "default": None}
        assert (await client.get("/readyz")).status_code == 200

    serving(test, nothing)


HOSTILE = [
    *("..", "%2e%2e", "%252e%252e", "..%2f..%2fetc%2fpasswd", "a%5c..%5cb", "a%00b", "a%23b", "file:%2f%2fx"),
    *("%ef%bc%8e%ef%bc%8e", "%ff", "%", "m%0d%0ax-evil:1"),
]


def test_hostile_names_are_unknown_models() -> None:
    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        for name in HOSTILE:
            for path in (
                f"/models/{name}",
                f"/models/{name}/score",
                f"/models/m/{name}",
                f"/api/v1/service/{name}/score",
            ):
                reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
                writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
                async with asyncio.timeout(10):
                    answer = await reader.read()
                writer.close()
                await writer.wait_closed()
                assert answer.split()[1] in (b"400", b"404", b"405"), (path, answer)
                assert b"x-evil" not in answer.split(b"\r\n\r\n")[0]

    serving(test)
