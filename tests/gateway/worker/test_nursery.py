"""The nursery's own rules."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gateway.supervisor.log_tail import LogTail
from gateway.supervisor.nursery import Nursery, NurseryFailed
from gateway.supervisor.spawn import clean_environment
from gateway.supervisor.worker_client import ScoringClient
from gateway.worker import child as child_module
from gateway.worker.process_setup import THREAD_VARIABLES
from tests.gateway.worker.models import custom, iris_svc, rows
from tests.gateway.worker.nest import Nest
from tests.waiting import until

NURSERY = Path(child_module.__file__).with_name("nursery.py")


def test_there_is_one_thread_at_each_fork(place: Nest, tmp_path: Path) -> None:
    async def work() -> None:
        for _ in range(3):
            assert len(os.listdir(f"/proc/{place.nursery.pid}/task")) == 1
            async with place.serving(iris_svc(tmp_path)) as (child, client):
                await client.array("predict", rows(10))
                assert len(os.listdir(f"/proc/{child.pid}/task")) == 1

    place.run(work())


def test_a_nursery_with_threads_does_not_fork(place: Nest, tmp_path: Path) -> None:
    """A library that starts a thread when it is imported: pandas' place is taken by such a one."""
    (tmp_path / "pandas").mkdir()
    start = "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
    (tmp_path / "pandas" / "__init__.py").write_text(start)
    environment = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    (site,) = environment.glob("lib/python*/site-packages")
    (site / "threads.pth").write_text(f"{tmp_path}\n{Path(np.__file__).parent.parent}\n")

    async def work() -> str:
        nursery = await Nursery.start(environment / "bin" / "python", place.reaper)
        try:
            with pytest.raises(NurseryFailed) as raised:
                await nursery.fork(imports=["pandas"])
            return str(raised.value)
        finally:
            await nursery.close()

    assert place.run(work()) == "the nursery has 2 threads: one of its libraries started some at import"


def test_the_nursery_never_loads_fits_or_predicts() -> None:
    source = NURSERY.read_text()
    assert not re.search(r"\.load\(|import pickle|joblib\.|\.fit|\.predict", source)


def test_both_files_name_the_same_thread_variables() -> None:
    named = re.findall(r'^    "([A-Z_]+)",$', NURSERY.read_text(), re.MULTILINE)
    assert tuple(named) == THREAD_VARIABLES


def test_models_code_is_not_imported_in_the_nursery(place: Nest, tmp_path: Path) -> None:
    model = custom(tmp_path, "return X[:, 0]")
    assert model.code is not None
    name = next(model.code.glob("*.py")).stem

    async def work() -> None:
        child = await place.nursery.fork(imports=[name, "antigravity", "sklearn.does_not_exist"])
        await child.hello()
        await child.go(model.order(place.socket()), 10)
        child.kill()
        await child.exited
        maps = Path(f"/proc/{place.nursery.pid}/maps").read_text()
        assert str(model.code) not in maps
        assert not any(name in line for line in place.nursery.log.lines())

    place.run(work())


def test_what_is_brought_is_there_in_the_child_that_waits(place: Nest) -> None:
    async def work() -> None:
        await place.nursery.bring(["sklearn.isotonic", "antigravity"])
        child = await place.nursery.fork(imports=["sklearn.isotonic"])
        await child.hello()
        assert child.threads == 1
        child.kill()
        await child.exited
        assert not any("antigravity" in line for line in place.nursery.log.lines())

    place.run(work())


def test_a_child_that_waits_without_a_module_is_not_taken_for_who_needs_it(place: Nest, tmp_path: Path) -> None:
    """It would have to import it again, in its own memory."""
    code = "import sys; return np.array(['sklearn.gaussian_process.kernels' in sys.modules])"
    model = custom(tmp_path, code)

    async def work() -> bool:
        child = await place.nursery.fork(imports=["sklearn.gaussian_process.kernels"])
        await child.hello()
        await child.go(model.order(place.socket()), 10)
        assert child.socket_path is not None
        async with await ScoringClient.open(child.socket_path) as client:
            answer = await client.array("predict", rows(1))
        child.kill()
        await child.exited
        return bool(answer[0])

    assert place.run(work())


def test_many_forks_at_once(place: Nest) -> None:
    async def work() -> int:
        children = await asyncio.gather(*(place.fork() for _ in range(12)))
        pids = {child.pid for child in children}
        for child in children:
            child.kill()
            await child.exited
        return len(pids)

    assert place.run(work()) == 12


def test_a_child_forked_ahead_that_died_is_replaced(place: Nest, tmp_path: Path) -> None:
    def ahead() -> list[int]:
        mine = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
        known = {place.nursery.pid, *(child.pid for child in place._children)}
        return [int(pid) for pid in mine if int(pid) not in known and b"nursery.py" in command(int(pid))]

    async def work() -> int:
        (await place.fork()).kill()
        await until(lambda: len(ahead()) == 1)
        (spare,) = ahead()
        os.kill(spare, 9)
        await place.reaper.watch(spare)
        async with place.serving(iris_svc(tmp_path)) as (child, client):
            await client.array("predict", rows(1))
            assert child.pid != spare
        await until(lambda: len(ahead()) == 1)
        (spare,) = ahead()
        child = await place.fork()
        assert child.pid == spare
        child.kill()
        return spare

    assert place.run(work()) > 0


def command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return b""


def test_an_interpreter_that_does_not_start(place: Nest, tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho no such library >&2\nexit 1\n")
    broken.chmod(0o755)

    async def work() -> list[str]:
        found = []
        for python in (broken, tmp_path / "absent"):
            with pytest.raises(NurseryFailed) as raised:
                await Nursery.start(python, place.reaper, log=LogTail())
            found.append(str(raised.value))
        return found

    died, absent = place.run(work())
    assert died == "the nursery did not start: no such library"
    assert absent.endswith("could not be started: No such file or directory")


def test_versions_are_told(place: Nest) -> None:
    import numpy
    import sklearn

    assert place.nursery.ready["sklearn"] == sklearn.__version__
    assert place.nursery.ready["numpy"] == numpy.__version__


def test_the_environment_is_an_allow_list() -> None:
    given = {"PATH": "/bin", "LC_ALL": "C", "FITSERVE_KEY": "k", "AWS_SECRET_ACCESS_KEY": "k", "OMP_NUM_THREADS": "64"}
    made = clean_environment({"MY_SETTING": "1", "FITSERVE_KEY": "k"}, given, threads=2)
    assert {name: value for name, value in made.items() if name not in THREAD_VARIABLES} == {
        "PATH": "/bin",
        "LC_ALL": "C",
        "MY_SETTING": "1",
    }
    assert {made[name] for name in THREAD_VARIABLES} == {"2"}
