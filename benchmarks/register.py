"""Register → first answer on a running gateway: ``python -m benchmarks.register [--times 20]``, in milliseconds, and how much of it is what.

Once by the SDK in a process that has it imported, once by the command in a fresh process each time. The phases are the supervisor's own
account (``start_ms`` in the status of the version), the rest is measured here.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import joblib
from sklearn.datasets import load_iris
from sklearn.svm import SVC

from registry import Model, Workspace
from tests.e2e.gateway import Gateway, fitserve, serving

SETOSA = [[5.1, 3.5, 1.4, 0.2]]
Times = dict[str, list[float]]


def first_answer(gateway: Gateway, name: str, began: float, times: Times) -> None:
    """Ask until it answers, then note what the supervisor says of the start."""
    noted = time.perf_counter()
    while (answer := gateway.score(name, SETOSA)).status_code == 404:  # not seen yet
        time.sleep(0.002)
    now = time.perf_counter()
    assert answer.json() == {"predict": [0]}, answer.text
    times["registered → first answer"].append((now - noted) * 1000)
    times["all"].append((now - began) * 1000)
    for phase, took in gateway.version(name, 1)["start_ms"].items():
        times[f"… {phase}"].append(took)


def by_sdk(gateway: Gateway, model: Path, count: int) -> Times:
    times: Times = defaultdict(list)
    with Workspace.open(gateway.workspace) as workspace:
        for number in range(count):
            began = time.perf_counter()
            Model.register(workspace, str(model), f"sdk-{number}", show_output=False)
            times["Model.register (hash, store, transaction)"].append((time.perf_counter() - began) * 1000)
            first_answer(gateway, f"sdk-{number}", began, times)
    return times


def by_command(gateway: Gateway, model: Path, count: int) -> Times:
    """The command itself waits until the model is live, so its time holds everything but the answer."""
    times: Times = defaultdict(list)
    for number in range(count):
        began = time.perf_counter()
        assert fitserve("--version", workspace=gateway.workspace).returncode == 0
        times["fitserve --version (start of the command)"].append((time.perf_counter() - began) * 1000)
        began = time.perf_counter()
        done = fitserve("register", str(model), "--name", f"cli-{number}", workspace=gateway.workspace)
        times["fitserve register"].append((time.perf_counter() - began) * 1000)
        assert done.returncode == 0, done.stderr
        first_answer(gateway, f"cli-{number}", began, times)
    return times


def show(title: str, times: Times) -> None:
    print(f"\n| {title} | median ms | most |\n|---|---|---|")
    for what, values in times.items():
        print(f"| {what} | {statistics.median(values):.0f} | {max(values):.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fs-") as temporary:
        folder = Path(temporary)
        model = folder / "model.joblib"
        joblib.dump(SVC(kernel="linear").fit(*load_iris(return_X_y=True)), model)
        with serving(folder / "ws", "--reserve-gb", "0") as gateway:
            with Workspace.open(gateway.workspace) as workspace:
                Model.register(workspace, str(model), "first", show_output=False)
            gateway.wait_for("first")  # the nursery has been started
            time.sleep(5)  # its imports in idle time
            print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}, median of {options.times}")
            show("by the SDK", by_sdk(gateway, model, options.times))
            if options.times > 1:
                show("by the command", by_command(gateway, model, options.times))


if __name__ == "__main__":
    main()
