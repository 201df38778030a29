"""Files of a registry: read whole without following links, replaced atomically, written under one lock.

What is made takes the rights of the registry's folder, so that its owner decides whether a group shares it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from lang1.registry.errors import RegistryError

MAX_FILE_BYTES: Final = 64 * 2**20
_LOCK_TIMEOUT_S: Final = 30.0
_LOCK_PAUSE_S: Final = 0.02
_STALE_TRIES: Final = 3
_in_this_process: Final = threading.Lock()


def folder_mode(root: Path) -> int:
    """The rights of the registry's folder (`0o700`, with setgid where it has it)."""
    return stat.S_IMODE(root.stat().st_mode)


def make_folder(path: Path, root: Path) -> None:
    """A folder with the rights of the registry's. Again: no change."""
    path.mkdir(exist_ok=True)
    path.chmod(folder_mode(root))


def read_bytes(path: Path) -> bytes:
    """A plain file, whole. Raises RegistryError for a link, a device or a file that is too long, OSError otherwise."""
    for left in reversed(range(_STALE_TRIES)):
        try:
            return _read(path)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise RegistryError(f"{path.name} is a link; a registry holds none, restore the file itself") from None
            # Over NFS a file that is replaced at this moment is gone under its old handle.
            if error.errno != errno.ESTALE or not left:
                raise
    raise AssertionError("unreachable: the last try returns or raises")


def _read(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise RegistryError(f"{path.name} is not a plain file; restore it")
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise RegistryError(f"{path.name} is over {MAX_FILE_BYTES} bytes; this is not a registry's file")
    return data


def replace_bytes(path: Path, data: bytes, root: Path) -> None:
    """Put `data` in the place of a file: a reader sees the old bytes or the new, also after a crash."""
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(file.fileno(), folder_mode(root) & 0o666)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    sync_folder(path.parent)


def append_bytes(path: Path, data: bytes, root: Path) -> None:
    """Add to the end of a file, made when it is not there, and wait until it is on the disk."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    fresh = not path.exists()
    descriptor = os.open(path, flags, 0o600)
    try:
        if fresh:
            os.fchmod(descriptor, folder_mode(root) & 0o666)
        written = 0
        while written < len(data):
            written += os.write(descriptor, data[written:])
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if fresh:
        sync_folder(path.parent)


def copy_file(source: Path, target: Path, root: Path) -> None:
    """Copy one plain file, read-only from then on, and wait until it is on the disk. Raises OSError for a link."""
    descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as reading, target.open("xb") as writing:
        shutil.copyfileobj(reading, writing, 2**20)
        writing.flush()
        os.fchmod(writing.fileno(), folder_mode(root) & 0o444)
        os.fsync(writing.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems have no such thing
            raise
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path, timeout_s: float = _LOCK_TIMEOUT_S) -> Iterator[None]:
    """Hold the lock file against all other writers, in this process and in others; given back when a process dies.

    Raises RegistryError when another holds it for longer than `timeout_s`.
    """
    until = time.monotonic() + timeout_s
    # Over NFS the kernel's lock is of the process, so its threads need one of their own.
    if not _in_this_process.acquire(timeout=timeout_s):
        raise RegistryError(_held(timeout_s))
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            while not try_lock(descriptor):
                if time.monotonic() > until:
                    raise RegistryError(_held(timeout_s))
                time.sleep(_LOCK_PAUSE_S)
            yield
        finally:
            os.close(descriptor)
    finally:
        _in_this_process.release()


def try_lock(descriptor: int) -> bool:
    """Take the lock of an open file, unless another has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _held(timeout_s: float) -> str:
    return f"another writer has held the registry's lock for {timeout_s:g} s; see who it is (fuser lock), and try again"
