"""A process that builds one interpreter: ``python -m gateway.supervisor.environment_builder ROOT WANTED``, started by
`gateway.supervisor.environments`.

WANTED is JSON: an environment's ``spec`` and ``name``, what it was resolved to (``frozen``, or null), ``strict``.
Progress goes to the error output; the last line of the output is JSON, or a sentence when the exit code is not 0.
"""

import ctypes
import json
import signal
import sys
from pathlib import Path
from typing import Final

from registry.errors import FitserveError
from registry.interpreters import Frozen, interpreter_for

REFUSED: Final = 3
_PR_SET_PDEATHSIG: Final = 1


def main(arguments: list[str]) -> int:
    if sys.platform == "linux":  # end with the supervisor
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    root, text = arguments
    wanted = json.loads(text)
    resolved = wanted["frozen"]
    frozen = None if resolved is None else Frozen(resolved["python"], tuple(resolved["releases"]))
    options = {"strict": wanted["strict"], "name": wanted["name"], "frozen": frozen}
    try:
        ready = interpreter_for(wanted["spec"], Path(root), progress=_show, **options)
    except FitserveError as error:
        print(error)
        return REFUSED
    print(json.dumps({"python": str(ready.python), "version": ready.version, "warnings": ready.warnings}))
    return 0


def _show(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
