"""A folder private to its user, in which files appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple

from .settings import settings

_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH
_ABANDONED_SECONDS = 24 * 3600.0


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

    def read(self, name: str) -> bytes | None:
        """The bytes of a file; None where there is none that can be read."""
        try:
            self._require_private()
            return (self.root / name).read_bytes()
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
            self._require_private()
            (self.root / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        return self.root / name

    def _require_private(self) -> None:
        if os.name == "nt":
            return  # a user's profile is private there, and modes mean nothing
        status = self.root.stat()
        if status.st_uid not in (0, os.geteuid()) or status.st_mode & _OTHERS_MAY_WRITE:
            raise CacheNotPrivate(
                f"others can write to the cache folder `{self.root}`, so the kernels in it could be anyone's.\n"
                f"  write `chmod go-w {self.root}`, or set LACUNA_CACHE_DIR to a folder of your own"
            )

    @contextlib.contextmanager
    def writing(self) -> Generator[None]:
        """Turn a failure of the system to write into CacheUnwritable, which names the folder."""
        try:
            yield
        except (CacheNotPrivate, TimeoutError):
            raise
        except OSError as error:
            raise CacheUnwritable(
                f"the cache folder `{self.root}` cannot be written: {error.strerror or error}.\n"
                "  write LACUNA_CACHE_DIR=/a/folder/of/your/own, or make this one writable"
            ) from error


def _sweep(parent: Path) -> None:
    """Remove what killed processes left."""
    oldest = time.time() - _ABANDONED_SECONDS
    with contextlib.suppress(OSError):
        for abandoned in [entry.path for entry in os.scandir(parent) if entry.stat().st_mtime < oldest]:
            shutil.rmtree(abandoned, ignore_errors=True)
