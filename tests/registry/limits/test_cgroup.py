"""Reading what the kernel says of control groups, on texts from other machines, and telling whose a folder is."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from registry.limits import cgroup, cgroup_groups, proc
from tests.waiting import eventually

DOCKER_V1 = """\
630 616 0:30 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime - tmpfs tmpfs rw,mode=755
631 630 0:32 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro,nosuid master:10 - cgroup cgroup rw,cpu,cpuacct
632 630 0:33 /docker/abc /sys/fs/cgroup/memory ro,nosuid master:11 - cgroup cgroup rw,memory
"""
SYSTEMD_V2 = "35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"
CONTAINER_V2 = "1180 1179 0:30 / /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime - cgroup2 cgroup rw\n"


def test_joined_controllers_of_a_container_are_found_where_it_sees_them() -> None:
    paths = cgroup.own_paths("4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc/inner\n0::/docker/abc\n")
    found = cgroup.mounts(DOCKER_V1)
    cpu, memory = cgroup.locate("cpuacct", found, paths), cgroup.locate("memory", found, paths)
    assert cpu is not None
    assert memory is not None
    assert cpu[1] == Path("/sys/fs/cgroup/cpu,cpuacct/inner")
    assert (memory[0].read_only, memory[1]) == (True, Path("/sys/fs/cgroup/memory"))


def test_a_user_session_of_systemd_is_found() -> None:
    path = "/user.slice/user-1000.slice/user@1000.service/app.slice/fitserve-7.scope"
    found = cgroup.locate("", cgroup.mounts(SYSTEMD_V2), cgroup.own_paths(f"0::{path}\n"))
    assert found is not None
    assert str(found[1]) == f"/sys/fs/cgroup{path}"
    assert not found[0].read_only


def test_in_a_container_its_own_group_is_the_root() -> None:
    found = cgroup.locate("", cgroup.mounts(CONTAINER_V2), cgroup.own_paths("0::/\n"))
    assert found is not None
    assert (found[0].read_only, str(found[1])) == (True, "/sys/fs/cgroup")


@pytest.mark.parametrize(("controller", "text"), [("", "0::/../../other\n"), ("memory", "0::/\n"), ("cpu", "")])
def test_what_cannot_be_seen_is_not_found(controller: str, text: str) -> None:
    assert cgroup.locate(controller, cgroup.mounts(CONTAINER_V2), cgroup.own_paths(text)) is None


def test_blanks_in_mount_points_are_written_in_octal() -> None:
    (mount,) = cgroup.mounts("35 24 0:30 / /sys/my\\040groups rw - cgroup2 cgroup2 rw\n")
    assert mount.point == Path("/sys/my groups")


@pytest.mark.parametrize(
    ("cores", "expected"),
    [
        (0.5, (10_000, 20_000)),
        (1, (20_000, 20_000)),
        (4, (80_000, 20_000)),
        (0.1, (5_000, 50_000)),
        (0.01, (1_000, 100_000)),
    ],
)
def test_quotas_are_smooth_and_never_below_what_the_kernel_takes(cores: float, expected: tuple[int, int]) -> None:
    assert cgroup.quota(cores) == expected


def test_numbers_are_found_by_their_whole_name(tmp_path: Path) -> None:
    file = tmp_path / "memory.stat"
    file.write_text("file 1\ninactive_file 23\nactive_file 456\n")
    assert cgroup.fields(file, b"active_file", b"file", b"inactive", b"inactive_file") == [456, 1, 0, 23]
    assert cgroup.fields(tmp_path / "missing", b"file", b"other") == [0, 0]


def test_what_is_buried_while_another_is_removed_is_not_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folders that hold a file stand for groups whose processes are still dying."""
    graveyard, first, second = cgroup_groups.Graveyard(), tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        (folder / "process").touch()
    remove = cgroup_groups._removed

    def remove_and_bury(folder: Path) -> bool:
        if folder == first and threading.current_thread() is not threading.main_thread():
            (first / "process").unlink(missing_ok=True)
            graveyard.bury([second])
        return remove(folder)

    monkeypatch.setattr(cgroup_groups, "_removed", remove_and_bury)
    graveyard.bury([first])
    eventually(lambda: not first.exists())
    assert second.exists()
    (second / "process").unlink()
    graveyard.close()
    assert not second.exists()


class TestNames:
    def test_a_folder_of_ours_is_not_stale(self) -> None:
        names = cgroup.Names("fitserve")
        assert names.new("iris-1-1") != names.new("iris-1-1")
        assert not names.is_stale(names.new("iris-1-1"))

    def test_a_folder_of_a_supervisor_that_ended_is(self) -> None:
        names = cgroup.Names("fitserve")
        with subprocess.Popen([sys.executable, "-I", "-S", "-c", "input()"], stdin=subprocess.PIPE) as process:
            folder = f"fitserve-{names.namespace}-{process.pid}-{proc.start_time(process.pid)}-1-iris-1-1"
            assert not names.is_stale(folder)
        assert names.is_stale(folder)

    def test_a_process_that_only_has_the_number_is_another(self) -> None:
        names = cgroup.Names("fitserve")
        assert names.is_stale(f"fitserve-{names.namespace}-{os.getpid()}-1-1-iris-1-1")

    @pytest.mark.parametrize(
        "folder", ["fitserve-1-1-1-1-other-container", "fitserve-run-4026531836-1-1-1-x", "docker-1", ""]
    )
    def test_what_others_made_is_never_stale(self, folder: str) -> None:
        assert not cgroup.Names("fitserve").is_stale(folder)
