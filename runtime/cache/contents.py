"""What a cache folder holds: listed, checked, kept below a size, cleared. Nothing that a process uses is removed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from ...ir.advice import advice
from .folder import LEASES, CacheUnwritable, Folder
from .index_entry import Stored, unpack, unsealed
from .locks import exclusive

ROOMS = ("index", "artefacts", "toolchain", "locks", "scratch")
_NAMES = {
    "index": re.compile(r"[0-9a-f]{64}\.json"),
    "artefacts": re.compile(r"[0-9a-f]{64}(\.[a-z]+)?"),
    "toolchain": re.compile(r"[0-9a-f]{64}\.json"),
    "locks": re.compile(r"[\w-]+\.lock"),
    "scratch": re.compile(r".*"),  # what a build leaves there while it runs is its own affair
}
_IDLE_SECONDS = 24 * 3600.0
_KEPT = 0.9  # of the bound, so that not every build has to make room
_SMALL_BYTES = 4096  # a choice of a tile shape, which may have been measured


class CacheUnreadable(OSError):
    """The cache folder, or a room of it, cannot be listed: what it holds is not known."""


class StoredEntry(NamedTuple):
    """One kernel, or one choice, of the cache.

    program: its name. target: such as `cpp avx512`. options: `dtype`, `dims`, `block` and further ones.
    sources: version and state of the package that built it.
    bytes:   of index and artefact, which counts in each of the entries that have it: kernels of one text are one artefact.
    used:    seconds since 1970, known to the hour. index_file, artefact: names in the folder.
    """

    program: str
    target: str
    options: dict[str, str]
    sources: str
    bytes: int
    used: float
    index_file: str
    artefact: str


class Damage(NamedTuple):
    """A file of the folder that no kernel is read from, and why."""

    name: str
    reason: str


class Cleared(NamedTuple):
    """removed: names of files; bytes: their size; in_use: names that a process uses, which stay."""

    removed: tuple[str, ...]
    bytes: int
    in_use: tuple[str, ...]


def entries(folder: Folder) -> Iterator[StoredEntry]:
    """Every readable entry, the one used longest ago first. Artefacts are not opened; see `verify`.

    Raises:
        CacheNotPrivate: others can write to the folder.
        CacheUnreadable: it cannot be listed; so do all below, but for `make_room`.
    """
    sizes = {f"artefacts/{name}": status.st_size for name, status in _files(folder, "artefacts")}
    for name, status in sorted(_files(folder, "index"), key=lambda each: each[1].st_mtime):
        stored = _stored(folder, f"index/{name}")
        if isinstance(stored, Stored):
            key = stored.key
            held = status.st_size + sizes.get(stored.artefact, 0)
            yield StoredEntry(
                key.program, key.target, dict(key.options), key.sources, held, status.st_mtime, f"index/{name}", stored.artefact
            )


def size(folder: Folder) -> int:
    """Bytes of all kernels and their index."""
    return sum(status.st_size for room in ("index", "artefacts") for _, status in _files(folder, room))


def verify(folder: Folder) -> list[Damage]:
    """Every file that is damaged, foreign or orphaned, with the reason; each is a miss, and `clear(..., only=...)` removes it.

    Raises:
        CacheNotPrivate: others can write to the folder.
    """
    found = [*_foreign(folder)]
    named: set[str] = set()
    for name in _ours(folder, "index"):
        stored = _stored(folder, f"index/{name}")
        if isinstance(stored, str):
            found.append(Damage(f"index/{name}", stored))
            continue
        named.add(stored.artefact)
        if not (folder.root / stored.artefact).exists():
            found.append(Damage(f"index/{name}", "its artefact is gone"))
    for name in _ours(folder, "toolchain"):
        if unsealed(folder.read(f"toolchain/{name}") or b"") is None:
            found.append(Damage(f"toolchain/{name}", "its digest is wrong"))
    for name in _ours(folder, "artefacts"):
        data = folder.read(f"artefacts/{name}")
        if data is None or hashlib.sha256(data).hexdigest() != name.partition(".")[0]:
            found.append(Damage(f"artefacts/{name}", "its contents are not those it is named after"))
        elif f"artefacts/{name}" not in named:
            found.append(Damage(f"artefacts/{name}", "no index file names it"))
    return sorted(found)


def clear(folder: Folder, *, only: Iterable[str] | None = None) -> Cleared:
    """Remove all that the cache wrote, or `only` files of these names, such as those of `verify`. Foreign files go only by name.

    Raises:
        CacheUnwritable: nothing can be removed.
        CacheNotPrivate: others can write to the folder.
    """
    wanted = None if only is None else set(only)
    removed: list[tuple[str, int]] = []
    in_use: list[str] = []
    for names, held in _units(folder):
        chosen = [name for name in names if wanted is None or name in wanted]
        before = {name: _bytes(folder, name) for name in chosen}
        if chosen and folder.remove(*chosen, held=held):
            removed += before.items()
        else:
            in_use += chosen
    if wanted is None:
        in_use += _free_locks(folder)
    else:
        removed += _removed(folder, wanted - {name for name, _ in removed} - set(in_use))
    return Cleared(tuple(name for name, _ in removed), sum(bytes_ for _, bytes_ in removed), tuple(in_use))


def make_room(folder: Folder, bound: int) -> None:
    """Remove what was used longest ago until the kernels take less than `bound` bytes, or all that is left is in use.

    Small entries, such as choices of tile shapes, go last: a choice may have taken minutes to measure, and frees nothing.
    One process at a time does this, and nobody waits for it.
    """
    with contextlib.suppress(CacheUnreadable, CacheUnwritable, TimeoutError):
        if size(folder) > bound:
            with folder.locked("room", 0.0):
                _make_room(folder, bound * _KEPT)


def _make_room(folder: Folder, wanted: float) -> None:
    found = list(entries(folder))
    uses = Counter(each.artefact for each in found)
    left = size(folder) - _remove_orphans(folder, uses)
    for each in sorted(found, key=lambda each: (each.bytes <= _SMALL_BYTES, each.used)):
        if left <= wanted:
            return
        last = uses[each.artefact] == 1
        index, artefact = (_bytes(folder, name) for name in (each.index_file, each.artefact))
        names = (each.index_file, each.artefact) if last else (each.index_file,)
        if folder.remove(*names, held=each.artefact, idle=_idle(each.used)):
            uses[each.artefact] -= 1
            left -= index + artefact if last else index


def _remove_orphans(folder: Folder, uses: Counter[str]) -> int:
    """Remove what killed builders and other versions left; its bytes. A builder holds an artefact before it writes the index."""
    freed = 0
    for room, known in (("artefacts", set(uses)), ("index", {each.index_file for each in entries(folder)})):
        for name, status in _files(folder, room):
            path = f"{room}/{name}"
            if path not in known and _NAMES[room].fullmatch(name) and folder.remove(path, held=path, idle=_idle(status.st_mtime)):
                freed += status.st_size
    return freed


def _idle(used: float) -> bool:
    return time.time() - used > _IDLE_SECONDS


def _units(folder: Folder) -> Iterator[tuple[list[str], str]]:
    """Files that go together, and the name that who uses them holds: every artefact with its index files, and the rest one by one."""
    by_artefact: dict[str, list[str]] = {f"artefacts/{name}": [f"artefacts/{name}"] for name, _ in _files(folder, "artefacts")}
    for name, _ in _files(folder, "index"):
        stored = _stored(folder, f"index/{name}")
        held = stored.artefact if isinstance(stored, Stored) else f"index/{name}"
        by_artefact.setdefault(held, []).insert(0, f"index/{name}")
    by_artefact |= {f"toolchain/{name}": [f"toolchain/{name}"] for name, _ in _files(folder, "toolchain")}
    for held, names in by_artefact.items():
        ours = [name for name in names if _is_ours(name)]
        if ours:
            yield ours, held


def _removed(folder: Folder, names: Iterable[str]) -> Iterator[tuple[str, int]]:
    """Remove foreign files that were asked for by name."""
    known = {damage.name for damage in _foreign(folder)}
    for name in known.intersection(names):
        bytes_ = _bytes(folder, name)
        with contextlib.suppress(IsADirectoryError, PermissionError):
            (folder.root / name).unlink()
            yield name, bytes_


def _free_locks(folder: Folder) -> Iterator[str]:
    """Remove the lock files that nobody holds; the names of the others."""
    for name, _ in _files(folder, "locks"):
        try:
            with exclusive(folder.root / "locks" / name, 0.0):
                pass
        except TimeoutError:
            yield f"locks/{name}"


def _foreign(folder: Folder) -> Iterator[Damage]:
    for each in _listed(folder.root):
        if each.name not in (*ROOMS, LEASES):
            yield Damage(each.name, "nothing of this name belongs here")
    for room in ROOMS:
        for each in _listed(folder.root / room):
            if not _is_ours(f"{room}/{each.name}"):
                yield Damage(f"{room}/{each.name}", "nothing of this name belongs here")
            elif room != "scratch" and not each.is_file(follow_symlinks=False):
                yield Damage(f"{room}/{each.name}", "is no file")


def _ours(folder: Folder, room: str) -> list[str]:
    return [name for name, _ in _files(folder, room) if _is_ours(f"{room}/{name}")]


def _is_ours(name: str) -> bool:
    room, _, rest = name.partition("/")
    return room in _NAMES and _NAMES[room].fullmatch(rest) is not None


def _files(folder: Folder, room: str) -> list[tuple[str, os.stat_result]]:
    """Names and states of the files of a room; one that goes meanwhile is left out."""
    found: list[tuple[str, os.stat_result]] = []
    for each in _listed(folder.root / room):
        with contextlib.suppress(OSError):
            if each.is_file(follow_symlinks=False):
                found.append((each.name, each.stat(follow_symlinks=False)))
    return found


def _listed(path: Path) -> list[os.DirEntry[str]]:
    """What a folder holds: nothing where it is not there yet."""
    try:
        with os.scandir(path) as found:
            return list(found)
    except FileNotFoundError:
        return []
    except OSError as error:
        what = f"the cache folder `{path}` cannot be read: {error.strerror or error}"
        raise CacheUnreadable(advice(what, "LACUNA_CACHE_DIR=/a/folder/of/your/own, or make this one readable")) from error


def _stored(folder: Folder, name: str) -> Stored | str:
    data = folder.read(name)
    if data is None:
        return "it cannot be read, or others can write to it"
    stored = unpack(data)
    if isinstance(stored, Stored) and stored.key.index_name != name:
        return "filed under another key"
    return stored


def _bytes(folder: Folder, name: str) -> int:
    try:
        return (folder.root / name).stat(follow_symlinks=False).st_size
    except OSError:
        return 0
