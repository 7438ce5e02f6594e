"""The cache: from what decides a kernel to the compiled kernel and the way to launch it, across processes.

Two levels. `index/` maps the digest of a Key to an entry: a launch manifest and the name of an artefact. `artefacts/` holds
what the builds made, each file named by the sha256 of its bytes. Files appear by renaming and are checked when read: a torn,
edited or foreign one is a miss and is built again, never returned. Nothing is unpickled. No file and no thread stays open
between calls, so a forked child may go on with the same cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

from .folder import Folder, cache_folder
from .settings import settings
from .version import sources

FORMAT = b"lacuna-cache 1"
LONGEST_WAIT_SECONDS = 900.0

Manifest = Mapping[str, Any]
"""How to launch an artefact: a JSON object (tuples come back as lists, keys are strings)."""


class BuildForbidden(RuntimeError):
    """LACUNA_JIT=0, and the cache does not hold the kernel."""


@dataclass(frozen=True, slots=True)
class Key:
    """Everything that decides an artefact and its manifest; equal keys share one kernel.

    subject:  what is built: the text of the program (a request), or the rendered text of a kernel.
    options:  name and value of every further choice: dtype, dimensions, tile shape, bucket, layout flags.
    target:   backend and resolved CPU features or architecture, such as `cpp avx512`.
    compiler: `Compiler.identity`, or the version of Triton.
    sources:  version and state of this package.

    Left out, because a kernel takes them as arguments: lengths, offsets, strides, batch, heads, the values of parameters, the
    contents of tables, the number of threads. Left out, because they are not seen: the machine (the folder is its own).
    """

    subject: str
    target: str
    compiler: str
    options: tuple[tuple[str, str], ...] = ()
    sources: str = field(default_factory=sources)

    @property
    def parts(self) -> dict[str, object]:
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @property
    def digest(self) -> str:
        return hashlib.sha256(_canonical(self.parts)).hexdigest()


class Entry(NamedTuple):
    """A built kernel: `path` is its artefact, just verified; `manifest` says how to launch it."""

    path: Path
    manifest: Manifest

    def copy_to(self, path: Path) -> None:
        """Give the artefact to another build: two requests that render to one text compile once."""
        shutil.copyfile(self.path, path)


class Cache(NamedTuple):
    """Entries in a folder. Every method raises CacheNotPrivate where others can write to that folder.

    jit: whether a miss may be built.
    """

    folder: Folder
    jit: bool = True

    def load(self, key: Key) -> Entry | None:
        """The entry of a key; None where there is none that is whole and ours. A damaged entry never raises."""
        stored = self._index(key)
        if stored is None:
            return None
        data = self.folder.read(stored.artefact)
        if data is None or hashlib.sha256(data).hexdigest() != stored.sha256:
            return None
        return Entry(self.folder.root / stored.artefact, stored.manifest)

    def get_or_build(self, key: Key, build: Callable[[Path], Manifest], suffix: str = ".so") -> Entry:
        """The entry of a key, built by at most one process at a time.

        `build(path)` writes the artefact to `path` and returns the manifest; it may call
        `get_or_build` for another key, never for this one.

        Raises:
            BuildForbidden: there is no entry and `jit` is false.
            CacheUnwritable: there is no entry and the folder takes none.
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
        with self._locked(key):
            return self.load(key) or self._build(key, build, suffix)

    def rebuild(self, key: Key, build: Callable[[Path], Manifest], suffix: str = ".so") -> Entry:
        """Put a new entry in place of whatever there is. Raises as `get_or_build`, but for BuildForbidden."""
        with self._locked(key):
            return self._build(key, build, suffix)

    def _build(self, key: Key, build: Callable[[Path], Manifest], suffix: str) -> Entry:
        with self.folder.scratch() as scratch:
            fresh = scratch / f"artefact{suffix}"
            manifest = build(fresh)
            sha256 = hashlib.sha256(fresh.read_bytes()).hexdigest()
            stored = _Stored(f"artefacts/{sha256}{suffix}", sha256, json.loads(_canonical(manifest)))
            path = self.folder.publish(fresh, stored.artefact)
            self.folder.write(_index_name(key), stored.pack(key))
        return Entry(path, stored.manifest)

    def _index(self, key: Key) -> _Stored | None:
        data = self.folder.read(_index_name(key))
        return None if data is None else _Stored.unpack(data, key)

    @contextlib.contextmanager
    def _locked(self, key: Key) -> Generator[None]:
        """Hold the key's lock. The system lets go of it when its process dies, however it dies."""
        from filelock import FileLock, Timeout  # 13 ms that a warm start does without

        lock = FileLock(self.folder.made("locks") / f"{key.digest}.lock", timeout=LONGEST_WAIT_SECONDS)
        try:
            with self.folder.writing():
                lock.acquire()
        except Timeout as error:
            raise TimeoutError(
                f"another process has been building a kernel for {LONGEST_WAIT_SECONDS:.0f} s.\n  end it: it holds `{lock.lock_file}`"
            ) from error
        try:
            yield
        finally:
            lock.release()


def open_cache() -> Cache:
    """The cache that the environment asks for. Nothing is touched."""
    return Cache(cache_folder(), settings().jit)


class _Stored(NamedTuple):
    """An index file: the format and a digest of the rest on the first line, then JSON that repeats the key."""

    artefact: str
    sha256: str
    manifest: Manifest

    def pack(self, key: Key) -> bytes:
        body = _canonical({"key": key.parts, "artefact": self.artefact, "sha256": self.sha256, "manifest": self.manifest})
        return _header(body) + body

    @staticmethod
    def unpack(data: bytes, key: Key) -> _Stored | None:
        body = data[data.find(b"\n") + 1 :]
        if not data.startswith(_header(body)):
            return None
        stored = json.loads(body)  # the digest has shown that `pack` wrote it
        if _canonical(stored["key"]) != _canonical(key.parts):
            return None
        return _Stored(stored["artefact"], stored["sha256"], stored["manifest"])


def _header(body: bytes) -> bytes:
    return FORMAT + b" " + hashlib.sha256(body).hexdigest().encode() + b"\n"


def _index_name(key: Key) -> str:
    return f"index/{key.digest}.json"


def _canonical(value: object) -> bytes:
    """JSON with sorted keys and no choice left, so that equal values are equal bytes in every process."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
