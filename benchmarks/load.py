"""A closed loop by wrk: so many connections, each asking again as soon as it is answered. For the open loop see openloop.py."""

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.running import Running
from benchmarks.servers import ROWS

BODIES: Final = 50  # different ones, in turn
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
    failed: int


def closed(server: Running, rows: ROWS, connections: int, seconds: float, folder: Path) -> Closed:
    script = folder / "post.lua"
    bodies = [server.server.body([row]).decode() for row in rows[:BODIES]]
    script.write_text(_LUA % ",".join(json.dumps(body) for body in bodies))
    before = server.cpu_seconds()
    options = ["-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "30s", "-s", str(script)]
    done = subprocess.run(["wrk", *options, server.url], capture_output=True, text=True, check=True)
    found = re.search(r"RESULT (\d+) (\d+) (\S+) (\S+) (\d+)", done.stdout)
    assert found is not None, done.stdout
    requests, microseconds, p50, p99, failed = (float(word) for word in found.groups())
    cpu = (server.cpu_seconds() - before) / max(1, requests) * 1e6
    return Closed((requests - failed) / microseconds * 1e6, p50 / 1000, p99 / 1000, cpu, int(failed))
