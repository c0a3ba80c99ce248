"""Scripts that end badly: status, sentence, last lines, and what is kept."""

from collections.abc import Callable

import pytest

from trainer import Run
from trainer.errors import ActivityFailed

Submit = Callable[..., Run]


def test_an_exit_code_is_named_with_the_last_lines(submit: Submit) -> None:
    run = submit("print('one')\nprint('two')\nraise SystemExit(3)")
    with pytest.raises(ActivityFailed, match=r"train\.py exited with code 3; its last lines:\none\ntwo$"):
        run.wait_for_completion()
    details = run.get_details()
    assert details["status"] == "Failed"
    assert details["error"]["error"]["message"].startswith("train.py exited with code 3")
    assert run._record.exit_code == 3


def test_without_raising_the_details_are_given(submit: Submit, capsys: pytest.CaptureFixture[str]) -> None:
    details = submit("raise SystemExit('a reason')").wait_for_completion(show_output=True, raise_on_error=False)
    assert details["error"]["error"]["message"] == "train.py exited with code 1; its last lines:\na reason"
    assert "a reason\n\nExecution Summary\n" in capsys.readouterr().out


def test_outputs_logs_and_metrics_of_a_failed_script_are_kept(submit: Submit) -> None:
    run = submit(
        """
        import os
        from azureml.core import Run
        os.makedirs("outputs"); os.makedirs("logs")
        open("outputs/half.bin", "wb").write(bytes(10))
        open("logs/own.log", "w").write("x")
        Run.get_context().log("last", 1)
        os._exit(5)
        """
    )
    run.wait_for_completion(raise_on_error=False)
    assert {"outputs/half.bin", "logs/own.log"} <= set(run.get_file_names())
    assert run.get_metrics() == {"last": 1}


def test_a_script_that_is_killed_names_the_signal(submit: Submit) -> None:
    run = submit("import os, signal\nprint('going')\nos.kill(os.getpid(), signal.SIGSEGV)")
    with pytest.raises(ActivityFailed, match=r"killed by SIGSEGV \(signal 11\); its last lines:\ngoing"):
        run.wait_for_completion()


def test_a_syntax_error_reads_as_pythons_own(submit: Submit) -> None:
    run = submit("def broken(:\n    pass\n")
    with pytest.raises(ActivityFailed, match="exited with code 1"):
        run.wait_for_completion()
    text = run.log_path.read_text()
    assert text.startswith('  File "')
    assert "SyntaxError" in text
    assert "_bootstrap" not in text


def test_an_exception_shows_the_scripts_frames_only(submit: Submit) -> None:
    run = submit("def f():\n    raise KeyError('missing')\n\nf()\n")
    run.wait_for_completion(raise_on_error=False)
    lines = run.log_path.read_text().splitlines()
    assert [line for line in lines if line.startswith("  File")] == [
        '  File "train.py", line 4, in <module>',
        '  File "train.py", line 2, in f',
    ]
    assert lines[-1] == "KeyError: 'missing'"


def test_binary_output_and_half_characters_are_kept_as_they_are(
    submit: Submit, capsys: pytest.CaptureFixture[str]
) -> None:
    data = bytes(range(256)) + "é".encode()[:1]
    submit(f"import os\nos.write(1, {data!r})").wait_for_completion(show_output=True)
    run = submit(f"import os\nos.write(1, {data!r})")
    run.wait_for_completion()
    assert run.log_path.read_bytes() == data
    assert "\ufffd" in capsys.readouterr().out


def test_ten_megabytes_of_output_arrive_complete(submit: Submit) -> None:
    run = submit("import sys\nfor n in range(10000):\n    sys.stdout.write('%06d %s\\n' % (n, 'x' * 1017))")
    run.wait_for_completion()
    lines = run.log_path.read_text().splitlines()
    assert len(lines) == 10000
    assert lines[-1] == "009999 " + "x" * 1017


def test_what_a_script_leaves_running_ends_with_it(submit: Submit) -> None:
    run = submit(
        """
        import subprocess, sys
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        print(child.pid)
        """
    )
    run.wait_for_completion()
    pid = int(run.log_path.read_text())
    from trainer.process_id import ProcessId

    assert not ProcessId(pid, 0, ProcessId.of(pid).host).alive


def test_a_run_that_takes_too_long_is_ended_and_says_so(submit: Submit) -> None:
    run = submit("import time\nprint('began')\ntime.sleep(600)", max_run_duration_seconds=0.5)
    with pytest.raises(ActivityFailed, match=r"train\.py ran longer than its 0\.5 seconds; its last lines:\nbegan"):
        run.wait_for_completion()


def test_standard_input_is_empty_and_closed_output_is_no_end(submit: Submit) -> None:
    run = submit("import sys, os, time\nprint(repr(sys.stdin.read()))\nos.close(1); os.close(2)\ntime.sleep(0.2)")
    run.wait_for_completion()
    assert run.log_path.read_text() == "''\n"


def test_nonsense_in_the_file_of_events_is_passed_over(submit: Submit) -> None:
    run = submit(
        """
        import os
        path = os.path.join(os.environ["FITSERVE_RUN_DIR"], "events.jsonl")
        with open(path, "w") as file:
            file.write('not json\\n[1]\\n{"type": 3}\\n{"type": "metric"}\\n')
            file.write('{"type": "metric", "name": "x", "kind": "odd", "value": 1}\\n')
            file.write('{"type": "metric", "name": "x", "kind": "table", "value": 1}\\n')
            file.write('{"type": "metric", "name": "x", "kind": "scalar", "value": 1, "run": "other_run"}\\n')
            file.write('{"type": "status", "status": "Completed"}\\n{"type": "tags", "set": [1]}\\n')
            file.write('{"type": "child", "id": "../../x", "parent": 1}\\n')
            file.write('{"type": "metric", "name": "good", "kind": "scalar", "value": 2, "time": "odd", "step": "s"}\\n')
            file.write('{"type": "metric", "name": "unfinished"')
        raise SystemExit(4)
        """
    )
    run.wait_for_completion(raise_on_error=False)
    assert run.get_status() == "Failed"
    assert run.get_metrics() == {"good": 2}
    assert run.get_children() == []
