"""Lines of all processes stand in one stream: of one form, in one time."""

import os
import re
import subprocess
import sys
from datetime import UTC, datetime

CODE = """
import logging, sys
from gateway.http.logging import AccessLog, set_up
set_up("info", sys.stdout)
logging.getLogger("fitserve.supervisor").info("iris:1: live")
access = AccessLog(sys.stdout)
access.add("POST", "/score", 200, 0.001, 15)
access.close()
"""


def test_times_are_utc_wherever_the_machine_stands() -> None:
    environment = os.environ | {"TZ": "Asia/Tokyo"}
    done = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=True)
    log, access = done.stdout.splitlines()
    assert re.fullmatch(r"\S+Z I \[\d+\] fitserve\.supervisor - iris:1: live", log)
    assert re.fullmatch(r"\S+Z POST /score 200 1\.000ms 15", access)
    for line in (log, access):
        assert abs((datetime.now(UTC) - datetime.fromisoformat(line.split()[0])).total_seconds()) < 60
