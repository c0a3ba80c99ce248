"""What callers notice when things die or change: ``python -m benchmarks.chaos [--rate 500] [--seconds 60] [--swaps 100]``.

An open loop of single iris rows at a fixed rate against a real gateway; each answer is compared with the flower that was asked for. Meanwhile
children are killed, versions swapped, limits changed, the nursery and HTTP processes killed. Linux only.
"""

import argparse
import itertools
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import joblib
from sklearn.datasets import load_iris
from sklearn.svm import SVC

from benchmarks.results import save
from registry import Model, ResourceConfiguration, Workspace
from tests.e2e.gateway import Gateway, serving
from tests.e2e.load import Load
from tests.waiting import eventually


def started(pid: int) -> int:
    """Clock ticks; a nursery has the command line of its children, but was there before them."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


class Patient:
    """A gateway with an iris model under load, and the ways to hurt it."""

    def __init__(self, gateway: Gateway, workspace: Workspace, model: Path, rate: float) -> None:
        self.gateway, self.workspace, self.model, self.rate = gateway, workspace, model, rate
        self.seen: dict[str, dict[str, float]] = {}  # scenes that the page judges

    def register(self, **options: object) -> Model:
        return Model.register(
            self.workspace,
            str(self.model),
            "iris",
            show_output=False,
            **options,  # type: ignore[arg-type]
        )

    def children(self) -> list[int]:
        return [int(pid) for pid in self.gateway.status("iris").get("pids", ())]

    def processes(self, kind: str) -> list[int]:
        found = []
        for path in Path(f"/proc/{self.gateway.process.pid}/task").glob("*/children"):
            for pid in path.read_text().split():
                with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
                    command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                    if any(kind.encode() in word for word in command[:5]):
                        found.append((started(int(pid)), int(pid)))
        return [pid for _, pid in sorted(found)]

    @contextmanager
    def under_load(self, title: str, scene: str = "", events: int = 0) -> Iterator[Load]:
        with Load(str(self.gateway.url), "iris", self.rate) as load:
            yield load
        p50, p99, p999, most = load.percentiles(50, 99, 99.9, 100)
        print(
            f"| {title} | {load.sent} | {load.failed} | {p50:.1f} | {p99:.1f} | {p999:.1f} | {most:.0f} |", flush=True
        )
        if scene:
            self.seen[scene] = {
                "rate": self.rate,
                "events": events,
                "sent": load.sent,
                "failed": load.failed,
                "p99_ms": p99,
            }
            save("chaos", **self.seen)
        for what, count in load.failures.most_common(3):
            print(f"    {count} × {what}", file=sys.stderr)
        if load.failed or most > 10_000:
            print("\n".join(self.gateway.log.splitlines()[-60:]), file=sys.stderr)


def every(seconds: float, times: int, act: Callable[[], object]) -> None:
    """`act` at fixed times, from now on."""
    begin = time.monotonic()
    for number in range(times):
        time.sleep(max(0.0, begin + number * seconds - time.monotonic()))
        act()
    time.sleep(seconds)


def kill(pids: list[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def scenes(patient: Patient, seconds: int, swaps: int, only_kills: bool) -> None:
    with patient.under_load("quiet"):
        time.sleep(10)
    with patient.under_load(f"a child killed every second, {seconds} s", "kills", seconds):
        every(1, seconds, lambda: kill(eventually(patient.children)[:1]))
    if only_kills:
        return

    def kill_nursery_then_child() -> None:
        kill(patient.processes("nursery.py")[:1])
        time.sleep(1)
        kill(eventually(patient.children)[:1])
        eventually(patient.children, what="the restart")

    with patient.under_load("the nursery killed and a child 1 s later, every 5 s, 5 times"):
        every(5, 5, kill_nursery_then_child)

    def swap() -> None:
        version = patient.register().version
        eventually(lambda: patient.gateway.status("iris").get("live"), lambda live: live == version, what="the swap")

    with patient.under_load(f"{swaps} new versions, one after the other", "swaps", swaps):
        for _ in range(swaps):
            swap()

    def limits(number: int) -> None:
        asked = ResourceConfiguration(cpu=1 + number % 2, memory_in_gb=0.5 + 0.1 * (number % 3))
        Model(patient.workspace, "iris").update(resource_configuration=asked)

    numbers = itertools.count()
    with patient.under_load("limits and number of children changed every second, 20 s"):
        every(1, 20, lambda: limits(next(numbers)))

    def roll_back() -> None:
        before = patient.gateway.status("iris")["live"]
        Model(patient.workspace, "iris", version=before).delete()
        eventually(lambda: patient.gateway.status("iris").get("live"), lambda live: live not in {before, None})

    times = min(10, swaps)  # one version stays
    with patient.under_load(f"the version that answers deleted every second, {times} s"):
        every(1, times, roll_back)


def with_two_http_processes(patient: Patient) -> None:
    """Only what was on the connections of the killed process is lost: nobody else could answer there."""
    with patient.under_load("of two HTTP processes one killed every 3 s, 12 s"):
        every(3, 4, lambda: kill(patient.processes("gateway.http.process")[:1]))
    with patient.under_load("both children of a model killed at once every 2 s, 10 s"):
        every(2, 5, lambda: kill(eventually(patient.children)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=500)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--swaps", type=int, default=100)
    parser.add_argument("--only-kills", action="store_true", help="only the first two rows")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fs-") as temporary:
        folder = Path(temporary)
        model = folder / "model.joblib"
        joblib.dump(SVC(kernel="linear").fit(*load_iris(return_X_y=True)), model)
        with serving(folder / "ws") as gateway:
            patient = Patient(gateway, Workspace.open(folder / "ws"), model, options.rate)
            patient.register()
            gateway.wait_for("iris")
            print(
                f"{options.rate:g} requests/s, open loop, {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}\n"
            )
            print("| what happens | requests | failed | p50 ms | p99 | p99.9 | most |")
            print("|---|---|---|---|---|---|---|")
            scenes(patient, options.seconds, options.swaps, options.only_kills)
        if options.only_kills:
            return
        with serving(folder / "two", "--http-processes", "2") as gateway:
            patient = Patient(gateway, Workspace.open(folder / "two"), model, options.rate)
            patient.register(resource_configuration=ResourceConfiguration(cpu=2, memory_in_gb=0.5))
            gateway.wait_for("iris")
            with_two_http_processes(patient)


if __name__ == "__main__":
    main()
