"""A folder private to its user, in which files appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple

from ..process.settings import settings
from .locks import claimed, exclusive, hold

_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH
_ABANDONED_SECONDS = 24 * 3600.0
_TOUCHED_EVERY_SECONDS = 3600.0
_LARGEST_BYTES = 2**30
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
LEASES = "leases"


class CacheUnwritable(OSError):
    """The cache folder cannot take a new file. Kernels that it already holds still load."""


class CacheNotPrivate(PermissionError):
    """Someone else can write to the cache folder, so nothing in it may be run."""


def cache_folder() -> Folder:
    """The folder of LACUNA_CACHE_DIR, or `lacuna` in the user's cache folder. Nothing is touched."""
    chosen = settings().cache_dir
    if chosen is None:
        from platformdirs import user_cache_path  # 3 ms that a start with LACUNA_CACHE_DIR need not pay

        chosen = user_cache_path("lacuna")
    return Folder(chosen)


class Folder(NamedTuple):
    """A root, made on the first write with mode 0700. Names are relative paths with `/`.

    Every method raises CacheNotPrivate where others can write to the root; those that write raise CacheUnwritable
    where that fails.
    """

    root: Path

    def read(self, name: str, *, touch: bool = False) -> bytes | None:
        """The bytes of a file; None where there is none that can be read, or others can write to it.

        touch: let its time say that it was used, which costs a write once an hour.
        """
        path = self.root / name
        try:
            self._require_private(self.root)
            self._require_private(path.parent)
            return _read(path, touch)
        except CacheNotPrivate:
            raise
        except OSError:
            return None

    def write(self, name: str, data: bytes) -> Path:
        """Put a file in place by renaming: a reader sees the old one, the new one or none, never a part."""
        with self.scratch() as scratch:
            fresh = scratch / "fresh"
            with self.writing():
                fresh.write_bytes(data)
            return self.publish(fresh, name)

    def publish(self, fresh: Path, name: str) -> Path:
        """Move a finished file of `scratch` to its name."""
        target = self.root / name
        with self.writing():
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh.chmod(0o600)
            os.replace(fresh, target)
        return target

    @contextlib.contextmanager
    def scratch(self) -> Generator[Path]:
        """A new folder on the same file system, gone afterwards, or after a day if the process is killed."""
        parent = self.made("scratch")
        with self.writing():
            path = Path(tempfile.mkdtemp(dir=parent))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)
            _sweep(parent)

    def made(self, name: str) -> Path:
        """A folder inside the root, made if need be."""
        with self.writing():
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._require_private(self.root)
            (self.root / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        return self.root / name

    @contextlib.contextmanager
    def locked(self, name: str, longest_seconds: float) -> Generator[None]:
        """Hold a lock that other processes with this folder respect; TimeoutError if one of them keeps it so long."""
        path = self.lock_path(name)
        with contextlib.ExitStack() as stack:
            with self.writing():
                self.made("locks")
                stack.enter_context(exclusive(path, longest_seconds))
            yield

    def lock_path(self, name: str) -> Path:
        return self.root / "locks" / f"{name}.lock"

    def hold(self, name: str, longest_seconds: float = 0.0) -> bool:
        """Keep a file, whether it is there yet or not, from being removed while this process lives; False: it is just being removed."""
        return hold(self.root / LEASES, name, longest_seconds)

    def remove(self, *names: str, held: str, idle: bool = True) -> bool:
        """Remove files unless a process holds `held`; whether that was so. idle: the answer where there are no locks."""
        with self.writing(), claimed(self.root / LEASES, held, idle=idle) as free:
            for name in names if free else ():
                (self.root / name).unlink(missing_ok=True)
            return free

    def _require_private(self, folder: Path) -> None:
        status = folder.stat()
        if status.st_uid not in (0, os.geteuid()) or status.st_mode & _OTHERS_MAY_WRITE:
            raise CacheNotPrivate(
                f"others can write to the cache folder `{folder}`, so the kernels in it could be anyone's.\n"
                f"  write `chmod go-w {folder}`, or set LACUNA_CACHE_DIR to a folder of your own"
            )

    @contextlib.contextmanager
    def writing(self) -> Generator[None]:
        """Turn a failure of the system to write into CacheUnwritable, which names the folder."""
        try:
            yield
        except (CacheNotPrivate, CacheUnwritable, TimeoutError):
            raise
        except OSError as error:
            raise CacheUnwritable(
                f"the cache folder `{self.root}` cannot be written: {error.strerror or error}.\n"
                "  write LACUNA_CACHE_DIR=/a/folder/of/your/own, or make this one writable"
            ) from error


@contextlib.contextmanager
def no_room_is_unwritable(folder: Folder) -> Generator[None]:
    """Turn what a full or broken disk says to a build into CacheUnwritable, and leave every other error of the build alone."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        with folder.writing():
            raise


def _read(path: Path, touch: bool) -> bytes | None:
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)  # a pipe does not keep us waiting, a link is nothing of ours
    try:
        status = os.fstat(handle)
        ours = stat.S_ISREG(status.st_mode) and status.st_uid in (0, os.geteuid()) and not status.st_mode & _OTHERS_MAY_WRITE
        if not ours or status.st_size > _LARGEST_BYTES:
            return None
        with open(handle, "rb", closefd=False) as file:
            data = file.read()
        if touch and time.time() - status.st_mtime > _TOUCHED_EVERY_SECONDS:
            with contextlib.suppress(OSError):  # of a folder that cannot be written nothing is removed either
                os.utime(handle)
        return data
    finally:
        os.close(handle)


def _sweep(parent: Path) -> None:
    """Remove what killed processes left."""
    oldest = time.time() - _ABANDONED_SECONDS
    with contextlib.suppress(OSError):
        for abandoned in [entry.path for entry in os.scandir(parent) if entry.stat().st_mtime < oldest]:
            shutil.rmtree(abandoned, ignore_errors=True)
