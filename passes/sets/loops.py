"""From tile classes to loops: every tile of `some` visited once, full ones in loops without mask code."""

from __future__ import annotations

from ...ir.expr import TRUE, Binary, Expr, Op, conjunction, disjunction, negated
from ...ir.schedule import Piece
from ..program.canonicalise import negation_free, simplified
from .pieces import member

Overlaps = frozenset[tuple[int, int]]


def visited_once(pieces: tuple[Piece, ...], overlaps: Overlaps | None = None) -> tuple[Piece, ...]:
    """The same tiles, each in one piece only: a piece leaves out what an earlier one holds.

    overlaps: pairs (earlier, later) of positions that can share a tile; None where that is not known, which means all.
    """
    found: list[Piece] = []
    for at, piece in enumerate(pieces):
        earlier = [pieces[n] for n in range(at) if overlaps is None or (n, at) in overlaps]
        found.append(without(piece, earlier))
    return tuple(found)


def without(piece: Piece, others: list[Piece]) -> Piece:
    """`piece` less the tiles of `others`."""
    if not others:
        return piece
    outside = negation_free(negated(disjunction(*(member(other) for other in others))))
    return Piece(piece.start, piece.stop, piece.step, conjunction(piece.where, outside), piece.through)


def partial_loops(some: tuple[Piece, ...], full: tuple[Piece, ...], overlaps: Overlaps | None = None) -> tuple[Piece, ...]:
    """The tiles of `some` that are not in `full`, each once."""
    once = visited_once(some, overlaps)
    if not full:
        return once
    if len(full) == 1 and _plain(full[0]):
        return tuple(part for piece in once for part in (_peeled(piece, full[0]) if piece.step == 1 else (without(piece, [full[0]]),)))
    return tuple(without(piece, list(full)) for piece in once)


def _plain(piece: Piece) -> bool:
    return piece.step == 1 and piece.where is TRUE and piece.through is None


def _peeled(piece: Piece, hole: Piece) -> tuple[Piece, ...]:
    """A range less a range: what lies before the hole, and what lies after it."""
    opening = _clamped(hole.start, piece)
    closing = simplified(Binary(Op.MAX, opening, simplified(Binary(Op.MIN, hole.stop, piece.stop))))
    before = Piece(piece.start, opening, 1, piece.where)
    after = Piece(closing, piece.stop, 1, piece.where)
    return tuple(part for part in (before, after) if part.start is not part.stop)


def _clamped(value: Expr, piece: Piece) -> Expr:
    """`value` moved into [piece.start, piece.stop]."""
    return simplified(Binary(Op.MAX, piece.start, simplified(Binary(Op.MIN, value, piece.stop))))
