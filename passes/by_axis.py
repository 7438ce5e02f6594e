"""Axis by axis: the schedule of a grid in box order, from one schedule for each axis.

A tile of such an order is a box, and the mask joins conditions along one axis each by `and`. So a box of queries meets a box of keys
exactly where they meet along every axis, and all of it is seen where all is along every axis: each axis is a problem of a line, that of one
residue class where it is dilated, which takes milliseconds.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..ir.expr import FALSE, K_LEN, Q_LEN, TRUE, ZERO, Binary, Const, Expr, I, J, Op, S, conjunction, disjunction, negated, substitute
from ..ir.order import Boxes, Order
from ..ir.program import Program, Space
from ..ir.schedule import Piece, Schedule
from .binding import symbol_values
from .box_order import unboxed
from .canonicalise import negation_free, simplified, with_values
from .class_conditions import class_conditions
from .derive import derive_prepared
from .launch import Launch
from .pieces import member
from .prepare import Prepared, prepare
from .transpose import transposed, transposed_schedule


def by_axis(prepared: Prepared, program: Program, order: Order, launch: Launch, *, backward: bool = False) -> Schedule | None:
    """The schedule of a program over positions of an order, the transposed one if `backward`.

    None where the mask is no product of axes, or where it does not keep to residue classes that are alike.

    prepared: of `program`, which `boxed` made.   launch: not transposed; parameters are read.
    """
    whole = unboxed(program, order)
    grid = with_values(whole, {symbol: Const(value) for symbol, value in symbol_values(whole, launch)})
    values = {symbol: value for symbol in program.parameters if isinstance(value := launch.parameters.get(symbol.name), int)}
    conditions = class_conditions(grid, order.rows, values) if order.rows.dilation == order.keys.dilation else None
    if conditions is None:
        return None
    axes = [_of_axis(_Axis(grid, order, axis, condition), launch, backward=backward) for axis, condition in enumerate(conditions)]
    if not all(each.closed_form for each in axes):
        return None
    tiles = _Tiles(order.keys, order.rows) if backward else _Tiles(order.rows, order.keys)
    start, stop = tiles.hull(axes)
    some = conjunction(*(tiles.member(axis, each.some) for axis, each in enumerate(axes)))
    full = conjunction(*(tiles.member(axis, each.full) for axis, each in enumerate(axes)))
    partial = simplified(conjunction(some, negation_free(negated(full))))
    whole = () if full is FALSE else (Piece(start, stop, 1, full),)
    return replace(
        axes[0],
        program=transposed(prepared.program) if backward else prepared.program,
        block_q=tiles.rows.tokens,
        block_k=tiles.keys.tokens,
        some=(Piece(start, stop, 1, some),),
        full=whole,
        full_loops=whole,
        partial_loops=() if partial is FALSE else (Piece(start, stop, 1, partial),),
        exact=all(each.exact for each in axes),
        route="axes",
    )


@dataclass(frozen=True)
class _Axis:
    """One axis of a grid in an order. condition: over the places `q` and `k` of tokens in a residue class."""

    grid: Program
    order: Order
    axis: int
    condition: Expr

    @property
    def length(self) -> int:
        """Tokens of a class."""
        return self.grid.space.extents[self.axis] // self.order.rows.dilation[self.axis]

    @property
    def block(self) -> tuple[int, int]:
        return self.order.rows.box[self.axis], self.order.keys.box[self.axis]


def _of_axis(axis: _Axis, launch: Launch, *, backward: bool) -> Schedule:
    inner = launch._replace(q_len=axis.length, k_len=axis.length)
    prepared = prepare(replace(axis.grid, mask=axis.condition, score=S, space=Space()), inner, shifted=False)
    derived = transposed_schedule if backward else _forward_schedule
    found = derived(prepared, axis.block, inner)
    length: dict[Expr, Expr] = {Q_LEN: Const(axis.length), K_LEN: Const(axis.length)}
    some, full = (tuple(_with(piece, length) for piece in pieces) for pieces in (found.some, found.full))
    return replace(found, some=some, full=full)


def _forward_schedule(prepared: Prepared, block: tuple[int, int], launch: Launch) -> Schedule:
    return derive_prepared(prepared, block, launch, bind_lengths=False).schedule


def _with(piece: Piece, values: Mapping[Expr, Expr]) -> Piece:
    start, stop, where = (simplified(substitute(part, dict(values))) for part in (piece.start, piece.stop, piece.where))
    return piece._replace(start=start, stop=stop, where=where)


@dataclass(frozen=True)
class _Tiles:
    """Of a schedule: `i` counts boxes of `rows`, `j` boxes of `keys`."""

    rows: Boxes
    keys: Boxes

    def member(self, axis: int, pieces: Sequence[Piece]) -> Expr:
        """Whether tile (i, j) is of one residue class along an axis and in one of the pieces there."""
        (i, of_i), (j, of_j) = self.rows.tile(I)[axis], self.keys.tile(J)[axis]
        met = substitute(disjunction(*(member(piece) for piece in pieces)), {I: i, J: j})
        return simplified(conjunction(met, TRUE if self.rows.dilation[axis] == 1 else Binary(Op.EQ, of_i, of_j)))

    def hull(self, axes: Sequence[Schedule]) -> tuple[Expr, Expr]:
        """A range of `j` that holds every tile that `i` meets: of the first axis, whose boxes come first where nothing is dilated."""
        if self.keys.classes > 1 or not axes[0].some:
            return ZERO, Const(self.keys.classes * math.prod(self.keys.counts))
        first: dict[Expr, Expr] = {I: self.rows.tile(I)[0][0]}
        inner = Const(math.prod(self.keys.counts[1:]))
        low = functools.reduce(functools.partial(Binary, Op.MIN), (piece.start for piece in axes[0].some))
        high = functools.reduce(functools.partial(Binary, Op.MAX), (piece.stop for piece in axes[0].some))
        start, stop = (simplified(Binary(Op.MUL, substitute(end, first), inner)) for end in (low, high))
        return start, stop
