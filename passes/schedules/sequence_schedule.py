"""Part by part: the schedule of a sequence whose parts are in boxes, from one for each pair of them.

A tile holds tokens of one part. So the score matrix falls into rectangles, one for each pair, and each has a rule of its own: a
neighborhood goes axis by axis, everything and nothing are rectangles whole, and two lines go the way of other masks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

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
    K,
    Op,
    Q,
    Select,
    conjunction,
    disjunction,
    negated,
    substitute,
)
from ...ir.order import Boxes, Order, Parts, Placed
from ...ir.program import Program, Space
from ...ir.schedule import Piece, Schedule
from ..program.binding import NeedsValues
from ..program.call_values import Launch
from ..program.canonicalise import combined, negation_free, simplified
from ..sequences.parts import on_positions
from ..sets.pieces import hull_of, member
from .derive import SOON, derive_prepared
from .grid_schedule import by_axis
from .prepare import Prepared, prepare
from .transpose import transposed, transposed_prepared


def scheduled(prepared: Prepared, program: Program, order: Order, launch: Launch, *, backward: bool = False) -> Schedule | None:
    """The schedule of a program over positions of an order, the transposed one if `backward`; None where it is found as others are.

    The arguments are those of `grid_schedule`.
    """
    rows, keys = order
    if not isinstance(rows, Parts) or not isinstance(keys, Parts):
        return by_axis(prepared, program, order, launch, backward=backward)
    cutter = _Rectangles(program, launch, backward)
    owners, others = (keys, rows) if backward else (rows, keys)
    columns = [_Column(other, [_Cell(owner, cutter.met(owner, other)) for owner in owners.placed]) for other in others.placed]
    some, full, partial = (tuple(filter(None, (each.piece(kind) for each in columns))) for kind in _KINDS)
    return Schedule(
        program=transposed(prepared.program) if backward else prepared.program,
        block_q=owners.tokens,
        block_k=others.tokens,
        some=some,
        full=full,
        full_loops=full,
        partial_loops=partial,
        exact=all(cell.met.exact for column in columns for cell in column.cells),
        route="axes",
    )


class _Met(NamedTuple):
    """Which tiles of a part meet tiles of another, both counted from the first: `i` of the one, `j` of the other.

    start, stop: of `j`, for every tile that is met.   some, full, partial: truth values within them.
    exact: nothing is called partial that is full, or empty.
    """

    start: Expr
    stop: Expr
    some: Expr
    full: Expr
    partial: Expr
    exact: bool = True


_KINDS: tuple[Callable[[_Met], Expr], ...] = (lambda met: met.some, lambda met: met.full, lambda met: met.partial)
NOTHING = _Met(ZERO, ZERO, FALSE, FALSE, FALSE)


class _Cell(NamedTuple):
    """A rectangle by the part that tiles `i` are of."""

    owner: Placed
    met: _Met


class _Column(NamedTuple):
    """All rectangles with one part that tiles `j` are of."""

    other: Placed
    cells: Sequence[_Cell]

    def piece(self, kind: Callable[[_Met], Expr]) -> Piece | None:
        """The tiles of a kind, None where there are none."""
        there = [each for each in self.cells if kind(each.met) is not FALSE]
        if not there:
            return None
        conditions = [_shifted(kind(each.met), each.owner, self.other) for each in there]
        if len(there) > 1 and len(set(conditions)) > 1:
            conditions = [conjunction(_of(each.owner), condition) for each, condition in zip(there, conditions, strict=True)]
        first = Const(_tiles_before(self.other))
        ends = ([self._end(each, kind, end) for each in self.cells] for end in ("start", "stop"))
        start, stop = (combined(Op.ADD, self._selected(each), first) for each in ends)
        return Piece(start, stop, 1, simplified(disjunction(*conditions)))

    def _end(self, cell: _Cell, kind: Callable[[_Met], Expr], end: str) -> Expr:
        found: Expr = ZERO if kind(cell.met) is FALSE else getattr(cell.met, end)
        return _shifted(found, cell.owner, self.other)

    def _selected(self, ends: Sequence[Expr]) -> Expr:
        """By the part that tile `i` is of."""
        *before, found = ends
        for cell, end in reversed(list(zip(self.cells, before, strict=False))):
            after = Const(_tiles_before(cell.owner) + _tiles_of(cell.owner))
            found = end if end is found else Select(Binary(Op.LT, I, after), end, found)
        return found


def _of(part: Placed) -> Expr:
    """Whether tile `i` is of a part."""
    first = _tiles_before(part)
    after = Binary(Op.LE, Const(first), I) if first else TRUE
    return after if part.last else conjunction(after, Binary(Op.LT, I, Const(first + _tiles_of(part))))


def _shifted(expr: Expr, owner: Placed, other: Placed) -> Expr:
    """Over tiles of the sequence what was over those of two parts."""
    return simplified(substitute(expr, {side: _less(side, _tiles_before(part)) for side, part in ((I, owner), (J, other))}))


def _less(tile: Expr, by: int) -> Expr:
    return Binary(Op.SUB, tile, Const(by)) if by else tile


def _tiles_before(part: Placed) -> int:
    return part.start // part.boxes.tokens


def _tiles_of(part: Placed) -> int:
    return part.boxes.positions // part.boxes.tokens


# -- rectangles -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Rectangles:
    """program: over positions of the whole."""

    program: Program
    launch: Launch
    backward: bool

    def met(self, owner: Placed, other: Placed) -> _Met:
        query, key = (other, owner) if self.backward else (owner, other)
        mask = on_positions(self.program.mask, query, key)
        tokens = conjunction(query.is_token(Q), key.is_token(K))
        if mask is FALSE:
            return NOTHING
        if mask is tokens:
            return _everything(owner.boxes, other.boxes)
        pair, block = replace(self.program, mask=mask, space=Space()), (owner.boxes.tokens, other.boxes.tokens)
        if query.is_line and key.is_line:
            rule = mask.b if tokens is not TRUE and isinstance(mask, Binary) and mask.a is tokens else mask
            return self._symbolic(replace(pair, mask=rule), (query.size, key.size), block) or _anything(owner, other)
        found = self._by_axis(pair, Order(query.boxes, key.boxes))
        if found is None and (found := self._symbolic(pair, (query.boxes.positions, key.boxes.positions), block)):
            found = found._replace(exact=found.exact and owner.is_token(Q) is TRUE)  # else full asks what is no token, too
        return found or _anything(owner, other)

    def _by_axis(self, pair: Program, order: Order) -> _Met | None:
        """Where both parts are on one grid."""
        rows, keys = order
        assert isinstance(rows, Boxes)
        assert isinstance(keys, Boxes)
        if rows.extents != keys.extents:
            return None
        found = by_axis(Prepared(pair, pair.mask), pair, order, self.launch, backward=self.backward)
        return None if found is None else _of_schedule(found, {})

    def _symbolic(self, pair: Program, sizes: tuple[int, int], block: tuple[int, int]) -> _Met | None:
        """Of so many queries and keys, in tiles of `block`; None where that takes tables, or too many operations."""
        prepared = prepare(pair, self.launch._replace(q_len=sizes[0], k_len=sizes[1]), shifted=False)
        if self.backward:
            prepared, sizes = transposed_prepared(prepared), (sizes[1], sizes[0])
        lengths: dict[Expr, Expr] = {Q_LEN: Const(sizes[0]), K_LEN: Const(sizes[1])}
        try:
            found = derive_prepared(prepared, block, budget=SOON).schedule
        except NeedsValues:
            return None
        return _of_schedule(found, lengths) if found.closed_form and not found.terms else None


def _of_schedule(found: Schedule, lengths: dict[Expr, Expr]) -> _Met | None:
    """lengths: what those of the two parts are."""
    if any(piece.through is not None for piece in found.some):
        return None
    kinds = (found.some, found.full_loops, found.partial_loops)
    some, full, partial = (simplified(substitute(disjunction(*map(member, pieces)), lengths)) for pieces in kinds)
    if len(found.some) == 1:  # whose ends the loops have anyway
        some, full, partial = (_within(pieces, found.some[0], lengths) for pieces in kinds)
    if not found.some:
        return NOTHING
    start, stop = hull_of([(substitute(piece.start, lengths), substitute(piece.stop, lengths)) for piece in found.some])
    return _Met(simplified(start), simplified(stop), some, full, partial, found.exact)


def _within(pieces: Sequence[Piece], around: Piece, lengths: dict[Expr, Expr]) -> Expr:
    """Whether a tile between the ends of `around` is in one of some pieces."""
    inside = [piece.where if (piece.start, piece.stop, piece.step) == (around.start, around.stop, 1) else member(piece) for piece in pieces]
    return simplified(substitute(disjunction(*inside), lengths))


def _everything(owner: Boxes, other: Boxes) -> _Met:
    """Where every token of one part meets every one of another."""
    some = conjunction(_begun(owner, I), _begun(other, J))
    full = simplified(conjunction(some, _filled(other, J)))
    partial = simplified(conjunction(some, negation_free(negated(full))))
    return _Met(ZERO, Const(other.positions // other.tokens), simplified(some), full, partial)


def _anything(owner: Placed, other: Placed) -> _Met:
    """Where nothing is known of two parts."""
    return _everything(owner.boxes, other.boxes)._replace(full=FALSE, partial=TRUE, some=TRUE, exact=False)


def _begun(boxes: Boxes, tile: Expr) -> Expr:
    """Whether a box holds a token: its first one."""
    return _corner(boxes, tile, [0] * len(boxes.box))


def _filled(boxes: Boxes, tile: Expr) -> Expr:
    """Whether a box holds tokens alone: its last one is one."""
    return _corner(boxes, tile, [edge - 1 for edge in boxes.box])


def _corner(boxes: Boxes, tile: Expr, at: Sequence[int]) -> Expr:
    parts: list[Expr] = []
    for axis, ((place, residue), step) in enumerate(zip(boxes.tile(tile), at, strict=True)):
        edge, apart, extent = boxes.box[axis], boxes.dilation[axis], boxes.extents[axis]
        if extent % (edge * apart) == 0 or (step == 0 and apart == 1):
            continue
        corner = combined(Op.MUL, combined(Op.ADD, combined(Op.MUL, place, Const(edge)), Const(step)), Const(apart))
        parts.append(Binary(Op.LT, combined(Op.ADD, corner, residue), Const(extent)))
    return conjunction(*parts)
