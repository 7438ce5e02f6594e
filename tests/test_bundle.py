"""Bundles: built twice to the same bytes, moved, and used where there is neither a compiler nor anything but torch."""

# ruff: noqa: ANN401 (masks and scores are functions of anything that has operators)
from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import lacuna
import pytest
import torch
from lacuna.runtime.bundles.build import BuildFailed, Built, build
from lacuna.runtime.bundles.load import forget_bundles
from lacuna.runtime.bundles.spec import KernelSpec
from lacuna.runtime.kernels import shelves as bundle_registry
from quick_compiler import quick_compiler

WITHOUT_COMPILER = Path(__file__).parent / "without_compiler.py"
REPOSITORY = Path(__file__).parent.parent

SPEC = """
import torch, lacuna

@lacuna.score
def alibi(s, h, q, k, *, slopes):
    return s + slopes[h] * (k - q)

@lacuna.pattern
def every(q, k, *, stride):
    return (k <= q) & ((q - k) // stride % 2 == 0)

kernels = [
    lacuna.KernelSpec(
        lacuna.patterns.sliding_window(window=9), alibi(slopes=torch.zeros(1)), dtypes=("f32",), head_dims=((16, 24),), rows=("long",)
    ),
    lacuna.KernelSpec(every(stride=3), dtypes=("f32",), head_dims=(16,), passes=("forward",), rows=("few", "long"), offsets=True),
]
targets = ("cpu",)
"""
ONE_OF_THEM = (
    SPEC.replace("kernels = [", "both = [")
    + "kernels = [lacuna.KernelSpec(every(stride=3), dtypes=('f32',), head_dims=(16,), passes=('forward',), rows=('few',))]\n"
)
PROVE = os.environ.get("LACUNA_TEST_PROFILE") == "prove"
Step = tuple[int, int, str]


class First(NamedTuple):
    folder: Path
    made: Built
    steps: list[Step]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> First:
    folder = tmp_path_factory.mktemp("bundle")
    (folder / "spec.py").write_text(SPEC)
    steps: list[Step] = []

    def seen(done: int, total: int, name: str) -> None:
        steps.append((done, total, name))

    with quick_compiler(folder):
        made = build(folder / "spec.py", folder / "first", progress=seen, processes=1)
    return First(folder / "first", made, steps)


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    yield
    forget_bundles()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def without_compiler(bundle: Path, cache: Path, *what: str) -> subprocess.CompletedProcess[str]:
    """Run parts of without_compiler.py with nothing on PATH and an import system that refuses what builds kernels."""
    known = {"PATH": "/nowhere", "PYTHONPATH": os.pathsep.join(sys.path), "LACUNA_CACHE_DIR": str(cache), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(WITHOUT_COMPILER), str(bundle), *what]
    return subprocess.run(command, env=known, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def elsewhere(built: First, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What a process says that has a copy of the bundle and nothing to build with; it leaves no cache behind."""
    folder = tmp_path_factory.mktemp("elsewhere")
    shutil.copytree(built.folder, folder / "moved")
    done = without_compiler(folder / "moved", folder / "cache", "serve", "miss", "forbidden")
    assert done.returncode == 0, done.stderr
    assert not (folder / "cache").exists()
    return done.stdout.splitlines()


def test_builds_in_two_folders_and_processes_are_the_same_bytes(built: First, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "again.py").write_text(SPEC if PROVE else ONE_OF_THEM)
    with quick_compiler(tmp_path):
        build(tmp_path / "elsewhere" / "again.py", tmp_path / "second", processes=2)
    first, second = contents(built.folder), contents(tmp_path / "second")
    about_all: set[str] = set() if PROVE else {"manifest.json", "include/lacuna.h"}
    compared = second.keys() - about_all
    assert any(name.endswith(".so") for name in compared)
    assert [name for name in sorted(compared) if first.get(name) != second[name]] == []
    assert compared == first.keys() or not PROVE


def test_no_file_says_where_it_was_built(built: First) -> None:
    places = {str(built.folder.parent), str(REPOSITORY), tempfile.gettempdir(), str(Path.home()), os.getcwd()} - {"/"}
    for name, data in contents(built.folder).items():
        assert not [place for place in places if place.encode() in data], name


def test_a_moved_bundle_serves_both_passes_with_torch_alone(elsewhere: list[str]) -> None:
    assert elsewhere[1:3] == ["window forward and backward: right", "offset, few rows, ragged: right"]


@pytest.mark.parametrize("jit", [True, False])
def test_a_miss_names_the_build_line_that_fills_it(elsewhere: list[str], tmp_path: Path, jit: bool) -> None:
    message, line = elsewhere[3:5] if jit else elsewhere[5:7]
    assert "no loaded bundle holds this kernel (forward of `_causal`, f32, D 16, Dv 16, for cpu:" in message
    assert line.startswith("  write `lacuna build --program 'program @_causal(q < Lq, k < Lk)")
    if not PROVE:
        return
    command = line.partition("`")[2].partition("`,")[0]
    filled = tmp_path / "filled"
    words = subprocess.run(["sh", "-c", f"printf '%s\\0' {command}"], capture_output=True, text=True, check=True).stdout.split("\0")[1:-1]
    arguments = [str(filled) if word == "DIR" else word for word in words]
    subprocess.run([sys.executable, "-m", "lacuna", *arguments], check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    assert "served" in without_compiler(filled, tmp_path / "cache", "miss" if jit else "forbidden").stdout


def test_a_forbidden_compilation_names_the_build_line_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LACUNA_JIT", "0")

    @lacuna.pattern
    def never_built(q: Any, k: Any, *, shift: Any) -> Any:
        return k + shift <= q

    query = torch.zeros(1, 1, 40, 8)
    with pytest.raises(RuntimeError, match="LACUNA_JIT=0 forbids building it") as raised:
        lacuna.attention(query, query, query, never_built(shift=2))
    assert "  write `lacuna build --program 'program @never_built(q < Lq, k < Lk; shift: i64)" in str(raised.value)


def test_a_loaded_kernel_shows_the_text_it_was_made_from(built: First) -> None:
    bundle = lacuna.load(built.folder)
    assert len(bundle.kernels) == built.made.kernels
    assert repr(bundle) == f"<bundle {str(built.folder)!r}: {built.made.kernels} kernels>"
    loaded = next(iter(bundle_registry._kernels.values()))  # pyright: ignore[reportPrivateUsage]
    assert (loaded.folder / loaded.entry["source"]).read_text().startswith("// every, f32")


def test_kernels_of_a_bundle_are_forgotten_with_it(built: First, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LACUNA_JIT", "0")
    monkeypatch.setenv("LACUNA_CACHE_DIR", str(tmp_path))
    query = torch.zeros(1, 1, 5, 16)

    @lacuna.pattern
    def of_another_name(q: Any, k: Any, *, stride: Any) -> Any:
        return (k <= q) & ((q - k) // stride % 2 == 0)

    lacuna.load(built.folder)
    lacuna.attention(query, query, query, of_another_name(stride=3))
    forget_bundles()
    with pytest.raises(RuntimeError, match="no loaded bundle holds this kernel"):
        lacuna.attention(query, query, query, of_another_name(stride=3))


def test_a_program_that_cannot_be_built_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = KernelSpec(lacuna.patterns.causal(), dtypes=("f32",), head_dims=(16,), passes=("forward",), rows=("few",))
    monkeypatch.setenv("LACUNA_CXX", "no-such-compiler")
    with pytest.raises(BuildFailed, match=r"causal_f32_d16_decode for cpu:.* could not be built\n  CompilerMissing"):
        build(spec, tmp_path / "out", processes=1)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_not_overwritten(built: First, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    spec = KernelSpec()
    with pytest.raises(FileExistsError, match=r"is there already\.\n  write the name of a new folder"):
        build(spec, built.folder)
    with pytest.raises(FileExistsError, match="is there and is no bundle"):
        build(spec, tmp_path / "mine", replace=True)


def checked() -> None:
    """No pattern."""


@lacuna.score
def alibi(s: Any, h: Any, q: Any, k: Any, *, slopes: Any) -> Any:
    return s + slopes[h] * (k - q)


def test_specifications_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`dtypes` is 'f32'"):
        KernelSpec(dtypes="f32")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="`head_dims` is"):
        KernelSpec(head_dims=(0,))
    with pytest.raises(TypeError, match="`pattern` is a function"):
        KernelSpec(checked)  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="which holds its score"):
        KernelSpec("program @a(q < Lq, k < Lk) { mask = true score = s normalise = softmax }", alibi(slopes=torch.zeros(1)))
    with pytest.raises(ValueError, match="there is no target 'sm_1'"):
        build(KernelSpec(), tmp_path / "out", targets=["sm_1"])
    with pytest.raises(FileNotFoundError, match="there is no Python file"):
        build(tmp_path / "none.py", tmp_path / "out")
    (tmp_path / "empty.py").write_text("kernels = []")
    with pytest.raises(ValueError, match="lists no kernels"):
        build(tmp_path / "empty.py", tmp_path / "out")
    with pytest.raises(ValueError, match="`stride` divides or multiplies a position"):
        build(
            KernelSpec("program @a(q < Lq, k < Lk; stride: i64) { mask = k % stride == 0 score = s normalise = softmax }"), tmp_path / "out"
        )


def test_progress_counts_every_kernel(built: First) -> None:
    assert [(done, total) for done, total, _ in built.steps] == [(done, 5) for done in range(1, 6)]
    assert sorted(name.partition(" for cpu:")[0] for _, _, name in built.steps) == [
        "every_f32_d16_decode",
        "every_f32_d16_forward_moved",
        "sliding_alibi_f32_d16v24_backward",
        "sliding_alibi_f32_d16v24_backward_grad_slopes",
        "sliding_alibi_f32_d16v24_forward",
    ]
