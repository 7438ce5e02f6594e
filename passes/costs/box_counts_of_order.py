"""Tiles of STANDARD that an order of the tokens of a grid visits, counted from what each axis sees, and the time that they take.

A box of queries meets a box of keys where both meet along every axis: visited and full tiles and attended pairs are products, and exact.
Only how much of a partial tile is handled in chunks is looked at on a few tiles of queries.
"""

# Numpy's arrays carry no element type here.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np

from ...ir.order import Boxes
from ...ir.target import CHUNK
from ..grids.axis_runs import Axis
from ..grids.tile_axes import Seen
from .row_major_counts import row_major_tiles
from .tile_shape import COSTS, STANDARD, Problem, Shape, Work, tile_shape

Array = np.ndarray
SAMPLES = 5  # tiles of queries that are looked at
COPY = 0.02  # of reading a key from where it lies, per dimension: tiles of keys are copied, beside what `Costs.line` counts


class Counted(NamedTuple):
    """An order on a grid, of one (b, h).

    time:   predicted nanoseconds for a thousand tokens.   useful: attended pairs over pairs of visited tiles, padding counted.
    visited, full: tiles, exactly.
    """

    time: float
    useful: float
    visited: int
    full: int


class Tiles(NamedTuple):
    """Tiles of STANDARD that queries on a grid meet, and what becomes of their pairs.

    visited, full: tiles, exactly.   whole, chunked: pairs of the partial ones computed a tile at a time, and CHUNK lanes at a time.
    """

    visited: float
    full: float
    whole: float
    chunked: float


def tiles_in_boxes(axes: Sequence[Seen], queries: Boxes) -> Tiles:
    """Of boxes on both sides, what hangs over the grid counted."""
    along = [_Along.of(seen, *sizes) for seen, *sizes in zip(axes, queries.box, queries.dilation, strict=True)]
    visited, full = math.prod(each.met for each in along), math.prod(each.filled for each in along)
    chunks = _chunks([_met_by_box(along, at) for at in _spread(queries)])
    return Tiles(visited, full, (visited - full) * chunks.whole, (visited - full) * chunks.chunked)


def row_major_chunks(axes: Sequence[Seen], shape: Shape) -> tuple[float, float]:
    """Pairs of a partial tile of row-major tokens on average: computed a tile at a time, and CHUNK lanes at a time."""
    return _chunks(_strips(axes, shape), shape)


def in_boxes(axes: Sequence[Seen], boxes: Boxes, problem: Problem) -> Counted:
    """Tiles that are boxes, what hangs over the grid counted."""
    tiles = tiles_in_boxes(axes, boxes)
    time = time_in_boxes(work_of(tiles, boxes.positions, math.prod(boxes.extents)), problem)
    return Counted(time, _useful(axes, int(tiles.visited)), int(tiles.visited), int(tiles.full))


def time_in_boxes(work: Work, problem: Problem) -> float:
    """Nanoseconds for a thousand tokens."""
    return COSTS.predicted(work, STANDARD, problem) + COPY * problem.width * work.lines


def row_major(axes: Sequence[Seen], problem: Problem) -> Counted:
    """Tiles of row-major tokens. The time is that of tiles of the shape that kernels take, which may be another than STANDARD."""
    extents = [len(seen) for seen in axes]
    shape = tile_shape(problem, math.prod(extents))
    sizes = [(each.lanes, each.lines) for each in (STANDARD, shape)]
    (visited, full), ours = row_major_tiles([Axis.of(seen) for seen in axes], sizes)
    tokens, chunks = math.prod(extents), row_major_chunks(axes, shape)
    work = work_of(partly(ours, chunks), -(-tokens // shape.lanes) * shape.lanes, tokens, shape)
    return Counted(COSTS.predicted(work, shape, problem), _useful(axes, visited), visited, full)


def partly(tiles: tuple[int, int], chunks: tuple[float, float]) -> Tiles:
    """Visited and full tiles, and what a partial one is on average."""
    visited, full = tiles
    return Tiles(visited, full, *((visited - full) * each for each in chunks))


def _strips(axes: Sequence[Seen], shape: Shape) -> list[_Met]:
    """What the queries of a few row-major tiles see."""
    extents = [len(seen) for seen in axes]
    tokens, lanes, lines = math.prod(extents), shape.lanes, shape.lines
    last, found = -(-tokens // lanes) - 1, list[_Met]()
    for tile in sorted({at * last // (SAMPLES - 1) for at in range(SAMPLES)}):
        rows = np.unravel_index(np.arange(tile * lanes, min((tile + 1) * lanes, tokens)), extents)
        pairs = np.ones((len(rows[0]), 1), bool)
        for seen, at in zip(axes, rows, strict=True):
            pairs = (pairs[:, :, None] & seen[at][:, None, :]).reshape(len(pairs), -1)
        padded = np.zeros((lanes, -(-tokens // lines) * lines), bool)
        padded[: len(pairs), :tokens] = pairs
        tiles = padded.reshape(lanes // CHUNK, CHUNK, -1, lines)
        full = np.logical_and.reduce(padded[: len(pairs)].reshape(len(pairs), -1, lines), axis=(0, 2))
        found.append(_Met(np.logical_or.reduce(tiles, axis=1), full))
    return found


def _useful(axes: Sequence[Seen], visited: int) -> float:
    return math.prod(int(np.count_nonzero(seen)) for seen in axes) / max(1, visited * STANDARD.lanes * STANDARD.lines)


def _spread(boxes: Boxes) -> list[tuple[int, ...]]:
    """Boxes of queries that are looked at, along each axis: no two are in line along any, as far as there are boxes, nor of one class."""
    steps = [math.sqrt(prime) % 1 for prime in (5, 2, 3, 7)]
    sizes = zip(boxes.counts, boxes.dilation, steps, strict=False)
    along = [[int((at + 0.5) * step % 1 * n) + at % apart * n for at in range(SAMPLES)] for n, apart, step in sizes]
    return list(dict.fromkeys(zip(*along, strict=True)))


# -- one axis ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Along:
    """An axis in box order on both sides.

    pairs: bool[boxes, edge, boxes, edge]: what is seen; what is no token sees nothing and is not seen.
    rows:  bool[boxes, edge]: which are tokens.   met, filled: pairs of boxes that see something, and that see all there is.
    """

    pairs: Array
    rows: Array
    met: int
    filled: int

    @staticmethod
    def of(seen: Seen, edge: int, apart: int) -> _Along:
        length = -(-len(seen) // (apart * edge)) * edge  # of a class, with what hangs over
        token = (np.arange(length)[None, :] * apart + np.arange(apart)[:, None]).reshape(-1)
        there = token < len(seen)
        inside = np.where(there, token, 0)
        pairs = (seen[inside][:, inside] & there[:, None] & there).reshape(len(token) // edge, edge, len(token) // edge, edge)
        rows = there.reshape(-1, edge)
        filled = (pairs.all(axis=3) | ~rows[:, :, None]).all(axis=1) & rows.any(axis=1, keepdims=True)
        return _Along(pairs, rows, int(np.count_nonzero(pairs.any(axis=(1, 3)))), int(np.count_nonzero(filled)))


# -- looking at tiles -------------------------------------------------------------------------------------------------


class _Met(NamedTuple):
    """Of one tile of queries: bool[chunks, tiles of keys, lines] of what a lane of a chunk sees, and bool[tiles of keys] that are full."""

    chunks: Array
    full: Array


class _Chunks(NamedTuple):
    """Of a partial tile on average: pairs computed a tile at a time, and CHUNK lanes at a time."""

    whole: float
    chunked: float


def _met_by_box(axes: Sequence[_Along], at: Sequence[int]) -> _Met:
    """What the queries of one box see of the boxes that they meet. The lanes of a chunk are a box too: what lies innermost."""
    chunks, full, lanes = np.ones((1, 1, 1), bool), np.ones(1, bool), CHUNK
    for along, here in reversed(list(zip(axes, at, strict=True))):
        rows = along.pairs[here]
        rows = rows[:, np.logical_or.reduce(rows, axis=(0, 2))]
        together = math.gcd(len(rows), lanes)
        lanes //= together
        seen = rows.reshape(len(rows) // together, together, *rows.shape[1:]).any(axis=1)
        sizes = [a * b for a, b in zip(seen.shape, chunks.shape, strict=True)]
        chunks = (seen[:, None, :, None, :, None] & chunks[None, :, None, :, None, :]).reshape(sizes)
        filled = rows[along.rows[here]].all(axis=(0, 2)) if along.rows[here].any() else np.zeros(rows.shape[1], bool)
        full = (filled[:, None] & full).reshape(-1)
    return _Met(chunks, full)


def _chunks(sampled: Sequence[_Met], shape: Shape = STANDARD) -> _Chunks:
    partial, whole, chunked = (sum(each) for each in zip(*(_of_tile(each, shape) for each in sampled), strict=True))
    return _Chunks(whole / partial, chunked / partial) if partial else _Chunks(shape.lanes * shape.lines, 0.0)


def _of_tile(met: _Met, shape: Shape) -> tuple[int, int, int]:
    """Partial tiles of a tile of queries, and their pairs: computed a tile at a time, and CHUNK lanes at a time."""
    seen, lines = met.chunks, shape.lines
    lived = np.logical_or.reduce(seen, axis=2)
    first, last = np.argmax(seen, axis=2), lines - np.argmax(seen[:, :, ::-1], axis=2)
    run = np.where(lived, last - first, 0).sum(axis=0)
    partial = lived.any(axis=0) & ~met.full
    at_once = partial & (8 * run > 7 * lines * len(seen))
    return int(np.count_nonzero(partial)), int(np.count_nonzero(at_once)) * lines * shape.lanes, int(run[partial & ~at_once].sum()) * CHUNK


def work_of(tiles: Tiles, rows: int, tokens: int, shape: Shape = STANDARD) -> Work:
    """Per thousand tokens. rows: of tiles of queries, whether they exist or not."""
    pairs, partial, per = shape.lanes * shape.lines, tiles.visited - tiles.full, 1000 / tokens
    whole = tiles.full * pairs + tiles.whole
    found = (tiles.visited, tiles.visited * shape.lines, partial * pairs, whole, tiles.chunked, rows)
    return Work(*(per * each for each in found))


def boxes_of(extents: tuple[int, ...], tokens: int, dilation: tuple[int, ...]) -> list[Boxes]:
    """Boxes of so many positions: edges are powers of two, as `tokens` is."""
    powers = [1 << n for n in range(tokens.bit_length())]
    found = (Boxes(extents, box, dilation) for box in product(powers, repeat=len(extents)) if math.prod(box) == tokens)
    return [boxes for boxes in found if boxes.fit]
