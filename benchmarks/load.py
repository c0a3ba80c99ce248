"""Load: wrk in a closed loop, and requests at a fixed rate whatever the answers do (open loop)."""

import asyncio
import json
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.servers import ROWS, Running

BODIES: Final = 50  # different ones, in turn
DEADLINE_S: Final = 1.0  # of the open loop: later answers do not count
_LUA: Final = """
local bodies, at = {%s}, 0
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
request = function()
  at = at %% #bodies + 1
  return wrk.format(nil, nil, nil, bodies[at])
end
done = function(summary, latency)
  io.write(string.format("\\nRESULT %%d %%d %%f %%f %%d\\n", summary.requests, summary.duration, latency:percentile(50),
    latency:percentile(99), summary.errors.status + summary.errors.read + summary.errors.timeout))
end
"""


@dataclass(frozen=True)
class Closed:
    rate: float
    p50_ms: float
    p99_ms: float
    cpu_us: float  # of all processes of the server, a request


@dataclass(frozen=True)
class Open:
    asked: float
    good: float  # right status within the deadline, a second
    p99_ms: float  # of those
    refused: int  # 429 and 503
    failed: int  # anything else that is no 200


def closed(server: Running, rows: ROWS, connections: int, seconds: float, folder: Path) -> Closed:
    script = folder / "post.lua"
    bodies = [server.server.body([row]).decode() for row in rows[:BODIES]]
    script.write_text(_LUA % ",".join(json.dumps(body) for body in bodies))
    before = server.cpu_seconds()
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "-s", str(script), server.url]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = re.search(r"RESULT (\d+) (\d+) (\S+) (\S+) (\d+)", done.stdout)
    assert found is not None, done.stdout
    requests, microseconds, p50, p99, errors = (float(word) for word in found.groups())
    assert not errors, f"{server.server.name}: {done.stdout}"
    cpu = (server.cpu_seconds() - before) / requests * 1e6
    return Closed(requests / microseconds * 1e6, p50 / 1000, p99 / 1000, cpu)


def open_loop(server: Running, rows: ROWS, rate: float, seconds: float, connections: int = 256) -> Open:
    """`rate` requests a second over `connections`; one that finds no free connection waits, and its clock runs."""
    bodies = [server.server.body([row]) for row in rows[:BODIES]]
    head = (
        f"POST {server.server.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: "
    )
    requests = [head.encode() + b"%d\r\n\r\n" % len(body) + body for body in bodies]
    return asyncio.run(_open_loop(server.port, requests, rate, seconds, connections))


async def _open_loop(port: int, requests: list[bytes], rate: float, seconds: float, connections: int) -> Open:
    due: asyncio.Queue[float] = asyncio.Queue()
    times: list[float] = []
    statuses: dict[int, int] = {}
    ends = time.perf_counter() + seconds + 2 * DEADLINE_S

    async def caller(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            while True:
                asked_at = await due.get()
                writer.write(requests[number % len(requests)])
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)content-length: (\d+)", head)
                await reader.readexactly(int(length[1]) if length else 0)
                status = int(head[9:12])
                statuses[status] = statuses.get(status, 0) + 1
                if status == 200:
                    times.append(time.perf_counter() - asked_at)
        finally:
            writer.close()

    callers = [asyncio.ensure_future(caller(number)) for number in range(connections)]
    begin, sent = time.perf_counter(), 0
    while (now := time.perf_counter()) < begin + seconds:
        while sent < (now - begin) * rate:
            due.put_nowait(begin + sent / rate)
            sent += 1
        await asyncio.sleep(0.002)
    while sum(statuses.values()) < sent and time.perf_counter() < ends:
        await asyncio.sleep(0.01)
    for each in callers:
        each.cancel()
    broken = [e for e in await asyncio.gather(*callers, return_exceptions=True) if isinstance(e, Exception)]
    good = sorted(took for took in times if took <= DEADLINE_S)
    refused = statuses.get(429, 0) + statuses.get(503, 0)
    failed = sum(count for status, count in statuses.items() if status not in {200, 429, 503}) + len(broken)
    p99 = good[int(len(good) * 0.99)] * 1000 if good else float("inf")
    return Open(rate, len(good) / seconds, p99, refused, failed)
