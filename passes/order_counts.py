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
from typing import NamedTuple

import numpy as np

from ..ir.order import Boxes
from ..ir.target import CHUNK
from .axes import Seen
from .axis_runs import Axis
from .row_major_counts import row_major_tiles
from .tile_shape import COSTS, STANDARD, Problem, Work

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


def in_boxes(axes: Sequence[Seen], boxes: Boxes, problem: Problem) -> Counted:
    """Tiles that are boxes, what hangs over the grid counted."""
    along = [_Along.of(seen, *sizes) for seen, *sizes in zip(axes, boxes.box, boxes.dilation, strict=True)]
    counts = [len(each.pairs) for each in along]
    sampled = [_met_by_box(along, at) for at in _spread(boxes)]
    visited, full = math.prod(each.met for each in along), math.prod(each.filled for each in along)
    work = _work((visited, full, math.prod(counts)), _chunks(sampled), boxes.extents)
    return Counted(COSTS.predicted(work, STANDARD, problem) + COPY * problem.width * work.lines, _useful(axes, visited), visited, full)


def row_major(axes: Sequence[Seen], problem: Problem) -> Counted:
    """Tiles of row-major tokens."""
    extents = [len(seen) for seen in axes]
    tokens, lanes, lines = math.prod(extents), STANDARD.lanes, STANDARD.lines
    tiles = -(-tokens // lanes)
    sampled: list[_Met] = []
    for tile in _sampled(tiles):
        rows = np.unravel_index(np.arange(tile * lanes, min((tile + 1) * lanes, tokens)), extents)
        found = np.ones((len(rows[0]), 1), bool)
        for seen, at in zip(axes, rows, strict=True):
            found = (found[:, :, None] & seen[at][:, None, :]).reshape(len(found), -1)
        padded = np.zeros((lanes, -(-tokens // lines) * lines), bool)
        padded[: len(found), :tokens] = found
        sampled.append(_Met(padded.reshape(lanes, -1, lines), np.arange(lanes) < len(found)))
    visited, full = row_major_tiles([Axis.of(seen) for seen in axes], [(lanes, lines)])[0]
    work = _work((visited, full, tiles), _chunks(sampled), extents)
    return Counted(COSTS.predicted(work, STANDARD, problem), _useful(axes, visited), visited, full)


def _useful(axes: Sequence[Seen], visited: int) -> float:
    return math.prod(int(np.count_nonzero(seen)) for seen in axes) / max(1, visited * STANDARD.lanes * STANDARD.lines)


def _sampled(tiles: int) -> list[int]:
    """Numbers of the row-major tiles of queries that are looked at."""
    return sorted({at * (tiles - 1) // (SAMPLES - 1) for at in range(SAMPLES)})


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
    """Of one tile of queries: bool[rows, tiles of keys, lines] of what is seen, and bool[rows] of what is a token."""

    seen: Array
    rows: Array


class _Chunks(NamedTuple):
    """Of a partial tile on average: pairs computed a tile at a time, and CHUNK lanes at a time."""

    whole: float
    chunked: float


def _met_by_box(axes: Sequence[_Along], at: Sequence[int]) -> _Met:
    """What the queries of one box see of the boxes that they meet."""
    found, tokens = np.ones((1, 1, 1), bool), np.ones(1, bool)
    for along, here in zip(axes, at, strict=True):
        rows = along.pairs[here]
        rows = rows[:, np.logical_or.reduce(rows, axis=(0, 2))]
        sizes = [a * b for a, b in zip(found.shape, rows.shape, strict=True)]
        found = (found[:, None, :, None, :, None] & rows[None, :, None, :, None, :]).reshape(sizes)
        tokens = (tokens[:, None] & along.rows[here]).reshape(-1)
    return _Met(found, tokens)


def _chunks(sampled: Sequence[_Met]) -> _Chunks:
    partial, whole, chunked = (sum(each) for each in zip(*(_of_tile(each) for each in sampled), strict=True))
    return _Chunks(whole / partial, chunked / partial) if partial else _Chunks(STANDARD.lanes * STANDARD.lines, 0.0)


def _of_tile(met: _Met) -> tuple[int, int, int]:
    """Partial tiles of a tile of queries, and their pairs: computed a tile at a time, and CHUNK lanes at a time."""
    seen = met.seen
    rows, _, lines = seen.shape
    chunks = np.logical_or.reduce(seen.reshape(rows // CHUNK, CHUNK, *seen.shape[1:]), axis=1)
    full = (seen.all(axis=2) | ~met.rows[:, None]).all(axis=0)
    lived = np.logical_or.reduce(chunks, axis=2)
    first, last = np.argmax(chunks, axis=2), lines - np.argmax(chunks[:, :, ::-1], axis=2)
    run = np.where(lived, last - first, 0).sum(axis=0)
    partial = lived.any(axis=0) & ~full
    at_once = partial & (8 * run > 7 * lines * (rows // CHUNK))
    return int(np.count_nonzero(partial)), int(np.count_nonzero(at_once)) * lines * rows, int(run[partial & ~at_once].sum()) * CHUNK


def _work(tiles: tuple[int, int, int], chunks: _Chunks, extents: Sequence[int]) -> Work:
    """tiles: visited, full, and of queries."""
    visited, full, rows = tiles
    pairs, partial, per = STANDARD.lanes * STANDARD.lines, visited - full, 1000 / math.prod(extents)
    whole = full * pairs + partial * chunks.whole
    found = (visited, visited * STANDARD.lines, partial * pairs, whole, partial * chunks.chunked, rows * STANDARD.lanes)
    return Work(*(per * each for each in found))
