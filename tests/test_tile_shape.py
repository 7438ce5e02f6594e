"""The cost model of tile shapes: its counts against brute force, and what it chooses."""

from __future__ import annotations

import math
import subprocess
import sys
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lacuna.ir.parse import parse_program
from lacuna.passes.costs import tile_shape as model
from lacuna.passes.costs.tile_shape import (
    LANES,
    LEAST_GAIN,
    SHORT,
    STANDARD,
    Problem,
    Shape,
    Work,
    candidates,
    extents_of,
    ranked,
    tile_shape,
    work_of,
)

GRIDS = st.one_of(st.tuples(st.integers(1, 150)), st.tuples(st.integers(1, 9), st.integers(1, 20)), st.tuples(*[st.integers(1, 6)] * 3))


def sees(extents: tuple[int, ...], side: int, q: int, k: int) -> bool:
    """Whether key `k` is in the box of query `q`, coordinate by coordinate from the innermost out."""
    for extent in reversed(extents):
        width = min(side, extent)
        lowest = min(max(q % extent - width // 2, 0), extent - width)
        if not lowest <= k % extent < lowest + width:
            return False
        q, k = q // extent, k // extent
    return True


def counted(extents: tuple[int, ...], side: int, shape: Shape) -> Work:
    """`work_of`, pair by pair."""
    tokens, total = math.prod(extents), [0] * 6
    for top in range(0, tokens, shape.lanes):
        rows = range(top, min(top + shape.lanes, tokens))
        total[5] += shape.lanes
        for left in range(0, tokens, shape.lines):
            keys = range(left, min(left + shape.lines, tokens))
            seen = {(q, k) for q, k in product(rows, keys) if sees(extents, side, q, k)}
            if not seen:
                continue
            full = len(seen) == len(rows) * shape.lines
            runs = [[k for q, k in seen if q // 16 == chunk] for chunk in range(top // 16, (top + shape.lanes) // 16)]
            live = sum(max(run) - min(run) + 1 for run in runs if run)
            at_once = full or 8 * live > 7 * len(keys) * len(runs)
            total[0] += 1
            total[1] += len(keys)
            total[2] += 0 if full else len(keys) * shape.lanes
            total[3 if at_once else 4] += len(keys) * shape.lanes if at_once else live * 16
    return Work(*(part * 1000 / tokens for part in total))


@settings(max_examples=40)
@given(GRIDS, st.integers(1, 12), st.sampled_from([16, 32, 64]), st.sampled_from([6, 16, 20, 64]))
def test_counts_are_those_of_brute_force(extents: tuple[int, ...], side: int, lanes: int, lines: int) -> None:
    samples, model.SAMPLES = model.SAMPLES, 10_000
    try:
        found = work_of(extents, side, Shape(lanes, lines))
    finally:
        model.SAMPLES = samples
    exact = counted(extents, side, Shape(lanes, lines))
    for name in Work.__dataclass_fields__:
        assert getattr(found, name) == pytest.approx(getattr(exact, name)), name


PROBLEMS = [(width, size, size_of // size) for width in (32, 80, 128, 256, 512) for size in (4, 8) for size_of in (64, 32, 16)]


@pytest.mark.parametrize(("width", "real_bytes", "lanes"), PROBLEMS)
def test_on_a_line_the_model_itself_finds_the_standard_shape(width: int, real_bytes: int, lanes: int) -> None:
    problem = Problem((model.LINE,), width, real_bytes, lanes)
    assert ranked(problem, (64,) if lanes > 8 else (32, 64))[0] == STANDARD
    assert tile_shape(problem, 33) == STANDARD
    assert tile_shape(problem, 17) == SHORT


@pytest.mark.parametrize(
    ("extents", "lines"),
    [((64, 64), 64), ((48, 48), 48), ((80, 80), 80), ((56, 56), 28), ((30, 48, 80), 80), ((14, 14), 64), ((28, 28), 64)],
)
def test_key_tiles_hold_whole_rows_of_a_grid_where_that_was_measured_to_pay(extents: tuple[int, ...], lines: int) -> None:
    assert tile_shape(Problem(extents, 128, 4, 16), 1000) == Shape(64, lines)


def test_a_shape_must_be_predicted_to_gain_more_than_the_model_can_err() -> None:
    problem = Problem((100, 100), 128, 4, 16)
    assert ranked(problem)[0] == STANDARD
    gains = [
        model.predicted_time(problem, STANDARD, side) / model.predicted_time(problem, ranked(problem)[1], side) for side in (5, 13, 31)
    ]
    assert 1 < sum(gains) / 3 < LEAST_GAIN


def test_operands_of_a_tile_fit_the_cache() -> None:
    wide = Problem((2048,), 512, 8, 8)
    assert all(model.touched_bytes(wide, shape) <= model.MOST_BYTES for shape in candidates(wide) if shape != STANDARD)
    assert Shape(128, 128) not in candidates(wide)
    assert Shape(128, 128) in candidates(Problem((2048,), 128, 4, 16))


def test_every_candidate_is_one_that_kernels_can_have() -> None:
    for columns in range(1, 300):
        for shape in candidates(Problem((7, columns), 128, 4, 16)):
            assert shape.lanes in LANES
            assert shape.lines % 2 == 0
            assert 0 < shape.lines <= 128


@pytest.mark.parametrize(
    ("mask", "extents"),
    [
        ("abs(q // 48 - k // 48) <= 3 and abs(q % 48 - k % 48) <= 3", (43, 48)),
        ("k <= q and (q - k) % 48 == 0", (2048,)),
        ("q // 48 == k // 48", (2048,)),
        ("q // 48 == k // 48 and q % 48 <= 3", (2048,)),
        ("abs(q // 3000 - k // 3000) <= 3 and abs(q % 3000 - k % 3000) <= 3", (2048,)),
        ("true", (2048,)),
    ],
)
def test_a_grid_is_seen_in_a_mask_over_flat_positions(mask: str, extents: tuple[int, ...]) -> None:
    text = f"program @p(q < Lq, k < Lk) {{\n  mask = {mask}\n  score = s\n  normalise = softmax\n}}\n"
    assert extents_of(parse_program(text)) == extents


def test_the_choice_is_the_same_in_another_process() -> None:
    code = "from lacuna.passes.costs.tile_shape import *; print([tile_shape(Problem((9, n), 128, 4, 16), 99) for n in range(20, 90, 7)])"
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout for _ in range(2)]
    here = [tile_shape(Problem((9, n), 128, 4, 16), 99) for n in range(20, 90, 7)]
    assert runs == [f"{here}\n"] * 2
