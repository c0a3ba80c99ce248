"""SIGKILL at any instant of a registration leaves the whole model or nothing."""

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from registry import Model, Workspace
from registry.stores.disk import new_folder
from tests.registry.registrar import new_files, register


@pytest.fixture
def files(tmp_path: Path) -> Path:
    return new_files(tmp_path / "files")


class Registrar:
    """The other end of `registrar.py`."""

    def __init__(self, orders: IO[str], answers: IO[str]) -> None:
        self._orders, self._answers = orders, answers

    def order(self, order: str, root: Path) -> str:
        self._orders.write(f"{order} {root}\n")
        self._orders.flush()
        return self._answers.readline().strip()


@pytest.fixture
def registrar(files: Path, tmp_path: Path) -> Iterator[Registrar]:
    command = [sys.executable, "-m", "tests.registry.registrar", str(files)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        registrar = Registrar(process.stdin, process.stdout)
        registrar.order("count", tmp_path / "warm")  # it imports what is needed
        yield registrar
        process.stdin.close()


def check_whole(root: Path) -> int:
    """Every listed model is complete and its numbers are 1 to n; gives n."""
    if not (root / "fitserve.db").exists():
        return 0
    with Workspace.open(root, create=False) as workspace:
        models = Model.list(workspace, "iris")
        assert [model.version for model in models] == list(range(1, len(models) + 1))
        digests = {digest for m in models for digest in (m.record.artifact.digest, m.record.code, m.record.sample)}
        assert len(digests) == 3 * len(models)  # each was stored for the first time
        for digest in digests:
            assert digest is not None
            workspace.artifacts.verify(digest)
        return len(models)


@pytest.mark.parametrize(("kills", "step"), [(5, 48), pytest.param(25, 16, marks=pytest.mark.soak)])
def test_killed_at_any_call_leaves_the_whole_model_or_nothing(
    tmp_path: Path, files: Path, registrar: Registrar, kills: int, step: int
) -> None:
    chance, root = random.Random(1), tmp_path / "workspace"
    register(root, new_files(files))
    calls = int(registrar.order("count", root))
    assert calls > 300
    counts = []
    for number in [*chance.sample(range(1, calls), kills), *range(calls - 480, calls, step)]:
        before = check_whole(root)
        assert registrar.order(f"call:{number}", root) == "dead"
        counts.append(check_whole(root) - before)
    assert set(counts) == {0, 1}  # both before and after the instant in which it counts


@pytest.mark.parametrize("kills", [8, pytest.param(25, marks=pytest.mark.soak)])
def test_killed_at_any_time_leaves_whole_models(tmp_path: Path, files: Path, registrar: Registrar, kills: int) -> None:
    chance, root, most = random.Random(2), tmp_path / "workspace", 0
    began = time.monotonic()
    for _ in range(3):
        registrar.order("count", root)
    once = (time.monotonic() - began) / 3
    for _ in range(kills):
        registrar.order(f"time:{chance.uniform(0, 2 * once):.6f}", root)
        now = check_whole(root)
        assert now >= most
        most = now
    assert most > kills // 8  # it did register between the kills
    register(root, new_files(files))
    assert list((root / "artifacts/incoming").iterdir()) == []  # what the dead left is gone


@pytest.mark.parametrize("kills", [5, pytest.param(15, marks=pytest.mark.soak)])
def test_killed_while_the_workspace_is_made(tmp_path: Path, files: Path, registrar: Registrar, kills: int) -> None:
    chance = random.Random(3)
    making = int(registrar.order("count", tmp_path / "fresh"))
    for number in chance.sample(range(1, making), kills):
        root = tmp_path / f"fresh-{number}"
        registrar.order(f"call:{number}", root)
        there = check_whole(root)
        assert there in (0, 1)
        register(root, new_files(files))
        assert check_whole(root) == there + 1
        with new_folder(root / "cache/drafts") as draft:  # who makes the next one clears what the killed one left
            assert list((root / "cache/drafts").iterdir()) == [draft]
