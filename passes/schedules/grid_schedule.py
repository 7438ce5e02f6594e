"""Axis by axis: the schedule of a grid in box order, from one schedule for each axis.

A tile of such an order is a box, and the mask joins conditions along one axis each by `and`. So a box of queries meets a box of keys
exactly where they meet along every axis, and all of it is seen where all is along every axis: each axis is a problem of a line, that of one
residue class where it is dilated, which takes milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ...ir.expr import (
    FALSE,
    K_LEN,
    Q_LEN,
    TRUE,
    ZERO,
    Binary,
    Const,
    Expr,
    I,
    J,
    Lookup,
    Op,
    S,
    Symbol,
    Var,
    conjunction,
    disjunction,
    negated,
    substitute,
    walk,
)
from ...ir.order import Boxes, Order, Residues
from ...ir.program import Program, Space
from ...ir.schedule import Piece, Schedule, Tile
from ..grids.residue_conditions import ClassCondition, class_conditions
from ..grids.row_major_strips import axis_relations, strips
from ..grids.separable import GridForm
from ..orders.permuted_program import unboxed
from ..program.binding import symbol_values
from ..program.call_values import Launch
from ..program.canonicalise import combined, filled, negation_free, simplified, with_values
from ..program.evaluate import evaluate
from ..sets.pieces import hull_of, member
from .derive import derive_prepared
from .prepare import Prepared, prepare
from .transpose import transposed
from .transposed_schedule import transposed_schedule


def by_axis(prepared: Prepared, program: Program, order: Order, launch: Launch, *, backward: bool = False) -> Schedule | None:
    """The schedule of a program over positions of an order, the transposed one if `backward`.

    None where the mask is no product of axes, or where it does not keep to residue classes that are alike.

    prepared: of `program`, which `boxed` made.   launch: not transposed; parameters are read.
    """
    rows, keys = order
    if not isinstance(rows, Boxes) or not isinstance(keys, Boxes):
        return None
    sides = _Tiles(rows, keys)
    whole = unboxed(program, order)
    grid = with_values(whole, {symbol: Const(value) for symbol, value in symbol_values(whole, launch)})
    values = {symbol: value for symbol in program.parameters if isinstance(value := launch.parameters.get(symbol.name), int)}
    conditions = class_conditions(grid, rows, values) if rows.dilation == keys.dilation else None
    if conditions is None:
        return None
    axes = [
        [_of_axis(_Axis(grid, sides, axis, each), launch, backward=backward) for each in classes] for axis, classes in enumerate(conditions)
    ]
    if not all(each.closed_form for along in axes for each in along):
        return None
    tiles = _Tiles(keys, rows) if backward else sides
    start, stop = tiles.hull(axes)
    some = conjunction(*(tiles.holds(axis, [(each.of, each.some) for each in along]) for axis, along in enumerate(axes)))
    full = conjunction(*(tiles.holds(axis, [(each.of, each.full) for each in along]) for axis, along in enumerate(axes)))
    kinds = tiles.kinds(axes)
    full = FALSE if Tile.FULL not in kinds else some if Tile.PARTIAL not in kinds else full
    partial = simplified(conjunction(some, negation_free(negated(full)))) if Tile.PARTIAL in kinds else FALSE
    whole = () if full is FALSE else (Piece(start, stop, 1, full),)
    return Schedule(
        program=transposed(prepared.program) if backward else prepared.program,
        block_q=tiles.rows.tokens,
        block_k=tiles.keys.tokens,
        some=(Piece(start, stop, 1, some),),
        full=whole,
        full_loops=whole,
        partial_loops=() if partial is FALSE else (Piece(start, stop, 1, partial),),
        exact=all(each.exact for along in axes for each in along),
        route="axes",
    )


class _Along(NamedTuple):
    """What boxes `i` and `j` along an axis do within residue classes of one length: some see some, all see all.

    ends: start and stop of a range of `j` that holds all that `i` meets; None where there are none.
    """

    of: Residues
    some: Expr
    full: Expr
    ends: tuple[Expr, Expr] | None
    exact: bool = True
    closed_form: bool = True


@dataclass(frozen=True)
class _Axis:
    """One axis of a grid in an order, within residue classes of one length."""

    grid: Program
    sides: _Tiles
    axis: int
    classes: ClassCondition

    @property
    def length(self) -> int:
        """Tokens of a class."""
        return self.classes.of.length

    @property
    def block(self) -> tuple[int, int]:
        return self.sides.rows.box[self.axis], self.sides.keys.box[self.axis]


def _of_axis(axis: _Axis, launch: Launch, *, backward: bool) -> _Along:
    """By its windows, which are two comparisons; where it has none, as a problem of a line."""
    length = Const(axis.length)
    form = GridForm((axis.classes.condition,), ((length,), (length,)))
    (relation,) = axis_relations(form)
    rows, keys = reversed(axis.block) if backward else axis.block
    if relation.windows is not None:
        found = strips(form.transposed if backward else form, (relation,), (rows, keys))
        full = FALSE if found.full is None else member(found.full)
        along = _Along(axis.classes.of, found.some.where, full, (found.some.start, found.some.stop))
    else:
        along = _of_line(axis, launch, backward=backward)
    values: dict[Expr, Expr] = {Q_LEN: length, K_LEN: length}
    for tile, block, until in ((I, rows, Q_LEN), (J, keys, K_LEN)):
        stop = combined(Op.ADD, combined(Op.MUL, tile, Const(block)), Const(block))
        if axis.length % block == 0:  # no box hangs over the end
            values[Binary(Op.MIN, stop, until)] = stop
    ends = None if along.ends is None else (filled(along.ends[0], values), filled(along.ends[1], values))
    return along._replace(some=filled(along.some, values), full=filled(along.full, values), ends=ends)


def _of_line(axis: _Axis, launch: Launch, *, backward: bool) -> _Along:
    inner = launch._replace(q_len=axis.length, k_len=axis.length)
    prepared = prepare(replace(axis.grid, mask=axis.classes.condition, score=S, space=Space()), inner, shifted=False)
    if backward:
        found = transposed_schedule(prepared, axis.block, inner)
    else:
        found = derive_prepared(prepared, axis.block, inner, for_kernel=True).schedule
    some, full = (disjunction(*map(member, pieces)) for pieces in (found.some, found.full))
    ends = hull_of([(piece.start, piece.stop) for piece in found.some]) if found.some else None
    return _Along(axis.classes.of, some, full, ends, found.exact, found.closed_form)


@dataclass(frozen=True)
class _Tiles:
    """Of a schedule: `i` counts boxes of `rows`, `j` boxes of `keys`."""

    rows: Boxes
    keys: Boxes

    def holds(self, axis: int, found: Sequence[tuple[Residues, Expr]]) -> Expr:
        """Whether tile (i, j) is of one residue class along an axis and its boxes are as the condition of that class says."""
        (i, of_i), (j, of_j) = self.rows.tile(I)[axis], self.keys.tile(J)[axis]
        cases: list[Expr] = []
        for of, condition in found:
            met = substitute(condition, {I: i, J: j})
            ends = (_short_of(at, of.length, boxes, axis) for at, boxes in ((i, self.rows), (j, self.keys)))
            cases.append(conjunction(of.holds(of_i, self.rows.dilation[axis]), *ends, met))
        same = TRUE if self.rows.dilation[axis] == 1 else Binary(Op.EQ, of_i, of_j)
        return simplified(conjunction(disjunction(*cases), same))

    def kinds(self, axes: Sequence[Sequence[_Along]]) -> set[Tile]:
        """Which kinds of tiles there may be, FULL and PARTIAL: a kernel has no loop for tiles that there are none of.

        Where it does not depend on a parameter, every pair of boxes along an axis is looked at.
        """
        met = [[self._met(axis, each) for each in along] for axis, along in enumerate(axes)]
        if any(each is None for along in met for each in along):
            return {Tile.FULL, Tile.PARTIAL}
        known = [[each for each in along if each is not None] for along in met]
        partial = any(bool((some & ~full).any()) for along in known for some, full in along)
        whole = all(any(bool(full.any()) for _, full in along) for along in known)
        return {kind for kind, there in ((Tile.PARTIAL, partial), (Tile.FULL, whole)) if there}

    def _met(self, axis: int, along: _Along) -> tuple[np.ndarray, np.ndarray] | None:
        """bool[boxes, boxes] twice: which boxes of a class meet along an axis, and where all see all. None where that depends on more."""
        counts = [-(-along.of.length // boxes.box[axis]) for boxes in (self.rows, self.keys)]
        at: dict[Expr, np.ndarray] = {I: np.arange(counts[0])[:, None], J: np.arange(counts[1])[None, :]}
        unknown = any(isinstance(node, Symbol | Lookup | Var) and node not in at for node in walk(along.some, along.full))
        if unknown or math.prod(counts) > MOST_PAIRS:
            return None
        some, full = (np.broadcast_to(np.asarray(evaluate(each, at), bool), counts) for each in (along.some, along.full))
        return some, full

    def hull(self, axes: Sequence[Sequence[_Along]]) -> tuple[Expr, Expr]:
        """A range of `j` that holds every tile that `i` meets: those of its residue class, from the first to the last along the first axis.

        Boxes of a class come one after the other, and those of queries and of keys have the same classes.
        """
        ranges = [along.ends for along in axes[0] if along.ends is not None]
        if not ranges:
            return ZERO, Const(self.keys.classes * math.prod(self.keys.counts))
        first: dict[Expr, Expr] = {I: self.rows.tile(I)[0][0]}
        before: Expr = ZERO
        if self.keys.classes > 1:
            of_class = Binary(Op.FLOORDIV, I, Const(math.prod(self.rows.counts)))
            before = Binary(Op.MUL, of_class, Const(math.prod(self.keys.counts)))
        inner = Const(math.prod(self.keys.counts[1:]))
        start, stop = (simplified(Binary(Op.ADD, Binary(Op.MUL, substitute(end, first), inner), before)) for end in hull_of(ranges))
        return start, stop


MOST_PAIRS = 2**22  # of boxes along an axis


def _short_of(tile: Expr, length: int, boxes: Boxes, axis: int) -> Expr:
    """Whether a box along an axis holds a token of its class: a class that is shorter than others may have fewer boxes than they."""
    boxes_of_class = -(-length // boxes.box[axis])
    return TRUE if boxes_of_class == boxes.counts[axis] else Binary(Op.LT, tile, Const(boxes_of_class))
