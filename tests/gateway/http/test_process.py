"""What an HTTP process must never do, and what it takes along when it ends."""

import asyncio
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from gateway.http.logging import AccessLog
from gateway.http.request_id import RequestIds
from tests.gateway.dataplane.stub_child import STUCK
from tests.gateway.http.test_scoring import UUID4, post, serving
from tests.gateway.supervisor.small_supervisor import HttpServer, http_process, small_supervisor
from tests.waiting import until

ROOT = Path(__file__).parent.parent.parent.parent

GUARDED = """
import runpy, sys
def watch(event, arguments):
    if event == "pickle.find_class":
        print("UNPICKLED", event, arguments, file=sys.stderr, flush=True)
sys.addaudithook(watch)
runpy.run_module("gateway.http.process", run_name="__main__", alter_sys=True)
"""


def test_it_imports_no_model_library_and_starts_quickly() -> None:
    code = (
        "import sys, gateway.http.process as p; import json; "
        "print(json.dumps([m for m in ('sklearn', 'joblib', 'scipy', 'pandas', 'inference_schema', 'sqlalchemy', 'cloudpickle') "
        "if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert json.loads(done.stdout) == []


def test_no_source_of_the_http_process_mentions_pickle() -> None:
    code = "import sys, gateway.http.process; print('\\n'.join(getattr(m, '__file__', '') or '' for m in sys.modules.values()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    ours = [Path(name) for name in done.stdout.split() if name.startswith((f"{ROOT}/gateway", f"{ROOT}/registry"))]
    assert len(ours) > 15
    for file in ours:
        text = file.read_text(encoding="utf-8")
        assert not [
            line
            for line in text.splitlines()
            if line.strip().startswith(("import pickle", "from pickle", "import joblib"))
        ]
        assert "allow_pickle=True" not in text


def test_nothing_is_unpickled_while_it_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An audit hook in the process itself, through requests that hold pickles."""
    script = tmp_path / "guarded.py"
    script.write_text(GUARDED)

    async def main() -> None:
        async with small_supervisor() as supervisor:
            await supervisor.add("m")
            output = tmp_path / "stderr"
            with output.open("wb") as stderr:
                command = [sys.executable, str(script)]
                async with (
                    http_process(supervisor, command=command, stderr=stderr) as server,
                    httpx.AsyncClient(base_url=server.url, trust_env=False) as client,
                ):
                    bomb = pickle.dumps(subprocess.Popen)
                    for kind in ("application/json", "application/octet-stream"):
                        answer = await client.post("/score", content=bomb, headers={"content-type": kind})
                        assert answer.status_code in (400, 415)
                    assert (await post(client, [1, 2])).status_code == 200
            assert "UNPICKLED" not in output.read_text()

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    asyncio.run(main())


def test_a_killed_supervisor_takes_it_along() -> None:
    """By the parent-death signal, even if the control channel stays open in somebody else's hands."""
    code = (
        "import subprocess, sys, json, socket, os\n"
        "from gateway.settings import Settings\n"
        "a, b = socket.socketpair(); l = socket.socket(); l.bind(('127.0.0.1', 0)); l.listen()\n"
        "p = subprocess.Popen([sys.executable, '-m', 'gateway.http.process', '--control-fd', str(b.fileno()), '--listen-fd',"
        " str(l.fileno()), '--settings', json.dumps(Settings().to_json())], pass_fds=[a.fileno(), b.fileno(), l.fileno()])\n"
        "from gateway.ipc.control import encode\n"
        "from gateway.ipc.routing_table import Publisher\n"
        "a.sendall(encode(Publisher().update({}, None, None)))\n"
        "while b'ready' not in a.recv(1000): pass\n"
        "print(p.pid, flush=True); sys.stdin.read()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert parent.stdin is not None
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    os.kill(pid, 0)
    parent.kill()
    parent.wait()

    async def gone() -> None:
        async with asyncio.timeout(10):
            while Path(f"/proc/{pid}/stat").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text():
                await asyncio.sleep(0.01)

    asyncio.run(gone())
    parent.stdin.close()
    parent.stdout.close()


def test_the_supervisor_hears_what_was_used() -> None:
    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        for _ in range(3):
            await post(client, [1, 2])
        async with asyncio.timeout(10):  # told now and then, so the three may be in several parts
            while sum(part["versions"][0][2] for part in server.supervisor.noted("used")) < 3:
                await asyncio.sleep(0.02)
        assert {tuple(part["versions"][0][:2]) for part in server.supervisor.noted("used")} == {("m", 1)}
        (child,) = server.supervisor.children
        assert server.supervisor.noted("answered") == [{"op": "answered", "child": child}]

    serving(test)


def test_the_supervisor_hears_that_a_long_computation_is_in_use() -> None:
    """Or it would stop the version for another that somebody asks for."""

    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        asking = asyncio.create_task(post(client, [STUCK, 2]))
        await until(lambda: {"op": "used", "versions": [["m", 1, 0]]} in server.supervisor.notes, "it is in use")
        asking.cancel()

    serving(test)


def test_ids_are_unique_and_look_like_uuids() -> None:
    ids = RequestIds()
    made = [ids.new() for _ in range(1000)]
    assert len(set(made)) == 1000
    assert all(UUID4.fullmatch(each.decode()) for each in made)
    assert len({RequestIds().new() for _ in range(1000)}) == 1000


def test_the_access_log_is_one_line_a_request_whatever_the_path(tmp_path: Path) -> None:
    file = tmp_path / "log"
    with file.open("w+", encoding="utf-8") as stream:
        log = AccessLog(stream)
        log.add("POST", "/score\n2026 forged ü", 200, 0.001303, 92)
        for number in range(20_000):
            log.add("POST", f"/{number}", 200, 0.001, 1)
        log.close(within_s=60)
    lines = file.read_text(encoding="ascii").splitlines()
    assert lines[0].endswith("POST /score\\n2026 forged \\xfc 200 1.303ms 92")
    written = [line for line in lines if " POST " in line]
    dropped = sum(int(line.split()[0]) for line in lines if line.endswith("lines of the access log were dropped"))
    assert len(written) + dropped == 20_001
    assert len(written) >= 10_000


def test_the_access_log_of_a_process(tmp_path: Path) -> None:
    async def main() -> None:
        async with small_supervisor() as supervisor:
            await supervisor.add("m")
            output = tmp_path / "stderr"
            with output.open("wb") as stderr:
                async with http_process(supervisor, stderr=stderr, access_log=True) as server:
                    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
                        await post(client, [1, 2])
                        await client.get("/score", params={"data": "[[1]]"})
                    supervisor.peer.drain()
                    await server.process.wait()
            lines = output.read_text().splitlines()
            assert [line.split()[1:4] for line in lines] == [
                ["POST", "/models/m/score", "200"],
                ["GET", "/score", "400"],
            ]

    asyncio.run(main())
