"""Extrema of tables over ranges: never too narrow, and exact where they must be."""

from __future__ import annotations

import numpy as np
import pytest
from brute_force import classes
from hypothesis import given
from hypothesis import strategies as st
from lacuna.ir.parse import parse_program
from lacuna.passes.bounds import range_table
from lacuna.passes.bounds.range_table import RangeTable, Span
from lacuna.passes.program.call_values import Launch
from lacuna.passes.schedules.derive import derive
from lacuna.passes.schedules.tile_classes import tiles

Array = np.ndarray


@st.composite
def queries(draw: st.DrawFn) -> tuple[Array, list[tuple[int, int]]]:
    """A table of rank 1 to 4 and one inclusive range along each axis."""
    shape = draw(st.lists(st.integers(1, 9), min_size=1, max_size=4))
    truth = draw(st.booleans())
    entries = np.random.default_rng(draw(st.integers(0, 99))).integers(0 if truth else -3, 1 if truth else 3, shape, endpoint=True)
    ranges: list[tuple[int, int]] = []
    for size in shape:
        low = draw(st.integers(0, size - 1))
        ranges.append((low, draw(st.just(low) | st.integers(low, size - 1))))
    return entries.astype(bool if truth else np.int32), ranges


def extrema(table: Array, ranges: list[tuple[int, int]]) -> tuple[tuple[int, int], tuple[int, int]]:
    """What `RangeTable` says, and what looking at each entry says."""
    found = RangeTable(table).over(tuple(Span(np.array([low]), np.array([high])) for low, high in ranges))
    part = table[tuple(slice(low, high + 1) for low, high in ranges)]
    return (int(found.low[0]), int(found.high[0])), (int(part.min()), int(part.max()))


@given(queries(), st.booleans())
def test_a_range_is_never_narrower_than_its_entries(query: tuple[Array, list[tuple[int, int]]], large: bool) -> None:
    table, ranges = query
    with pytest.MonkeyPatch.context() as patch:
        if large:
            patch.setattr(range_table, "LARGE", 0)
            patch.setattr(range_table, "WIDE_PLANE", 0)
        found, wanted = extrema(table, ranges)
    assert found[0] <= wanted[0] <= wanted[1] <= found[1]
    single = [low == high for low, high in ranges]
    exact = all(single[:-1]) if table.dtype != bool else all(single[:-2])
    if all(single) or (exact and not large):
        assert found == wanted


def test_aligned_squares_of_a_large_plane_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(range_table, "LARGE", 0)
    monkeypatch.setattr(range_table, "WIDE_PLANE", 0)
    table = np.random.default_rng(0).random((37, 50)) < 0.5
    for rows, columns in ((4, 4), (8, 4), (2, 4), (16, 16)):
        for row in range(0, 37, rows):
            for column in range(0, 50, columns):
                found, wanted = extrema(table, [(row, min(row + rows, 37) - 1), (column, min(column + columns, 50) - 1)])
                assert found == wanted


def test_a_table_read_at_a_tile_and_a_place_in_it_hides_no_pair() -> None:
    """Two of three indices range over a tile: the first must not be taken for single."""
    program = parse_program(
        "program @nested(q < Lq, k < Lk; t: bool[*, *, *]) { mask = t[q // 2, q % 2, k] score = s normalise = softmax }"
    )
    table = np.zeros((4, 2, 8), bool)
    table[3, 1, 7] = True
    launch = Launch(8, 8, tables={"t": table})
    derivation = derive(program, 8, 8, launch)
    assert tiles(derivation.schedule, launch, derivation.arrays).tolist() == [[1]]


def test_refinement_ends_where_a_divisor_is_zero() -> None:
    """On one pair the answer is the value itself: division by zero gives zero."""
    text = "program @zero(q < Lq, k < Lk) { mask = q // (k - 2) + q % (k - 2) == q * k score = s normalise = softmax }"
    launch = Launch(9, 7)
    derivation = derive(parse_program(text), 4, 4, launch)
    pairs = [[(q // (k - 2) + q % (k - 2) if k != 2 else 0) == q * k for k in range(7)] for q in range(9)]
    assert (tiles(derivation.schedule, launch, derivation.arrays) == classes(np.array(pairs), 4, 4)).all()
