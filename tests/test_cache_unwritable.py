"""A cache folder that takes no files: what it holds is served, what it lacks is built elsewhere, and one warning says so."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import lacuna
import pytest
from lacuna.runtime.cache import stand_in
from lacuna.runtime.cache.artefacts import BuildForbidden, Cache, Key, Manifest
from lacuna.runtime.cache.folder import CacheUnwritable, Folder

KEY = Key("program @causal(...", "t", "c", sources="s")
OTHER = Key("program @window(...", "t", "c", sources="s")


@pytest.fixture(autouse=True)
def fresh_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing stands in yet."""
    monkeypatch.setattr(stand_in, "_made", {})
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(Folder(tmp_path / "cache"))


def build(path: Path) -> Manifest:
    path.write_text("kernel")
    return {"entry": "f"}


def refuse_everything(monkeypatch: pytest.MonkeyPatch, root: Path, code: int = errno.EROFS) -> None:
    """As a read-only mount does, also to root."""
    make = Path.mkdir

    def mkdir(self: Path, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        if self.is_relative_to(root):
            raise OSError(code, os.strerror(code))
        make(self, mode, parents, exist_ok)

    monkeypatch.setattr(Path, "mkdir", mkdir)


def test_a_folder_that_cannot_be_made_is_named_in_one_warning(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    blocked = Cache(Folder(tmp_path / "file" / "cache"))
    assert blocked.load(KEY) is None
    with pytest.warns(
        RuntimeWarning, match=r"`.*/file/cache` cannot be written: .*; new kernels are kept in .*\n  write LACUNA_CACHE_DIR="
    ):
        entry = blocked.get_or_build(KEY, build)
    assert entry.path.read_text() == "kernel"
    assert blocked.get_or_build(OTHER, build).path.exists(), "without a second warning, which would be an error here"


def test_a_read_only_cache_still_serves_what_it_holds(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    held = cache.get_or_build(KEY, build)
    refuse_everything(monkeypatch, cache.folder.root)
    assert cache.get_or_build(KEY, build) == held
    with pytest.warns(RuntimeWarning, match="Read-only file system"):
        assert cache.get_or_build(OTHER, build).path.read_text() == "kernel"


def test_what_stands_in_is_built_once_and_explained(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_everything(monkeypatch, cache.folder.root, errno.ENOSPC)
    assert stand_in.reason_of_stand_in() is None
    with pytest.warns(RuntimeWarning, match="No space left on device"):
        first = cache.get_or_build(KEY, build)

    def unwanted(path: Path) -> Manifest:
        raise AssertionError(path)

    assert cache.get_or_build(KEY, unwanted) == first
    said = str(lacuna.explain(lacuna.patterns.causal(), 128))
    assert "fell back: the cache folder" in said
    assert "No space left on device; new kernels are kept in" in said


def test_a_build_that_fills_the_disk_is_done_again_elsewhere(cache: Cache) -> None:
    def fill(path: Path) -> Manifest:
        if path.is_relative_to(cache.folder.root):
            path.write_text("ker")
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return build(path)

    with pytest.warns(RuntimeWarning, match="No space left on device"):
        assert cache.get_or_build(KEY, fill).path.read_text() == "kernel"
    assert cache.load(KEY) is None
    assert not list((cache.folder.root / "scratch").iterdir())


def test_another_failure_of_a_build_is_its_own(cache: Cache) -> None:
    def fail(path: Path) -> Manifest:
        raise FileNotFoundError(errno.ENOENT, "no such tool", str(path))

    with pytest.raises(FileNotFoundError, match="no such tool"):
        cache.get_or_build(KEY, fail)


def test_no_room_for_temporary_files_either_is_an_error_that_names_both(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    refuse_everything(monkeypatch, cache.folder.root, errno.ENOSPC)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    with pytest.raises(CacheUnwritable, match=r"No space left on device; nor is there room for temporary files: .*\n  write TMPDIR="):
        cache.get_or_build(KEY, build)


def test_a_choice_that_cannot_be_kept_is_an_error(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_everything(monkeypatch, cache.folder.root)
    with pytest.raises(
        CacheUnwritable, match=r"the cache folder `.*` cannot be written: Read-only file system.*\n  write LACUNA_CACHE_DIR="
    ):
        cache.rebuild(KEY, build)


def test_what_must_not_be_built_is_not_built_elsewhere(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_everything(monkeypatch, cache.folder.root)
    with pytest.raises(BuildForbidden):
        cache._replace(jit=False).get_or_build(KEY, build)


FULL = """
import errno, json, os, sys, warnings
from pathlib import Path
from lacuna.runtime.cache.artefacts import Cache, Key
from lacuna.runtime.cache.folder import Folder

root, left = sys.argv[1], int(sys.argv[2])
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT

def full(event, arguments):
    global left
    paths = {"open": arguments[:1], "os.mkdir": arguments[:1], "os.rename": arguments[:2], "os.chmod": arguments[:1]}.get(event, ())
    if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & WRITES):
        return
    if any(isinstance(path, (str, os.PathLike)) and os.fspath(path).startswith(root) for path in paths):
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")

def build(path):
    path.write_text("kernel")
    return {"entry": "f"}

cache, key = Cache(Folder(Path(root)), bound=1), Key("p", "t", "c", sources="s")
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    sys.addaudithook(full)
    entries = [cache.get_or_build(key, build) for _ in range(2)]
assert entries[0] == entries[1] and entries[0].path.read_text() == "kernel" and entries[0].manifest == {"entry": "f"}
print(json.dumps([left < 0, len(told), entries[0].path.is_relative_to(root)]))
"""


def test_a_disk_that_fills_at_any_effect_leaves_a_right_answer(tmp_path: Path) -> None:
    """The n-th file, folder or renaming inside the cache fails, and all later ones, for every n that a build comes to."""
    outcomes: list[tuple[bool, int, bool]] = []
    while not outcomes or outcomes[-1][0]:
        done = subprocess.run(
            [sys.executable, "-c", FULL, str(tmp_path / f"cache{len(outcomes)}"), str(len(outcomes))],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        outcomes.append(tuple(json.loads(done.stdout)))
    assert len(outcomes) > 8
    assert all(told == (not inside) for failed, told, inside in outcomes if failed), "one warning for what is kept elsewhere"
    assert outcomes[-1] == (False, 0, True)
    assert outcomes[0] == (True, 1, False)


def test_a_warning_that_is_an_error_says_it_once(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_everything(monkeypatch, cache.folder.root)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeWarning, match="Read-only"):
            cache.get_or_build(KEY, build)
        assert cache.get_or_build(KEY, build).path.exists()
