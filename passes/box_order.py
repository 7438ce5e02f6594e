"""Box orders: tiles of a grid that are boxes, not strips.

    q0 * 64 + q1 sees k0 * 64 + k1 where |q0 - k0| <= 6 and |q1 - k1| <= 6

A tile of 64 row-major queries is a row of that grid and meets 13 rows of keys, 832 of them. A box of 8 x 8 queries meets 20 x 20 = 400.
Which boxes meet is known axis by axis, so every box shape is counted from what each axis sees.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import NamedTuple

import numpy as np

from ..ir.expr import Const, Expr, K, Q, Symbol
from ..ir.order import Boxes, Order
from ..ir.program import Program, Space
from ..ir.target import CHUNK
from .axes import Seen, dilation_of, seen_along
from .canonicalise import with_values
from .class_conditions import class_conditions
from .tile_shape import COSTS, STANDARD, Problem, Work

SAMPLES = 4  # tiles of queries that are counted
LEAST_GAIN = 1.1  # over the row-major order: below that the model cannot tell
COPY = 0.02  # of reading a key from where it lies, per dimension: tiles of keys are copied, beside what `Costs.line` counts


def boxed(program: Program, order: Order) -> Program:
    """A program on a grid over positions of an order: `q` and `k` count the tokens of one box after the other.

    Needs: a bound grid, the one of the order. Keeps: the attended pairs of tokens, and scores.
    """
    coordinates: dict[Expr, Expr] = {
        place: at
        for side, variable, boxes in (("q", Q, order.rows), ("k", K, order.keys))
        for place, at in zip(program.space.coordinates(side), boxes.coordinates(variable), strict=True)
    }
    return replace(program.substituted(coordinates), space=Space())


def unboxed(program: Program, order: Order) -> Program:
    """The program on a grid of which `boxed` made this one."""
    space = Space(len(order.rows.extents), order.rows.extents)
    places: dict[Expr, Expr] = {
        at: place
        for side, variable, boxes in (("q", Q, order.rows), ("k", K, order.keys))
        for place, at in zip(space.coordinates(side), boxes.coordinates(variable), strict=True)
        if not isinstance(at, Const)  # an axis of one token
    }
    return replace(program.substituted(places), space=space)


# -- choosing ---------------------------------------------------------------------------------------------------------


class Considered(NamedTuple):
    """An order in tiles of STANDARD, counted on a few tiles of queries.

    boxes:  None is the row-major order.   time: predicted, over that of the row-major order.
    useful: attended pairs over pairs of tiles that are met.
    """

    boxes: Boxes | None
    time: float
    useful: float


def best_order(program: Program, values: tuple[tuple[Symbol, int], ...], problem: Problem) -> Order | None:
    """The order with the least predicted time; None where that is row-major, or the mask is no product of axes."""
    found = considered(program, values, problem)
    boxes = found[0].boxes if found else None
    return None if boxes is None else Order(boxes, boxes)


@functools.lru_cache(maxsize=256)
def considered(
    program: Program, values: tuple[tuple[Symbol, int], ...], problem: Problem, offered: tuple[Boxes, ...] | None = None
) -> tuple[Considered, ...]:
    """Every order, the chosen one first, then by predicted time; nothing where the mask is no product of axes.

    values:  of the symbols that the mask reads.
    offered: boxes to choose from, beside row-major; None is all of STANDARD's size.
    """
    axes = seen_along(program, dict(values))
    if axes is None:
        return ()
    bound = with_values(program, {symbol: Const(value) for symbol, value in values})
    offered = tuple(boxes for boxes in (candidates(axes) if offered is None else offered) if class_conditions(bound, boxes, {}))
    whole, useful = row_major(axes, problem)
    ranked = [Considered(boxes, time / whole, useful) for boxes in offered for time, useful in [in_boxes(axes, boxes, problem)]]
    ranked.sort(key=lambda each: each.time)
    slower = [each for each in ranked if each.time * LEAST_GAIN > 1]
    return (*ranked[: len(ranked) - len(slower)], Considered(None, 1.0, useful), *slower)


def candidates(axes: Sequence[Seen]) -> Iterator[Boxes]:
    """Boxes of as many tokens as a tile of STANDARD has, with the dilation that each axis has."""
    extents = tuple(len(seen) for seen in axes)
    dilation = tuple(math.gcd(len(seen), dilation_of(seen)) for seen in axes)
    powers = [1 << n for n in range(STANDARD.lanes.bit_length())]
    edges = [[edge for edge in powers if extent % (edge * apart) == 0] for extent, apart in zip(extents, dilation, strict=True)]
    for box in product(*edges):
        if math.prod(box) == STANDARD.lanes == STANDARD.lines:
            yield Boxes(extents, box, dilation)


# -- counting ---------------------------------------------------------------------------------------------------------


def in_boxes(axes: Sequence[Seen], boxes: Boxes, problem: Problem) -> tuple[float, float]:
    """Predicted nanoseconds for a thousand rows in an order, and attended pairs over pairs met."""
    sorted_axes = [_by_box(seen, edge, apart) for seen, edge, apart in zip(axes, boxes.box, boxes.dilation, strict=True)]
    counts = [len(seen) for seen in sorted_axes]
    sampled = _sampled(math.prod(counts))
    work, useful = _total([_met_by_box(sorted_axes, np.unravel_index(at, counts)) for at in sampled])
    return COSTS.predicted(work, STANDARD, problem) + COPY * problem.width * work.lines, useful


def _sampled(tiles: int) -> list[int]:
    """Numbers of the tiles of queries that are counted."""
    return sorted({at * (tiles - 1) // (SAMPLES - 1) for at in range(SAMPLES)})


def _by_box(seen: Seen, edge: int, apart: int) -> np.ndarray:
    """bool[boxes, edge, boxes, edge]: an axis in box order on both sides."""
    order = np.arange(len(seen)).reshape(-1, edge, apart).transpose(2, 0, 1).reshape(-1)
    return seen[order][:, order].reshape(len(seen) // edge, edge, len(seen) // edge, edge)


def _met_by_box(axes: Sequence[np.ndarray], at: Sequence[np.intp]) -> np.ndarray:
    """bool[rows, tiles of keys, lines]: what the queries of one box see of the boxes that they meet."""
    found = np.ones((1, 1, 1), bool)  # rows, key boxes, keys of a box
    for seen, here in zip(axes, at, strict=True):
        rows = seen[int(here)]
        rows = rows[:, np.logical_or.reduce(rows, axis=(0, 2))]
        sizes = [a * b for a, b in zip(found.shape, rows.shape, strict=True)]
        found = (found[:, None, :, None, :, None] & rows[None, :, None, :, None, :]).reshape(sizes)
    return found


def row_major(axes: Sequence[Seen], problem: Problem) -> tuple[float, float]:
    """The same for tiles of row-major tokens."""
    extents = [len(seen) for seen in axes]
    tokens, lanes, lines = math.prod(extents), STANDARD.lanes, STANDARD.lines
    sampled = _sampled(-(-tokens // lanes))
    met: list[np.ndarray] = []
    for tile in sampled:
        rows = np.unravel_index(np.arange(tile * lanes, min((tile + 1) * lanes, tokens)), extents)
        found = np.ones((len(rows[0]), 1), bool)
        for seen, at in zip(axes, rows, strict=True):
            found = (found[:, :, None] & seen[at][:, None, :]).reshape(len(found), -1)
        padded = np.zeros((lanes, -(-tokens // lines) * lines), bool)
        padded[: len(found), :tokens] = found
        met.append(padded.reshape(lanes, -1, lines))
    work, useful = _total(met)
    return COSTS.predicted(work, STANDARD, problem), useful


def _total(met: Sequence[np.ndarray]) -> tuple[Work, float]:
    """The work of several tiles of queries, and attended pairs over pairs met."""
    rows = sum(each.shape[0] for each in met)
    work = Work(*(float(total) * 1000 / rows for total in np.sum([_work_of_tile(each) for each in met], axis=0)))
    live = sum(int(np.count_nonzero(each)) for each in met)
    return work, live / max(1.0, work.lines * rows / 1000 * STANDARD.lanes)


def _work_of_tile(seen: np.ndarray) -> tuple[int, ...]:
    """The fields of `Work` for the rows of one tile: bool[rows, tiles of keys, lines]."""
    rows, _, lines = seen.shape
    live = seen.sum(axis=(0, 2))
    chunks = np.logical_or.reduce(seen.reshape(rows // CHUNK, CHUNK, *seen.shape[1:]), axis=1)
    met = np.logical_or.reduce(chunks, axis=2)
    first, last = np.argmax(chunks, axis=2), lines - np.argmax(chunks[:, :, ::-1], axis=2)
    run = np.where(met, last - first, 0).sum(axis=0)
    full = live == rows * lines
    at_once = full | (8 * run > 7 * lines * (rows // CHUNK))
    visited, partial, whole = (int(np.count_nonzero((live > 0) & which)) for which in (True, ~full, at_once))
    return visited, visited * lines, partial * lines * rows, whole * lines * rows, int(run[~at_once].sum()) * CHUNK, rows
