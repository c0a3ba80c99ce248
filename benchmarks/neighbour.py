"""A hungry model dies beside a neighbour under load: ``python -m benchmarks.neighbour [--rate 300] [--times 5]``.

For each back end of limits that this machine has: the neighbour's p99 while it is alone, and while the hungry model passes its limit again and again;
how long each death took from the first page over the limit, as the model saw its own allocation, to the caller's 503. Linux only.
"""

import argparse
import os
import re
import statistics
import tempfile
import time
from pathlib import Path

from registry import Model, ResourceConfiguration, Workspace
from registry.limits import survey
from tests.e2e.gateway import serving
from tests.e2e.load import Load
from tests.e2e.models import code_model, iris_svc
from tests.waiting import eventually

LIMIT_GB = 0.3
# Notes the time of each step in a file of its own, so that the moment at which it passed its limit is known after its death.
HUNGRY = """\
import os, time
if X[0, 0] == 666:
    kept, note = [], os.open({path!r}, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    while True:
        resident = int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        os.pwrite(note, b"%15.4f %15d" % (time.monotonic(), resident), 0)
        kept.append(np.ones(2**17))
return np.zeros(len(X))
"""


def measure(backend: str, folder: Path, rate: float, times: int) -> None:
    note = folder / f"{backend}.note"
    with serving(folder / backend, env={"FITSERVE_LIMITS": backend}) as gateway:
        hungry, code = code_model(folder, HUNGRY.format(path=str(note)), name=f"hungry_{backend}")
        with Workspace.open(gateway.workspace) as workspace:
            Model.register(workspace, str(iris_svc(folder)), "iris", show_output=False)
            limit = ResourceConfiguration(1, LIMIT_GB)
            Model.register(
                workspace, str(hungry), "hungry", code=str(code), resource_configuration=limit, show_output=False
            )
        gateway.wait_for("iris")
        gateway.wait_for("hungry")
        enforcement = gateway.status("hungry")["limits"]["enforcement"]
        with Load(str(gateway.url), "iris", rate) as quiet:
            time.sleep(5)
        after, peaks = [], []
        with Load(str(gateway.url), "iris", rate) as during:
            for _ in range(times):
                eventually(lambda: gateway.status("hungry")["pids"], what="the hungry model")
                answer = gateway.score("hungry", [[666.0, 0, 0, 0]])
                answered = time.monotonic()
                assert answer.status_code == 503, answer.text
                last = float(note.read_text().split()[0])  # its last step below, or just above, the limit
                after.append((answered - last) * 1000)
                peak = re.search(r"peak ([\d.]+) GB", answer.json()["message"])
                peaks.append(float(peak[1]) if peak else float("nan"))
    (p99,), (p99_during,) = quiet.percentiles(99), during.percentiles(99)
    print(
        f"| {enforcement} | {quiet.failed + during.failed} of {quiet.sent + during.sent} | {p99:.1f} | {p99_during:.1f} "
        f"| {statistics.median(after):.0f} | {max(after):.0f} | {max(peaks):.3g} of {LIMIT_GB} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=300)
    parser.add_argument("--times", type=int, default=5)
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}, neighbour at {options.rate:g} requests/s\n")
    print(
        "| back end | neighbour failed | p99 ms quiet | p99 ms during | last step → 503, ms, median | most | peak GB |"
    )
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="fs-") as temporary:
        for backend, reason in survey():
            if backend == "none":
                continue
            if reason is not None:
                print(f"| {backend} | not here: {reason} | | | | | |")
                continue
            measure(backend, Path(temporary), options.rate, options.times)


if __name__ == "__main__":
    main()
