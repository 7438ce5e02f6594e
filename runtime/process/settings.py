"""The one reader of the environment: seven variables, each checked where it is read."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

BACKENDS = ("cpp", "eager", "triton")
MOST_THREADS = 4096
CACHE_BYTES = 2**30
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


class Settings(NamedTuple):
    """What the environment asks for. An empty variable counts as unset.

    cache_dir:   LACUNA_CACHE_DIR, an absolute folder; None: the user's cache folder.
    cxx:         LACUNA_CXX, the C++ compiler: a path or a name on PATH, with arguments if need be; None: see `find_compiler`.
    dump:        LACUNA_DUMP, a folder that receives the program after each pass; None: nothing is written.
    jit:         LACUNA_JIT, `0` forbids compiling, so that only what the cache holds can run; None is 1.
    backend:     LACUNA_BACKEND, used by calls that name none.
    threads:     LACUNA_THREADS, at least 1; None: as many as torch uses.
    cache_bytes: LACUNA_CACHE_SIZE, bytes that kernels may take in the cache folder, such as `512M` (units of 1024: K, M, G, T).
    """

    cache_dir: Path | None = None
    cxx: str | None = None
    dump: Path | None = None
    jit: bool = True
    backend: str | None = None
    threads: int | None = None
    cache_bytes: int = CACHE_BYTES


VARIABLES: Mapping[str, str] = MappingProxyType(
    {field: f"LACUNA_{field.upper()}" for field in Settings._fields} | {"cache_bytes": "LACUNA_CACHE_SIZE"}
)
"""What the variable of each field is called."""


def settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings; call it where they are used, since the environment may change between two calls.

    Raises:
        ValueError: a variable has a value outside the ones it allows.
    """
    given = os.environ if environment is None else environment
    return Settings(
        cache_dir=_folder("LACUNA_CACHE_DIR", given),
        cxx=_command("LACUNA_CXX", given),
        dump=_folder("LACUNA_DUMP", given, relative=True),
        jit=_switch("LACUNA_JIT", given),
        backend=_choice("LACUNA_BACKEND", given, BACKENDS),
        threads=_count("LACUNA_THREADS", given, MOST_THREADS),
        cache_bytes=_size("LACUNA_CACHE_SIZE", given, CACHE_BYTES),
    )


def _refuse(name: str, value: str, allowed: str) -> ValueError:
    return ValueError(f"the environment variable `{name}` is `{value:.400}`, which it does not allow.\n  write {allowed}, or unset it")


def _folder(name: str, given: Mapping[str, str], *, relative: bool = False) -> Path | None:
    value = given.get(name, "")
    if not value:
        return None
    try:
        path = Path(value).expanduser()
        file = path.exists() and not path.is_dir()
    except (OSError, RuntimeError) as error:  # a name too long, a folder that may not be entered, `~nobody`
        why = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise _refuse(name, value, f"the path of a folder (of this one the system says: {why})") from error
    if not (relative or path.is_absolute()):
        raise _refuse(name, value, "an absolute path")
    if file:
        raise _refuse(name, value, "the path of a folder (this is a file)")
    return path


def _command(name: str, given: Mapping[str, str]) -> str | None:
    value = given.get(name, "")
    if value and not value.strip():
        raise _refuse(name, value, "the path or name of a C++ compiler")
    return value.strip() or None


def _switch(name: str, given: Mapping[str, str]) -> bool:
    return _choice(name, given, ("0", "1")) != "0"


def _choice(name: str, given: Mapping[str, str], allowed: tuple[str, ...]) -> str | None:
    value = given.get(name, "")
    if value and value not in allowed:
        raise _refuse(name, value, " or ".join(f"`{one}`" for one in allowed))
    return value or None


def _count(name: str, given: Mapping[str, str], most: int) -> int | None:
    value = given.get(name, "")
    if not value:
        return None
    if not re.fullmatch(r"[0-9]{1,9}", value, re.ASCII) or not 1 <= int(value) <= most:
        raise _refuse(name, value, f"a whole number from 1 to {most}")
    return int(value)


def _size(name: str, given: Mapping[str, str], otherwise: int) -> int:
    value = given.get(name, "")
    if not value:
        return otherwise
    found = re.fullmatch(r"([0-9]{1,15})([KMGT]?)", value, re.ASCII)
    if found is None:
        raise _refuse(name, value, "a number of bytes such as `1073741824`, `512M` or `2G`")
    return int(found[1]) * _UNITS[found[2]]
