"""More callers than there are descriptors: who is connected is served on, also by a new process of the model; others wait."""

import asyncio
import contextlib

import httpx

from tests.gateway.supervisor.small_supervisor import COMMAND, http_process, small_supervisor
from tests.waiting import until

FEW = ("/bin/sh", "-c", 'ulimit -n 96 && exec "$@"', "sh", *COMMAND)


def test_who_is_connected_is_served_on_when_descriptors_run_out() -> None:
    async def story() -> None:
        async with small_supervisor() as supervisor:
            await supervisor.add("double")
            async with http_process(supervisor, command=FEW) as server, contextlib.AsyncExitStack() as stack:
                client = await stack.enter_async_context(httpx.AsyncClient(base_url=server.url, trust_env=False))

                async def answer() -> int:
                    body = {"data": [[1, 2]]}
                    return (await client.post("/models/double/score", json=body, timeout=20)).status_code

                assert await answer() == 200
                crowd = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(120)]
                assert [await answer() for _ in range(20)] == [200] * 20
                before = set(supervisor.children)
                next(iter(supervisor.children.values())).kill()
                await until(lambda: supervisor.children.keys() - before, "another child")
                async with asyncio.timeout(10):  # idle callers keep their descriptors for longer than this
                    assert await answer() == 200
                for _, writer in crowd:
                    writer.close()
                async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=20) as late:
                    assert (await late.get("/healthz")).status_code == 200

    asyncio.run(story())
