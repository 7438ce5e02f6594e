"""Tiles that several query heads share: met where any of them sees a pair, full where all of them see every pair."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from lacuna.ir.expr import Binary, Const, H, Lookup, Op, Table
from lacuna.ir.parse import parse_program, parse_schedule
from lacuna.ir.schedule import Piece, Schedule
from lacuna.passes.costs.packing import MOST_TOGETHER, heads_together
from lacuna.passes.schedules.derive import derive
from lacuna.passes.schedules.tile_classes import tiles
from lacuna.passes.sets.integer_sets import BUDGET
from random_programs import HEADS, Case, random_case, wanted_classes
from test_soundness import arrays_of, loop_faults
from triton_kernels import CAUSAL

Array = np.ndarray
PER_HEAD = "program @per_head(q < Lq, k < Lk; width: i64[*]) {\n  mask = k <= q and q - k < width[h]\n  score = s\n  normalise = softmax\n}"


def shared_classes(case: Case, h: int, together: int) -> Array:
    """Of the heads from `h` on, from those of each alone."""
    each = np.stack([wanted_classes(case, head) for head in range(h, min(h + together, HEADS))])
    return np.where((each == 2).all(0), 2, np.where((each != 0).any(0), 1, 0))


def faults(case: Case, together: int, budget: int) -> str:
    derivation = derive(case.program, *case.block, case.launch, budget=budget, together=together)
    schedule, arrays = derivation.schedule, arrays_of(derivation, case.launch)
    for h in range(HEADS):
        got, want = tiles(schedule, case.launch, arrays, 0, h), shared_classes(case, h, together)
        if (((got == 0) & (want != 0)) | ((got == 2) & (want != 2))).any():
            return f"a wrong tile at head {h} by {schedule.route}"
        if schedule.route == "refined" and (got != want).any():
            return f"a refined tile at head {h} is not exact"
        if fault := loop_faults(derivation, case.launch, got, h):
            return fault
    return "" if parse_schedule(str(schedule)) == schedule else "the schedule's text reads back as another schedule"


@pytest.mark.parametrize("budget", [BUDGET, 1])
def test_tiles_of_heads_together_hide_no_pair_and_cover_no_false_one(budget: int, prove: bool) -> None:
    """A budget of 1 leaves refinement only."""
    for seed in range(20_000, 20_000 + (1000 if prove else 12)):
        case = random_case(seed)
        fault = faults(case, 2 + seed % 2, budget)
        assert not fault, f"seed {seed}: {fault}\n{case.program}\n{case.launch}, tiles of {case.block}"


def per_head(together: int) -> Schedule:
    return derive(parse_program(PER_HEAD), 32, 16, together=together).schedule


def test_what_differs_among_heads_is_known_by_its_extrema() -> None:
    alone, shared = per_head(1), per_head(4)
    assert not alone.terms
    assert [(term.expr, term.axis) for term in shared.terms] == [(Lookup(Table("width", "i64", 1), (H,)), "h")]
    assert "term0_high[0, h, 0]" in str(shared.some[0])
    assert "term0_low[0, h, 0]" in str(shared.full[0])
    assert alone.heads_differ
    assert shared.heads_differ


def test_heads_share_a_tile_where_none_of_its_rows_stands_empty_and_no_head_differs() -> None:
    causal = parse_program(CAUSAL)
    assert [heads_together(causal, group) for group in (0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 64)] == [1, 1, 2, 1, 4, 1, 2, 1, 8, 4, 8, 8]
    assert MOST_TOGETHER == 8
    assert heads_together(parse_program(PER_HEAD), 8) == 1


def test_a_head_that_a_mask_reads_as_a_number_is_projected_exactly() -> None:
    text = "program @shifted(q < Lq, k < Lk) {\n  mask = k == q + h\n  score = s\n  normalise = softmax\n}"
    shared = derive(parse_program(text), 16, 16, together=4).schedule
    assert shared.exact
    assert shared.closed_form


@pytest.mark.parametrize("at", ["start", "stop", "where", "full_loops"])
def test_heads_differ_wherever_a_loop_reads_the_head(at: str) -> None:
    plain = derive(parse_program(PER_HEAD.replace("width[h]", "width[0]")), 32, 16).schedule
    assert not plain.heads_differ
    part = {"start": H, "stop": H, "where": Binary(Op.LE, H, Const(1)), "full_loops": H}[at]
    loops = (Piece(Const(0), Const(1))._replace(**{"stop" if at == "full_loops" else at: part}),)
    kind = "full_loops" if at == "full_loops" else "partial_loops"
    assert replace(plain, **{kind: loops}).heads_differ
