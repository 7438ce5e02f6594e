"""Compilers that end without an error and leave no library, and what killed processes leave in the temporary folder."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from lacuna.ir.target import Target
from lacuna.runtime.compilers import cpp_compiler
from lacuna.runtime.compilers.cpp_compiler import CompileFailed, compile_shared, compiler_at
from lacuna.runtime.process import temporary_folders
from lacuna.runtime.process.temporary_folders import PREFIX, temporary_folder

GENERIC = Target("cpp", "generic")
SEVEN = 'extern "C" int seven() { return 7; }\n'
REAL = next((found for name in cpp_compiler.CANDIDATES if (found := shutil.which(name))), None)
needs_compiler = pytest.mark.skipif(REAL is None, reason="no C++ compiler on PATH")

LEFT = {
    "nothing": ("", "left no library"),
    "an empty file": (": > kernel.so", "left 0 bytes that are no library"),
    "text": ("echo text > kernel.so", "left 5 bytes that are no library"),
    "half a library": (
        '{real} "$@" && head -c 4200 kernel.so > half && mv half kernel.so',
        "left a library that does not load: (OSError|the process ended with 7)",
    ),
    "a library that misses a symbol": (
        'echo \'extern "C" int gone(); extern "C" int seven() {{ return gone(); }}\' > kernel.cpp; {real} "$@"',
        "left a library that does not load: OSError: .*undefined symbol: gone",
    ),
    "another library": (
        'echo \'extern "C" int eight() {{ return 8; }}\' > kernel.cpp; {real} "$@"',
        "left a library that does not load: AttributeError: .*undefined symbol: seven",
    ),
    "a library that dies when it is loaded": (
        "echo '__attribute__((constructor)) static void end() {{ __builtin_trap(); }}' > kernel.cpp; {real} \"$@\"",
        "left a library that does not load: the process ended with 4",
    ),
}


def compiler_that(tmp_path: Path, leaves: str) -> Path:
    script = tmp_path / "odd-c++"
    asked = 'case "$*" in *--version*) echo "odd 1.0"; exit 0;; esac'
    script.write_text(f"#!/bin/sh\n{asked}\n{leaves.format(real=REAL)}\nexit 0\n")
    script.chmod(0o755)
    return script


@pytest.fixture
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that knows no compiler, and a temporary folder where nobody else builds."""
    monkeypatch.setenv("LACUNA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    cpp_compiler.forget()
    return tmp_path


@needs_compiler
@pytest.mark.parametrize("left", LEFT)
def test_what_a_compiler_left_is_tried_before_it_is_kept(own_folders: Path, left: str) -> None:
    leaves, complaint = LEFT[left]
    odd = compiler_at(str(compiler_that(own_folders, leaves)))
    with pytest.raises(
        CompileFailed, match=rf"(?s)\(odd 1.0\) could not compile.*it ended without an error and {complaint}.*\n  write `backend"
    ):
        compile_shared(SEVEN, GENERIC, own_folders / "seven.so", odd, entry="seven")
    assert not (own_folders / "seven.so").exists()
    assert not list(own_folders.glob(f"{PREFIX}*"))


@needs_compiler
def test_a_call_says_so_and_the_cache_keeps_nothing(own_folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LACUNA_CXX", str(compiler_that(own_folders, LEFT["half a library"][0])))
    code = "import torch, lacuna\nq = torch.randn(1, 1, 20, 8)\nlacuna.attention(q, q, q, lacuna.patterns.strided(3), backend='cpp')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 1
    assert "CompileFailed" in done.stderr
    assert "it ended without an error and left" in done.stderr
    kept = [each for each in (own_folders / "cache").rglob("*") if each.is_file() and each.suffix == ".so"]
    assert kept == []


BUILDING = """
import sys
from pathlib import Path
from lacuna.ir.target import Target
from lacuna.runtime.compilers.cpp_compiler import compile_shared, compiler_at
compile_shared("int x;", Target("cpp", "generic"), Path(sys.argv[2]), compiler_at(sys.argv[1]))
"""


def _built(folder: Path) -> set[Path]:
    return set(folder.glob(f"{PREFIX}*"))


def test_what_a_killed_process_left_is_swept_at_the_next_build(own_folders: Path) -> None:
    """What a living one builds stays."""
    waits = compiler_that(own_folders, 'case "$*" in *-fopenmp*) exit 1;; esac; touch started; exec sleep 60')
    before = _built(own_folders)
    started: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(2):
            known = _built(own_folders)
            command = [sys.executable, "-c", BUILDING, str(waits), str(own_folders / "out.so")]
            started.append(subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL))
            deadline = time.monotonic() + 60
            while not any((each / "started").exists() for each in _built(own_folders) - known) and time.monotonic() < deadline:
                time.sleep(0.05)
        dead, alive = (next(each for each in _built(own_folders) - before if _holder_is(each, process)) for process in started)
        os.killpg(started[0].pid, signal.SIGKILL)
        started[0].wait()
        assert dead.exists()
        with temporary_folder() as mine:
            assert not dead.exists()
            assert alive.exists()
            assert mine.exists()
        assert not mine.exists()
    finally:
        for process in started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    temporary_folders.sweep()
    assert _built(own_folders) == set()


def _holder_is(folder: Path, process: subprocess.Popen[bytes]) -> bool:
    """Whether a process has the lock of a folder open; where the system does not say, by the order of their making."""
    try:
        return any(os.readlink(each).startswith(str(folder)) for each in Path(f"/proc/{process.pid}/fd").iterdir() if each.is_symlink())
    except OSError:
        return False


def test_what_others_put_in_the_temporary_folder_stays(own_folders: Path) -> None:
    elsewhere = own_folders / "elsewhere"
    elsewhere.mkdir()
    (own_folders / f"{PREFIX}link").symlink_to(elsewhere)
    (own_folders / f"{PREFIX}file").write_text("no folder")
    (own_folders / f"{PREFIX}young").mkdir()
    old = own_folders / f"{PREFIX}old"
    old.mkdir()
    os.utime(old, (0, 0))
    temporary_folders.sweep()
    assert not old.exists()
    assert sorted(each.name for each in own_folders.iterdir()) == sorted(["elsewhere", f"{PREFIX}link", f"{PREFIX}file", f"{PREFIX}young"])
