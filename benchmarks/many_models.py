"""Many models: ``python -m benchmarks.many_models [--live 100] [--registered 1000]``.

First so many live iris models of 0.1 GB, each isolated and limited: memory in proportion (PSS: shared pages are divided among those who share
them), the time until all answer, a cold start. Then so many registered ones that start at first use: what a request costs the HTTP process beside
the same with one model, and what start-up, memory and the list of models cost. Linux only.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import joblib
from sklearn.datasets import load_iris
from sklearn.svm import SVC

from benchmarks.children import pss_mb
from benchmarks.results import Figures, save
from registry import Model, ResourceConfiguration, Workspace
from tests.e2e.gateway import Gateway, serving
from tests.e2e.load import Load
from tests.waiting import eventually

SMALL = ResourceConfiguration(cpu=1, memory_in_gb=0.1)


def registered(folder: Path, count: int) -> Workspace:
    """A workspace with so many iris models, no two with the same bytes."""
    workspace = Workspace.open(folder)
    X, y = load_iris(return_X_y=True)
    for number in range(count):
        path = folder.parent / "model.joblib"
        joblib.dump(SVC(kernel="linear", C=1 + number / 1000).fit(X, y), path)
        Model.register(workspace, str(path), f"iris-{number:04}", resource_configuration=SMALL, show_output=False)
    return workspace


def below(pid: int) -> list[int]:
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, path.read_text().split()):
            found += [child, *below(child)]
    return found


def kind(pid: int) -> str:
    command = Path(f"/proc/{pid}/cmdline").read_bytes()
    return "HTTP process" if b"gateway.http.process" in command else "nursery and children"


def cpu_seconds(pid: int) -> float:
    """Of all its threads, to the microsecond: what /proc/PID/stat counts comes in hundredths of a second."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


def tree_pss(gateway: Gateway) -> dict[str, float]:
    sums = {"supervisor": pss_mb(gateway.process.pid)}
    for pid in below(gateway.process.pid):
        with suppress(ProcessLookupError, FileNotFoundError):  # it has ended meanwhile
            sums[kind(pid)] = sums.get(kind(pid), 0.0) + pss_mb(pid)
    return sums


@contextmanager
def timed_gateway(folder: Path, *options: str) -> Iterator[tuple[Gateway, float]]:
    """A gateway, and the seconds until it said in `gateway.json` where it answers."""
    began = time.monotonic()
    with serving(folder, *options) as gateway:
        yield gateway, time.monotonic() - began


def live_models(folder: Path, count: int) -> Figures:
    registered(folder, count).close()
    with timed_gateway(folder, "--reserve-gb", "0") as (gateway, ready):
        began = time.monotonic()
        eventually(
            lambda: gateway.http.get("/readyz").json(),
            lambda now: now.get("ready") and now.get("models") == count,
            "all models",
            120,
        )
        took = time.monotonic() - began
        worked = {"supervisor": cpu_seconds(gateway.process.pid)}
        for pid in below(gateway.process.pid):
            with suppress(ProcessLookupError, FileNotFoundError):
                worked[kind(pid)] = worked.get(kind(pid), 0.0) + cpu_seconds(pid)
        models = gateway.http.get("/models").json()["models"]
        pids = [int(pid) for model in models for pid in gateway.status(model["name"])["pids"]]
        pss = [pss_mb(pid) for pid in pids]
        tree = tree_pss(gateway)
        limits = gateway.status("iris-0000")["limits"]
        print(f"{count} live models, limits by {limits['enforcement']}, {limits['memory_in_gb']} GB each")
        print(f"gateway answers after {ready:.1f} s; all models live {took:.1f} s after that")
        print("CPU seconds until then: " + ", ".join(f"{name} {used:.1f}" for name, used in worked.items()))
        print(f"children: PSS mean {statistics.mean(pss):.1f} MB, most {max(pss):.1f} MB, {len(pss)} of them")
        print("whole tree, PSS: " + ", ".join(f"{name} {size:.0f} MB" for name, size in tree.items()))
        for name in ("iris-0000", f"iris-{count - 1:04}"):
            assert gateway.score(name, [[5.1, 3.5, 1.4, 0.2]]).json() == {"predict": [0]}
        return {
            "live": count,
            "enforcement": limits["enforcement"],
            "pss_mb": statistics.mean(pss),
            "all_live_s": took,
        }


def cost_per_request(gateway: Gateway, path: str, requests: int, rate: float) -> float:
    """CPU microseconds of the HTTP process for one request."""
    (pid,) = [pid for pid in below(gateway.process.pid) if kind(pid) == "HTTP process"]
    with Load(str(gateway.url), "", rate, path=path) as load:
        before, first = cpu_seconds(pid), len(load.latencies)
        time.sleep(requests / rate)
        used, answered = cpu_seconds(pid) - before, len(load.latencies) - first
    assert not load.failures, load.failures
    return used / answered * 1e6


def at_rest(gateway: Gateway) -> None:
    """Wait until the gateway has nothing left to do: what a start leaves for afterwards is no part of the next one."""
    before = -1.0
    for _ in range(100):
        pids = [gateway.process.pid, *below(gateway.process.pid)]
        used = sum(cpu_seconds(pid) for pid in pids)
        if 0 <= used - before < 0.005:
            return
        before = used
        time.sleep(0.2)
    raise TimeoutError("the gateway does not come to rest")


def cold_starts(gateway: Gateway, count: int) -> float:
    """Median milliseconds of the first request to each of some models that do not run yet, one after the other."""
    cold = []
    for number in range(min(count, 10)):
        at_rest(gateway)
        began = time.perf_counter()
        answer = gateway.score(f"iris-{number:04}", [[5.1, 3.5, 1.4, 0.2]])
        cold.append((time.perf_counter() - began) * 1000)
        assert answer.json() == {"predict": [0]}, answer.text
    return statistics.median(cold)


def registered_models(folder: Path, counts: tuple[int, int], requests: int, rate: float) -> Figures:
    """Gateways with so few and so many models, up at the same time and asked in turn."""
    print(
        "\n| registered | start-up s | HTTP process MB | supervisor MB | GET /models KB | ms | cold start ms (median of 10) | CPU us a request |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for count in counts:
        registered(folder / f"r{count}", count).close()
    with ExitStack() as stack:
        gateways = [
            stack.enter_context(timed_gateway(folder / f"r{count}", "--start", "first-use")) for count in counts
        ]
        cold = [cold_starts(gateway, count) for count, (gateway, _) in zip(counts, gateways, strict=True)]
        costs = [
            [cost_per_request(gateway, "/models/iris-0000/score", requests, rate) for gateway, _ in gateways]
            for _ in range(5)
        ]
        for number, (gateway, ready) in enumerate(gateways):
            began = time.perf_counter()
            size = len(gateway.http.get("/models").content) / 1000
            listing = (time.perf_counter() - began) * 1000
            tree = tree_pss(gateway)
            print(
                f"| {counts[number]} | {ready:.1f} | {tree['HTTP process']:.0f} | {tree['supervisor']:.0f} | {size:.0f} | {listing:.0f} "
                f"| {cold[number]:.0f} | {statistics.median(pair[number] for pair in costs):.1f} |",
                flush=True,
            )
    ratio = statistics.median(many / few for few, many in costs)
    print(f"\nCPU of a request with {counts[1]} registered: {ratio:.3f} of that with {counts[0]}, median of 5 turns")
    return {"registered": counts[1], "cold_start_ms": cold[1], "cost_ratio": ratio}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--live", type=int, default=100)
    parser.add_argument("--registered", type=int, default=1000)
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--rate", type=float, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fs-") as temporary:
        folder = Path(temporary)
        print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}")
        figures = live_models(folder / "live", options.live)
        if options.registered:
            figures |= registered_models(folder, (1, options.registered), options.requests, options.rate)
    save("many_models", **figures)


if __name__ == "__main__":
    main()
