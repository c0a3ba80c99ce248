"""Several processes register at once."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from registry import Model, Workspace
from registry.stores.disk import new_folder

EACH = 12
CODE = f"""
import sys
from registry import Model, Workspace
with Workspace.open(sys.argv[1]) as workspace:
    Model.list(workspace)
    print(flush=True)
    sys.stdin.readline()
    for number in range({EACH}):
        model = Model.register(workspace, sys.argv[2], "iris", tags={{"by": sys.argv[3], "n": number}}, show_output=False)
        print(model.version, flush=True)
"""


def test_each_registration_gets_a_version_of_its_own(workspace: Workspace, model_file: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", CODE, str(workspace.root), str(model_file), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    given = [list(map(int, process.communicate("go\n")[0].split())) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert sorted(version for versions in given for version in versions) == list(range(1, 3 * EACH + 1))
    assert all(versions == sorted(versions) for versions in given)
    for number, versions in enumerate(given):
        mine = Model.list(workspace, tags=[["by", str(number)]])
        assert [(model.version, model.tags["n"]) for model in mine] == [(v, str(n)) for n, v in enumerate(versions)]


def test_drafts_made_at_once_do_not_take_each_other_away(tmp_path: Path) -> None:
    def make() -> None:
        for _ in range(300):
            with new_folder(tmp_path / "drafts") as draft:
                (draft / "file").write_text("x")

    with ThreadPoolExecutor(6) as threads:
        for made in [threads.submit(make) for _ in range(6)]:
            made.result()
    assert list((tmp_path / "drafts").iterdir()) == []
