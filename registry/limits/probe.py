"""A small trial of a back end: files that look writable are no proof (sandboxes and namespaces say no later)."""

import subprocess
import sys

from registry.errors import LimitsUnavailable
from registry.limits.base import Backend
from registry.resources import ResourceConfiguration


def probe(backend: Backend) -> str | None:
    """Make a group, put a process into it, limit it; gives the reason when that does not work."""
    command = [sys.executable, "-I", "-S", "-c", "input()"]  # waits for us
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            group = backend.create("probe", ResourceConfiguration(cpu=0.5, memory_in_gb=0.25))
            try:
                group.add(process.pid)
                group.set_cpu(0.5)
                if process.pid not in group.pids():
                    return "a process that was put into a group did not arrive there"
            finally:
                group.close()
        except LimitsUnavailable as e:
            return str(e)
        except OSError as e:
            return f"a trial failed: {e.filename or 'a control file'}: {e.strerror}"
        finally:
            process.kill()
    return None
