"""What fitserve reaches, measured: ``python -m benchmarks [--peers] [--all] [--report]``.

Alone: fitserve beside an empty uvicorn app, about 5 minutes. ``--peers`` adds other servers, each installed from PyPI into an environment of its own
(about 20 minutes more); ``--all`` adds the other measuring scripts (about 15). What was found is kept in `.benchmarks`; ``--report`` writes
docs/benchmarks.md, the pages beneath it and the plot from all that is there. Needs Linux and wrk.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Final

from benchmarks import figures, report, results, side_by_side
from benchmarks.running import ENVIRONMENTS
from benchmarks.servers import FITSERVE, PEERS
from benchmarks.side_by_side import TASKS, Plan

#: The scripts of ``--all`` with what they are given, the most telling first.
SCRIPTS: Final = {
    "chaos": ["--rate", "2000"],
    "many_models": [],
    "big_bodies": [],
    "neighbour": [],
    "limits": ["--seconds", "5"],
    "children": [],
    "register": ["--times", "10"],
    "scoring_paths": [],
    "adapters": [],
}


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    made.add_argument("--peers", action="store_true", help="also other servers")
    made.add_argument("--all", action="store_true", help="also the other measuring scripts")
    made.add_argument(
        "--report", action="store_true", help="write docs/benchmarks.md from what was found, now and before"
    )
    made.add_argument("--nothing", action="store_true", help="measure nothing: with --report only write the page again")
    made.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these servers, by a part of their names")
    names = [task.name for task in TASKS]
    made.add_argument(
        "--models", nargs="+", default=names, choices=names, metavar="MODEL", help=f"of {', '.join(names)}"
    )
    made.add_argument("--seconds", type=float, default=3, help="of a window; peers get 2 at most")
    made.add_argument("--windows", type=int, default=3, help="peers get 2 at most")
    made.add_argument("--open-seconds", type=float, default=3, help="of each open loop; 0: none")
    made.add_argument("--environments", type=Path, default=ENVIRONMENTS, help="where environments of peers are kept")
    return made


def compare(options: argparse.Namespace) -> None:
    """Side by side: ours with all models, then the peers with those that a figure compares them on."""
    before, began = os.getloadavg()[0], time.monotonic()
    tasks = [task for task in TASKS if task.name in options.models]
    plan = Plan(options.windows, options.seconds, options.open_seconds, options.environments)
    others = [each for each in PEERS if any(part in each.name for part in options.only or [""])]
    if not (options.peers or options.only):
        others = []
    short = Plan(min(2, plan.windows), min(2, plan.seconds), min(2, plan.open_seconds), plan.environments)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        (ours := Path(folder) / "ours").mkdir()
        (theirs := Path(folder) / "theirs").mkdir()
        about = {
            "machine": results.machine(),
            "load_before": before,
            "command": " ".join(["python -m benchmarks", *sys.argv[1:]]),
        }
        found = side_by_side.run(tasks, [FITSERVE], plan, ours)
        results.save("side_by_side", **about, tasks=found)
        for task in (task for task in tasks if task.times and others):
            found[task.name].update(side_by_side.run([task], others, short, theirs)[task.name])
            results.save("side_by_side", **about, tasks=found)
    print(f"side by side took {(time.monotonic() - began) / 60:.0f} minutes", flush=True)


def main() -> int:
    options = parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are ended
    warnings.filterwarnings("ignore", category=FutureWarning, module="sklearn")
    if not options.nothing:
        compare(options)
    failed = [name for name, arguments in SCRIPTS.items() if options.all and results.run(name, arguments)]
    saved = results.saved()
    print("\n" + figures.table(saved))
    if options.report:
        report.write(saved, results.printed())
        print(f"written: {report.DOCS / 'benchmarks.md'}")
    if failed:
        print(f"did not end well: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
