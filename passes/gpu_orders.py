"""How a grid is cut for a kernel of a GPU: into boxes of queries and boxes of keys, or into runs of tokens, by predicted time.

A box of queries meets a box of keys where both meet along every axis, so visited and full tiles are products of what each axis has, and
exact. Boxes have as many tokens as a tile of a configuration; those of queries and of keys may differ.
"""

# Numpy's arrays carry no element type here.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np

from ..ir.configuration import Configuration, Cut
from ..ir.expr import Const, Symbol
from ..ir.order import Boxes, Order
from ..ir.program import Program
from .axes import Seen, dilation_of, seen_along
from .axis_runs import Array, Axis
from .box_order import LEAST_GAIN
from .canonicalise import with_values
from .class_conditions import class_conditions
from .gpu_configurations import ROWS, clocks, offered
from .gpu_resources import Problem, copies, ordered_values, pair_values
from .live_area import Area
from .row_major_counts import row_major_tiles

Values = tuple[tuple[Symbol, int], ...]


class Considered(NamedTuple):
    """A cut, of one (b, h).

    time:   predicted, over that of the best row-major one.   visited, full: tiles.
    useful: attended pairs over pairs of visited tiles, what hangs over the grid counted.
    """

    cut: Cut
    time: float
    useful: float
    visited: int
    full: int


@functools.lru_cache(maxsize=256)
def considered(
    program: Program, values: Values, problem: Problem, together: int = 1, configurations: tuple[Configuration, ...] | None = None
) -> tuple[Considered, ...]:
    """The best cut of every configuration in boxes and the best row-major one, the chosen cut first, then by predicted time.

    Nothing where the mask is no product of axes.

    values:   of the symbols that the mask reads.   together: query heads in a tile.
    configurations: to choose from; None is all that the target is offered.
    """
    axes = seen_along(program, dict(values))
    if axes is None:
        return ()
    cutter = _Cutter(axes, problem, together, configurations)
    flat = min(cutter.row_major(pair_values(program)), key=lambda each: each.time)
    dilation = _dilation(program, values, axes)
    boxes = sorted(cutter.boxes(dilation, ordered_values(problem, program)), key=lambda each: each.time)
    faster = [each for each in boxes if each.time * LEAST_GAIN <= flat.time]
    ranked = (*faster, flat, *boxes[len(faster) :])
    return tuple(each._replace(time=each.time / flat.time) for each in ranked)


def _dilation(program: Program, values: Values, axes: Sequence[Seen]) -> tuple[int, ...]:
    """From one token of a box to the next: that of each axis, where its residue classes are alike."""
    dilation = tuple(min(len(seen), dilation_of(seen)) for seen in axes)
    bound = with_values(program, {symbol: Const(value) for symbol, value in values})
    alike = class_conditions(bound, Boxes(program.space.extents, dilation, dilation), {}) is not None
    return dilation if alike else (1,) * len(axes)


@dataclass(frozen=True)
class _Cutter:
    """Cuts of a grid, their `time` in clocks."""

    axes: Sequence[Seen]
    problem: Problem
    together: int
    configurations: tuple[Configuration, ...] | None

    @property
    def extents(self) -> tuple[int, ...]:
        return tuple(len(seen) for seen in self.axes)

    @functools.cached_property
    def live(self) -> int:
        return math.prod(int(np.count_nonzero(seen)) for seen in self.axes)

    def tile(self, configuration: Configuration) -> tuple[int, int]:
        """Tokens of queries and of keys."""
        return max(1, configuration.block_q // self.together), configuration.block_k

    def considered(self, cut: Cut, clocked: float, tiles: tuple[int, int]) -> Considered:
        queries, keys = self.tile(cut.configuration)
        return Considered(cut, clocked, self.live / max(1, tiles[0] * queries * keys), *tiles)

    def row_major(self, extra: float) -> list[Considered]:
        """Cuts into runs of tokens, of the configuration of each tile that takes the least time."""
        by_tile = self._by_tile(extra)
        counted = row_major_tiles([Axis.of(seen) for seen in self.axes], list(by_tile))
        found: list[Considered] = []
        for (tile, configurations), tiles in zip(by_tile.items(), counted, strict=True):
            rates = [_Rates.of(self.problem._replace(extra=extra), each) for each in configurations]
            rows = self._rows(math.prod(self.extents), tile)
            time, configuration = min((float(rate.time(*tiles, rows)), each) for rate, each in zip(rates, configurations, strict=True))
            found.append(self.considered(Cut(configuration), time, tiles))
        return found

    def boxes(self, dilation: tuple[int, ...], extra: float) -> list[Considered]:
        """The best boxes of each configuration."""
        counts = [_Along.of(seen, apart) for seen, apart in zip(self.axes, dilation, strict=True)]
        found: list[Considered] = []
        for tile, offered_here in self._by_tile(extra).items():
            configurations = [each for each in offered_here if _has_room(self.problem, each)]
            queries, keys = (_boxes(self.extents, tokens, dilation) for tokens in tile)
            if not queries or not keys or not configurations:
                continue
            visited, full = (_product([getattr(each, name) for each in counts], queries, keys) for name in ("met", "filled"))
            rows = np.array([self._rows(boxes.positions, tile) for boxes in (keys if self._turned else queries)])
            rows = rows[None, :] if self._turned else rows[:, None]
            for each in configurations:
                time = _Rates.of(self.problem._replace(extra=extra), each).time(visited, full, rows)
                q, k = np.unravel_index(int(time.argmin()), time.shape)
                cut = Cut(each, Order(queries[int(q)], keys[int(k)]))
                found.append(self.considered(cut, float(time[q, k]), (int(visited[q, k]), int(full[q, k]))))
        return found

    @property
    def _turned(self) -> bool:
        """Whether a program owns a tile of keys."""
        return self.problem.family == "backward"

    def _rows(self, positions: int, tile: tuple[int, int]) -> float:
        """Rows of all tiles that programs own, for each head that a tile has rows of."""
        edge = tile[1] if self._turned else tile[0]
        return -(-positions // edge) * edge * (1 if self._turned else self.together)

    def _by_tile(self, extra: float) -> dict[tuple[int, int], list[Configuration]]:
        found: dict[tuple[int, int], list[Configuration]] = {}
        for each in self.configurations or offered(self.problem._replace(extra=extra)):
            found.setdefault(self.tile(each), []).append(each)
        return found


def _has_room(problem: Problem, configuration: Configuration) -> bool:
    """Whether threads can keep what each of their rows sees along every axis: with more rows to a warp kernels were seen to spill."""
    if not problem.half or problem.family != "forward":
        return True
    longest, rows = max(problem.dims), configuration.block_q
    if longest > 128 and copies(problem):
        wide = configuration.block_k >= 32 and configuration.stages == 2
        return rows <= 8 * configuration.warps and (longest <= 192 or rows <= 32 or wide)
    return rows <= 16 * configuration.warps


def _boxes(extents: tuple[int, ...], tokens: int, dilation: tuple[int, ...]) -> list[Boxes]:
    """Boxes of so many positions: edges are powers of two, as `tokens` is."""
    powers = [1 << n for n in range(tokens.bit_length())]
    found = (Boxes(extents, box, dilation) for box in product(powers, repeat=len(extents)) if math.prod(box) == tokens)
    return [boxes for boxes in found if boxes.fit]


def _product(tables: Sequence[Array], queries: Sequence[Boxes], keys: Sequence[Boxes]) -> Array:
    """i64[boxes of queries, boxes of keys] from tables of each axis by the logarithms of edges."""
    found = np.ones((len(queries), len(keys)), np.int64)
    for axis, table in enumerate(tables):
        q, k = ([boxes.box[axis].bit_length() - 1 for boxes in side] for side in (queries, keys))
        found = found * table[np.ix_(q, k)]
    return found


# -- one axis ---------------------------------------------------------------------------------------------------------


class _Along(NamedTuple):
    """Pairs of groups of queries and of keys along an axis, i64[edges of queries, edges of keys], of edges 1, 2, 4, ...

    met: that see something.   filled: where all queries see all keys, and there are as many keys as the edge says.
    """

    met: Array
    filled: Array

    @staticmethod
    def of(seen: Seen, apart: int) -> _Along:
        axis = Axis.of(seen) if apart > 1 else Axis.in_classes(Axis.of(seen).flat, 1, [])
        edges = 1 << np.arange(LARGEST_EDGE.bit_length())
        met, filled = (np.zeros((len(edges), len(edges)), np.int64) for _ in range(2))
        for line, times in axis.classes:
            for at, edge in enumerate(edges.tolist()):
                met[at] += times * line.some(edge).met(edges)
                filled[at] += times * line.every(edge).filled(edges)
        return _Along(met, filled)


LARGEST_EDGE = 256


# -- time -------------------------------------------------------------------------------------------------------------


class _Rates(NamedTuple):
    """Clocks of a full tile, of a partial one, and of ROWS rows beside their tiles."""

    full: float
    partial: float
    rows: float

    @staticmethod
    def of(problem: Problem, configuration: Configuration) -> _Rates:
        idle, full, partial = (clocks(problem, configuration, area) for area in (Area(0, 0), Area(1, 0), Area(0, 1)))
        return _Rates(full - idle, partial - idle, idle)

    def time(self, visited: Array | int, full: Array | int, rows: Array | float) -> Array:
        return np.asarray(self.partial * (visited - full) + self.full * full + self.rows * rows / ROWS)
