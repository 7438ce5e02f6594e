"""Box orders: tiles of a grid that are boxes, not strips.

    q0 * 64 + q1 sees k0 * 64 + k1 where |q0 - k0| <= 6 and |q1 - k1| <= 6

A tile of 64 row-major queries is a row of that grid and meets 13 rows of keys, 832 of them. A box of 8 x 8 queries meets 20 x 20 = 400.
Which boxes meet is known axis by axis, so every box shape is counted from what each axis sees.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

from ...ir.expr import Const, Symbol
from ...ir.order import Boxes, Order, Parts
from ...ir.program import Program
from ..grids.residue_conditions import class_conditions
from ..grids.tile_axes import Seen, dilation_of, seen_along
from ..program.canonicalise import with_values
from .box_counts_of_order import Counted, boxes_of, in_boxes, row_major
from .tile_shape import STANDARD, Problem

LEAST_GAIN = 1.1  # over the row-major order: below that the model cannot tell


class Considered(NamedTuple):
    """An order in tiles of STANDARD, of one (b, h).

    boxes:   None is the row-major order.   time: predicted, over that of the row-major order.
    useful:  attended pairs over pairs of visited tiles, what hangs over the grid counted.
    visited, full: tiles.
    """

    boxes: Boxes | Parts | None
    time: float
    useful: float
    visited: int = 0
    full: int = 0


def best_order(program: Program, values: tuple[tuple[Symbol, int], ...], problem: Problem) -> Order | None:
    """The order with the least predicted time; None where that is row-major, or the mask is no product of axes."""
    found = considered(program, values, problem)
    boxes = found[0].boxes if found else None
    return None if boxes is None else Order(boxes, boxes)


@functools.lru_cache(maxsize=256)
def considered(
    program: Program, values: tuple[tuple[Symbol, int], ...], problem: Problem, offered: tuple[Boxes | Parts, ...] | None = None
) -> tuple[Considered, ...]:
    """Every order, the chosen one first, then by predicted time; nothing where the mask is no product of axes.

    Of a sequence of parts, boxes of all its grids; nothing where one of its rules is no such product.

    values:  of the symbols that the mask reads.
    offered: boxes to choose from, beside row-major; None is all of STANDARD's size.
    """
    if program.space.rank == 1:
        return _of_sequence(program, values, problem, offered)
    axes = seen_along(program, dict(values))
    if axes is None:
        return ()
    bound = with_values(program, {symbol: Const(value) for symbol, value in values})

    @functools.cache
    def alike(dilation: tuple[int, ...]) -> bool:
        return class_conditions(bound, Boxes(program.space.extents, dilation, dilation), {}) is not None

    boxes = [each for each in (candidates(axes) if offered is None else offered) if isinstance(each, Boxes) and alike(each.dilation)]
    if offered is None and not boxes:
        boxes = candidates(axes, dilated=False)
    return _ranked(row_major(axes, problem), [(each, in_boxes(axes, each, problem)) for each in boxes])


def _ranked(whole: Counted, boxes: Sequence[tuple[Boxes | Parts, Counted]]) -> tuple[Considered, ...]:
    ranked = [Considered(each, found.time / whole.time, *found[1:]) for each, found in boxes]
    ranked.sort(key=lambda each: each.time)
    slower = [each for each in ranked if each.time * LEAST_GAIN > 1]
    return (*ranked[: len(ranked) - len(slower)], Considered(None, 1.0, *whole[1:]), *slower)


def _of_sequence(
    program: Program, values: tuple[tuple[Symbol, int], ...], problem: Problem, offered: tuple[Boxes | Parts, ...] | None
) -> tuple[Considered, ...]:
    from ..sequences.sequence_rules import rules_of
    from . import sequence_orders  # few programs need it

    rules = rules_of(program, dict(values))
    if rules is None:
        return ()
    parts = [each for each in (sequence_orders.shapes(rules, problem) if offered is None else offered) if isinstance(each, Parts)]
    return _ranked(sequence_orders.row_major(rules, problem), [(each, sequence_orders.in_parts(rules, each, problem)) for each in parts])


def candidates(axes: Sequence[Seen], *, dilated: bool = True) -> list[Boxes]:
    """Boxes of as many positions as a tile of STANDARD has tokens, with the dilation that each axis has."""
    extents = tuple(len(seen) for seen in axes)
    return boxes_of(extents, STANDARD.lanes, tuple(min(len(seen), dilation_of(seen)) if dilated else 1 for seen in axes))
