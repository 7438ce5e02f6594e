"""A cache listed, checked, bounded and cleared; what a process uses stays."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from lacuna.runtime.cache import locks
from lacuna.runtime.cache.artefacts import Cache, Key, Manifest
from lacuna.runtime.cache.contents import CacheUnreadable, Damage, clear, entries, make_room, size, verify
from lacuna.runtime.cache.folder import CacheNotPrivate, Folder

KEY = Key("program @near(q < Lq, k < Lk) { ... }", "cpp avx2", "g++", (("dtype", "f32"),), "0.1.0+aa")
BIG = 10_000

USE = """
import sys, time
from pathlib import Path
from lacuna.runtime.cache.artefacts import Cache, Key
from lacuna.runtime.cache.folder import Folder
root, key = sys.argv[1:]
entry = Cache(Folder(Path(root))).load(eval(key))
assert entry is not None
print("loaded", flush=True)
time.sleep(600)
"""


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(Folder(tmp_path / "cache"))


def key(number: int) -> Key:
    return replace(KEY, subject=f"program @p{number}(...")


def build(text: str) -> Callable[[Path], Manifest]:
    def write(path: Path) -> Manifest:
        path.write_text(text)
        return {"entry": text[:10]}

    return write


def filled(cache: Cache, count: int) -> list[Path]:
    """Entries of BIG bytes, the first used longest ago, whose builders have ended."""
    for number in range(count):
        cache.get_or_build(key(number), build(f"{number}" * BIG))
        used = time.time() - 3600 * 48 + number
        os.utime(cache.folder.root / key(number).index_name, (used, used))
    forget_use()
    return [cache.folder.root / key(number).index_name for number in range(count)]


def forget_use() -> None:
    """As if this process had ended."""
    for handle in locks._leases.values():  # pyright: ignore[reportPrivateUsage] (what the end of a process closes)
        os.close(handle)
    locks._leases.clear()  # pyright: ignore[reportPrivateUsage]


def test_entries_say_what_they_are_the_oldest_first(cache: Cache) -> None:
    cache.get_or_build(KEY, build("kernel"))
    filled(cache, 2)
    found = list(entries(cache.folder))
    assert [each.program for each in found] == ["p0", "p1", "near"]
    near = found[-1]
    assert (near.target, near.options, near.sources) == ("cpp avx2", {"dtype": "f32"}, "0.1.0+aa")
    assert abs(near.used - time.time()) < 3600
    assert sum(each.bytes for each in found) == size(cache.folder)
    assert near.bytes == sum((cache.folder.root / name).stat().st_size for name in (near.index_file, near.artefact))


def test_an_empty_folder_holds_nothing_and_is_not_made(cache: Cache) -> None:
    assert (list(entries(cache.folder)), verify(cache.folder), size(cache.folder)) == ([], [], 0)
    make_room(cache.folder, 0)
    assert clear(cache.folder).removed == ()
    assert not (cache.folder.root / "index").exists()


def test_loading_an_entry_makes_it_the_one_used_last_and_writes_at_most_once_an_hour(cache: Cache) -> None:
    oldest, _ = filled(cache, 2)
    cache.load(key(0))
    touched = oldest.stat().st_mtime
    assert abs(touched - time.time()) < 60
    os.utime(oldest, (touched - 1000, touched - 1000))
    cache.load(key(0))
    assert oldest.stat().st_mtime == touched - 1000


def test_the_entries_used_longest_ago_make_room(cache: Cache) -> None:
    indices = filled(cache, 6)
    make_room(cache.folder, 4 * BIG)
    assert [path.exists() for path in indices] == [False, False, False, True, True, True]
    assert size(cache.folder) <= 4 * BIG
    assert verify(cache.folder) == []


def test_a_build_that_passes_the_bound_makes_room(cache: Cache) -> None:
    filled(cache, 4)
    cache._replace(bound=3 * BIG).get_or_build(KEY, build("x" * BIG))
    assert size(cache.folder) <= 3 * BIG
    assert cache.load(KEY) is not None


def test_choices_go_last(cache: Cache) -> None:
    filled(cache, 2)
    choice = cache.rebuild(KEY, build("64 x 64"), ".txt")
    old = time.time() - 10**6
    os.utime(cache.folder.root / KEY.index_name, (old, old))
    forget_use()
    make_room(cache.folder, BIG)
    assert choice.path.exists()
    assert len(list(entries(cache.folder))) == 1


def test_what_this_process_uses_stays(cache: Cache) -> None:
    indices = filled(cache, 2)
    assert cache.load(key(0)) is not None
    make_room(cache.folder, 0)
    assert [path.exists() for path in indices] == [True, False]
    done = clear(cache.folder)
    assert indices[0].exists()
    assert key(0).index_name in done.in_use


def test_what_another_process_uses_stays_until_it_ends(cache: Cache) -> None:
    indices = filled(cache, 2)
    command = [sys.executable, "-c", USE, str(cache.folder.root), repr(key(0))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as user:
        assert user.stdout is not None
        assert user.stdout.readline() == "loaded\n"
        make_room(cache.folder, 0)
        assert [path.exists() for path in indices] == [True, False]
        assert set(clear(cache.folder).in_use) >= {key(0).index_name}
        user.kill()
    make_room(cache.folder, 0)
    assert size(cache.folder) == 0


def test_an_artefact_of_two_entries_goes_with_the_last(cache: Cache) -> None:
    filled(cache, 2)
    cache.get_or_build(KEY, build("0" * BIG))
    forget_use()
    make_room(cache.folder, 3 * BIG // 2)
    assert [each.program for each in entries(cache.folder)] == ["near"]
    assert verify(cache.folder) == []


def test_what_a_killed_builder_left_goes_first(cache: Cache) -> None:
    (index,) = filled(cache, 1)
    orphan = cache.folder.root / "artefacts" / ("0" * 64 + ".so")
    orphan.write_text("x" * BIG)
    make_room(cache.folder, size(cache.folder) - BIG // 2)
    assert index.exists()
    assert not orphan.exists()


def damaged(cache: Cache) -> dict[str, str]:
    """A folder with everything that can be wrong in it, and what `verify` says."""
    paths = [*filled(cache, 5), *(cache.folder.root / entry.artefact for entry in entries(cache.folder))]
    torn, foreign, older, moved, _, flipped, gone, *_ = paths
    torn.write_bytes(torn.read_bytes()[:-1])
    foreign.write_bytes(b"hello")
    older.write_bytes(b"lacuna-cache 1 " + older.read_bytes()[15:])
    moved.rename(moved.with_name("0" * 64 + ".json"))
    flipped.chmod(0o600)
    flipped.write_bytes(b"1" + flipped.read_bytes()[1:])
    gone.unlink()
    cache.folder.write("index/notes.txt", b"mine")
    cache.folder.write("toolchain/" + "0" * 64 + ".json", b"{}")
    names = {path: str(path.relative_to(cache.folder.root)) for path in paths}
    orphans = {names[path]: "no index file names it" for path in paths[5:] if path.exists() and path not in (flipped, paths[9])}
    return {
        names[torn]: "its digest is wrong",
        names[foreign]: "not an index file",
        names[older]: "written by another version",
        f"index/{'0' * 64}.json": "filed under another key",
        names[flipped]: "its contents are not those it is named after",
        "index/notes.txt": "nothing of this name belongs here",
        f"toolchain/{'0' * 64}.json": "its digest is wrong",
    } | orphans


def test_verify_lists_what_is_damaged_foreign_and_orphaned(cache: Cache) -> None:
    expected = damaged(cache)
    assert verify(cache.folder) == sorted(Damage(name, reason) for name, reason in expected.items())


def test_clear_removes_what_verify_found_and_nothing_else(cache: Cache) -> None:
    expected = damaged(cache)
    done = clear(cache.folder, only=[each.name for each in verify(cache.folder)])
    assert set(done.removed) == set(expected)
    assert verify(cache.folder) == []
    assert cache.load(key(4)) is not None


def test_clear_removes_everything_of_ours_and_nothing_of_others(cache: Cache) -> None:
    damaged(cache)
    done = clear(cache.folder)
    left = [path.relative_to(cache.folder.root) for path in cache.folder.root.rglob("*") if path.is_file()]
    assert set(map(str, left)) == {"leases", "index/notes.txt"}
    assert done.bytes > 3 * BIG
    assert done.in_use == ()


def test_a_name_outside_the_folder_is_never_removed(cache: Cache, tmp_path: Path) -> None:
    filled(cache, 1)
    (tmp_path / "mine").write_text("mine")
    assert clear(cache.folder, only=["../mine", str(tmp_path / "mine")]).removed == ()
    assert (tmp_path / "mine").exists()


def listed(folder: Folder) -> object:
    return list(entries(folder))


@pytest.mark.parametrize("look", [listed, verify])
def test_a_folder_that_others_can_write_is_not_even_listed(cache: Cache, look: Callable[[Folder], object]) -> None:
    filled(cache, 1)
    cache.folder.root.chmod(0o777)
    with pytest.raises(CacheNotPrivate, match="others can write to the cache folder"):
        look(cache.folder)


def test_two_versions_of_the_package_share_a_folder(cache: Cache) -> None:
    ours, theirs = replace(KEY, sources="0.1.0+aa"), replace(KEY, sources="0.2.0+bb")
    cache.get_or_build(ours, build("ours"))
    cache.get_or_build(theirs, build("theirs"))
    assert [entry.path.read_text() for entry in (cache.load(ours), cache.load(theirs)) if entry] == ["ours", "theirs"]
    assert {each.sources for each in entries(cache.folder)} == {"0.1.0+aa", "0.2.0+bb"}


def test_without_locks_on_open_files_the_last_day_counts_as_in_use(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    old, young = filled(cache, 2)
    os.utime(young)
    monkeypatch.setattr(locks, "_ON_OPEN_FILES", None)
    assert cache.load(key(1)) is not None
    make_room(cache.folder, 0)
    assert [old.exists(), young.exists()] == [False, True]


# -- what is not what it seems ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("room", ["index", "artefacts", "toolchain"])
def test_a_room_that_cannot_be_listed_is_no_empty_room(room: str, cache: Cache) -> None:
    cache.get_or_build(KEY, build("kernel"))
    (cache.folder.root / room).rename(cache.folder.root.parent / "aside") if room != "toolchain" else None
    (cache.folder.root / room).symlink_to(room)  # which cannot be opened, not even by root
    with pytest.raises(CacheUnreadable, match=f"`.*/{room}` cannot be read: .*\n  write LACUNA_CACHE_DIR="):
        verify(cache.folder)
    with pytest.raises(CacheUnreadable):
        clear(cache.folder)
    make_room(cache.folder, 0)  # nobody asked: a build goes on without


def test_a_folder_below_a_file_is_no_whole_cache(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    below = Folder(tmp_path / "file" / "cache")
    for ask in (size, verify, clear, entries):
        with pytest.raises(CacheUnreadable, match="Not a directory"):
            list(cast("Callable[[Folder], Iterable[object]]", ask)(below))


def test_an_artefact_of_two_entries_counts_in_each(cache: Cache) -> None:
    for number in range(2):
        cache.get_or_build(key(number), build("one text" * BIG))
    found = list(entries(cache.folder))
    assert len({each.artefact for each in found}) == 1
    assert sum(each.bytes for each in found) == size(cache.folder) + len("one text" * BIG)
