"""The C++ room: text, templates, targets, and that all of it compiles without a warning."""

from __future__ import annotations

import ctypes
import dataclasses
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from case_samples import crossed
from jinja2 import meta
from lacuna.codegen.cpp import Forward, render
from lacuna.codegen.cpp_decode import render as render_decode
from lacuna.codegen.cpp_targets import FLAGS
from lacuna.codegen.environment import ENVIRONMENT, TEMPLATES
from lacuna.codegen.print_cpp import printed, slots_of
from lacuna.ir.expr import Binary, Const, Expr, K, Op, Q, Symbol
from lacuna.ir.parse import parse_program
from lacuna.ir.plan import Plan
from lacuna.ir.source import Source
from lacuna.ir.target import Target
from lacuna.passes.schedules.derive import derive
from lacuna.passes.schedules.lower import plan_of
from lacuna.runtime.compilers.cpu import cpu_features, target_name

PROGRAM = """program @busy(q < Lq, k < Lk; W: i64, slope: f64, doc: i32[*], near: f32[*, *]) {
  mask = (k <= q and q - k < W or k % 7 == 3) and doc[q] == doc[k] and not (q ^ 3) << 1 == abs(q - 5) >> 1
  score = where(q < k, tanh(s), exp(s) * slope) + near[h, (min(q, k) | 1) % 4] / 2.0
  normalise = softmax
}
"""

EFFECTS = ("-fdump-tree-local-pure-const1", "-fdump-tree-local-pure-const2")
IDLE = re.compile(r"^Function found to be (?:looping )?(?:pure|const): (void .*)/\d+$", re.MULTILINE)


def plan(target: str, dtype: str = "f32", dims: tuple[int, int] = (64, 40), block: int = 64) -> Plan:
    schedule = derive(parse_program(PROGRAM), block, 64).schedule
    return plan_of(schedule, Target("cpp", target), dtype, dims)


def compiled(source: Source, flags: tuple[str, ...], path: Path, compiler: str = "g++") -> Path:
    (path / "kernel.cpp").write_text(source.text, encoding="utf-8")
    command = [compiler, *flags, *EFFECTS, "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-o", "kernel.so", "kernel.cpp"]
    done = subprocess.run(command, cwd=path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[:4000]
    early, late = (frozenset(IDLE.findall(_notes(path, number))) for number in (1, 2))
    assert not late - early, f"taken for functions that store nothing once loops are vectors: {late - early}"
    return path / "kernel.so"


def _notes(path: Path, number: int) -> str:
    """What GCC found out about effects, before loops become vectors or after."""
    (note,) = path.glob(f"*.local-pure-const{number}")
    text = note.read_text()
    note.unlink()
    assert ";; Function" in text
    return text


def test_the_template_reads_exactly_its_context() -> None:
    read = meta.find_undeclared_variables(ENVIRONMENT.parse((TEMPLATES / "cpp" / "forward.cpp.jinja").read_text()))
    assert read == {field.name for field in dataclasses.fields(Forward)}


@pytest.mark.parametrize(
    ("target", "dtype", "family"), crossed(["avx512", "avx2", "generic"], ["f16", "bf16", "f32", "f64"], ["decode", "forward"])
)
def test_kernels_compile_without_a_warning(target: str, dtype: str, family: str, tmp_path: Path) -> None:
    if shutil.which("g++") is None:
        pytest.skip("there is no g++ here")
    if target_name(cpu_features()) == "neon":
        pytest.skip("flags of x86-64 on another processor")
    source = render(plan(target, dtype)) if family == "forward" else render_decode(replace(plan(target, dtype, (17, 16)), family="decode"))
    library = compiled(source, FLAGS[target], tmp_path)
    if target_name(cpu_features()).startswith("avx512"):
        assert getattr(ctypes.CDLL(str(library)), source.entry)


def test_neon_kernels_compile_with_a_cross_compiler(tmp_path: Path) -> None:
    compiler = shutil.which("aarch64-linux-gnu-g++")
    if compiler is None:
        pytest.skip("there is no aarch64 cross compiler here: not run")
    compiled(render(plan("neon")), FLAGS["neon"], tmp_path, compiler)


def test_a_kernel_is_named_after_its_program_and_its_text() -> None:
    source = render(plan("avx512"))
    assert source.entry.startswith("lacuna_busy_f32_d64_q64_k64_")
    assert source.entry in source.text
    assert render(plan("avx512")) == source
    assert render(plan("avx512", block=16)).entry != source.entry


def test_names_of_users_become_numbered_slots() -> None:
    text = render(plan("avx512")).text
    assert "int64_t p0_W;" in text
    assert "table<int32_t, 1>" in text


def test_a_tile_that_is_no_multiple_of_the_vector_is_refused() -> None:
    with pytest.raises(ValueError, match="block_q is 24, which is no multiple of 16 lanes"):
        render(plan("avx512", block=24))


@pytest.mark.parametrize(
    ("expr", "text"),
    [
        (Binary(Op.FLOORDIV, Q, Const(8)), "(q >> 3)"),
        (Binary(Op.MOD, Q, Const(8)), "(q & index(7LL))"),
        (Binary(Op.FLOORDIV, Q, Const(6)), "floor_div(q, index(6LL))"),
        (Binary(Op.MOD, Q, Const(-8)), "floor_mod(q, index(-8LL))"),
        (Binary(Op.LE, K, Binary(Op.ADD, Q, Symbol("W"))), "(k <= (q + index(at.p0_W)))"),
        (Const(-(2**63)), "index((-9223372036854775807LL - 1))"),
        (Const(float("-inf")), "real(-INFINITY)"),
    ],
)
def test_expressions_print_as_cpp(expr: Expr, text: str) -> None:
    assert printed(expr, slots_of((Symbol("W"),), ())).value == text


def test_shared_nodes_are_printed_once() -> None:
    expr: Expr = Q
    for _ in range(200):
        expr = Binary(Op.ADD, expr, expr)
    text = printed(expr, slots_of((), ()))
    assert len(text.lines) == 199
    assert max(map(len, text.lines)) < 60
