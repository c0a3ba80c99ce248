"""Writing files that are complete or absent, whatever ends the process, and sentences for what a disk refuses."""

import errno
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, Final, Literal

from registry.errors import DiskFull, InvalidArgument, LocalPathNotFound, WorkspaceReadOnly

CHUNK: Final = 2**20  # bytes read or written at once
_FULL: Final = {errno.ENOSPC, errno.EDQUOT}
_READ_ONLY: Final = {errno.EROFS, errno.EACCES, errno.EPERM}
_NO_LINKS: Final = {errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.EXDEV, errno.ENOSYS}


@contextmanager
def writing(where: Path) -> Iterator[None]:
    """Errors of writing below the folder `where` become sentences.

    Raises:
        DiskFull: no space or quota is left.
        WorkspaceReadOnly: the folder cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFull(str(where)) from error
        if error.errno in _READ_ONLY:
            raise WorkspaceReadOnly(str(where)) from error
        raise


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def link_or(fallback: Literal["rename", "copy"], source: Path, target: Path) -> None:
    """Give `source` a second name where the disk can do that; else rename or copy it. `target` must not exist.

    Raises:
        FileExistsError: it does.
    """
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if target.exists():
            raise FileExistsError(errno.EEXIST, "exists", str(target)) from error
        if fallback == "rename":
            source.rename(target)
        else:
            shutil.copyfile(source, target)


@contextmanager
def open_plain(path: Path) -> Iterator[BufferedReader]:
    """Open a regular file for reading; a pipe or a device is refused, never waited for.

    Raises:
        LocalPathNotFound, InvalidArgument
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise LocalPathNotFound("file", str(path)) from None
    except PermissionError:
        raise InvalidArgument("file", f"{path} cannot be read: check its owner and mode") from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InvalidArgument("file", f"{path} is not a plain file")
        with os.fdopen(descriptor, "rb", closefd=False) as source:
            yield source
    finally:
        os.close(descriptor)


@contextmanager
def new_file(folder: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """An empty file in `folder` for this process, gone afterwards unless it was renamed. What dead processes left in
    the folder is removed: a living one holds a lock."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _remove_abandoned(folder)
    while True:
        descriptor, name = tempfile.mkstemp(dir=folder)
        with os.fdopen(descriptor, "wb", buffering=CHUNK) as file:
            if not _lock(descriptor):  # somebody took it away in the instant before the lock
                continue
            try:
                yield file, Path(name)
            finally:
                Path(name).unlink(missing_ok=True)
        return


@contextmanager
def new_folder(parent: Path) -> Iterator[Path]:
    """The same for a folder: `parent` holds nothing but such drafts."""
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _remove_abandoned(parent)
    while True:
        draft = Path(tempfile.mkdtemp(dir=parent))
        try:
            descriptor = os.open(draft, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:  # taken away before it could be locked
            continue
        try:
            if not _lock(descriptor):
                continue
            yield draft
            return
        finally:
            os.close(descriptor)
            shutil.rmtree(draft, ignore_errors=True)


def _lock(descriptor: int) -> bool:
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return os.fstat(descriptor).st_nlink > 0


def _remove_abandoned(folder: Path) -> None:
    for path in folder.iterdir():
        with suppress(OSError):  # in use, or gone already
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()
            finally:
                os.close(descriptor)
