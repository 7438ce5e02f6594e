"""Where kernels go while the cache folder takes none: a temporary folder of this process."""

from __future__ import annotations

import atexit
import os
import shutil
import threading
import warnings
from pathlib import Path

from ...ir.advice import advice
from ..process.callers_line import depth_of_caller
from ..process.temporary_folders import new_folder
from .folder import CacheUnwritable, Folder

_made: dict[int, tuple[Folder, str]] = {}  # by process: a forked child makes its own
_making = threading.Lock()


def stand_in(unwritable: CacheUnwritable) -> Folder:
    """The folder of this process, made once and gone when it ends; a warning says why when it is made.

    Raises:
        CacheUnwritable: there is no room for temporary files either.
    """
    with _making:
        known = _made.get(os.getpid())
        folder, what = _made[os.getpid()] = known or _new(unwritable)
    if known is None:
        fix = "LACUNA_CACHE_DIR=/a/folder/of/your/own, or make that one writable"
        warnings.warn(advice(what, fix), RuntimeWarning, stacklevel=depth_of_caller())
    return folder


def reason_of_stand_in() -> str | None:
    """Why kernels of this process are kept in a temporary folder, for `explain`; None while they are not."""
    made = _made.get(os.getpid())
    return None if made is None else made[1]


def _new(unwritable: CacheUnwritable) -> tuple[Folder, str]:
    why = unwritable.args[0].splitlines()[0].rstrip(".")
    try:
        folder, _ = new_folder()  # its lock is held until the process ends
    except OSError as error:
        raise CacheUnwritable(advice(f"{why}; nor is there room for temporary files: {error}", "TMPDIR=/a/folder/with/room")) from error
    atexit.register(_remove, folder, os.getpid())
    what = f"{why}; new kernels are kept in `{folder}` until this process ends, and the next one builds them again"
    return Folder(folder), what


def _remove(folder: Path, process: int) -> None:
    if os.getpid() == process:  # a forked child that exits leaves it to its parent
        shutil.rmtree(folder, ignore_errors=True)
