"""Training processes inside their limits."""

import re
from collections.abc import Callable

import pytest

from registry.limits import machine_cores, survey
from registry.limits.base import Usage
from registry.resources import GB, ResourceConfiguration
from trainer import Run
from trainer.errors import ActivityFailed
from trainer.outcome import outcome_of

Submit = Callable[..., Run]

needs_limits = pytest.mark.skipif(
    all(reason for enforcement, reason in survey() if enforcement != "none"),
    reason="nothing on this machine can hold a limit",
)


@needs_limits
def test_a_script_that_passes_its_memory_limit_names_limit_and_peak(submit: Submit) -> None:
    run = submit(
        "blocks = []\nwhile True:\n    blocks.append(bytearray(b'x' * (8 * 2**20)))",
        resource_configuration=ResourceConfiguration(cpu=1, memory_in_gb=0.2),
    )
    with pytest.raises(ActivityFailed, match=r"train\.py passed its memory limit of 0\.2 GB \(peak 0\.\d\d GB\)"):
        run.wait_for_completion()
    usage = run.get_details()["usage"]
    assert usage["enforcement"] in ("cgroup2", "cgroup1", "watchdog")
    assert 0.1 * GB < usage["memory_peak_bytes"] < 0.3 * GB


@needs_limits
def test_what_a_script_starts_counts_too(submit: Submit) -> None:
    run = submit(
        """
        import subprocess, sys
        hungry = "import time; b = bytearray(b'x' * (120 * 2**20)); time.sleep(30)"
        children = [subprocess.Popen([sys.executable, "-c", hungry]) for _ in range(3)]
        sys.exit(max(child.wait() != 0 for child in children))
        """,
        resource_configuration=ResourceConfiguration(cpu=2, memory_in_gb=0.25),
    )
    with pytest.raises(ActivityFailed, match=re.escape("passed its memory limit of 0.25 GB")):
        run.wait_for_completion()


@needs_limits
def test_a_script_inside_its_limits_completes_and_tells_its_usage(submit: Submit) -> None:
    run = submit("print(sum(range(10**6)))", resource_configuration=ResourceConfiguration(cpu=1, memory_in_gb=0.5))
    details = run.wait_for_completion()
    assert details["usage"]["oom_kills"] == 0
    assert details["usage"]["memory_peak_bytes"] > 2**20
    assert details["runDefinition"]["resourceConfiguration"] == {"cpu": 1.0, "memory_in_gb": 0.5}


PRINT_POOLS = "import os\nprint(os.environ['OMP_NUM_THREADS'], os.environ['LOKY_MAX_CPU_COUNT'])"


def test_thread_pools_follow_the_limit_or_the_machine(submit: Submit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("LOKY_MAX_CPU_COUNT", raising=False)
    free = submit(PRINT_POOLS)
    free.wait_for_completion()
    assert free.log_path.read_text() == f"7 {max(1, int(machine_cores()))}\n"
    held = submit(PRINT_POOLS, resource_configuration=ResourceConfiguration(cpu=0.5, memory_in_gb=0.5))
    held.wait_for_completion()
    assert held.log_path.read_text() == "1 1\n"


LIMITS = ResourceConfiguration(cpu=1, memory_in_gb=0.5)


@pytest.mark.parametrize(
    ("code", "lines", "usage", "sentence"),
    [
        (
            -9,
            "",
            Usage(memory_peak_bytes=int(0.5 * GB), oom_kills=1),
            "passed its memory limit of 0.5 GB (peak 0.50 GB)",
        ),
        (-9, "", Usage(memory_peak_bytes=int(0.49 * GB)), "passed its memory limit"),
        (-9, "", Usage(memory_peak_bytes=int(0.1 * GB)), "was killed by SIGKILL (signal 9)"),
        (1, "Traceback\nMemoryError", Usage(memory_peak_bytes=10), "passed its memory limit"),
        (1, "x\nnumpy._core._exceptions._ArrayMemoryError: Unable", Usage(), "passed its memory limit"),
        (1, "ValueError: no MemoryError here", Usage(), "exited with code 1"),
        (-64, "", Usage(), "was killed by signal 64"),
    ],
)
def test_sentences_about_the_end(code: int, lines: str, usage: Usage, sentence: str) -> None:
    outcome = outcome_of("train.py", code, lines, LIMITS, usage)
    assert outcome.status == "Failed"
    assert outcome.error is not None
    assert sentence in outcome.error.replace("SIGRTMAX (signal 64)", "signal 64")


def test_without_limits_a_memory_error_is_the_machines() -> None:
    assert "exited with code 1" in str(outcome_of("train.py", 1, "MemoryError").error)
    assert outcome_of("train.py", 0, "MemoryError").status == "Completed"
