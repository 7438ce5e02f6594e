"""Tiles of row-major tokens of a grid, counted exactly: a tile holds parts of rows of the grid, each of which sees runs of keys."""

# Numpy's arrays carry no element type here.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from .axis_runs import Array, Axis, Line, runs_of

Interval = tuple[Array, Array]
"""Start and stop of runs of keys: i64[runs] each."""


def row_major_tiles(axes: Sequence[Axis], tile: tuple[int, int]) -> tuple[int, int]:
    """Visited and full tiles of `tile` tokens. A full one lies inside the grid on the side of keys."""
    inner = _whole_tiles(axes, tile)
    outside = math.prod(axis.flat.live for axis in axes[:inner])
    if inner == len(axes) - 1:
        line, edges = axes[-1].flat, np.array([tile[1]])
        return outside * int(line.some(tile[0]).met(edges)[0]), outside * int(line.every(tile[0]).filled(edges)[0])
    lines = [axis.flat for axis in axes[inner:]]
    tokens = math.prod(line.length for line in lines)
    counted = [_of_tile(lines, (first, min(first + tile[0], tokens)), tile[1]) for first in range(0, tokens, tile[0])]
    return outside * sum(visited for visited, _ in counted), outside * sum(full for _, full in counted)


def _whole_tiles(axes: Sequence[Axis], tile: tuple[int, int]) -> int:
    """The innermost axis from which on a whole number of tiles of either side fits: they are alike for each coordinate outside of it."""
    for at in reversed(range(len(axes))):
        tokens = math.prod(axis.extent for axis in axes[at:])
        if tokens % tile[0] == 0 == tokens % tile[1]:
            return at
    return 0


def _of_tile(lines: Sequence[Line], rows: tuple[int, int], edge: int) -> tuple[int, int]:
    """Visited and full tiles of `edge` keys, of the queries from one token to another."""
    tiles = -(-math.prod(line.length for line in lines) // edge)
    met, covered, parts = np.zeros(tiles + 1, np.int64), np.zeros(tiles, np.int64), 0
    for outer, columns in _parts(lines, rows):
        some, every = (_runs(lines[-1], columns, joined_by_all) for joined_by_all in (False, True))
        met += _changes(_spread(outer, some), edge, tiles)
        covered += _overlaps(_spread(outer, every), edge, tiles)
        parts += 1
    return int(np.count_nonzero(met.cumsum()[:-1])), int(np.count_nonzero(covered == parts * edge))


def _parts(lines: Sequence[Line], rows: tuple[int, int]) -> Iterator[tuple[Array, tuple[int, int]]]:
    """Of each row of the grid that queries lie in: the first keys of the rows that it sees, and which columns the queries are."""
    width, outside = lines[-1].length, [line.length for line in lines[:-1]]
    for row in range(rows[0] // width, (rows[1] - 1) // width + 1):
        keys = np.zeros(1, np.int64)
        for line, at in zip(lines, np.unravel_index(row, outside), strict=False):
            start, stop = _runs(line, (int(at), int(at) + 1), joined_by_all=False)
            seen = np.concatenate([np.arange(a, b) for a, b in zip(start, stop, strict=True)] or [np.zeros(0, np.int64)])
            keys = (keys[:, None] * line.length + seen).ravel()
        yield keys * width, (max(rows[0] - row * width, 0), min(rows[1] - row * width, width))


def _runs(line: Line, queries: tuple[int, int], joined_by_all: bool) -> Interval:
    """Runs of keys that a query, or all of them, see on a line."""
    rows = slice(*queries)
    if line.rows is None:
        assert line.seen is not None
        found = runs_of((np.logical_and if joined_by_all else np.logical_or).reduce(line.seen[rows], axis=0, keepdims=True))
        return found.start, found.stop
    start, stop = line.rows[0][rows], line.rows[1][rows]
    first, last = (start.max(), stop.min()) if joined_by_all else (start.min(), stop.max())
    there = last > first
    return np.array([first])[: int(there)], np.array([last])[: int(there)]


def _spread(outer: Array, runs: Interval) -> Interval:
    start, stop = ((outer[:, None] + end).ravel() for end in runs)
    return start, stop


def _changes(runs: Interval, edge: int, tiles: int) -> Array:
    """How many more runs a tile meets than the one before it."""
    start, stop = runs
    return np.bincount(start // edge, minlength=tiles + 1) - np.bincount((stop - 1) // edge + 1, minlength=tiles + 1)


def _overlaps(runs: Interval, edge: int, tiles: int) -> Array:
    """Keys of each tile that lie in a run."""
    start, stop = runs
    ends = np.zeros(tiles + 1, np.int64)
    for at, sign in ((stop, 1), (start, -1)):  # keys before an end: whole tiles, then a part of one
        ends += sign * np.bincount(at // edge, at % edge, tiles + 1).astype(np.int64)
        whole = np.bincount(at // edge, minlength=tiles + 1)
        ends[:-1] += sign * edge * whole[::-1].cumsum()[::-1][1:]
    return ends[:-1]
