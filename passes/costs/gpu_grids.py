"""A grid that kernels of a GPU cut into boxes: tiles of every pair of boxes, counted exactly."""

# Numpy's arrays carry no element type here.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from ...ir.expr import Const, Symbol
from ...ir.order import Boxes, Parts
from ...ir.program import Program
from ..grids.axis_runs import Array, Axis
from ..grids.residue_conditions import class_conditions
from ..grids.tile_axes import Seen, dilation_of, seen_along
from ..program.canonicalise import with_values
from .box_counts_of_order import boxes_of
from .row_major_counts import row_major_tiles

Sides = Sequence[Boxes | Parts]


class Cuttable(Protocol):
    """Tokens that a kernel may take in boxes."""

    @property
    def tokens(self) -> int: ...
    @property
    def live(self) -> int:
        """Attended pairs."""
        ...

    def row_major(self, tiles: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """Visited and full tiles of tokens as they lie, for tiles of each size."""
        ...

    def boxes(self, tokens: int) -> Sides:
        """Every way to cut them into boxes of so many positions."""
        ...

    def tiles(self, queries: Sides, keys: Sides) -> tuple[Array, Array]:
        """Visited and full ones, i64[queries, keys], for every way to cut queries and every way to cut keys."""
        ...


@dataclass(frozen=True, eq=False)
class Grid:
    """axes: what each of them sees.   dilation: from one token of a box to the next."""

    axes: tuple[Seen, ...]
    dilation: tuple[int, ...]

    @staticmethod
    def of(program: Program, values: Mapping[Symbol, int]) -> Grid | None:
        """None where the mask is no product of axes."""
        axes = seen_along(program, values)
        return None if axes is None else Grid(axes, _dilation(program, values, axes))

    @property
    def extents(self) -> tuple[int, ...]:
        return tuple(len(seen) for seen in self.axes)

    @property
    def tokens(self) -> int:
        return math.prod(self.extents)

    @property
    def live(self) -> int:
        return math.prod(int(np.count_nonzero(seen)) for seen in self.axes)

    @functools.cached_property
    def along(self) -> list[Along]:
        return [Along.of(seen, apart) for seen, apart in zip(self.axes, self.dilation, strict=True)]

    def row_major(self, tiles: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        return row_major_tiles([Axis.of(seen) for seen in self.axes], tiles)

    def boxes(self, tokens: int) -> Sides:
        return boxes_of(self.extents, tokens, self.dilation)

    def tiles(self, queries: Sides, keys: Sides) -> tuple[Array, Array]:
        return tiles_of(
            self.along, [each for each in queries if isinstance(each, Boxes)], [each for each in keys if isinstance(each, Boxes)]
        )


def _dilation(program: Program, values: Mapping[Symbol, int], axes: Sequence[Seen]) -> tuple[int, ...]:
    """That of each axis, where its residue classes are alike."""
    dilation = tuple(min(len(seen), dilation_of(seen)) for seen in axes)
    bound = with_values(program, {symbol: Const(value) for symbol, value in values.items()})
    alike = class_conditions(bound, Boxes(program.space.extents, dilation, dilation), {}) is not None
    return dilation if alike else (1,) * len(axes)


def tiles_of(along: Sequence[Along], queries: Sequence[Boxes], keys: Sequence[Boxes]) -> tuple[Array, Array]:
    """Visited and full tiles, i64[boxes of queries, boxes of keys]."""
    met, filled = np.ones((len(queries), len(keys)), np.int64), np.ones((len(queries), len(keys)), np.int64)
    for axis, each in enumerate(along):
        at = np.ix_(*([boxes.box[axis].bit_length() - 1 for boxes in side] for side in (queries, keys)))
        met, filled = met * each.met[at], filled * each.filled[at]
    return met, filled


# -- one axis ---------------------------------------------------------------------------------------------------------


class Along(NamedTuple):
    """Pairs of groups of queries and of keys along an axis, i64[edges of queries, edges of keys], of edges 1, 2, 4, ...

    met: that see something.   filled: where all queries see all keys, and there are as many keys as the edge says.
    """

    met: Array
    filled: Array

    @staticmethod
    def of(seen: Seen, apart: int) -> Along:
        axis = Axis.of(seen) if apart > 1 else Axis.in_classes(Axis.of(seen).flat, 1, [])
        edges = 1 << np.arange(LARGEST_EDGE.bit_length())
        met, filled = (np.zeros((len(edges), len(edges)), np.int64) for _ in range(2))
        for line, times in axis.classes:
            for at, edge in enumerate(edges.tolist()):
                met[at] += times * line.some(edge).met(edges)
                filled[at] += times * line.every(edge).filled(edges)
        return Along(met, filled)


LARGEST_EDGE = 256
