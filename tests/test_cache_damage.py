"""Files of the cache with flipped bits and torn ends: a miss or a clear error, never a wrong answer. 20 of them; 200 in `make prove`."""

from __future__ import annotations

import ctypes
import hashlib
import os
import random
import shutil
import sys
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
import torch
from lacuna import attention, pattern
from lacuna.ir.trace import Traced
from lacuna.runtime.cache import index_entry
from lacuna.runtime.cache.artefacts import BuildForbidden
from lacuna.runtime.calls import prepared_calls
from lacuna.runtime.choices import shapes as chosen_shapes
from lacuna.runtime.compilers import cpp_compiler
from lacuna.runtime.cpp import launch as cpp_launch
from lacuna.runtime.launches import launch_values

pytestmark = pytest.mark.skipif(not any(map(shutil.which, cpp_compiler.CANDIDATES)), reason="no C++ compiler on PATH")


@pattern
def near(q: Traced, k: Traced, *, window: int) -> Traced:
    return (k <= q) & (q - k < window)


QUERY, KEY, VALUE = torch.randn(3, 1, 2, 40, 16, generator=torch.Generator().manual_seed(0)).unbind()
POSITION = torch.arange(40)
SEEN = (POSITION[:, None] >= POSITION) & (POSITION[:, None] - POSITION < 7)
WANTED = (QUERY @ KEY.mT / 4).masked_fill(~SEEN, -torch.inf).softmax(-1) @ VALUE


def answer() -> torch.Tensor:
    """The answer of a process that has just started."""
    for forget in (prepared_calls.forget_prepared, launch_values.forget_launches, chosen_shapes.forget_shapes, cpp_compiler.forget):
        forget()
    cpp_launch._loaded.clear()  # pyright: ignore[reportPrivateUsage] (what a new process lacks)
    rooms = {name: module for name, module in sys.modules.items() if name.startswith("lacuna.runtime.")}
    rooms.pop("lacuna.runtime.process.version")  # a file that is edited meanwhile would change every key
    for module in rooms.values():
        for each in vars(module).values():
            if hasattr(each, "cache_clear"):
                each.cache_clear()
    found = attention(QUERY, KEY, VALUE, near(window=7), backend="cpp")
    assert isinstance(found, torch.Tensor)
    return found


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Generator[Path]:
    """A cache with a kernel, the choice of its tile shape, and what is known of the compiler."""
    folder = tmp_path_factory.mktemp("filled")
    folder.chmod(0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LACUNA_CACHE_DIR", str(folder))
        assert torch.allclose(answer(), WANTED, atol=1e-5)
        yield folder


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Libraries that were opened; each must be what its name says at that moment."""
    seen: list[str] = []
    real = ctypes.CDLL

    def check(path: str) -> ctypes.CDLL:
        assert hashlib.sha256(Path(path).read_bytes()).hexdigest() == Path(path).stem, "a damaged library was opened"
        seen.append(path)
        return real(path)

    monkeypatch.setattr(ctypes, "CDLL", check)
    return seen


def is_served() -> bool:
    """Whether the cache has the kernel; the answer is right then."""
    try:
        found = answer()
    except BuildForbidden:
        return False
    assert torch.allclose(found, WANTED, atol=1e-5)
    return True


def files_of(folder: Path) -> list[Path]:
    return sorted(path for room in ("index", "artefacts", "toolchain") for path in (folder / room).iterdir())


def put(path: Path, data: bytes) -> None:
    """Another file under the name: this process has the old one mapped."""
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    path.chmod(0o600)


def flipped(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :]


def torn(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data))]


def stretched(data: bytes, chance: random.Random) -> bytes:
    return data + chance.randbytes(chance.randrange(1, 9))


def foreign(data: bytes, chance: random.Random) -> bytes:
    return chance.randbytes(len(data))


@pytest.mark.parametrize("damage", [flipped, torn, stretched, foreign])
def test_damage_is_a_miss_and_never_a_wrong_answer(
    damage: Callable[[bytes, random.Random], bytes], filled: Path, opened: list[str], prove: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LACUNA_JIT", "0")  # so that a miss shows
    chance = random.Random(os.urandom(8) if prove else 1)
    misses = 0
    for round in range(50 if prove else 5):
        path = files_of(filled)[round % len(files_of(filled))]
        whole = path.read_bytes()
        put(path, damage(whole, chance))
        misses += not is_served()
        put(path, whole)
    assert misses, "no kernel was damaged"
    assert torch.allclose(answer(), WANTED, atol=1e-5)
    assert opened


@pytest.mark.parametrize("room", ["index", "artefacts"])
def test_a_damaged_kernel_is_built_again(room: str, filled: Path) -> None:
    for path in (filled / room).iterdir():
        put(path, flipped(path.read_bytes(), random.Random(2)))
    compiled = cpp_compiler.tally.compilations
    assert torch.allclose(answer(), WANTED, atol=1e-5)
    assert cpp_compiler.tally.compilations == compiled + 1


BODIES = [
    b"",
    b"{}",
    b"[]",
    b"null",
    b"[" * 100_000,
    b'{"key": 1, "artefact": 2, "manifest": 3}',
    b'{"key":{},"artefact":"artefacts/../../../etc/passwd","manifest":{}}',
    b'{"key":{"subject":"p","target":"t","compiler":"c","sources":"s","options":[]},"artefact":"/etc/passwd","manifest":{}}',
    b'{"key":{"subject":1,"target":"t","compiler":"c","sources":"s","options":[]},"artefact":"artefacts/%s","manifest":{}}' % (b"0" * 64),
    b'{"key":{"subject":"p","target":"t","compiler":"c","sources":"s","options":[[1]]},"artefact":"artefacts/%s","manifest":{}}'
    % (b"0" * 64),
    b'{"key":{"subject":"p","target":"t","compiler":"c","sources":"s","options":[]},"artefact":"artefacts/%s","manifest":[]}' % (b"0" * 64),
]


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_an_index_file_of_another_shape_is_refused_even_if_its_digest_is_right(body: bytes) -> None:
    assert index_entry.unpack(index_entry.sealed(body)) == "its fields are not those of an index file"


def pipe(path: Path, whole: bytes) -> None:
    os.mkfifo(path)


def folder(path: Path, whole: bytes) -> None:
    path.mkdir()


def link(path: Path, whole: bytes) -> None:
    elsewhere = path.parent.parent.parent / "elsewhere"
    elsewhere.write_bytes(whole)
    path.symlink_to(elsewhere)


def open_to_others(path: Path, whole: bytes) -> None:
    path.write_bytes(whole)
    path.chmod(0o666)


@pytest.mark.parametrize("make", [pipe, folder, link, open_to_others])
@pytest.mark.parametrize("room", ["index", "artefacts"])
def test_what_is_no_private_file_is_a_miss(
    make: Callable[[Path, bytes], None], room: str, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LACUNA_JIT", "0")
    assert is_served()
    for path in list((filled / room).iterdir()):
        whole = path.read_bytes()
        path.unlink()
        make(path, whole)
        served = is_served()
        path.rmdir() if path.is_dir() else path.unlink()
        put(path, whole)
        assert served is not (b'.so"' in whole or path.suffix == ".so"), path
    assert is_served()


def test_a_triton_kernel_is_loaded_from_its_text_and_leaves_no_bytecode(filled: Path) -> None:
    pytest.importorskip("triton")
    found = attention(QUERY, KEY, VALUE, near(window=7), backend="triton")
    assert isinstance(found, torch.Tensor)
    assert torch.allclose(found, WANTED, atol=1e-5)
    assert [path for path in (filled / "artefacts").iterdir() if path.suffix == ".py"]
    assert not (filled / "artefacts" / "__pycache__").exists(), "nobody checks its digest"
