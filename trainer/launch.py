"""The launcher of one run: ``python -m trainer.launch --workspace W --run ID --folder F``.

It detaches from the process that started it, so that the run continues when that process ends, and supervises the script:
statuses in Azure's order, a live and bounded log, metrics stored twice a second, limits, cancellation, maximum duration,
./outputs and ./logs collected however the script ends. Signal handlers only set a flag; the loop acts on it.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import NoReturn


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m trainer.launch", description="Supervise one run.")
    parser.add_argument("--workspace", help="folder of the workspace; FITSERVE_WORKSPACE when it is a URL")
    parser.add_argument("--run", required=True, help="id of the run")
    parser.add_argument("--folder", required=True, type=Path, help="folder of the run")
    parser.add_argument("--foreground", action="store_true", help="do not detach; for debugging")
    given = parser.parse_args(arguments)
    if not given.foreground:
        detach(given.folder)
    # Late: the submitting process waits for `detach`, and the launcher of a script does not need the sweep driver.
    from trainer.folder import RunFolder
    from trainer.history import SWEEP_TYPE

    if RunFolder(given.folder).read_facts()["type"] == SWEEP_TYPE:
        from trainer.sweep_driver import SweepDriver

        return SweepDriver(given.workspace, given.run, given.folder).run()
    from trainer.supervision import Supervision

    return Supervision(given.workspace, given.run, given.folder).run()


def detach(folder: Path) -> None:
    """Fork before anything heavy is imported. Returns in the child; the parent writes the child's pid and exits."""
    pid = os.fork()
    if pid == 0:
        return
    from trainer.process_id import ProcessId  # late: fork first

    part = folder / "launcher.json.part"
    part.write_text(json.dumps(ProcessId.of(pid).to_json()), encoding="utf-8")
    part.rename(folder / "launcher.json")
    _leave()


def _leave() -> NoReturn:
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
