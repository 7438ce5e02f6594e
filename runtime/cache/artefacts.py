"""The cache: from what decides a kernel to the compiled kernel and the way to launch it, across processes.

Two levels. `index/` maps the digest of a Key to an entry: a launch manifest and the name of an artefact. `artefacts/` holds
what the builds made, each file named by the sha256 of its bytes. Files appear by renaming and are checked when read: a torn,
edited or foreign one is a miss and is built again, never returned. Nothing is unpickled. A forked child may go on with the same cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable, Generator
from pathlib import Path
from typing import NamedTuple

from ..process.settings import settings
from .folder import CacheUnwritable, Folder, cache_folder, no_room_is_unwritable
from .index_entry import Key, Manifest, Stored, canonical, unpack
from .stand_in import stand_in

__all__ = ["BuildForbidden", "Cache", "Entry", "Key", "Manifest", "open_cache"]

LONGEST_WAIT_SECONDS = 900.0
_REMOVAL_SECONDS = 10.0


class BuildForbidden(RuntimeError):
    """LACUNA_JIT=0, and the cache does not hold the kernel."""


class Entry(NamedTuple):
    """A built kernel: `path` is its artefact, just verified, which stays while this process lives; `manifest` says how to launch it."""

    path: Path
    manifest: Manifest

    def copy_to(self, path: Path) -> None:
        """Give the artefact to another build: two requests that render to one text compile once."""
        shutil.copyfile(self.path, path)


class Cache(NamedTuple):
    """Entries in a folder. Every method raises CacheNotPrivate where others can write to that folder.

    jit:   whether a miss may be built.
    bound: bytes that a build may leave in the folder; None: any number.
    """

    folder: Folder
    jit: bool = True
    bound: int | None = None

    def load(self, key: Key) -> Entry | None:
        """The entry of a key; None where there is none that is whole and ours. A damaged entry never raises."""
        stored = self._index(key)
        if stored is None or not self.folder.hold(stored.artefact):
            return None
        data = self.folder.read(stored.artefact)  # after `hold`: nobody removes it from here on
        if data is None or hashlib.sha256(data).hexdigest() != stored.sha256:
            return None
        return Entry(self.folder.root / stored.artefact, stored.manifest)

    def get_or_build(self, key: Key, build: Callable[[Path], Manifest], suffix: str = ".so") -> Entry:
        """The entry of a key, built by at most one process at a time.

        `build(path)` writes the artefact to `path` and returns the manifest; it may call
        `get_or_build` for another key, never for this one. Where the folder takes no files, what is built is kept in a temporary folder
        of this process, which a warning says once.

        Raises:
            BuildForbidden: there is no entry and `jit` is false.
            CacheUnwritable: there is no entry, and neither the folder nor a temporary one takes any.
            TimeoutError: another process has been building it for fifteen minutes.
            TypeError: the manifest is not JSON.
            Exception: whatever `build` raises; nothing is published then and the next call tries again.
        """
        found = self.load(key)
        if found is not None:
            return found
        if not self.jit:
            raise BuildForbidden(
                f"the cache `{self.folder.root}` does not hold this kernel and LACUNA_JIT=0 forbids building it.\n  unset LACUNA_JIT"
            )
        try:
            return self._get_or_build(key, build, suffix)
        except CacheUnwritable as unwritable:
            return Cache(stand_in(unwritable))._get_or_build(key, build, suffix)

    def rebuild(self, key: Key, build: Callable[[Path], Manifest], suffix: str = ".so") -> Entry:
        """Put a new entry in place of whatever there is. Raises as `get_or_build`, but for BuildForbidden; there is no other folder."""
        with self._locked(key):
            return self._build(key, build, suffix)

    def _get_or_build(self, key: Key, build: Callable[[Path], Manifest], suffix: str) -> Entry:
        with self._locked(key):
            return self.load(key) or self._build(key, build, suffix)

    def _build(self, key: Key, build: Callable[[Path], Manifest], suffix: str) -> Entry:
        with self.folder.scratch() as scratch:
            fresh = scratch / f"artefact{suffix}"
            with no_room_is_unwritable(self.folder):
                manifest = build(fresh)
            stored = Stored(key, f"artefacts/{hashlib.sha256(fresh.read_bytes()).hexdigest()}{suffix}", json.loads(canonical(manifest)))
            self.folder.hold(stored.artefact, _REMOVAL_SECONDS)  # before it has a name that someone could remove
            path = self.folder.publish(fresh, stored.artefact)
            self.folder.write(key.index_name, stored.pack())
        self._make_room()
        return Entry(path, stored.manifest)

    def _make_room(self) -> None:
        if self.bound is not None:
            from .contents import make_room  # a warm start does without

            make_room(self.folder, self.bound)

    def _index(self, key: Key) -> Stored | None:
        data = self.folder.read(key.index_name, touch=True)
        stored = None if data is None else unpack(data)
        return stored if isinstance(stored, Stored) and stored.key == key else None

    @contextlib.contextmanager
    def _locked(self, key: Key) -> Generator[None]:
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(self.folder.locked(key.digest, LONGEST_WAIT_SECONDS))
            except TimeoutError as error:
                held = self.folder.lock_path(key.digest)
                raise TimeoutError(
                    f"another process has been building a kernel for {LONGEST_WAIT_SECONDS:.0f} s.\n  end it: it holds `{held}`"
                ) from error
            yield


def open_cache() -> Cache:
    """The cache that the environment asks for. Nothing is touched."""
    asked = settings()
    return Cache(cache_folder(), asked.jit, asked.cache_bytes)
