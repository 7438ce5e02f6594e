"""Every cut of a grid into boxes of queries and boxes of keys, counted exactly, and the best of them.

A box of queries meets a box of keys where both meet along every axis, so pairs of boxes are products of what `axis_runs` counts.
Boxes may have fewer tokens than their tile; what a tile has too many, and what hangs over the grid, is visited like any other pair.
"""

# Numpy's arrays carry no element type here.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple

import numpy as np

from ..grids.axis_runs import Array, Axis
from .row_major_counts import row_major_tiles
from .tile_costs import TileCost

TOGETHER = 64  # boxes of queries that are multiplied with all boxes of keys at a time

Edges = tuple[int, ...]


@dataclass(frozen=True)
class Tiling:
    """A way to cut queries and keys into tiles, with exact counts of one (b, h).

    order:         `boxes`, cut from the corner of the grid; `unaligned boxes`, where the keys of a box of queries are those that it sees,
                   one row of the grid after the other, cut from the first one; or `row-major`.
    tile:          tokens of queries and of keys.
    queries, keys: edges of boxes, None where they are no boxes.
    visited:       pairs of all visited tiles, padding counted. full: tiles that run without the mask, over all visited.
    useful:        attended pairs over `visited`. bound: of the speed-up, all pairs over `visited`.
    time:          predicted, in the unit of the device.
    """

    order: str
    tile: tuple[int, int]
    queries: Edges | None
    keys: Edges | None
    visited: int
    full: float
    useful: float
    bound: float
    time: float


@dataclass(frozen=True)
class Grid:
    """Axes, outermost first. padded: whether boxes may have fewer tokens than their tile."""

    axes: tuple[Axis, ...]
    padded: bool = True

    @property
    def tokens(self) -> int:
        return math.prod(axis.extent for axis in self.axes)

    @property
    def live(self) -> int:
        """Attended pairs."""
        return math.prod(axis.flat.live for axis in self.axes)

    def tiling(self, order: str, cost: TileCost, boxes: tuple[Edges | None, Edges | None], counts: tuple[int, int, float]) -> Tiling:
        """counts: visited and full tiles, and the time."""
        tiles, full, time = counts
        visited = tiles * cost.queries * cost.keys
        pairs = max(1, visited)
        return Tiling(
            order, (cost.queries, cost.keys), *boxes, visited, full / max(1, tiles), self.live / pairs, self.tokens**2 / pairs, time
        )

    def boxes(self, tokens: int) -> Array:
        """Edges of the boxes that fit a tile: i64[boxes, axes].

        One that could be twice as long along an axis is left out: each two of its tiles are one of the longer box, which visits no more.
        """
        longest = [axis.longest for axis in self.axes]
        found = np.array(list(_boxes(longest, tokens)), np.int64).reshape(-1, len(longest))
        size, most = found.prod(1, keepdims=True), np.array(longest)
        longer = size // found * np.minimum(2 * found, most)
        keep = ((found == most) | (longer > tokens)).all(1) if self.padded else size[:, 0] == min(tokens, math.prod(longest))
        return found[keep]


def _boxes(longest: Sequence[int], tokens: int) -> Iterator[Edges]:
    if len(longest) == 1:
        yield from ((edge,) for edge in range(1, min(longest[0], tokens) + 1))
        return
    for edge in range(1, min(longest[0], tokens) + 1):
        yield from ((edge, *rest) for rest in _boxes(longest[1:], tokens // edge))


# -- tables -----------------------------------------------------------------------------------------------------------


class Along:
    """Counts along one axis, for the edges of queries that are needed and those of keys up to `most[1]`; entry 0 stands for no edge.

    seen:  i64[edges]: keys seen of all groups of queries. shared: those that all queries of a group see.   groups: of queries.
    """

    def __init__(self, axis: Axis, most: tuple[int, int], needed: Array) -> None:
        self.axis = axis
        edges: Array = np.arange(1, min(most[1], axis.longest) + 1)
        size = min(most[0], axis.longest) + 1
        self.met, self.filled = (np.zeros((size, len(edges) + 1), np.int64) for _ in range(2))
        self.seen, self.shared, self.groups = (np.zeros(size, np.int64) for _ in range(3))
        for edge in needed:
            self._count(int(edge), edges)

    def _count(self, edge: int, edges: Array) -> None:
        self.groups[edge] = self.axis.groups(edge)
        for line, times in self.axis.classes:
            some, every = line.some(edge), line.every(edge)
            self.met[edge, 1:] += times * some.met(edges)
            self.filled[edge, 1:] += times * every.filled(edges)
            self.seen[edge] += times * int((some.stop - some.start).sum())
            self.shared[edge] += times * int((every.stop - every.start).sum())

    def widths(self, edge: int) -> tuple[Array, Array, Array]:
        """Keys that a group sees, whether all its queries see all of them, and how many groups are like that."""
        found: dict[tuple[int, bool], int] = {}
        for line, times in self.axis.classes:
            groups = line.groups(edge)
            some, every = line.some(edge).widths(groups), line.every(edge).widths(groups)
            for width, alike in zip(some.tolist(), (some == every).tolist(), strict=True):
                found[width, alike] = found.get((width, alike), 0) + times
        return np.array([width for width, _ in found]), np.array([alike for _, alike in found]), np.array(list(found.values()))


class Counter:
    """The boxes of a grid in tiles of some sizes."""

    def __init__(self, grid: Grid, costs: Sequence[TileCost]) -> None:
        self.grid = grid
        self._boxes: dict[int, Array] = {}
        most = max(cost.queries for cost in costs), max(cost.keys for cost in costs)
        edges = np.concatenate([self.boxes(cost.queries) for cost in costs])
        self.along = [Along(axis, most, np.unique(edges[:, at])) for at, axis in enumerate(grid.axes)]

    def boxes(self, tokens: int) -> Array:
        if tokens not in self._boxes:
            self._boxes[tokens] = self.grid.boxes(tokens)
        return self._boxes[tokens]

    def aligned(self, cost: TileCost) -> list[Tiling]:
        """The boxes of queries and of keys that take the least time, and those that visit the fewest pairs."""
        queries, keys = self._promising(cost), self.boxes(cost.keys)
        met, filled = ([getattr(each, name)[:, keys[:, axis]] for axis, each in enumerate(self.along)] for name in ("met", "filled"))
        filled = [table * (keys.prod(1) == cost.keys) for table in filled]  # a box with fewer keys than its tile leaves some to mask
        best = Best()
        for at in range(0, len(queries.edges), TOGETHER):
            if not best.may_improve(queries, at):
                break
            here = slice(at, at + TOGETHER)
            visited, full = (_product(tables, queries.edges[here]) for tables in (met, filled))
            time = cost.partial * visited - (cost.partial - cost.full) * full + queries.rows[here, None] * cost.row
            for which in (int(time.argmin()), int(np.where(visited == visited.min(), time, math.inf).argmin())):
                q, k = divmod(which, len(keys))
                best.add(Cut(int(visited[q, k]), float(time[q, k]), int(full[q, k]), queries.edges[at + q], keys[k]))
        return [self._tiling("boxes", cost, each) for each in best.found()]

    def _tiling(self, order: str, cost: TileCost, cut: Cut) -> Tiling:
        queries, keys = (None if each is None else tuple(int(edge) for edge in each) for each in (cut.queries, cut.keys))
        return self.grid.tiling(order, cost, (queries, keys), (cut.tiles, cut.full, cut.time))

    def unaligned(self, cost: TileCost) -> list[Tiling]:
        """The same where chunks of keys start at the first key that a box of queries sees."""
        queries = self._promising(cost)
        best = Best()
        for at, edges in enumerate(queries.edges):
            if not best.may_improve(queries, at):
                break
            tiles, full = self._chunks(edges, cost.keys)
            time = tiles * cost.gathered - (cost.partial - cost.full) * full + float(queries.rows[at]) * cost.row
            best.add(Cut(tiles, time, full, edges, None))
        return [self._tiling("unaligned boxes", cost, each) for each in best.found()]

    def _chunks(self, box: Array, tokens: int) -> tuple[int, int]:
        """Chunks of keys of all boxes of queries; full are those of boxes whose queries all see the same keys, the last one excepted."""
        found = [along.widths(int(edge)) for along, edge in zip(self.along, box, strict=True)]
        width, alike, count = (reduce(np.multiply.outer, [each[part] for each in found]).ravel() for part in range(3))
        return int((-(-width // tokens) * count).sum()), int((width // tokens * alike * count).sum())

    def _promising(self, cost: TileCost) -> Promising:
        """Boxes of queries, those that see the fewest keys first."""
        edges = self.boxes(cost.queries)
        seen, shared, rows = (
            np.prod([getattr(along, name)[edges[:, axis]] for axis, along in enumerate(self.along)], axis=0)
            for name in ("seen", "shared", "groups")
        )
        order = seen.argsort(kind="stable")
        tiles = seen / cost.keys
        time = np.maximum(cost.partial * tiles - (cost.partial - cost.full) * shared / cost.keys, cost.full * tiles) + rows * cost.row
        return Promising(edges[order], rows[order], tiles[order], time[order])


@dataclass(frozen=True)
class Promising:
    """Boxes of queries. rows: tiles of queries; least_tiles, least_time: no boxes of keys do with less."""

    edges: Array
    rows: Array
    least_tiles: Array
    least_time: Array


class Cut(NamedTuple):
    """Tiles that are visited, predicted time, full tiles, and boxes."""

    tiles: int
    time: float
    full: int
    queries: Array
    keys: Array | None


class Best:
    """The cut that takes the least time, and the one that visits the fewest tiles."""

    def __init__(self) -> None:
        self.fastest: Cut | None = None
        self.fewest: Cut | None = None

    def add(self, cut: Cut) -> None:
        if self.fastest is None or (cut.time, cut.tiles) < (self.fastest.time, self.fastest.tiles):
            self.fastest = cut
        if self.fewest is None or cut[:2] < self.fewest[:2]:
            self.fewest = cut

    def may_improve(self, queries: Promising, at: int) -> bool:
        """Whether a box of queries from `at` on may be in a better cut."""
        if self.fastest is None or self.fewest is None:
            return True
        return bool(queries.least_tiles[at] <= self.fewest.tiles) or bool(queries.least_time[at:].min() <= self.fastest.time)

    def found(self) -> list[Cut]:
        both = [each for each in (self.fastest, self.fewest) if each is not None]
        return both[:1] if len(both) == 2 and both[0][:2] == both[1][:2] else both


def _product(tables: Sequence[Array], boxes: Array) -> Array:
    """i64[boxes of queries, boxes of keys] from tables [edges of queries, boxes of keys] of each axis."""
    return reduce(np.multiply, [table[boxes[:, axis]] for axis, table in enumerate(tables)])


def met(grid: Grid, queries: Edges, keys: Edges) -> int:
    """Pairs of a box of queries and a box of keys that meet."""
    along = zip(grid.axes, queries, np.array(keys)[:, None], strict=True)
    return math.prod(int(axis.total(lambda line, q=q, k=k: line.some(q).met(k))[0]) for axis, q, k in along)


# -- row-major --------------------------------------------------------------------------------------------------------


def row_major(grid: Grid, costs: Sequence[TileCost]) -> list[Tiling]:
    """Tiles of tokens as they lie in memory."""
    found: list[Tiling] = []
    counted = row_major_tiles(grid.axes, [(cost.queries, cost.keys) for cost in costs])
    for cost, (visited, full) in zip(costs, counted, strict=True):
        time = cost.partial * visited - (cost.partial - cost.full) * full + cost.row * -(-grid.tokens // cost.queries)
        found.append(grid.tiling("row-major", cost, (None, None), (visited, full, time)))
    return found
