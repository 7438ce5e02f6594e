"""Tiles of row-major tokens of a grid, counted exactly: a tile holds parts of rows of the grid, each of which sees runs of keys."""

# Numpy's arrays carry no element type here.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from ..grids.axis_runs import Array, Axis, Line, runs_of

Interval = tuple[Array, Array]
"""Start and stop of runs of keys: i64[runs] each."""


def row_major_tiles(axes: Sequence[Axis], tiles: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Visited and full tiles, for tiles of each size in tokens. A full one lies inside the grid on the side of keys."""
    rows: dict[int, Rows] = {}
    found: list[tuple[int, int]] = []
    for tile in tiles:
        inner = _whole_tiles(axes, tile)
        outside = math.prod(axis.flat.live for axis in axes[:inner])
        if inner == len(axes) - 1:
            line, edges = axes[-1].flat, np.array([tile[1]])
            visited, full = int(line.some(tile[0]).met(edges)[0]), int(line.every(tile[0]).filled(edges)[0])
        else:
            at = rows.setdefault(inner, Rows([axis.flat for axis in axes[inner:]]))
            visited, full = (sum(each) for each in zip(*at.tiles(tile), strict=True))
        found.append((outside * visited, outside * full))
    return found


def _whole_tiles(axes: Sequence[Axis], tile: tuple[int, int]) -> int:
    """The innermost axis from which on a whole number of tiles of either side fits: they are alike for each coordinate outside of it."""
    for at in reversed(range(len(axes))):
        tokens = math.prod(axis.extent for axis in axes[at:])
        if tokens % tile[0] == 0 == tokens % tile[1]:
            return at
    return 0


class Rows:
    """The rows of a grid of two or more lines, innermost last; what each sees is looked at once."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self.lines = lines
        self.width = lines[-1].length
        self.outside = [line.length for line in lines[:-1]]
        self.tokens = self.width * math.prod(self.outside)
        self._keys: dict[int, Array] = {}
        self._runs: dict[tuple[int, int, bool], Interval] = {}

    def tiles(self, tile: tuple[int, int]) -> Iterator[tuple[int, int]]:
        """Visited and full tiles of each tile of queries."""
        for first in range(0, self.tokens, tile[0]):
            yield self._of_tile(first, min(first + tile[0], self.tokens), tile[1])

    def _of_tile(self, first: int, stop: int, edge: int) -> tuple[int, int]:
        tiles = -(-self.tokens // edge)
        met, covered, parts = np.zeros(tiles + 1, np.int64), np.zeros(tiles, np.int64), 0
        for row in range(first // self.width, (stop - 1) // self.width + 1):
            columns = max(first - row * self.width, 0), min(stop - row * self.width, self.width)
            met += changes(self.seen(row, columns, joined_by_all=False), edge, tiles)
            covered += overlaps(self.seen(row, columns, joined_by_all=True), edge, tiles)
            parts += 1
        return int(np.count_nonzero(met.cumsum()[:-1])), int(np.count_nonzero(covered == parts * edge))

    def seen(self, row: int, columns: tuple[int, int], *, joined_by_all: bool) -> Interval:
        """Runs of keys that a query between two columns of a row sees, or that all of them see."""
        return _spread(self._seen_from(row), self._columns(*columns, joined_by_all=joined_by_all))

    def _seen_from(self, row: int) -> Array:
        """The first keys of the rows of the grid that the queries of a row see."""
        if row not in self._keys:
            keys = np.zeros(1, np.int64)
            for line, at in zip(self.lines, np.unravel_index(row, self.outside), strict=False):
                start, stop = _runs(line, (int(at), int(at) + 1), joined_by_all=False)
                seen = np.concatenate([np.arange(a, b) for a, b in zip(start, stop, strict=True)] or [np.zeros(0, np.int64)])
                keys = (keys[:, None] * line.length + seen).ravel()
            self._keys[row] = keys * self.width
        return self._keys[row]

    def _columns(self, first: int, stop: int, *, joined_by_all: bool) -> Interval:
        """Runs of a row that the queries from one column to another see."""
        key = first, stop, joined_by_all
        if key not in self._runs:
            self._runs[key] = _runs(self.lines[-1], (first, stop), joined_by_all=joined_by_all)
        return self._runs[key]


def _runs(line: Line, queries: tuple[int, int], *, joined_by_all: bool) -> Interval:
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


def changes(runs: Interval, edge: int, tiles: int) -> Array:
    """How many more runs a tile meets than the one before it."""
    start, stop = runs
    return np.bincount(start // edge, minlength=tiles + 1) - np.bincount((stop - 1) // edge + 1, minlength=tiles + 1)


def overlaps(runs: Interval, edge: int, tiles: int) -> Array:
    """Keys of each tile that lie in a run."""
    start, stop = runs
    ends = np.zeros(tiles + 1, np.int64)
    for at, sign in ((stop, 1), (start, -1)):  # keys before an end: whole tiles, then a part of one
        ends += sign * np.bincount(at // edge, at % edge, tiles + 1).astype(np.int64)
        whole = np.bincount(at // edge, minlength=tiles + 1)
        ends[:-1] += sign * edge * whole[::-1].cumsum()[::-1][1:]
    return ends[:-1]
