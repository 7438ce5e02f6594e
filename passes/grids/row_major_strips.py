"""Row-major grids axis by axis: a tile is a strip, a strip is a few boxes, and boxes see each other as their edges do.

Tokens 100 .. 163 of a grid of rows of 48 are the end of row 2, and the beginning of row 3:

    row 2, columns 4 .. 47       row 3, columns 0 .. 19

The mask joins conditions along one axis each by `and`. So some query of a box sees some key of another exactly where some coordinate
sees some other along every axis, and all see all where they do along every axis. A tile meets another where one of its boxes meets one of
the other's, and is full where all of them are. Nothing is left open, whatever the extents, which may be symbols.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

from ...ir.expr import FALSE, K_LEN, ONE, Q_LEN, TRUE, ZERO, Binary, Const, Expr, I, J, Op, conjunction, disjunction, negated
from ...ir.program import Program
from ...ir.schedule import Piece, Schedule
from ..program.canonicalise import combined, negation_free
from .axis_relation import Reach, Relation
from .separable import GridForm


class Strip(NamedTuple):
    """Positions from start to stop, exclusive, in row-major order. most: of them. unit: start is a multiple of it."""

    start: Expr
    stop: Expr
    most: int | None
    unit: int = 1


class Box(NamedTuple):
    """Part of a strip, which is there where `there` holds and not where `absent` does, by what it covers of each axis."""

    there: Expr
    along: tuple[Reach, ...]
    absent: Expr = FALSE


def boxes(strip: Strip, extents: Sequence[Expr]) -> list[Box]:
    """A strip of a grid as boxes that do not overlap, at most two for each axis but the first, and one."""
    *outer, inner = extents
    if not outer:
        return [Box(TRUE, (_reach(strip.start, strip.stop, strip.most),))]
    size = int(inner.value) if isinstance(inner, Const) else None
    if size and strip.most and size > strip.most and size % strip.most == 0 == strip.unit % strip.most:
        row, at = _divided(strip.start, inner)
        return [Box(TRUE, (*_token(row, outer), _reach(at, _sum(at, _difference(strip.stop, strip.start)), strip.most)))]
    return _cut(strip, outer, inner, size)


def _cut(strip: Strip, outer: Sequence[Expr], inner: Expr, size: int | None) -> list[Box]:
    """The rest of a row, rows, and the beginning of a row."""
    aligned = size is not None and strip.unit % size == 0
    (row, at), (last, rest) = _divided(strip.start, inner), _divided(strip.stop, inner)
    first = row if aligned else _divided(_sum(strip.start, _difference(inner, ONE)), inner)[0]
    found: list[Box] = []
    if not aligned:
        stop = Binary(Op.MIN, _sum(at, _difference(strip.stop, strip.start)), inner)
        found.append(_guarded(Binary(Op.LT, ZERO, at), (*_token(row, outer), _reach(at, stop, None))))
    rows = None if size is None or strip.most is None else strip.most // size
    if rows != 0:
        whole = Reach(ZERO, _difference(inner, ONE), whole=True)
        there = Binary(Op.LT, first, last)
        unit = strip.unit // size if aligned and size else 1
        for each in boxes(Strip(first, last, rows, unit), outer):
            found.append(_guarded(conjunction(there, each.there), (*each.along, whole)))
    there = conjunction(Binary(Op.LT, ZERO, rest), Binary(Op.LE, first, last))
    found.append(_guarded(there, (*_token(last, outer), _reach(ZERO, rest, None))))
    return found


def _guarded(there: Expr, along: tuple[Reach, ...]) -> Box:
    return Box(there, along, negation_free(negated(there)))


def _reach(start: Expr, stop: Expr, most: int | None) -> Reach:
    return Reach(start, start if most == 1 else _difference(stop, ONE))


def _token(row: Expr, extents: Sequence[Expr]) -> tuple[Reach, ...]:
    """The coordinates of a row-major index; the outermost has no bound."""
    found: list[Reach] = []
    for extent in reversed(extents[1:]):
        row, at = _divided(row, extent)
        found.insert(0, Reach(at, at))
    return (Reach(row, row), *found)


def _divided(a: Expr, by: Expr) -> tuple[Expr, Expr]:
    """Quotient and remainder."""
    match a, by:
        case Binary(op=Op.MUL, a=inner, b=Const(value=int(factor))), Const(value=int(size)) if factor % size == 0:
            return combined(Op.MUL, inner, Const(factor // size)), ZERO
        case _:
            return combined(Op.FLOORDIV, a, by), combined(Op.MOD, a, by)


def _sum(a: Expr, b: Expr) -> Expr:
    return combined(Op.ADD, a, b)


def _difference(a: Expr, b: Expr) -> Expr:
    return combined(Op.SUB, a, b)


# -- schedules --------------------------------------------------------------------------------------------------------


class Axes(NamedTuple):
    """What `Known` has of each axis."""

    some: tuple[Expr, ...]
    full: tuple[Expr, ...]
    unfilled: tuple[Expr, ...]


@dataclass(frozen=True)
class Strips:
    """Which tiles of `block` positions meet and fill each other on a grid."""

    some: Piece
    full: Piece | None
    partial: Piece | None

    def changed(self, change: Callable[[Piece], Piece]) -> Strips:
        full, partial = (None if each is None else change(each) for each in (self.full, self.partial))
        return Strips(change(self.some), full, partial)


def strip_schedule(program: Program, found: Sequence[Strips], block: tuple[int, int], together: int = 1) -> Schedule:
    """Tiles of strips beside each other, exact and in closed form."""
    kinds = ([each.some for each in found], [each.full for each in found], [each.partial for each in found])
    some, full, partial = (tuple(each for each in pieces_of if each is not None) for pieces_of in kinds)
    return Schedule(
        program=program,
        block_q=block[0],
        block_k=block[1],
        some=some,
        full=full,
        full_loops=full,
        partial_loops=partial,
        route="axes",
        together=together,
    )


def axis_relations(form: GridForm) -> tuple[Relation, ...]:
    """Of the axes, outermost first."""
    return tuple(Relation.of(*each) for each in zip(form.conditions, *form.sides, strict=True))


def strips(form: GridForm, relations: Sequence[Relation], block: tuple[int, int]) -> Strips:
    """The tile relation of a grid, exactly, from those of its axes.

    Raises:
        OverBudget: an axis that is no window takes too many operations.
    """
    rows, keys = (_strip(*each) for each in ((I, block[0], Q_LEN, form.offsets[0]), (J, block[1], K_LEN, form.offsets[1])))
    pairs = list(product(boxes(rows, form.extents[0]), boxes(keys, form.extents[1])))
    axes_of = [seen(a, b, relations, form) for a, b in pairs]
    some = disjunction(*(conjunction(a.there, b.there, *axes.some) for (a, b), axes in zip(pairs, axes_of, strict=True)))
    full = conjunction(*(disjunction(a.absent, b.absent, conjunction(*axes.full)) for (a, b), axes in zip(pairs, axes_of, strict=True)))
    unfilled = (conjunction(a.there, b.there, disjunction(*axes.unfilled)) for (a, b), axes in zip(pairs, axes_of, strict=True))
    start, stop = _hull(form, relations[0], rows, block[1])
    all_tiles, whole_tiles = _quotient_up(K_LEN, Const(block[1])), combined(Op.FLOORDIV, K_LEN, Const(block[1]))
    partial = conjunction(some, disjunction(*unfilled, Binary(Op.LE, whole_tiles, J)))
    return Strips(
        Piece(start, _least(stop, all_tiles), 1, some),
        None if full is FALSE else Piece(start, _least(stop, whole_tiles), 1, full),
        None if partial is FALSE else Piece(start, _least(stop, all_tiles), 1, some if full is FALSE else partial),
    )


def _strip(tile: Expr, block: int, length: Expr, offset: Expr) -> Strip:
    start = combined(Op.MUL, tile, Const(block))
    stop = Binary(Op.MIN, _sum(start, Const(block)), length)
    return Strip(_sum(start, offset), _sum(stop, offset), block, block if offset is ZERO else 1)


def seen(a: Box, b: Box, relations: Sequence[Relation], form: GridForm) -> Axes:
    """What is known of each axis, as the fields of one."""
    axes = [relation.known(*form.ordered(x, y)) for relation, x, y in zip(relations, a.along, b.along, strict=True)]
    return Axes(*zip(*axes, strict=True))


def _hull(form: GridForm, relation: Relation, rows: Strip, block: int) -> tuple[Expr, Expr]:
    """A range of key tiles that holds all that a tile of queries meets: by the outermost axis."""
    row, of_keys = (functools.reduce(functools.partial(combined, Op.MUL), sizes[1:], ONE) for sizes in form.extents)
    if form.offsets != (ZERO, ZERO):
        return ZERO, _quotient_up(K_LEN, Const(block))
    ends = _divided(rows.start, row)[0], _divided(_difference(rows.stop, ONE), row)[0]
    start, stop = relation.reached(ends, _quotient_up(K_LEN, of_keys), mirrored=form.mirrored)
    first, last = (combined(Op.MUL, end, of_keys) for end in (start, stop))
    return combined(Op.MAX, ZERO, combined(Op.FLOORDIV, first, Const(block))), _quotient_up(last, Const(block))


def _quotient_up(a: Expr, by: Expr) -> Expr:
    return a if by is ONE else combined(Op.FLOORDIV, _sum(a, _difference(by, ONE)), by)


def _least(a: Expr, b: Expr) -> Expr:
    return combined(Op.MIN, a, b)
