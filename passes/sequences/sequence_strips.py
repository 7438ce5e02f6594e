"""Row-major sequences part by part: a tile is a strip of each part that it holds tokens of, and a strip is a few boxes of its grid.

Tiles of keys that lie within one part are met as on its grid. One that holds tokens of several is a column of its own, whose strips are
known; tiles of queries may hold tokens of any parts.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

from ...ir.expr import (
    FALSE,
    K_LEN,
    ONE,
    Q_LEN,
    TRUE,
    ZERO,
    Binary,
    Const,
    Expr,
    I,
    J,
    Op,
    Select,
    conjunction,
    disjunction,
    negated,
    substitute,
)
from ...ir.schedule import Piece
from ..grids.axis_relation import Relation
from ..grids.row_major_strips import Strip, Strips, axis_relations, boxes, seen
from ..grids.separable import GridForm
from ..program.canonicalise import combined, negation_free, simplified
from .parts import Part
from .sequence_form import SequenceForm

Rule = GridForm | bool


class Laid(NamedTuple):
    """The strip of a part that a tile holds, where `there` holds."""

    part: int
    strip: Strip
    there: Expr


class Column(NamedTuple):
    """Key tiles from start to stop, exclusive, that hold tokens of the same parts; part: of all of them, where it is one."""

    start: Expr
    stop: Expr
    held: tuple[Laid, ...]
    part: int | None


def sequence_strips(form: SequenceForm, block: tuple[int, int]) -> list[Strips]:
    """The tile relation of a sequence, exactly, column by column.

    Needs: tiles `j` that start at position 0.

    Raises:
        OverBudget: an axis that is no window takes too many operations.
    """
    met = _Met(form, {pair: axis_relations(rule) for pair, rule in form.rules.items() if isinstance(rule, GridForm)}, block)
    return [met.column(each) for each in columns(form.parts, block[1])]


def columns(parts: Sequence[Part], block: int) -> Iterator[Column]:
    """The key tiles of a sequence."""
    ends = [part.first + part.size for part in parts]
    for number, (part, end) in enumerate(zip(parts, ends, strict=True)):
        first, after = -(-part.first // block), end // block
        last = number == len(parts) - 1
        if first < after or last:
            stop = _quotient_up(K_LEN, block) if last else Const(after)
            start = _less(Binary(Op.MUL, J, Const(block)), part.first)
            strip = Strip(start, _less(Binary(Op.MIN, _plus(Binary(Op.MUL, J, Const(block)), block), K_LEN), part.first), block)
            yield Column(Const(first), stop, (Laid(number, strip, TRUE),), number)
        if end % block and not last and after >= -(-part.first // block):  # else the tile came with an earlier part
            yield _shared(parts, after, block)


def _shared(parts: Sequence[Part], tile: int, block: int) -> Column:
    """A tile with tokens of several parts."""
    held: list[Laid] = []
    for number, part in enumerate(parts):
        first, stop = max(part.first, tile * block), min(part.first + part.size, (tile + 1) * block)
        if first < stop:
            end = combined(Op.SUB, Binary(Op.MIN, Const(stop), K_LEN), Const(part.first))
            held.append(Laid(number, Strip(Const(first - part.first), end, stop - first), Binary(Op.LT, Const(first), K_LEN)))
    return Column(Const(tile), Const(tile + 1), tuple(held), None)


@dataclass(frozen=True)
class _Met:
    form: SequenceForm
    relations: dict[tuple[int, int], tuple[Relation, ...]]
    block: tuple[int, int]

    @functools.cached_property
    def rows(self) -> tuple[Laid, ...]:
        """What a tile of queries holds of each part."""
        block, offset = self.block[0], self.form.offsets[0]
        start = combined(Op.MUL, I, Const(block))
        stop = Binary(Op.MIN, _plus(start, block), Q_LEN)
        start, stop = (combined(Op.ADD, end, offset) for end in (start, stop))
        found: list[Laid] = []
        for number, part in enumerate(self.form.parts):
            end = part.first + part.size
            low = combined(Op.MAX, start, Const(part.first)) if part.first else start
            is_last = number == len(self.form.parts) - 1
            high = stop if is_last else combined(Op.MIN, stop, Const(end))
            inside = TRUE if part.first == 0 else Binary(Op.LT, Const(part.first), stop)
            there = inside if is_last else conjunction(Binary(Op.LT, start, Const(end)), inside)
            found.append(Laid(number, Strip(_less(low, part.first), _less(high, part.first), block), there))
        return tuple(found)

    def column(self, column: Column) -> Strips:
        pairs = [self._pair(row, key) for row, key in product(self.rows, column.held)]
        some = disjunction(*(conjunction(there, met.some) for there, met in pairs))
        full = conjunction(*(disjunction(negation_free(negated(there)), met.full) for there, met in pairs))
        unfilled = disjunction(*(conjunction(there, met.unfilled) for there, met in pairs))
        whole_tiles = combined(Op.FLOORDIV, K_LEN, Const(self.block[1]))
        start, stop = self._hull(column)
        all_tiles = _quotient_up(K_LEN, self.block[1])
        partial = conjunction(some, disjunction(unfilled, Binary(Op.LE, whole_tiles, J)))
        kinds = [(some, all_tiles), (full, whole_tiles), (partial, all_tiles)]
        at: dict[Expr, Expr] = {J: column.start} if column.part is None else {}
        made = [Piece(start, combined(Op.MIN, stop, tiles), 1, simplified(substitute(where, at))) for where, tiles in kinds]
        return Strips(made[0], *(None if each.where is FALSE else each for each in made[1:]))

    def _pair(self, row: Laid, key: Laid) -> tuple[Expr, _Seen]:
        """Where a tile holds both, and what they see of each other then."""
        there, rule = conjunction(row.there, key.there), self.form.rules[row.part, key.part]
        if not isinstance(rule, GridForm):
            return there, _Seen(TRUE, TRUE, FALSE) if rule else _Seen(FALSE, FALSE, TRUE)
        sides = zip((row, key), rule.extents, strict=True)
        of_i, of_j = (boxes(each.strip, extents) for each, extents in sides)
        both = list(product(of_i, of_j))
        axes = [seen(a, b, self.relations[row.part, key.part], rule) for a, b in both]
        along = list(zip(both, axes, strict=True))
        found = _Seen(
            disjunction(*(conjunction(a.there, b.there, *each.some) for (a, b), each in along)),
            conjunction(*(disjunction(a.absent, b.absent, conjunction(*each.full)) for (a, b), each in along)),
            disjunction(*(conjunction(a.there, b.there, disjunction(*each.unfilled)) for (a, b), each in along)),
        )
        return there, _Seen(*(substitute(each, rule.scalars) for each in found))

    def _hull(self, column: Column) -> tuple[Expr, Expr]:
        """A range of key tiles that holds all of a column that a tile of queries meets."""
        if column.part is None:
            return column.start, column.stop
        starts: list[Expr] = []
        stops: list[Expr] = []
        for row in self.rows:
            rule = self.form.rules[row.part, column.part]
            if rule is False:
                continue
            start, stop = (column.start, column.stop) if rule is True else self._reached(row, column, column.part)
            starts.append(start if row.there is TRUE else Select(row.there, start, column.stop))
            stops.append(stop if row.there is TRUE else Select(row.there, stop, column.start))
        if not starts:
            return ZERO, ZERO
        low, high = functools.reduce(_least, starts), functools.reduce(_most, stops)
        return simplified(_most(low, column.start)), simplified(_least(high, column.stop))

    def _reached(self, row: Laid, column: Column, part: int) -> tuple[Expr, Expr]:
        """By the outermost axis of both parts."""
        rule = self.form.rules[row.part, part]
        assert isinstance(rule, GridForm)
        of_rows, of_keys = (functools.reduce(functools.partial(combined, Op.MUL), sizes[1:], ONE) for sizes in rule.extents)
        last = combined(Op.SUB, row.strip.stop, ONE)
        ends = combined(Op.FLOORDIV, row.strip.start, of_rows), combined(Op.FLOORDIV, last, of_rows)
        start, stop = self.relations[row.part, part][0].reached(ends, rule.extents[1][0], mirrored=rule.mirrored)
        first, after = (
            _plus(combined(Op.MUL, substitute(end, rule.scalars), of_keys), self.form.parts[part].first) for end in (start, stop)
        )
        return combined(Op.FLOORDIV, first, Const(self.block[1])), _quotient_up(after, self.block[1])


class _Seen(NamedTuple):
    """Whether something is seen of a strip by another, whether all sees all, and whether not."""

    some: Expr
    full: Expr
    unfilled: Expr


def _plus(a: Expr, b: int) -> Expr:
    return combined(Op.ADD, a, Const(b))


def _less(a: Expr, b: int) -> Expr:
    return combined(Op.SUB, a, Const(b))


def _quotient_up(a: Expr, by: int) -> Expr:
    return a if by == 1 else combined(Op.FLOORDIV, _plus(a, by - 1), Const(by))


_least = functools.partial(combined, Op.MIN)
_most = functools.partial(combined, Op.MAX)
