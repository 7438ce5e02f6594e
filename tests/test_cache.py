"""What the cache promises. `COUNT` processes race in the quick run, sixteen in `make prove`."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lacuna.runtime.cache import artefacts as cache_module
from lacuna.runtime.cache import index_entry
from lacuna.runtime.cache.artefacts import BuildForbidden, Cache, Key, Manifest, open_cache
from lacuna.runtime.cache.folder import CacheNotPrivate, Folder
from lacuna.runtime.cache.locks import exclusive

KEY = Key("program @causal ...", "cpp avx512", "g++ 12", (("dtype", "f32"), ("head_dim", "64")))
MANIFEST = {"entry": "causal_f32", "threads": [1, 2], "scale": 0.125}

RACE = """
import sys, time, pathlib
from lacuna.runtime.cache.artefacts import Cache, Key
from lacuna.runtime.cache.folder import Folder
root, marks, number = sys.argv[1:]
def build(path):
    pathlib.Path(marks, f"built-by-{number}").touch()
    time.sleep(0.3)
    path.write_text("kernel")
    return {"entry": "f"}
while not pathlib.Path(marks, "go").exists():
    time.sleep(0.002)
entry = Cache(Folder(pathlib.Path(root))).get_or_build(Key("p", "t", "c"), build)
assert entry.path.read_text() == "kernel" and entry.manifest == {"entry": "f"}
"""

HANG = """
import sys, time, pathlib
from lacuna.runtime.cache.artefacts import Cache, Key
from lacuna.runtime.cache.folder import Folder
def build(path):
    path.write_text("half a ker")
    pathlib.Path(sys.argv[2]).touch()
    time.sleep(600)
Cache(Folder(pathlib.Path(sys.argv[1]))).get_or_build(Key("p", "t", "c"), build)
"""


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(Folder(tmp_path / "cache"))


class Builder:
    """A build that counts how often it ran."""

    def __init__(self, text: str = "kernel", manifest: Manifest = MANIFEST) -> None:
        self.text, self.manifest, self.runs = text, manifest, 0

    def __call__(self, path: Path) -> Manifest:
        self.runs += 1
        path.write_text(self.text)
        return self.manifest


def only_file(folder: Path) -> Path:
    (found,) = folder.iterdir()
    return found


def test_an_empty_cache_misses_and_touches_nothing(cache: Cache) -> None:
    assert cache.load(KEY) is None
    assert not cache.folder.root.exists()


def test_what_was_built_is_loaded(cache: Cache) -> None:
    build = Builder()
    built = cache.get_or_build(KEY, build)
    assert built == cache.get_or_build(KEY, build) == cache.load(KEY)
    assert (built.path.read_text(), built.manifest, build.runs) == ("kernel", MANIFEST, 1)


def test_a_manifest_reads_the_same_when_built_and_when_loaded(cache: Cache) -> None:
    built = cache.get_or_build(KEY, Builder(manifest={"shape": (1, 2), "names": {"b": 1, "a": None}}))
    assert built.manifest == {"shape": [1, 2], "names": {"a": None, "b": 1}}
    assert cache.load(KEY) == built


@pytest.mark.parametrize(
    "change",
    [
        {"subject": "program @window ..."},
        {"target": "cpp avx2"},
        {"compiler": "g++ 13"},
        {"options": (("dtype", "f32"), ("head_dim", "128"))},
        {"sources": "0.1.0+0"},
    ],
)
def test_each_field_of_the_key_decides(cache: Cache, change: dict[str, Any]) -> None:
    cache.get_or_build(KEY, Builder())
    assert cache.load(replace(KEY, **change)) is None


def test_a_key_has_one_digest_in_every_process() -> None:
    code = f"from lacuna.runtime.cache.artefacts import Key; print({KEY!r}.digest)"
    digests = {python(code, PYTHONHASHSEED=seed) for seed in ("1", "2")}
    assert digests == {KEY.digest}


def test_two_keys_with_one_artefact_store_it_once(cache: Cache) -> None:
    first = cache.get_or_build(KEY, Builder())
    second = cache.get_or_build(replace(KEY, subject="another"), Builder(manifest={}))
    assert first.path == second.path == only_file(cache.folder.root / "artefacts")
    assert (first.manifest, second.manifest) == (MANIFEST, {})


def test_two_requests_that_render_to_one_text_compile_it_once(cache: Cache) -> None:
    compile_text = Builder()

    def build(path: Path) -> Manifest:
        cache.get_or_build(replace(KEY, subject="rendered text"), compile_text).copy_to(path)
        return MANIFEST

    for subject in ("one", "two"):
        assert cache.get_or_build(replace(KEY, subject=subject), build).path.read_text() == "kernel"
    assert compile_text.runs == 1


def tear(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("level", ["index", "artefacts"])
@pytest.mark.parametrize("damage", [tear, empty, flip, Path.unlink])
def test_a_damaged_file_is_a_miss_and_is_built_again(cache: Cache, level: str, damage: Callable[[Path], None]) -> None:
    built = cache.get_or_build(KEY, Builder())
    damage(only_file(cache.folder.root / level))
    assert cache.load(KEY) is None
    again = Builder()
    assert cache.get_or_build(KEY, again) == built == cache.load(KEY)
    assert again.runs == 1


def test_a_folder_where_an_entry_should_be_is_a_miss(cache: Cache) -> None:
    cache.get_or_build(KEY, Builder())
    make_folder(only_file(cache.folder.root / "index"))
    assert cache.load(KEY) is None


def test_an_entry_of_another_format_is_a_miss(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_entry, "FORMAT", b"lacuna-cache 0")
    cache.get_or_build(KEY, Builder())
    monkeypatch.undo()
    assert cache.load(KEY) is None


def test_an_entry_filed_under_another_key_is_a_miss(cache: Cache) -> None:
    cache.get_or_build(KEY, Builder())
    stored = only_file(cache.folder.root / "index")
    other = replace(KEY, subject="another")
    stored.rename(stored.with_name(f"{other.digest}.json"))
    assert cache.load(other) is None


def test_a_failed_build_publishes_nothing_and_may_be_tried_again(cache: Cache) -> None:
    def fail(path: Path) -> Manifest:
        path.write_text("half a ker")
        raise RuntimeError("the compiler said no")

    with pytest.raises(RuntimeError, match="the compiler said no"):
        cache.get_or_build(KEY, fail)
    assert cache.load(KEY) is None
    assert not list(cache.folder.root.glob("artefacts/*")) + list(cache.folder.root.glob("scratch/*"))
    assert cache.get_or_build(KEY, Builder()).manifest == MANIFEST


def test_a_manifest_that_is_not_json_is_refused_and_not_published(cache: Cache) -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        cache.get_or_build(KEY, Builder(manifest={"program": object()}))
    assert cache.load(KEY) is None


def test_the_same_key_is_compiled_once_across_processes(tmp_path: Path, prove: bool) -> None:
    count = 16 if prove else 4
    racers = [start(RACE, tmp_path / "cache", tmp_path, number) for number in range(count)]
    (tmp_path / "go").touch()
    assert [racer.wait(120) for racer in racers] == [0] * count
    assert len(list(tmp_path.glob("built-by-*"))) == 1


def test_a_killed_builder_leaves_no_stuck_lock_and_no_half_entry(tmp_path: Path) -> None:
    cache, key, begun = Cache(Folder(tmp_path / "cache")), Key("p", "t", "c"), tmp_path / "begun"
    builder = start(HANG, cache.folder.root, begun)
    while not begun.exists():
        assert builder.poll() is None
        time.sleep(0.01)
    builder.send_signal(signal.SIGKILL)
    builder.wait(10)
    assert cache.load(key) is None
    started = time.monotonic()
    assert cache.get_or_build(key, Builder()).path.read_text() == "kernel"
    assert time.monotonic() - started < 5


def test_what_a_killed_builder_left_is_swept_after_a_day(cache: Cache) -> None:
    old, young = cache.folder.made("scratch/old"), cache.folder.made("scratch/young")
    yesterday = time.time() - 25 * 3600
    os.utime(old, (yesterday, yesterday))
    cache.get_or_build(KEY, Builder())
    assert (old.exists(), young.exists()) == (False, True)


def test_a_child_forked_by_a_builder_leaves_its_lock_alone(tmp_path: Path) -> None:
    class InChild(Exception):
        pass

    lock = tmp_path / "key.lock"
    try:
        with exclusive(lock, 0.0), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Python's newer versions, that other threads are not forked
            if (child := os.fork()) == 0:
                raise InChild
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            with pytest.raises(TimeoutError), exclusive(lock, 0.0):
                pytest.fail("two hold one lock")
    except InChild:
        os._exit(0)
    assert not lock.exists()


def test_waiting_too_long_for_another_builder_names_its_lock(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "LONGEST_WAIT_SECONDS", 0.05)

    def build(path: Path) -> Manifest:
        with pytest.raises(TimeoutError, match=r"another process has been building a kernel for .*\n  end it: it holds `.*\.lock`"):
            cache.get_or_build(KEY, Builder())
        return Builder()(path)

    cache.get_or_build(KEY, build)


def test_a_forked_child_shares_the_cache(cache: Cache) -> None:
    cache.get_or_build(KEY, Builder())
    code = f"""
import os
from pathlib import Path
from lacuna.runtime.cache.artefacts import Cache, Key
from lacuna.runtime.cache.folder import Folder
cache = Cache(Folder(Path({str(cache.folder.root)!r})))
def build(path):
    path.write_text("child")
    return {{}}
assert cache.load({KEY!r})
if (child := os.fork()) == 0:
    os._exit(not (cache.load({KEY!r}) and cache.get_or_build(Key("child", "t", "c"), build)))
assert os.waitpid(child, 0)[1] == 0 and cache.load(Key("child", "t", "c"))
"""
    python(code)


def test_the_folder_is_private_to_its_user(cache: Cache) -> None:
    mask = os.umask(0)
    try:
        cache.get_or_build(KEY, Builder())
    finally:
        os.umask(mask)
    assert stat.S_IMODE(cache.folder.root.stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o770, 0o702])
def test_a_folder_that_others_can_write_is_refused(cache: Cache, mode: int) -> None:
    cache.get_or_build(KEY, Builder())
    cache.folder.root.chmod(mode)
    with pytest.raises(CacheNotPrivate, match=r"others can write to the cache folder `.*`.*\n  write `chmod go-w .*LACUNA_CACHE_DIR"):
        cache.load(KEY)
    with pytest.raises(CacheNotPrivate, match="others can write"):
        cache.get_or_build(replace(KEY, subject="another"), Builder())


def test_a_miss_without_permission_to_build_says_so(cache: Cache) -> None:
    held = cache._replace(jit=False)
    with pytest.raises(BuildForbidden, match=r"does not hold this kernel and LACUNA_JIT=0 forbids building it"):
        held.get_or_build(KEY, Builder())
    cache.get_or_build(KEY, Builder())
    assert held.get_or_build(KEY, Builder()).manifest == MANIFEST


def test_the_environment_chooses_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LACUNA_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("LACUNA_JIT", "0")
    monkeypatch.setenv("LACUNA_CACHE_SIZE", "3M")
    assert open_cache() == Cache(Folder(tmp_path), jit=False, bound=3 * 2**20)
    monkeypatch.delenv("LACUNA_CACHE_DIR")
    assert open_cache().folder.root.name == "lacuna"


def test_a_warm_load_imports_nothing_heavy(cache: Cache) -> None:
    cache.get_or_build(KEY, Builder())
    code = f"""
import sys, json
from pathlib import Path
from lacuna.runtime.cache.artefacts import Cache, Key
from lacuna.runtime.cache.folder import Folder
assert Cache(Folder(Path({str(cache.folder.root)!r}))).load({KEY!r})
print(json.dumps(sorted({{name.partition(".")[0] for name in sys.modules}})))
"""
    loaded = set(json.loads(python(code)))
    assert not loaded & {"torch", "numpy", "jinja2", "islpy", "sympy", "networkx", "filelock", "platformdirs", "triton"}


def python(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def start(code: str, *arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)])
