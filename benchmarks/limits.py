"""How well limits hold on this machine, as a table: `python benchmarks/limits.py [--seconds 10] [backend ...]`.

CPU: groups that spin with a limit of half a core, and the cores that they used. Memory: processes that allocate without
end under a limit of 256 MB, how far they came, and the time from passing the limit until they were dead.
"""

import argparse
import json
import statistics
import subprocess
import sys
import threading
import time

from registry.limits import Backend, Group, make_backend, survey
from registry.resources import ResourceConfiguration

MB = 1 << 20
LIMIT_MB = 256
SPINNING = {
    "1 process": "while True: pass",
    "4 processes": "import os\nos.fork(); os.fork()\nwhile True: pass",
    "8 threads": "import hashlib, threading\n"
    "for _ in range(8): threading.Thread(target=hashlib.pbkdf2_hmac, args=('sha256', b'', b'', 10**9)).start()",
}
ALLOCATING = {
    "as fast as it can": "kept = []\nwhile True: kept.append(bytearray(b'x' * (1 << 20))); say(len(kept))",
    "200 MB/s": "import time\nkept = []\nwhile True: kept.append(bytearray(b'x' * (1 << 20))); say(len(kept)); time.sleep(0.005)",
    "a forked helper": "import os, time\n"
    "if os.fork() == 0:\n  kept = []\n  while True: kept.append(bytearray(b'x' * (1 << 20))); say(len(kept))\n"
    "time.sleep(60)",
}
PRELUDE = """
import json, resource, sys, time
extra = json.loads(sys.stdin.readline()).get("RLIMIT_DATA_EXTRA")
if extra:
    has = next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmData"))
    resource.setrlimit(resource.RLIMIT_DATA, (has + extra, has + extra))
def say(n): sys.stdout.write("%d %.6f\\n" % (n, time.monotonic())); sys.stdout.flush()
"""


def start(code: str, group: Group, *, rlimits: bool = True) -> subprocess.Popen[str]:
    command = [sys.executable, "-I", "-S", "-c", PRELUDE + code]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert process.stdin is not None
    group.add(process.pid)
    print(json.dumps(group.rlimits() if rlimits else {}), file=process.stdin, flush=True)
    return process


def spin(backend: Backend, code: str, seconds: float) -> str:
    group = backend.create("spin-1-1", ResourceConfiguration(cpu=0.5, memory_in_gb=0.25))
    process = start(code, group)
    group.set_cpu(0.5)
    while group.usage().throttled_seconds == 0:
        time.sleep(0.01)
    before, begin, own = group.usage(), time.monotonic(), time.process_time()
    threading.Event().wait(seconds)
    after, end = group.usage(), time.monotonic()
    cores = (after.cpu_seconds - before.cpu_seconds) / (end - begin)
    ours = (time.process_time() - own) / (end - begin)
    group.close()
    process.wait()
    return f"{cores:.3f} cores (0.5 ± 0.05: {'yes' if abs(cores - 0.5) <= 0.05 else 'NO'}), supervisor {ours:.3f}"


def allocate(backend: Backend, code: str, *, rlimits: bool) -> str:
    group = backend.create("allocate-1-1", ResourceConfiguration(cpu=1, memory_in_gb=LIMIT_MB / 1024))
    process = start(code, group, rlimits=rlimits)
    assert process.stdout is not None
    said = [line.split() for line in process.stdout if " " in line]  # ends when nobody is left to write
    dead = time.monotonic()
    passed = next((float(at) for n, at in said if int(n) >= LIMIT_MB), None)
    process.kill()
    process.wait()
    usage = group.usage()
    group.close()
    how = "killed" if usage.oom_kills else "MemoryError"
    reached = f"got {said[-1][0]} MB, peak {usage.memory_peak_bytes // MB} MB"
    return f"{how}, {reached}, " + (
        f"dead {1000 * (dead - passed):.0f} ms after passing" if passed else "never passed it"
    )


def usage_cost(backend: Backend) -> str:
    group = backend.create("usage-1-1", ResourceConfiguration())
    process = start("import time\ntime.sleep(60)", group)
    times = []
    for _ in range(1000):
        begin = time.perf_counter()
        group.usage()
        times.append(time.perf_counter() - begin)
    group.close()
    process.wait()
    return f"{1e6 * statistics.median(times):.0f} µs"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each CPU measurement takes")
    parser.add_argument("backends", nargs="*", help="default: all that work here")
    asked = parser.parse_args()
    print("| back end | what | result |\n|---|---|---|")
    for enforcement, reason in survey():
        if enforcement == "none" or (asked.backends and enforcement not in asked.backends):
            continue
        if reason:
            print(f"| {enforcement} | | not here: {reason} |")
            continue
        backend = make_backend(enforcement, "benchmark")
        backend.available()
        for what, code in SPINNING.items():
            print(f"| {enforcement} | spinning, {what} | {spin(backend, code, asked.seconds)} |", flush=True)
        for what, code in ALLOCATING.items():
            print(f"| {enforcement} | allocating {what} | {allocate(backend, code, rlimits=True)} |", flush=True)
        code = ALLOCATING["as fast as it can"]
        print(f"| {enforcement} | the same fast, no rlimits | {allocate(backend, code, rlimits=False)} |", flush=True)
        print(f"| {enforcement} | asking for the usage | {usage_cost(backend)} |", flush=True)
        backend.close()


if __name__ == "__main__":
    main()
