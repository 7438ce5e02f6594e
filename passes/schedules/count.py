"""Number of attended pairs at concrete lengths: axis by axis, part by part, along diagonals, else from rectangles and the pairs in them."""

# Numpy's arrays carry no element type here.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...ir.expr import B, H
from ...ir.program import Program
from ..bounds.boxes import Boxes, Evaluation
from ..bounds.pairs import PairMask
from ..bounds.work import Work
from ..grids.tile_axes import seen_along
from ..program.call_values import Launch
from ..program.tabulate import Tabulated, tabulated
from ..sequences.parts import laid_out
from ..sequences.sequence_rules import rules_of
from .prepare import prepare

CELL = 16  # tokens along either side of what is looked at pair by pair
SAMPLED = 4096  # cells of those that are not, from which the rest is estimated
MOST_VALUES = 1 << 20  # of all nodes of a mask at once
ENDLESS = 1 << 62


class PairCount(NamedTuple):
    """Attended pairs, and whether each was accounted for: if not, some are estimated from a sample."""

    pairs: int
    exact: bool

    def __add__(self, other: tuple[int, bool]) -> PairCount:  # pyright: ignore[reportIncompatibleMethodOverride]  (sums, not sequences)
        return PairCount(self.pairs + other[0], self.exact and other[1])


def live_pairs(program: Program, launch: Launch, places: Sequence[tuple[int, int]] = ((0, 0),)) -> int:
    """Pairs (q, k) inside both lengths that the mask attends, of all (b, h) in `places` together, whatever it takes to count them."""
    return counted_pairs(program, launch, places, Work(ENDLESS, ENDLESS)).pairs


def counted_pairs(program: Program, launch: Launch, places: Sequence[tuple[int, int]] = ((0, 0),), work: Work | None = None) -> PairCount:
    """The same within an amount of work, past which it is an estimate."""
    if min(launch.q_len, launch.k_len) <= 0:
        return PairCount(0, True)
    along = _along_axes(program, launch)
    if along is not None:
        return PairCount(along * len(places), True)
    work = Work() if work is None else work
    placed = prepare(program, launch, shifted=launch.moves).program
    known, rest = _by_parts(program, launch) or (0, [(range(launch.q_len), range(launch.k_len))])
    total = PairCount(known * len(places), True)
    for place in places:
        count = _Count(tabulated(placed.mask, launch, place), launch, place, work)
        for area in rest:
            total += count.of(*area)
    return total


def _by_parts(program: Program, launch: Launch) -> tuple[int, list[tuple[range, range]]] | None:
    """Of a sequence that the call fills: pairs that are known by axes, and the rows and keys of parts of which more is to be asked."""
    if not launch.q_len == launch.k_len == math.prod(program.space.extents) or launch.offset:
        return None
    rules = rules_of(program, dict(launch.integers))
    if rules is None:
        return None
    tokens = [range(part.first, part.first + part.size) for part in laid_out(rules.parts)]
    rest = [(tokens[query], tokens[key]) for (query, key), rule in rules.of.items() if rule is None]
    return rules.live - sum(len(rows) * len(keys) for rows, keys in rest), rest


def _along_axes(program: Program, launch: Launch) -> int | None:
    """Of a grid that the call fills, the same for every (b, h); None where the mask is no product of axes, or reads what is no number."""
    tokens = math.prod(program.space.extents)
    if not launch.q_len == launch.k_len == tokens or launch.offset:
        return None
    axes = seen_along(program, dict(launch.integers))
    return None if axes is None else math.prod(int(np.count_nonzero(seen)) for seen in axes)


class _Count:
    """Of one (b, h)."""

    def __init__(self, table: Tabulated, launch: Launch, place: tuple[int, int], work: Work) -> None:
        launch = launch._replace(tables={**launch.tables, **table.tables})
        self.table, self.place, self.work = table, place, work
        self.evaluation = Evaluation(table.mask, launch)
        self.mask = PairMask(table.mask, {**launch.environment(), B: place[0], H: place[1]}, launch.tables)

    def of(self, rows: range, keys: range) -> PairCount:
        stack = [Boxes(*(np.full(1, end, np.int64) for side in (rows, keys) for end in (side[0], side[-1])))]
        total = PairCount(0, True)
        while stack:
            boxes = stack.pop()
            if not self.work.allows_rectangles(len(boxes), self.evaluation.operations):
                total += self._estimate(boxes)
                continue
            can_true, can_false = self.evaluation.of(boxes, *self.place)
            total += (int(boxes.pairs[can_true & ~can_false].sum()), True)
            still = boxes[can_true & can_false]
            small = (still.q1 - still.q0 < CELL) & (still.k1 - still.k0 < CELL)
            total += self._looked_at(still[small])
            if not small.all():
                stack.extend(still[~small].halved(CELL, CELL)[0].chunks())
        return total

    def _looked_at(self, cells: Boxes) -> PairCount:
        total = PairCount(0, True)
        step = max(1, MOST_VALUES // (self.evaluation.operations * CELL * CELL))
        for at in range(0, len(cells), step):
            some = cells[np.arange(at, min(at + step, len(cells)))]
            allowed = self.work.allows_pairs(len(some) * CELL * CELL, self.mask.operations)
            total += (self._held(some), True) if allowed else self._estimate(some)
        return total

    def _held(self, cells: Boxes) -> int:
        """Attended pairs of cells, by looking at each pair."""
        q, k = (first[:, None] + np.arange(CELL) for first in (cells.q0, cells.k0))
        inside = (q <= cells.q1[:, None])[:, :, None] & (k <= cells.k1[:, None])[:, None, :]
        held = self.mask.at(np.minimum(q, cells.q1[:, None]), np.minimum(k, cells.k1[:, None]))
        return int(np.count_nonzero(held & inside))

    def _estimate(self, boxes: Boxes) -> PairCount:
        """From one cell of each of some boxes, in the middle."""
        some = boxes[np.arange(0, len(boxes), -(-len(boxes) // SAMPLED))]
        q0, k0 = (first + (last - first) // CELL // 2 * CELL for first, last in ((some.q0, some.q1), (some.k0, some.k1)))
        cells = Boxes(q0, np.minimum(q0 + CELL - 1, some.q1), k0, np.minimum(k0 + CELL - 1, some.k1))
        return PairCount(round(self._held(cells) / int(cells.pairs.sum()) * int(boxes.pairs.sum())), False)
