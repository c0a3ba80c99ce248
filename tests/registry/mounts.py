"""Real disks in odd states: Python code run where a folder is a small tmpfs, or is mounted read-only."""

import subprocess
import sys
from pathlib import Path

import pytest


def python_where(mounts: str, code: str, *arguments: Path) -> str:
    """What `code` prints, run in a mount namespace of its own after the shell lines `mounts`; both see `arguments`.

    The caller's test is skipped where this user may not mount.
    """
    may = subprocess.run(["unshare", "-m", "true"], capture_output=True)
    if may.returncode:
        pytest.skip(f"mounting is not permitted here: {may.stderr.decode().strip()}")
    shell = f'set -e\n{mounts}\nexec "$PYTHON" -c "$CODE" "$@"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", shell, "sh", *map(str, arguments)],
        env={"PYTHON": sys.executable, "CODE": code, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
    )
    if "mount:" in done.stderr and "denied" in done.stderr:
        pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return done.stdout
