"""Triton kernels compiled for GPUs that are not here: what they take, which instructions they use, how often they are compiled."""

# Triton comes without types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportAttributeAccessIssue=false
from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from case_samples import crossed
from lacuna.ir.expr import TRUE, B, Binary, Const, I, J, Lookup, Op, Table
from lacuna.ir.parse import parse_program
from lacuna.ir.plan import Plan
from lacuna.ir.program import Program
from lacuna.ir.schedule import Piece, Schedule
from lacuna.ir.target import Target
from lacuna.runtime.gpu.gpu_binary import Specialisation
from lacuna.runtime.request.request import Ragged
from lacuna.runtime.triton.call import arguments
from lacuna.runtime.triton.compile_binary import TARGETS, Variant, cross_compile
from lacuna.runtime.triton.gpu_kernel import specialisation
from local_memory import innermost_loops
from triton_kernels import WINDOW, Options, Shape, attend, backward_plan, call_of, given, loaded, plan

PROVE = os.environ.get("LACUNA_TEST_PROFILE") == "prove"
CAPPED = """program @capped(q < Lq, k < Lk; cap: f64, slopes: f32[*], doc: i32[*]) {
  mask = k <= q and doc[q] == doc[k]
  score = cap * tanh((s + slopes[h] * float(k - q)) / cap)
  normalise = softmax
}"""
DIMS = {64: (128, 64, 8, 3), 128: (128, 64, 8, 3)}  # block_q, block_k, warps, stages


@pytest.fixture(autouse=True)
def triton_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path_factory.mktemp("triton")))


def sized(text: str, dim: int, dtype: str = "bf16") -> Plan:
    block_q, block_k, warps, stages = DIMS[dim]
    found = plan(text, (block_q, block_k), (dim, dim), dtype)
    return replace(found, num_warps=warps, num_stages=stages, target=Target("triton", "sm_90"))  # as GPUs get it


AGAIN = {"sm": 0, "gf": 24}  # registers spilled since sums with NaN are taken once more; in which loop was not looked at
BETWEEN = tuple((dim, target) for dim in (80, 96, 160, 192) for target in ("sm_80", "sm_90")) if PROVE else ((80, "sm_90"), (192, "sm_80"))


@pytest.mark.parametrize("dim", [64, 128] if PROVE else [128])
@pytest.mark.parametrize("target", ["sm_80", "sm_90"])
def test_a_window_takes_no_more_registers_than_there_are(tmp_path: Path, dim: int, target: str) -> None:
    window = sized(WINDOW, dim)
    made = cross_compile(loaded(window, tmp_path, interpret=False), window, target)
    assert made.resources.spills == 0
    assert made.resources.registers <= 255
    assert made.resources.shared_bytes <= 160 * 1024
    assert "cp.async" in made.assembly
    assert ("wgmma.mma_async" in made.assembly) == (target == "sm_90")


@pytest.mark.parametrize(
    ("target", "instruction"), [("sm_100", "tcgen05.mma"), ("gfx942", "v_mfma"), ("gfx950", "v_mfma")][: 3 if PROVE else 2]
)
def test_newer_and_other_gpus_multiply_matrices_too(tmp_path: Path, target: str, instruction: str) -> None:
    window = sized(WINDOW, 128)
    made = cross_compile(loaded(window, tmp_path, interpret=False), window, target)
    assert instruction in made.assembly
    assert made.resources.spills <= AGAIN[target[:2]]
    assert made.code


@pytest.mark.parametrize("target", TARGETS if PROVE else ["sm_80", "gfx942"])
def test_scores_tables_lengths_and_wide_indices_compile_everywhere(tmp_path: Path, target: str) -> None:
    low, listed = Table("low", "i64", 3), Table("listed", "i32", 1)
    condition = Binary(Op.LE, Lookup(low, (B, Const(0), I)), J)
    program = parse_program(CAPPED)
    pieces = (Piece(Const(0), I, where=condition), Piece(Const(0), Const(2), through=listed), Piece(I, Const(9), 2))
    all_kinds = replace(given(Schedule(program, 32, 32, pieces, (), (), pieces), (40, 24), "f16"), num_stages=1)
    variant = Variant(narrow=False, aligned=False, lengths=frozenset({"q_start", "q_lens", "k_start", "k_lens", "offsets"}))
    assert cross_compile(loaded(all_kinds, tmp_path, interpret=False), all_kinds, target, variant).resources.registers > 0


@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_wide_floats_compile(tmp_path: Path, dtype: str) -> None:
    wide = replace(plan(WINDOW, (32, 32), (32, 32), dtype), num_stages=1)
    made = cross_compile(loaded(wide, tmp_path, interpret=False), wide, "sm_80")
    assert made.resources.spills == 0
    assert "tf32" not in made.assembly


@pytest.mark.parametrize(("dim", "target"), BETWEEN)
def test_dimensions_between_powers_of_two_do_not_spill_and_take_less(tmp_path: Path, dim: int, target: str) -> None:
    block, whole = ((128, 64), 128) if dim < 128 else ((64, 32), 256)
    plans = [replace(plan(WINDOW, block, (each, each), "bf16"), target=Target("triton", target), num_warps=8) for each in (dim, whole)]
    part, full = (cross_compile(loaded(each, tmp_path, interpret=False), each, target) for each in plans)
    assert part.resources.spills == 0
    split = dim != 192 or target == "sm_90"
    assert (part.resources.shared_bytes < full.resources.shared_bytes) is split
    assert target == "sm_90" or (part.assembly.count("mma.sync") < full.assembly.count("mma.sync")) is split


FEW_ROWS = tuple((dim, rows, target) for dim in (64, 128) for rows in (16, 64) for target in ("sm_80", "sm_90"))


@pytest.mark.parametrize(("dim", "rows", "target"), FEW_ROWS if PROVE else FEW_ROWS[::5])
def test_what_decode_kernels_spill_is_outside_their_loops_over_tiles(tmp_path: Path, dim: int, rows: int, target: str) -> None:
    few = replace(plan(WINDOW, (16, 64), (dim, dim), "bf16"), family="decode", num_warps=4, num_stages=2, target=Target("triton", target))
    made = cross_compile(loaded(few, tmp_path, interpret=False), few, target, Variant(rows=rows))
    found = tuple(innermost_loops(made.code))
    assert len(found) == 4, "full and partial tiles, and once more those of sums with NaN"
    assert not any(loop["STL"] + loop["LDL"] for loop in found)


BACKWARD = {"backward_queries": (128, 64), "backward": (32, 128)}
MOST_SHARED = {"sm_80": 163 * 1024, "sm_90": 227 * 1024, "sm_100": 227 * 1024, "gfx942": 64 * 1024, "gfx950": 160 * 1024}


@pytest.mark.parametrize("target", MOST_SHARED if PROVE else ["sm_100"])  # of the others tests/test_configured_binaries.py has one each
@pytest.mark.parametrize("dim", [64, 128] if PROVE else [128])
@pytest.mark.parametrize("family", BACKWARD)
def test_backward_kernels_fit_and_multiply_matrices(
    tmp_path: Path, family: str, dim: int, target: str, record_property: Callable[[str, object], None]
) -> None:
    window = replace(backward_plan(WINDOW, family, BACKWARD[family], (dim, dim), "bf16"), num_warps=8, num_stages=2)
    made = cross_compile(loaded(window, tmp_path, interpret=False), window, target)
    record_property("resources", str(made.resources))  # they may spill; `benchmarks/gpu.py --dry` prints how much
    assert made.resources.shared_bytes <= MOST_SHARED[target]
    assert {"sm_80": "mma.sync", "sm_90": "wgmma.mma_async", "sm_100": "mma"}.get(target, "v_mfma") in made.assembly
    assert "atom" not in made.assembly


@pytest.mark.parametrize(("target", "family"), crossed(list(MOST_SHARED) if PROVE else ["sm_80", "gfx942"], list(BACKWARD)))
def test_gradients_of_tables_compile_everywhere(tmp_path: Path, family: str, target: str) -> None:
    tables = "slopes: f32[*], bias: f16[*, *], level: f32[*]"
    score = "cap * tanh((s + slopes[h] * float(k - q) + bias[h, q - k + 64]) / cap) + level[k % 7]"
    text = f"program @many(q < Lq, k < Lk; cap: f64, {tables}) {{\n  mask = k <= q\n  score = {score}\n  normalise = softmax\n}}"
    many = replace(backward_plan(text, family, (32, 32), (40, 24), "f16"), num_stages=1)
    kernel = loaded(many, tmp_path, interpret=False)
    assert kernel.sums == ((("level", "keys"),) if family == "backward" else (("slopes", "tiles"), ("bias", "pairs")))
    variant = Variant(narrow=False, aligned=False, lengths=frozenset({"q_start", "q_lens", "k_start", "k_lens", "offsets"}))
    made = cross_compile(kernel, many, target, variant)
    assert made.resources.registers > 0
    assert "atom" not in made.assembly


def test_code_does_not_grow_with_the_number_of_pieces(tmp_path: Path) -> None:
    def products(count: int) -> int:
        pieces = tuple(Piece(Const(n), I, 2) for n in range(count))
        schedule = Schedule(Program("many", TRUE), 64, 64, pieces, (), (), pieces)
        many = given(schedule, (64, 64), "bf16")
        return cross_compile(loaded(many, tmp_path, interpret=False), many, "sm_80").assembly.count("mma.sync")

    assert products(1) == products(9)


def test_an_interpreted_launch_leaves_the_compiler_alone(tmp_path: Path) -> None:
    small = plan(WINDOW)
    attend(loaded(small, tmp_path), Shape(40, 40).tensors(), Options({"W": 5}))
    assert cross_compile(loaded(small, tmp_path, interpret=False), small, "sm_80").code


# -- one compilation --------------------------------------------------------------------------------------------------


def test_windows_lengths_and_offsets_share_one_compilation(tmp_path: Path) -> None:
    kernel, compilations = loaded(plan(WINDOW, dtype="bf16"), tmp_path, interpret=False), set[Specialisation]()
    for width in (0, 1, -1, 16, 100, 160, *range(200, 10_001, 100 if PROVE else 4900), 20_000, 2**31 - 1, 2**40):
        for length in (1, 15, 16, 100, 128, *((999, 1024, 4096, 9999) if PROVE else ())):
            call = call_of(Shape(length, length + 1, 16, batch=2, heads=4, dtype="bf16").tensors(), Options({"W": width}, offset=length))
            compilations.add(specialisation(arguments(kernel, call)))
    assert len(compilations) == 1


def test_tables_of_any_size_and_place_share_one_compilation(tmp_path: Path) -> None:
    pieces = (Piece(Const(0), I),)
    program = parse_program(CAPPED)
    kernel = loaded(given(Schedule(program, 32, 16, pieces, (), (), pieces), dtype="bf16"), tmp_path, interpret=False)
    compilations = set[Specialisation]()
    tensors = Shape(32, 32, 16, batch=2, heads=2, dtype="bf16").tensors()
    for length in (1, 16, 37, 64):
        for first in (0, 1):
            lens = torch.full((3,), length)[first : first + 2]
            tables = {"slopes": torch.ones(3)[first:], "doc": torch.zeros(2 * length + 1, dtype=torch.int32)[first::2]}
            call = call_of(tensors, Options({"cap": float(length)}, tables, Ragged(k_lens=lens), scale=1.0 / length))
            compilations.add(specialisation(arguments(kernel, call)))
    assert len(compilations) == 1


def test_narrow_indices_and_unaligned_rows_are_the_only_other_compilations(tmp_path: Path) -> None:
    kernel, compilations = loaded(plan(WINDOW, dtype="bf16"), tmp_path, interpret=False), set[Specialisation]()
    for narrow in (False, True):
        for dim in (16, 17):
            wide = (torch.zeros(1, 2, 32, dim, dtype=torch.bfloat16)[..., :16] for _ in range(3))
            call = call_of(tuple(wide), Options({"W": 5}, narrow=narrow))  # pyright: ignore[reportArgumentType]
            compilations.add(specialisation(arguments(kernel, call)))
    assert len(compilations) == 4


def test_an_unknown_gpu_is_refused(tmp_path: Path) -> None:
    window = plan(WINDOW)
    with pytest.raises(NotImplementedError, match=r"no kernels for `sm_75`.*\n  write one of `sm_80`"):
        cross_compile(loaded(window, tmp_path, interpret=False), window, "sm_75")
