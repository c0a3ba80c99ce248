"""Who may ask what the gateway says of itself: keys of services (R3), and browsers where no key is asked for (R7)."""

import hashlib

import httpx
import pytest

from gateway.auth.guard import PUBLIC_PATHS, Guard
from gateway.errors import Forbidden
from gateway.http.access import AccessControl
from gateway.http.cors import Cors
from gateway.ipc.routing_table import RoutingTable, ServiceEntry
from tests.gateway.http.test_routes import KEY, all_paths, with_key
from tests.gateway.http.test_scoring import post, serving
from tests.gateway.supervisor.small_supervisor import HttpServer, SmallSupervisor

SERVICE_KEY = "key-of-the-service"
OF_ITSELF = ("/models", "/models/m", "/models/m/versions/1", "/models/m/ready", "/api/v1/service/m")


async def with_service(supervisor: SmallSupervisor) -> None:
    await with_key(supervisor)
    supervisor.services = [
        ServiceEntry("flowers", "m", None, (hashlib.sha256(SERVICE_KEY.encode()).hexdigest(),)),
        ServiceEntry("others", "m", None, (hashlib.sha256(b"another-key").hexdigest(),)),
    ]
    await supervisor.publish()


def test_a_scoring_key_gets_403_on_every_other_route_but_its_services_documents() -> None:
    """R3."""

    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        headers = {"authorization": f"Bearer {SERVICE_KEY}"}
        own = "/api/v1/service/flowers"
        assert (await post(client, [1, 2], path=f"{own}/score", headers=headers)).status_code == 200
        for path in (own, f"{own}/", f"{own}/swagger.json"):
            assert (await client.get(path, headers=headers)).status_code == 200, path
        assert len(await _scoring_paths(client)) > 8
        for path in sorted({*all_paths(), "/api/v1/service/others/swagger.json"} - PUBLIC_PATHS):
            for verb in ("GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"):
                answer = await client.request(verb, path, headers=headers)
                assert answer.status_code == 403, (verb, path, answer.text)
        assert "opens the scoring path of its service" in (await client.get("/models", headers=headers)).text
        assert (await client.get("/models", headers={"authorization": f"Bearer {KEY}"})).status_code == 200

    serving(test, with_service)


async def _scoring_paths(client: httpx.AsyncClient) -> list[str]:
    """Those that a model answers at: with the right key, OPTIONS is a 200 there."""
    right = {"authorization": f"Bearer {KEY}"}
    return [path for path in all_paths() if (await client.options(path, headers=right)).status_code == 200]


def test_a_name_that_somebody_outside_can_own_gets_nothing_of_the_gateway_itself() -> None:
    """R7."""

    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        for name in (
            "evil.example.com",
            "evil.com:8080",
            "127.0.0.1.evil.com",
            "localhost.evil.com",
            "a b",
            "x/y",
            "x@y",
        ):
            host = {"host": name}
            for path in (*OF_ITSELF, "/metrics"):
                answer = await client.get(path, headers=host)
                assert (answer.status_code, "--allowed-hosts" in answer.json()["message"]) == (403, True), (name, path)
            assert (await client.post("/v2/repository/index", headers=host)).status_code == 403
            for path in sorted(PUBLIC_PATHS):
                assert (await client.get(path, headers=host)).status_code == 200, path
            assert (await post(client, [1, 2], headers=host)).status_code == 200

    serving(test)


def test_names_that_cannot_be_owned_and_those_that_are_allowed() -> None:
    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        good = ("127.0.0.1:1", "10.1.2.3", "[::1]:80", "localhost", "LOCALHOST:80", "a.localhost", "gateway:8080", "")
        for host in (*good, "models.example.com", "MODELS.example.com.:8080"):
            for path in OF_ITSELF:
                answer = await client.get(path, headers={"host": host})
                assert answer.status_code != 403, (host, path, answer.text)

    serving(test, allowed_hosts="other.example.com, models.example.com")


def test_pages_of_other_origins_change_nothing() -> None:
    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        load = "/v2/repository/models/m/load"
        for origin, status in (
            ("https://evil.com", 403),
            ("null", 403),
            ("https://friend.com", 200),
            (f"http://127.0.0.1:{server.port}", 200),
        ):
            answer = await client.post(load, headers={"origin": origin})
            assert answer.status_code == status, (origin, answer.text)
        assert (await client.post(load)).status_code == 200
        for site, origin, status in (
            ("cross-site", None, 403),
            ("cross-site", f"http://127.0.0.1:{server.port}", 403),
            ("cross-site", "https://friend.com", 200),
            ("same-origin", None, 200),
            ("none", None, 200),
        ):
            headers = {"sec-fetch-site": site} | ({} if origin is None else {"origin": origin})
            answer = await client.post(load, headers=headers)
            assert answer.status_code == status, (headers, answer.text)
        foreign = {"sec-fetch-site": "cross-site"}
        assert (await client.post("/v2/repository/models/m/unload", headers=foreign)).status_code == 403
        assert (await client.get("/models", headers=foreign)).status_code == 200
        assert (await post(client, [1, 2], headers=foreign)).status_code == 200

    serving(test, cors_origins="https://friend.com")


def test_without_a_key_models_are_unloaded_from_this_machine_only() -> None:
    path, local = "/v2/repository/models/m/unload", {b"host": b"10.1.2.3:8080"}
    doorman = AccessControl(Guard(), Cors(), RoutingTable(), "")
    for peer in ("127.0.0.1", "127.3.2.1", "::1", "::ffff:127.0.0.1", None):
        doorman.check("POST", path, local, peer)
    for peer in ("10.1.2.3", "::ffff:10.1.2.3", "fe80::1%eth0", "2001:db8::1"):
        with pytest.raises(Forbidden, match="own machine"):
            doorman.check("POST", path, local, peer)
        doorman.check("POST", "/v2/repository/models/m/load", local, peer)
    with pytest.raises(Forbidden, match="Host"):
        doorman.check("POST", path, {b"host": b"evil.com"}, "127.0.0.1")


def test_where_a_key_is_asked_for_it_is_all_that_counts() -> None:
    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        headers = {"authorization": f"Bearer {KEY}", "host": "evil.com", "origin": "https://evil.com"}
        for path in OF_ITSELF:
            assert (await client.get(path, headers=headers)).status_code == 200, path
        assert (await client.post("/v2/repository/models/m/load", headers=headers)).status_code == 200

    serving(test, with_key)
