"""How a grid is cut for a kernel of a GPU: into boxes of queries and boxes of keys, or into runs of tokens, by predicted time.

A box of queries meets a box of keys where both meet along every axis, so visited and full tiles are products of what each axis has, and
exact. Boxes have as many tokens as a tile of a configuration; those of queries and of keys may differ.
"""

# Numpy's arrays carry no element type here.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ...ir.configuration import Configuration, Cut
from ...ir.expr import Symbol
from ...ir.order import Order
from ...ir.program import Program
from ..grids.axis_runs import Array
from .box_order import LEAST_GAIN
from .gpu_configurations import ROWS, clocks, offered
from .gpu_grids import Cuttable, Grid
from .gpu_resources import LONG_SUMS, Problem, copies, ordered_values, pair_values
from .visited_tiles import Area

ADDRESSED = 1.15  # time of a kernel whose threads compute addresses, over that of one whose tiles the tensor unit copies; not measured
ADDRESSES = 3.0  # registers of a pair for them: with 2, tiles of 64 x 32 of video beside text spilled on sm_90 with four warps
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
    what = _cuttable(program, values)
    if what is None:
        return ()
    cutter = _Cutter(what, problem, together, configurations)
    flat = min(cutter.row_major(pair_values(program)), key=lambda each: each.time)
    slower = ADDRESSED if program.space.rank == 1 and copies(problem) else 1.0
    found = (each._replace(time=slower * each.time) for each in cutter.boxes(_extra(program, problem)))
    boxes = sorted(found, key=lambda each: each.time)
    faster = [each for each in boxes if each.time * LEAST_GAIN <= flat.time]
    ranked = (*faster, flat, *boxes[len(faster) :])
    return tuple(each._replace(time=each.time / flat.time) for each in ranked)


def _cuttable(program: Program, values: Values) -> Cuttable | None:
    """None where there is neither a grid, nor a sequence with one, or the mask is no product of axes."""
    if program.space.rank > 1:
        return Grid.of(program, dict(values))
    from .gpu_sequences import SequenceOfGrids  # few programs need it

    return SequenceOfGrids.of(program, dict(values))


def _extra(program: Program, problem: Problem) -> float:
    """Registers of a pair over positions. Of a sequence, no copy of the tensor unit brings a tile: parts lie on several grids."""
    if program.space.rank > 1:
        return ordered_values(problem, program)
    return pair_values(program) + (ADDRESSES if copies(problem) else LONG_SUMS)


@dataclass(frozen=True)
class _Cutter:
    """Cuts of a grid, their `time` in clocks."""

    what: Cuttable
    problem: Problem
    together: int
    configurations: tuple[Configuration, ...] | None

    def tile(self, configuration: Configuration) -> tuple[int, int]:
        """Tokens of queries and of keys."""
        return max(1, configuration.block_q // self.together), configuration.block_k

    def considered(self, cut: Cut, clocked: float, tiles: tuple[int, int]) -> Considered:
        queries, keys = self.tile(cut.configuration)
        return Considered(cut, clocked, self.what.live / max(1, tiles[0] * queries * keys), *tiles)

    def row_major(self, extra: float) -> list[Considered]:
        """Cuts into runs of tokens, of the configuration of each tile that takes the least time."""
        by_tile = self._by_tile(extra)
        counted = self.what.row_major(list(by_tile))
        found: list[Considered] = []
        for (tile, configurations), tiles in zip(by_tile.items(), counted, strict=True):
            rates = [_Rates.of(self.problem._replace(extra=extra), each) for each in configurations]
            rows = self._rows(self.what.tokens, tile)
            time, configuration = min((float(rate.time(*tiles, rows)), each) for rate, each in zip(rates, configurations, strict=True))
            found.append(self.considered(Cut(configuration), time, tiles))
        return found

    def boxes(self, extra: float) -> list[Considered]:
        """The best boxes of each configuration."""
        found: list[Considered] = []
        for tile, offered_here in self._by_tile(extra).items():
            configurations = [each for each in offered_here if _has_room(self.problem, each)]
            queries, keys = (self.what.boxes(tokens) for tokens in tile)
            if not queries or not keys or not configurations:
                continue
            visited, full = self.what.tiles(queries, keys)
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
