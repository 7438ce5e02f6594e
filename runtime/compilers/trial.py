"""What a compiler left, tried before anybody keeps it: a library that is not there, empty, broken or without its function is none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

LONGEST_SECONDS = 60
_HEADER_BYTES = 20
_LIBRARIES = (b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe")  # of Linux, and of macOS: for one processor, for several
_CHILD = """
import ctypes, os, sys
library = ctypes.CDLL(sys.argv[1], mode=os.RTLD_NOW)
if sys.argv[2]:
    getattr(library, sys.argv[2])
"""


def complaint_about(library: Path, entry: str = "") -> str | None:
    """None where the library loads, in a process of its own, and has the function `entry`; else what is wrong with it.

    One for another processor is looked at and not loaded.
    """
    if not library.is_file():
        return "it ended without an error and left no library"
    header = _header(library)
    if not header.startswith(_LIBRARIES):
        return f"it ended without an error and left {library.stat().st_size} bytes that are no library"
    if not sys.executable or not _is_for(header, _header(Path(sys.executable))):
        return None
    problem = _loaded(library, entry)
    return None if problem is None else f"it ended without an error and left a library that does not load: {problem}"


def _header(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEADER_BYTES)


def _is_for(library: bytes, here: bytes) -> bool:
    """Whether a library is for the processor of a program: of macOS the format says it first, of Linux word size and machine."""
    if here.startswith(b"\x7fELF"):
        return library[:6] == here[:6] and library[18:20] == here[18:20]
    return library[:8] == here[:8]


def _loaded(library: Path, entry: str) -> str | None:
    command = [sys.executable, "-I", "-S", "-c", _CHILD, str(library), entry]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=LONGEST_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"it had not finished after {LONGEST_SECONDS} seconds"
    except OSError:
        return None  # no process can be made, which is not the library's fault
    if done.returncode == 0:
        return None
    said = done.stderr.strip().splitlines()
    return said[-1] if said else f"the process ended with {-done.returncode if done.returncode < 0 else done.returncode}"
