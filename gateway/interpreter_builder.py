"""A process that builds one interpreter: ``python -m gateway.interpreter_builder ROOT SPEC``, started by `gateway.interpreters`.

SPEC is an environment's spec as JSON. Progress goes to the error output; the last line of the output is JSON, or a sentence
when the exit code is not 0.
"""

import json
import sys
from pathlib import Path

from registry.errors import FitserveError
from registry.interpreters import interpreter_for

REFUSED = 3


def main(arguments: list[str]) -> int:
    root, spec = arguments
    try:
        ready = interpreter_for(json.loads(spec), Path(root), progress=_show)
    except FitserveError as error:
        print(error)
        return REFUSED
    print(json.dumps({"python": str(ready.python), "version": ready.version, "warnings": ready.warnings}))
    return 0


def _show(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
