"""Row-major grids axis by axis: strips as boxes, and schedules against brute force."""

# Patterns are written without types.
# ruff: noqa: ANN401
from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import lacuna
import numpy as np
import pytest
from bound_numbers import numbers_of, values_of, with_numbers
from brute_force import Problem, classes, compiled
from hypothesis import given, settings
from hypothesis import strategies as st
from lacuna import patterns
from lacuna.ir.expr import Binary, Const, Expr, I, K, Op, Q, Symbol
from lacuna.ir.pattern import Pattern
from lacuna.ir.schedule import Schedule
from lacuna.ir.trace import Traced
from lacuna.passes.grids.row_major_strips import Strip, axis_relations, boxes, strips
from lacuna.passes.grids.separable import GridForm
from lacuna.passes.program.call_values import Launch
from lacuna.passes.program.evaluate import evaluate
from lacuna.passes.schedules.derive import derive
from lacuna.passes.schedules.prepare import prepare
from lacuna.passes.schedules.tile_classes import tiles
from lacuna.passes.schedules.transpose import transposed_launch
from lacuna.passes.schedules.transposed_schedule import transposed_schedule
from lacuna.patterns.gna import seen as neighbors  # pyright: ignore[reportUnknownVariableType]

PROVE = os.environ.get("LACUNA_TEST_PROFILE") == "prove"
Array = np.ndarray


# -- strips -----------------------------------------------------------------------------------------------------------


@settings(max_examples=500 if PROVE else 60)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.integers(1, 40), st.integers(0, 30), st.integers(0, 40))
def test_the_boxes_of_a_strip_hold_each_of_its_tokens_once(extents: list[int], block: int, tile: int, cut: int) -> None:
    stop = max(tile * block + 1, (tile + 1) * block - cut)
    start = Binary(Op.MUL, I, Const(block))
    found = boxes(Strip(start, Const(stop), block, block), [Const(extent) for extent in extents])
    held: list[int] = []
    for box in found:
        if evaluate(box.there, {I: tile}):
            ends = [[int(evaluate(end, {I: tile})) for end in (reach.low, reach.high)] for reach in box.along]
            for place in itertools.product(*(range(low, high + 1) for low, high in ends)):
                assert all(0 <= at < extent for at, extent in zip(place[1:], extents[1:], strict=True))
                held.append(sum(at * math.prod(extents[axis + 1 :]) for axis, at in enumerate(place)))
    assert sorted(held) == list(range(tile * block, stop))
    assert len(found) <= 2 * len(extents) - 1


def test_tiles_that_divide_a_row_are_one_box_and_whole_rows_are_too() -> None:
    def count(block: int, *extents: int) -> int:
        start = Binary(Op.MUL, I, Const(block))
        return len(boxes(Strip(start, Binary(Op.ADD, start, Const(block)), block, block), [Const(each) for each in extents]))

    assert count(64, 8, 8, 128) == 1
    assert count(64, 16, 32, 32) == 2  # and the beginning of a row, where a call has fewer tokens than the grid
    assert count(64, 30, 48, 80) == 2
    assert count(64, 15, 31, 30) == 4


# -- schedules --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Grid:
    """A pattern on a grid, the rows and keys of a call, and a tile. pairs: bool[rows, keys], by looking at every one."""

    pattern: Pattern
    extents: tuple[int, ...]
    offset: int
    rows: int
    keys: int
    block: tuple[int, int]

    @property
    def has_windows(self) -> bool:
        """Whether every axis is proved to have some, for every value of the parameters."""
        grid = prepare(self.pattern.program, self.launch, shifted=False).grid
        return grid is not None and all(axis.windows is not None for axis in axis_relations(grid))

    @property
    def launch(self) -> Launch:
        return Launch(self.rows, self.keys, self.offset, parameters=numbers_of(self.pattern))

    @property
    def pairs(self) -> Array:
        places = np.unravel_index(np.arange(math.prod(self.extents)), self.extents)
        mask = with_numbers(self.pattern).mask
        seen = compiled(mask, Problem(mask, self.rows, self.keys))
        names = [f"{side}{axis}" for side in "qk" for axis in range(len(self.extents))]
        at = [tuple(int(each[token]) for each in places) for token in range(len(places[0]))]
        found = [
            [seen(dict(zip(names, at[row] + at[key], strict=True))) for key in range(self.keys)]
            for row in range(self.offset, self.offset + self.rows)
        ]
        return np.array(found, bool).reshape(self.rows, self.keys)


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    """Neighborhoods of every kind; ragged extents, calls of fewer rows and keys than the grid has tokens, and offsets."""
    rank = draw(st.integers(2, 4))
    extents = tuple(draw(st.integers(1, {2: 11, 3: 6, 4: 4}[rank])) for _ in range(rank))
    dilation = tuple(draw(st.integers(1, max(1, min(6, extent // 2)))) for extent in extents)
    window = tuple(draw(st.integers(1, extent // apart)) for extent, apart in zip(extents, dilation, strict=True))
    stride = tuple(draw(st.integers(1, wide)) for wide in window)
    pattern = patterns.gna(extents, window, stride, dilation, tuple(draw(st.booleans()) for _ in extents))
    tokens = math.prod(extents)
    offset = draw(st.sampled_from([0, 0, draw(st.integers(0, tokens - 1))]))
    rows = draw(st.sampled_from([tokens - offset, draw(st.integers(1, tokens - offset))]))
    keys = draw(st.sampled_from([tokens, draw(st.integers(1, tokens))]))
    block = draw(st.sampled_from([(4, 4), (8, 4), (2, 6), (5, 7), (1, 3), (16, 8), (3, 1)]))
    return Grid(pattern, extents, offset, rows, keys, block)


def fault(grid: Grid, schedule: Schedule, launch: Launch, want: Array) -> str:
    """What is wrong with a schedule; empty where classes are exactly brute force and loops visit each tile once, where it belongs."""
    got = tiles(schedule, launch, {})
    if (got != want).any() or not schedule.exact:
        return f"{int((got != want).sum())} tiles of {want.size} are not the definition's, of {grid}"
    if schedule.route == "symbolic" and not grid.has_windows:  # then the whole is often the simpler set
        return ""
    for pieces, tile in ((schedule.full_loops, 2), (schedule.partial_loops, 1)):
        if ((tiles(replace(schedule, some=pieces, full=()), launch, {}) == 1) != (want == tile)).any():
            return f"loops do not visit the tiles of class {tile}, of {grid}"
    return "" if schedule.closed_form and schedule.route == "axes" else f"by {schedule.route}, of {grid}"


@settings(max_examples=600 if PROVE else 15)
@given(grids())
def test_a_row_major_schedule_is_brute_force_forward_and_backward(grid: Grid) -> None:
    pairs = grid.pairs
    found = derive(grid.pattern.program, *grid.block, grid.launch).schedule
    assert not fault(grid, found, grid.launch, classes(pairs, *grid.block))
    prepared = prepare(grid.pattern.program, grid.launch, shifted=grid.launch.moves)
    mirrored = transposed_schedule(prepared, grid.block, grid.launch)
    assert not fault(grid, mirrored, transposed_launch(grid.launch), classes(pairs.T, *grid.block[::-1]))


@lacuna.pattern(rank=2)
def blocks_and_stripes(q: Any, k: Any, *, reach: Any) -> Any:
    """A parameter, an axis without windows, and one whose rows see in steps of three."""
    return (q[0] // 3 == k[0] // 3) & (abs(q[1] - k[1]) <= reach) & ((q[1] - k[1]) % 3 == 0)


@pytest.mark.parametrize("reach", [0, 4, 7, 100])
def test_parameters_stay_symbols_of_a_row_major_schedule(reach: int) -> None:
    pattern = blocks_and_stripes(reach=reach).on(7, 11)
    launch = Launch(77, 77, parameters={"reach": reach})
    found = derive(pattern.program, 8, 4, launch)
    at = np.arange(77)
    rows, columns = at // 11, at % 11
    apart = columns[:, None] - columns[None, :]
    pairs = (rows[:, None] // 3 == rows[None, :] // 3) & (abs(apart) <= reach) & (apart % 3 == 0)
    assert (tiles(found.schedule, launch, found.arrays) == classes(pairs, 8, 4)).all()
    assert found.schedule.exact
    assert found.schedule.closed_form
    assert "reach" not in found.bound


CATALOGUE: list[tuple[str, Callable[[], Pattern]]] = [
    ("halo", lambda: patterns.halo((6, 10), 2, 1)),
    ("window", lambda: patterns.window((8, 12), 4)),
    ("shifted window", lambda: patterns.window((8, 12), 4, 2)),
    ("torus_window", lambda: patterns.torus_window((8, 12), 4, 2)),
    ("grid", lambda: patterns.grid((8, 12), 4)),
    ("conv_window", lambda: patterns.conv_window((7, 11), 3, 2)),
    ("overlapping_cross", lambda: patterns.overlapping_cross((8, 12), 4, 0.5)),
    ("inward_window", lambda: patterns.inward_window((2, 6, 7), (2, 1))),
]


@pytest.mark.parametrize(("name", "made"), CATALOGUE, ids=[name for name, _ in CATALOGUE])
def test_products_of_axes_of_the_catalogue_are_exact_in_strips(name: str, made: Callable[[], Pattern]) -> None:
    pattern = made()
    extents = pattern.program.space.extents
    grid = Grid(pattern, extents, 0, math.prod(extents), math.prod(extents), (8, 4))
    form = prepare(pattern.program, grid.launch, shifted=False).grid
    assert form is not None, name
    found = strips(form, axis_relations(form), grid.block)
    schedule = derive(pattern.program, *grid.block, grid.launch).schedule
    want = classes(grid.pairs, *grid.block)
    assert (tiles(schedule, grid.launch, {}) == want).all()
    full = () if found.full is None else (found.full,)
    assert (tiles(replace(schedule, some=(found.some,), full=full), grid.launch, {}) == want).all()


def test_a_hull_holds_no_more_than_the_rows_that_are_seen() -> None:
    pattern = patterns.gna((64, 60), 13)
    prepared = prepare(pattern.program, None, shifted=False)
    forward = derive(pattern.program, 64, 64).schedule
    backward = transposed_schedule(prepared, (64, 64), Launch(3840, 3840, parameters=numbers_of(pattern)))
    for schedule in (forward, backward):
        (piece,) = schedule.some
        lengths: dict[Expr, Any] = {Symbol("Lq"): 3840, Symbol("Lk"): 3840, I: np.arange(60), **dict(values_of(pattern))}
        start, stop = (np.broadcast_to(np.asarray(evaluate(end, lengths)), (60,)) for end in (piece.start, piece.stop))
        assert (stop - start).max() <= 20  # of 60: a key near an edge is seen by 19 rows of 60 tokens


def test_a_mask_that_joins_axes_is_no_product_of_them() -> None:
    assert prepare(patterns.neighboring_ar((6, 8)).program, None, shifted=False).grid is None
    assert prepare(patterns.disc_local((6, 8), 3).program, None, shifted=False).grid is None


# -- extents as symbols -----------------------------------------------------------------------------------------------


@settings(max_examples=200 if PROVE else 10)
@given(st.data())
def test_one_schedule_serves_every_extent(data: st.DataObject) -> None:
    rank = data.draw(st.integers(2, 3))
    sizes = [Symbol(f"n{axis}") for axis in range(rank)]
    dilation = [data.draw(st.integers(1, 4 - rank)) for _ in range(rank)]
    window = [data.draw(st.integers(1, 5 - rank)) for _ in range(rank)]
    stride = [data.draw(st.integers(1, wide)) for wide in window]
    causal = [data.draw(st.booleans()) for _ in range(rank)]
    on_axis: Any = neighbors  # pyright: ignore[reportUnknownVariableType]
    given_axes = zip(sizes, window, stride, dilation, causal, strict=True)
    conditions = tuple(on_axis(Traced(Q), Traced(K), Traced(size), *rest).expr for size, *rest in given_axes)
    form = GridForm(conditions, (tuple(sizes), tuple(sizes)))
    block = data.draw(st.sampled_from([(4, 4), (8, 4), (5, 7)]))
    found = [(each, strips(each, axis_relations(each), block)) for each in (form, form.transposed)]
    for _ in range(2):
        extents = tuple(wide * apart + data.draw(st.integers(0, 3)) for wide, apart in zip(window, dilation, strict=True))
        tokens = math.prod(extents)
        grid = Grid(patterns.gna(extents, tuple(window), tuple(stride), tuple(dilation), tuple(causal)), extents, 0, tokens, tokens, block)
        extents_by_name = {str(size): extent for size, extent in zip(sizes, extents, strict=True)}
        launch = Launch(tokens, tokens, parameters={**numbers_of(grid.pattern), **extents_by_name})
        program, pairs = grid.pattern.program, grid.pairs
        for each, made in found:
            full = () if made.full is None else (made.full,)
            schedule = Schedule(program, *block, (made.some,), full, full, () if made.partial is None else (made.partial,), route="axes")
            assert not fault(grid, schedule, launch, classes(pairs.T if each.mirrored else pairs, *block))
