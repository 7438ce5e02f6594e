"""Files of a bundle: names that stay inside it, and checksums."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path, PurePosixPath

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
LONGEST_NAME = 400


def put(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def checksum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def is_name(name: object) -> bool:
    """Whether `name` is that of a file inside a bundle: relative, without `..`, in letters that mean nothing to a shell."""
    return isinstance(name, str) and len(name) <= LONGEST_NAME and NAME.fullmatch(name) is not None


def names_in(folder: Path) -> list[str]:
    """Every file below `folder`, sorted."""
    return sorted(str(PurePosixPath(path.relative_to(folder))) for path in folder.rglob("*") if path.is_file())
