"""Folders in the system's temporary folder that go away with the process that made them, however it ends.

Each holds the lock of a file inside it while it is in use. What a killed process left has nobody's lock, and the next build removes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Generator
from pathlib import Path

PREFIX = "lacuna-own-"
_LOCK = ".in-use"
_UNLOCKED_SECONDS = 3600.0  # a folder without a lock is one that is being made, or whose file system has none


@contextlib.contextmanager
def temporary_folder() -> Generator[Path]:
    """A new folder, gone afterwards."""
    folder, handle = new_folder()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def new_folder() -> tuple[Path, int]:
    """A new folder, and the open file whose lock keeps it. Left-overs of dead processes are removed first.

    Raises:
        OSError: there is no room.
    """
    sweep()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    with contextlib.suppress(OSError):  # a file system without locks: the folder goes an hour after it was last written
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return folder, handle


def sweep() -> None:
    """Remove folders of this user that no process holds."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(tempfile.gettempdir()):
            if entry.name.startswith(PREFIX) and _is_left_over(Path(entry.path)):
                shutil.rmtree(entry.path, ignore_errors=True)


def _is_left_over(folder: Path) -> bool:
    try:
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            return False
        handle = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        return folder.exists() and time.time() - folder.lstat().st_mtime > _UNLOCKED_SECONDS
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(handle)
