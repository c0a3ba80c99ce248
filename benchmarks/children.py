"""Scoring children beside fresh interpreters: ``python benchmarks/children.py [--models 20]``.

Time from asking for a child to its first answer, and proportional memory (PSS: shared pages are divided among those who
share them) of each and of the nursery, for so many iris models; then the round trip of a frame to one child, beside scikit-learn's
own call in this process. All in one run. Linux only.
"""

import argparse
import asyncio
import hashlib
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from sklearn.datasets import load_iris
from sklearn.svm import SVC

from gateway.schema.methods import METHODS
from gateway.supervisor.nursery import Nursery
from gateway.supervisor.reaper import Reaper, become_subreaper
from gateway.supervisor.worker_client import ScoringClient
from gateway.supervisor.worker_process import ChildHandle, start_child
from gateway.worker import wire

X, LABELS = load_iris(return_X_y=True)


def pss_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def own_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


async def started(begin: Callable[[], Awaitable[ChildHandle]], order: dict[str, Any]) -> tuple[ChildHandle, float]:
    """A child that has answered once, and the milliseconds that it took."""
    began = time.perf_counter()
    child = await begin()
    await child.hello()
    await child.go(order, 120)
    async with await ScoringClient.open(order["listen"]) as client:
        answer = await client.array("predict", X[:1])
        took = (time.perf_counter() - began) * 1000
        assert answer.tolist() == [0]
    return child, took


async def group(label: str, begin: Callable[[], Awaitable[ChildHandle]], orders: list[dict[str, Any]]) -> float:
    """Start, measure, print and end so many children; gives their proportional memory in MB."""
    children, times = [], []
    for order in orders:
        child, took = await started(begin, order)
        children.append(child)
        times.append(took)
        await asyncio.sleep(0.1)  # as between two registrations
    pss = [pss_mb(child.pid) for child in children]
    own = [own_mb(child.pid) for child in children]
    print(
        f"| {label} | {statistics.median(times):.1f} | {max(times):.1f} | {statistics.mean(pss):.1f} | {statistics.mean(own):.1f} "
        f"| {sum(pss):.0f} |"
    )
    for child in children:
        child.kill()
        await child.exited
    return sum(pss)


def round_trips(path: str, count: int, rows: int) -> tuple[float, float]:
    """Median microseconds of a frame there and back, and of the model's own call in it."""
    import socket

    Z = np.ascontiguousarray(X[:rows])
    reader, times, inside = wire.FrameReader(), [], []
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        for number in range(count):
            began = time.perf_counter()
            body = wire.Body()
            header = {
                "id": number,
                "method": "predict",
                "input": {"kind": "array", "array": body.add(Z)},
                "checked": True,
            }
            sock.sendall(b"".join(wire.encode_frame(header, body.arrays)))
            frames: list[Any] = []
            while not frames:
                frames = reader.buffer_updated(sock.recv_into(reader.get_buffer()))
            wire.arrays_from(frames[0][0]["output"], frames[0][1])
            times.append((time.perf_counter() - began) * 1e6)
            inside.append(frames[0][0]["exec_ns"] / 1000)
    return statistics.median(times), statistics.median(inside)


def local_call(model: SVC, count: int, rows: int) -> float:
    times = []
    for _ in range(count):
        began = time.perf_counter()
        model.predict(X[:rows])
        times.append((time.perf_counter() - began) * 1e6)
    return statistics.median(times)


async def run(models: int, folder: Path) -> None:
    assert become_subreaper(), "this needs Linux"
    model = SVC(kernel="linear").fit(X, LABELS)
    path = folder / "model.joblib"
    joblib.dump(model, path)
    common = {
        "artifact": str(path),
        "digest": hashlib.sha256(path.read_bytes()).hexdigest(),
        "format": "joblib",
        "methods": list(METHODS),
    }
    orders = [{**common, "listen": str(folder / f"{number}.s")} for number in range(2 * models + 1)]
    reaper = Reaper()
    reaper.start()
    began = time.perf_counter()
    nursery = await Nursery.start(sys.executable, reaper)
    ready = time.perf_counter() - began
    (await started(nursery.fork, orders[-1]))[0].kill()
    await asyncio.sleep(5)  # its imports in idle time

    async def fresh() -> ChildHandle:
        return start_child(sys.executable, reaper)

    print("| children | start to answer, ms (median) | (most) | PSS each, MB | own each, MB | PSS of all, MB |")
    print("|---|---|---|---|---|---|")
    forked_mb = await group(f"{models} forked", nursery.fork, orders[:models])
    fresh_mb = await group(f"{models} fresh interpreters", fresh, orders[models : 2 * models])
    print(
        f"\nThe nursery: ready after {ready:.1f} s, {pss_mb(nursery.pid):.0f} MB while alone; forked are {fresh_mb / forked_mb:.1f} times smaller.\n"
    )
    child, _ = await started(nursery.fork, {**common, "listen": str(folder / "wire.s")})
    print("| rows in a frame | round trip, us | of it the model | the model here |")
    print("|---|---|---|---|")
    for rows in (1, 32):
        trip, inside = round_trips(str(folder / "wire.s"), 3000, rows)
        print(f"| {rows} | {trip:.0f} | {inside:.0f} | {local_call(model, 3000, rows):.0f} |")
    child.kill()
    await child.exited
    await nursery.close()
    reaper.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fs-") as folder:
        asyncio.run(run(options.models, Path(folder)))


if __name__ == "__main__":
    main()
