"""The cache folder and the LACUNA_ variables: what they are, and what is wrong with them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

PREFIX = "LACUNA_"
OF_TESTS = ("LACUNA_TEST_PROFILE",)


@dataclass(frozen=True)
class Setting:
    """value: None where it is unset. problem: None where the value is one that it allows. read: whether anything reads it."""

    name: str
    value: str | None
    problem: str | None
    read: bool = True


@dataclass(frozen=True)
class CacheState:
    """state: `not made yet`, `usable`, or what is wrong. entries, bytes: of kernels."""

    path: str
    state: str
    usable: bool
    entries: int
    bytes: int


def settings_found(environment: Mapping[str, str] | None = None) -> tuple[Setting, ...]:
    """Every variable that is read, set or not, then those of a like name that nothing reads."""
    given = os.environ if environment is None else environment
    known = known_names()
    strays = sorted(name for name in given if name.startswith(PREFIX) and name not in (*known, *OF_TESTS))
    return (
        *(Setting(name, given.get(name) or None, _problem(name, given)) for name in known),
        *(Setting(name, given[name], "nothing reads it", read=False) for name in strays),
    )


def known_names() -> tuple[str, ...]:
    from ..runtime.process.settings import VARIABLES

    return tuple(VARIABLES.values())


@contextlib.contextmanager
def without(names: Iterable[str]) -> Generator[None]:
    """Leave these variables out of the environment for a while."""
    taken = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(taken)


def _problem(name: str, given: Mapping[str, str]) -> str | None:
    from ..runtime.process.settings import settings

    try:
        settings({name: given.get(name, "")})
    except ValueError as error:
        return " ".join(str(error).split())
    return None


def cache_state() -> CacheState:
    try:
        from ..runtime.cache.contents import entries, size
        from ..runtime.cache.folder import cache_folder

        folder = cache_folder()
    except (ValueError, ImportError) as error:  # LACUNA_CACHE_DIR is no folder; a package is missing
        return CacheState("unknown", " ".join(str(error).split()), False, 0, 0)
    path = str(folder.root)
    try:
        if not folder.root.exists():
            blocked = _blocked(folder.root)
            return CacheState(path, blocked or "not made yet", blocked is None, 0, 0)
        folder.read("index/none")  # raises where others can write, also while there is nothing to read
        count, bytes_ = sum(1 for _ in entries(folder)), size(folder)
    except OSError as error:
        return CacheState(path, " ".join(str(error).split()), False, 0, 0)
    writable = os.access(folder.root, os.W_OK | os.X_OK)
    state = "usable" if writable else "read only: it serves what it holds and takes no new kernel; set LACUNA_CACHE_DIR"
    return CacheState(path, state, writable, count, bytes_)


def _blocked(path: Path) -> str | None:
    """Why the folder cannot be made, None where it can."""
    above = next(each for each in path.parents if each.exists())
    if above.is_dir() and os.access(above, os.W_OK | os.X_OK):
        return None
    return f"cannot be made: `{above}` cannot be written; set LACUNA_CACHE_DIR to a folder of your own"
