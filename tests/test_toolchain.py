"""Finding a compiler, what it can do, and what becomes of a text it refuses."""

from __future__ import annotations

import ctypes
import os
import shutil
import stat
from pathlib import Path

import pytest
from lacuna.codegen.cpp_targets import FLAGS
from lacuna.ir.target import Target
from lacuna.runtime.compilers import cpp_compiler
from lacuna.runtime.compilers.cpp_compiler import (
    CompileFailed,
    Compiler,
    CompilerMissing,
    compile_shared,
    compiler_at,
    cpu_target,
    find_compiler,
    tally,
)
from lacuna.runtime.compilers.cpu import cpu_features, darwin_features, linux_features, target_name

SEVEN = 'extern "C" int seven() { return 7; }\n'
GENERIC = Target("cpp", "generic")
needs_compiler = pytest.mark.skipif(not any(map(shutil.which, cpp_compiler.CANDIDATES)), reason="no C++ compiler on PATH")


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache nobody asked a compiler for, and a process that forgot."""
    monkeypatch.setenv("LACUNA_CACHE_DIR", str(tmp_path / "cache"))
    cpp_compiler.forget()
    return tmp_path / "cache"


def fake_compiler(path: Path, version: str, *, succeeds: bool = True) -> Path:
    """A script that answers `--version` and otherwise succeeds or fails."""
    path.write_text(f'#!/bin/sh\ncase "$*" in *--version*) echo "{version}"; exit 0;; esac\nexit {0 if succeeds else 1}\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_no_compiler_on_the_path_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(
        CompilerMissing, match=r"none of c\+\+, clang\+\+, g\+\+ is on PATH\.\n  write .*install g\+\+ or clang\+\+, or set CXX"
    ):
        find_compiler()


@pytest.mark.parametrize("variable", ["LACUNA_CXX", "CXX"])
def test_a_named_compiler_that_is_not_there_is_an_error_not_a_reason_to_take_another(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "/no/such/g++")
    with pytest.raises(CompilerMissing, match=f"`{variable}` names the C\\+\\+ compiler `/no/such/g\\+\\+`, which is not there"):
        find_compiler()


def test_a_named_compiler_that_does_not_run_is_an_error(own_cache: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    with pytest.raises(CompilerMissing, match=r"which does not run: .*exit status 3"):
        compiler_at(str(broken))


def test_our_variable_wins_over_the_common_one(own_cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CXX", str(fake_compiler(tmp_path / "common", "one 1.0")))
    assert find_compiler().path.name == "common"
    monkeypatch.setenv("LACUNA_CXX", str(fake_compiler(tmp_path / "ours", "clang version 17")))
    assert (find_compiler().path.name, find_compiler().kind) == ("ours", "clang")


def test_a_command_keeps_its_arguments(own_cache: Path, tmp_path: Path) -> None:
    script = fake_compiler(tmp_path / "wrapper", "g++ 12\nCopyright Free Software Foundation")
    chosen = compiler_at(f"{script} -m64 'two words'")
    assert chosen.command == (str(script), "-m64", "two words")
    assert (chosen.kind, chosen.version) == ("gcc", "g++ 12")


def test_a_compiler_without_openmp_is_used_without_it(own_cache: Path, tmp_path: Path) -> None:
    assert compiler_at(str(fake_compiler(tmp_path / "plain", "tiny 0.1", succeeds=False))).openmp == ()


def test_a_compiler_is_asked_once_and_remembered_across_processes(own_cache: Path, tmp_path: Path) -> None:
    script = str(fake_compiler(tmp_path / "cxx", "tiny 0.1"))
    before = tally.probes
    first = compiler_at(script)
    cpp_compiler.forget()  # as a new process
    assert compiler_at(script) == first
    assert tally.probes == before + 1


def test_an_updated_compiler_is_another_compiler(own_cache: Path, tmp_path: Path) -> None:
    script = str(fake_compiler(tmp_path / "cxx", "tiny 0.1"))
    first = compiler_at(script)
    fake_compiler(Path(script), "tiny 0.2 ")
    assert compiler_at(script).identity != first.identity


def test_a_corrupt_memory_of_a_compiler_is_asked_again(own_cache: Path, tmp_path: Path) -> None:
    script = str(fake_compiler(tmp_path / "cxx", "tiny 0.1"))
    first = compiler_at(script)
    for remembered in (own_cache / "toolchain").iterdir():
        remembered.write_text('{"command": [')
    cpp_compiler.forget()
    assert compiler_at(script) == first


@needs_compiler
def test_a_compiled_text_runs(tmp_path: Path) -> None:
    before = tally.compilations
    compile_shared(SEVEN, GENERIC, tmp_path / "seven.so")
    assert ctypes.CDLL(str(tmp_path / "seven.so")).seven() == 7
    assert tally.compilations == before + 1


@needs_compiler
@pytest.mark.skipif(not target_name(cpu_features()).startswith("avx512"), reason="this processor has no AVX-512")
@pytest.mark.parametrize(("name", "bits"), [("avx512", 512), ("avx2", 256)])
def test_a_target_name_turns_its_instructions_on(tmp_path: Path, name: str, bits: int) -> None:
    text = f'#include <immintrin.h>\nextern "C" int width() {{ return 8 * sizeof(__m{bits}); }}\n'
    text += f'extern "C" float first(float x) {{ __m{bits} v = _mm{bits}_set1_ps(x); return ((float*)&v)[0]; }}\n'
    compile_shared(text, Target("cpp", name), tmp_path / "wide.so")
    assert ctypes.CDLL(str(tmp_path / "wide.so")).width() == bits


@needs_compiler
def test_the_same_text_gives_the_same_bytes_wherever_it_is_compiled(tmp_path: Path) -> None:
    here, there = tmp_path / "here.so", tmp_path / "deeper"
    there.mkdir()
    compile_shared(SEVEN, GENERIC, here)
    compile_shared(SEVEN, GENERIC, there / "there.so")
    assert here.read_bytes() == (there / "there.so").read_bytes()
    assert str(tmp_path).encode() not in here.read_bytes()


@needs_compiler
def test_a_refused_text_is_kept_and_the_first_complaint_shown(tmp_path: Path) -> None:
    text = "int broken = ;\n" * 40
    with pytest.raises(CompileFailed, match=r"could not compile a kernel; its text is in `.*`") as caught:
        compile_shared(text, GENERIC, tmp_path / "never.so")
    assert caught.value.source.read_text() == text
    assert "kernel.cpp:1:" in str(caught.value)
    assert len(str(caught.value).splitlines()) <= cpp_compiler.LINES_SHOWN + 2
    assert not (tmp_path / "never.so").exists()
    caught.value.source.unlink()


@needs_compiler
def test_a_text_with_shell_characters_stays_a_text(tmp_path: Path) -> None:
    compile_shared(f"// $(touch {tmp_path}/touched); \"`' \n{SEVEN}", GENERIC, tmp_path / "seven.so")
    assert os.listdir(tmp_path) == ["seven.so"]


def test_the_compiler_missing_while_compiling_is_reported_as_missing(tmp_path: Path) -> None:
    gone = Compiler((str(tmp_path / "gone"),), "gcc", "gone 1.0", "", ())
    with pytest.raises(CompilerMissing, match=r"which does not run"):
        compile_shared(SEVEN, GENERIC, tmp_path / "never.so", gone)


@pytest.mark.parametrize(
    ("features", "name"),
    [
        ("avx512f avx512bw avx512vl avx512dq avx2 fma f16c avx512_bf16", "avx512bf16"),
        ("avx512f avx512bw avx512vl avx512dq avx2 fma f16c", "avx512"),
        ("avx512f avx512bw avx512vl avx2 fma f16c", "avx2"),  # no dq
        ("avx512f avx512bw avx512vl avx512dq", "generic"),  # a hypervisor that hides avx2
        ("avx2 fma", "generic"),  # no f16c
        ("avx2 fma f16c", "avx2"),
        ("neon", "neon"),
        ("", "generic"),
    ],
)
def test_a_target_needs_every_one_of_its_features(features: str, name: str) -> None:
    assert target_name(frozenset(features.split())) == name


def test_features_of_linux_are_those_of_its_flags_line() -> None:
    assert linux_features("processor : 0\nflags\t\t: fpu avx2 fma\nbugs : avx512f\nflags : sse\n") == {"fpu", "avx2", "fma"}
    assert linux_features("processor : 0\n") == frozenset()


def test_features_of_a_mac_are_lowered() -> None:
    assert {"fma", "avx2", "avx512f"} <= darwin_features("FPU FMA F16C AVX1.0\nBMI1 AVX2 AVX512F\n")


def test_this_machine_has_a_cpp_target() -> None:
    assert cpu_target().backend == "cpp"
    assert cpu_target().name in FLAGS
