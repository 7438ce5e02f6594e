"""Locks that the system lets go of when their process dies, however it dies.

exclusive  one process at a time, by `flock` on a file of its own; for building.
hold       shared, until the process ends: this artefact is in use. The locks are on bytes of one file, which stays open.
claimed    exclusive, for removing what nobody uses.

On NFS both are locks of the server. Where a file system has no locks nothing is held: the same kernel may then be built twice, and what
was used in the last day counts as in use. Nothing that is read depends on a lock: files appear by renaming and are checked.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import struct
import threading
import time
from collections.abc import Generator
from pathlib import Path

_HELD_ELSEWHERE = (errno.EAGAIN, errno.EACCES)
_PAUSE_SECONDS = 0.01
_ON_OPEN_FILES = getattr(fcntl, "F_OFD_SETLK", None)  # unlike other locks on bytes they hold between threads and survive in a fork
_CLAIM_SECONDS = 10.0

_building: set[int] = set()
_leases: dict[Path, int] = {}
_opening = threading.Lock()


@contextlib.contextmanager
def exclusive(path: Path, longest_seconds: float) -> Generator[None]:
    """Hold the lock of the file `path`, which whoever lets go of it removes.

    Raises:
        TimeoutError: another process held it for `longest_seconds`.
        OSError: the file cannot be made.
    """
    handle = _acquired(path, time.monotonic() + longest_seconds)
    if handle is None:
        yield
        return
    _building.add(handle)
    try:
        yield
    finally:
        if handle in _building:  # else this is a child, forked meanwhile: the lock is its parent's
            with contextlib.suppress(OSError):
                path.unlink()  # those who wait find that the name is gone, and make it anew
            _building.discard(handle)
            os.close(handle)


def _acquired(path: Path, deadline: float) -> int | None:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_named(path, handle):
                return handle
        except OSError as error:
            if error.errno not in (*_HELD_ELSEWHERE, errno.ESTALE):
                os.close(handle)
                return None
        os.close(handle)
        if time.monotonic() >= deadline:
            raise TimeoutError(errno.ETIMEDOUT, "another process holds the lock", str(path))
        time.sleep(_PAUSE_SECONDS)


def _is_named(path: Path, handle: int) -> bool:
    """Whether `path` is still a name of the open file."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except OSError:
        return False


def _forget_building() -> None:
    """In a forked child: what its parent builds is the parent's, and must not stay locked when that dies."""
    for handle in _building:
        os.close(handle)
    _building.clear()


os.register_at_fork(after_in_child=_forget_building)


# -- what is in use ---------------------------------------------------------------------------------------------------


def hold(file: Path, name: str, longest_seconds: float = 0.0) -> bool:
    """Mark `name` as in use until this process, and those forked from it, have ended. False: it is being removed right now."""
    if _ON_OPEN_FILES is None:
        return True
    deadline = time.monotonic() + longest_seconds
    while True:
        try:
            _lock(_lease(file), fcntl.F_RDLCK, name)
            return True
        except OSError as error:
            if error.errno not in _HELD_ELSEWHERE:
                return True  # there are no locks here, or the folder takes no file
        if time.monotonic() >= deadline:
            return False
        time.sleep(_PAUSE_SECONDS)


@contextlib.contextmanager
def claimed(file: Path, name: str, *, idle: bool) -> Generator[bool]:
    """Whether nobody uses `name`; nobody can begin to while the block runs. idle: the answer where there are no locks."""
    handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)  # not that of `hold`, whose locks would give way to its own
    try:
        yield _claims(handle, name, idle)
    finally:
        os.close(handle)


def _claims(handle: int, name: str, idle: bool) -> bool:
    if _ON_OPEN_FILES is None:
        return idle
    try:
        _lock(handle, fcntl.F_WRLCK, name)
    except OSError as error:
        return idle and error.errno not in _HELD_ELSEWHERE
    return True


def _lock(handle: int, kind: int, name: str) -> None:
    """Lock the byte that stands for a name: one of 2**62, none of which needs to be there."""
    start = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) >> 2
    fcntl.fcntl(handle, _ON_OPEN_FILES or 0, struct.pack("@hhqqi0q", kind, os.SEEK_SET, start, 1, 0))


def _lease(file: Path) -> int:
    """The open file whose locks say what this process uses."""
    with _opening:
        handle = _leases.get(file)
        if handle is None or not _is_named(file, handle):
            handle = _leases[file] = _opened(file)
        return handle


def _opened(file: Path) -> int:
    try:
        return os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError:
        return os.open(file, os.O_RDONLY | os.O_NOFOLLOW)
