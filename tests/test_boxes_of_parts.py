"""Sequences whose parts are in boxes: positions, schedules pair by pair of parts, kernels, and the choice of boxes."""

# Patterns are written without types, and torch's are partly unknown.
# ruff: noqa: ANN401
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import math
import os
from dataclasses import replace
from itertools import product
from typing import Any

import lacuna
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lacuna import patterns
from lacuna.ir.expr import K, Q
from lacuna.ir.order import Boxes, Order, Parts
from lacuna.passes.by_parts import scheduled
from lacuna.passes.evaluate import evaluate
from lacuna.passes.launch import Launch
from lacuna.passes.over_positions import boxed
from lacuna.passes.prepare import prepare
from lacuna.passes.tiles import tiles

pytestmark = pytest.mark.usefixtures("compiled_quickly")

PROVE = os.environ.get("LACUNA_TEST_PROFILE") == "prove"
TOKENS = 8  # of a tile
attention: Any = lacuna.attention


@lacuna.pattern
def causal(q: Any, k: Any) -> Any:
    return k <= q


@lacuna.pattern
def near(q: Any, k: Any) -> Any:
    return abs(q - k) <= 3


@lacuna.pattern(rank=2)
def diagonal(q: Any, k: Any) -> Any:
    """No product of axes."""
    return abs(q[0] - k[0]) + abs(q[1] - k[1]) <= 2


def edges(draw: st.DrawFn, extents: tuple[int, ...]) -> tuple[int, ...]:
    """Of a box of TOKENS tokens that fits a grid."""
    found = [each for each in product(*[(1, 2, 4, 8)] * len(extents)) if math.prod(each) == TOKENS]
    return draw(st.sampled_from([each for each in found if len(extents) == 1 or Boxes(extents, each, (1,) * len(extents)).fit]))


@st.composite
def sequences(draw: st.DrawFn) -> tuple[Any, int, Order, bool]:
    """A pattern, its tokens, an order in boxes, and whether every rule goes by axis."""
    grids: dict[str, tuple[int, ...]] = {}
    for name in draw(st.sampled_from([("text", "video"), ("video", "text"), ("text", "video", "more"), ("video", "twin", "text")])):
        if name == "twin":
            grids[name] = grids["video"]
        else:
            grids[name] = (draw(st.integers(3, 6)), draw(st.integers(3, 6))) if name == "video" else (draw(st.integers(1, 18)),)
    boxes = {name: edges(draw, extents) for name, extents in grids.items()}
    rules: dict[tuple[str, str], Any] = {}
    exact = True
    for pair in product(grids, grids):
        lines = all(len(grids[name]) == 1 for name in pair)
        alike = pair == ("video", "video") or set(pair) == {"video", "twin"}
        near_by = patterns.gna(grids["video"], tuple(draw(st.integers(1, extent)) for extent in grids["video"]))
        choices = [True, True, False, *([causal, near] if lines else []), *([near_by, near_by, near_by, diagonal] if alike else [])]
        rules[pair] = draw(st.sampled_from(choices))
        exact &= rules[pair] is not diagonal
    sizes = {name: math.prod(extents) if len(extents) == 1 else extents for name, extents in grids.items()}
    side = Parts(tuple(Boxes(grids[name], boxes[name], (1,) * len(grids[name])) for name in grids))
    return patterns.segmented(sizes, rules), sum(map(math.prod, grids.values())), Order(side, side), exact


def tokens_of(side: Parts) -> np.ndarray:
    """i64[positions]: the token at each position, -1 where there is none."""
    position = np.arange(side.positions)
    valid = np.broadcast_to(evaluate(side.valid(Q), {Q: position}), position.shape)
    return np.where(valid, np.broadcast_to(evaluate(side.token(Q), {Q: position}), position.shape), -1)


def over(seen: np.ndarray, order: Order) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """bool[positions, positions] of what is seen; bool[positions] of the queries and of the keys that are tokens."""
    assert isinstance(order.rows, Parts)
    assert isinstance(order.keys, Parts)
    rows, keys = tokens_of(order.rows), tokens_of(order.keys)
    return seen[rows][:, keys] & (rows >= 0)[:, None] & (keys >= 0), rows >= 0, keys >= 0


def classes(seen: np.ndarray, rows: np.ndarray, edge: int) -> np.ndarray:
    """Tile classes by their definition: what is no query does not keep a tile from being full."""
    found = np.zeros((len(seen) // edge, seen.shape[1] // edge), np.uint8)
    for i, j in np.ndindex(found.shape):
        here = slice(i * edge, (i + 1) * edge)
        tile = seen[here, j * edge : (j + 1) * edge]
        found[i, j] = 2 if tile.any() and tile[rows[here]].all() else int(tile.any())
    return found


@settings(max_examples=600 if PROVE else 25)
@given(sequences())
def test_a_schedule_made_part_by_part_is_exact_where_it_says_so_and_never_wrong(problem: tuple[Any, int, Order, bool]) -> None:
    pattern, count, order, exact = problem
    seen, rows, keys = over(lacuna.dense(pattern, count)[0, 0].numpy(), order)
    program = boxed(pattern.program, order)
    positions = np.arange(len(rows))
    assert (np.broadcast_to(evaluate(program.mask, {Q: positions[:, None], K: positions}), seen.shape) == seen).all()
    launch = Launch(*seen.shape)
    for backward in (False, True):
        found = scheduled(prepare(program, launch, shifted=False), program, order, launch, backward=backward)
        assert found is not None
        assert found.closed_form
        assert found.exact or not exact
        pairs, there = (seen.T, keys) if backward else (seen, rows)
        expected, said = classes(pairs, there, TOKENS), tiles(found, launch, {})
        assert (said == expected).all() if found.exact else ((said == expected) | (said == 1)).all()
        for pieces, tile in ((found.full_loops, 2), (found.partial_loops, 1)):
            visits = sum(tiles(replace(found, some=(piece,), full=()), launch, {}) for piece in pieces)
            assert (visits == (said == tile)).all()
