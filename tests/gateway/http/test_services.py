"""Services: other names for models and versions, with keys of their own."""

import hashlib

import httpx

from gateway.ipc.routing_table import ServiceEntry
from tests.gateway.http.test_scoring import post, serving
from tests.gateway.supervisor.small_supervisor import HttpServer, SmallSupervisor

KEY = "key-of-the-service"
DIGEST = hashlib.sha256(KEY.encode()).hexdigest()
GATEWAY_KEY = "key-of-the-gateway"


def path(service: str) -> str:
    return f"/api/v1/service/{service}/score"


async def state(client: httpx.AsyncClient, service: str) -> dict[str, object]:
    answer = await client.get(f"/api/v1/service/{service}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_a_service_follows_the_live_version_or_stays_with_one() -> None:
    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        supervisor = server.supervisor
        assert (await post(client, [1, 2], path=path("flowers"))).status_code == 404
        supervisor.services = [ServiceEntry("flowers", "m"), ServiceEntry("first", "m", 1)]
        await supervisor.publish()
        for service in ("flowers", "first"):
            assert (await post(client, [1, 2], path=path(service))).json() == {"predict": [[2, 5]]}
        await supervisor.add("m", 2, children=0, state="failed", reason="it is bad")
        assert (await post(client, [1, 2], path=path("flowers"))).status_code == 503
        assert (await post(client, [1, 2], path=path("first"))).status_code == 200
        told = await state(client, "flowers")
        assert (told["asked_version"], told["version"], told["state"], told["reason"]) == (
            None,
            2,
            "failed",
            "it is bad",
        )
        assert (await state(client, "first"))["ready"] is True
        document = (await client.get("/api/v1/service/first/swagger.json")).json()
        assert path("first") in document["paths"]
        supervisor.services = []
        await supervisor.publish()
        gone = await post(client, [1, 2], path=path("first"))
        assert (gone.status_code, gone.json()["message"]) == (
            404,
            "service 'first' is not in this workspace; `fitserve services` lists them",
        )

    serving(test)


def test_a_service_takes_over_the_path_of_a_model_of_the_same_name() -> None:
    async def prepare(supervisor: SmallSupervisor) -> None:
        await supervisor.add("m")
        await supervisor.add("other", children=0, state="failed", reason="it is bad", live=False)

    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        supervisor = server.supervisor
        assert (await post(client, [1, 2], path=path("other"))).status_code == 503
        supervisor.services = [ServiceEntry("other", "m")]
        await supervisor.publish()
        assert (await post(client, [1, 2], path=path("other"))).status_code == 200
        supervisor.change("other", description=None)
        supervisor.change("m", cpu=2.0)
        await supervisor.publish()  # both models' paths are made anew
        assert (await post(client, [1, 2], path=path("other"))).status_code == 200
        supervisor.services = []
        await supervisor.publish()
        assert (await post(client, [1, 2], path=path("other"))).status_code == 503

    serving(test, prepare)


def test_keys_of_a_service_open_its_own_path_only() -> None:
    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        supervisor = server.supervisor
        supervisor.services = [ServiceEntry("closed", "m", None, (DIGEST,)), ServiceEntry("open", "m")]
        supervisor.default_service = "closed"
        await supervisor.publish()
        right = {"authorization": f"Bearer {KEY}"}
        for closed in (path("closed"), "/score"):
            assert (await post(client, [1, 2], path=closed)).status_code == 401
            assert (await post(client, [1, 2], path=closed, headers={"authorization": "Bearer x"})).status_code == 401
            assert (await post(client, [1, 2], path=closed, headers=right)).status_code == 200
        assert (await post(client, [1, 2], path=path("open"))).status_code == 200
        supervisor.keys = frozenset({hashlib.sha256(GATEWAY_KEY.encode()).hexdigest()})
        await supervisor.add("m", cpu=2.0)
        owner = {"authorization": f"Bearer {GATEWAY_KEY}"}
        assert (await post(client, [1, 2], path=path("closed"), headers=right)).status_code == 200
        assert (await post(client, [1, 2], path=path("closed"), headers=owner)).status_code == 200
        for elsewhere in (path("open"), "/models/m/score"):
            assert (await post(client, [1, 2], path=elsewhere, headers=right)).status_code == 403
            assert (await post(client, [1, 2], path=elsewhere, headers=owner)).status_code == 200

    serving(test)


def test_a_key_of_one_service_is_forbidden_at_another_and_a_wrong_key_is_none() -> None:
    other = "key-of-another-service"

    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        server.supervisor.services = [
            ServiceEntry("closed", "m", None, (DIGEST,)),
            ServiceEntry("other", "m", None, (hashlib.sha256(other.encode()).hexdigest(),)),
        ]
        await server.supervisor.publish()
        for service, key, status in (("other", other, 200), ("closed", other, 403), ("closed", "nobodys", 401)):
            answer = await post(client, [1, 2], path=path(service), headers={"authorization": f"Bearer {key}"})
            assert answer.status_code == status, (service, key)
            assert ("www-authenticate" in answer.headers) is (status == 401)

    serving(test)


def test_a_service_with_keys_on_and_none_made_lets_nobody_in() -> None:
    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        server.supervisor.services = [ServiceEntry("closed", "m", None, ())]
        await server.supervisor.publish()
        for headers in ({}, {"authorization": f"Bearer {KEY}"}):
            assert (await post(client, [1, 2], path=path("closed"), headers=headers)).status_code == 401

    serving(test)


def test_a_service_of_a_version_that_is_gone_says_so() -> None:
    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        server.supervisor.services = [ServiceEntry("pinned", "m", 7)]
        await server.supervisor.publish()
        answer = await post(client, [1, 2], path=path("pinned"))
        assert (answer.status_code, "version 7 is not registered" in answer.json()["message"]) == (404, True)

    serving(test)
