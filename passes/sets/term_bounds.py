"""Opaque terms of a schedule: what bounds them over a tile."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ...ir.expr import K_LEN, OFFSET, Q_LEN, B, Binary, Const, Expr, H, I, J, Lookup, Op, Table, Var, names, substitute, walk
from ...ir.schedule import Term
from ..program.abstraction import Abstraction, linear_form
from ..program.canonicalise import simplified
from .integer_sets import Bounds


def terms_of(block: tuple[int, int], abstraction: Abstraction, bounds: Mapping[Expr, Bounds]) -> tuple[tuple[Term, ...], dict[Expr, Expr]]:
    """The terms of a schedule and what each placeholder of the formula means in it."""
    meanings: dict[Expr, Expr] = dict(abstraction.scalars)
    found: list[Term] = []
    for at, (name, (expr, axis)) in enumerate(abstraction.terms.items()):
        low, high = Table(f"term{at}_low", "i64", 3), Table(f"term{at}_high", "i64", 3)
        term = Term(f"term{at}", expr, axis, low, high)
        meanings[bounds[name].low], meanings[bounds[name].high] = _bound_expressions(term, block)
        found.append(term)
    return tuple(found), meanings


def _bound_expressions(term: Term, block: tuple[int, int]) -> tuple[Expr, Expr]:
    if monotone(term):
        return _at_ends(term, block)
    at = {"q": I, "k": J, "h": Const(0)}.get(term.axis) or diagonal_index(*block)
    read = names(term.expr)
    batch = B if "b" in read or any(node in (Q_LEN, K_LEN, OFFSET) for node in walk(term.expr)) else Const(0)
    head = H if "h" in read else Const(0)
    return Lookup(term.low, (batch, head, at)), Lookup(term.high, (batch, head, at))


def diagonal_index(block_q: int, block_k: int) -> Expr:
    """Entry of a diagonal term for tile (i, j): 2d or, where d is negative, -1 - 2d; it starts d units of gcd(block_q, block_k) later.

    No length decides it: batch items of several lengths share the entries.
    """
    unit = math.gcd(block_q, block_k)
    along_q = simplified(Binary(Op.MUL, I, Const(2 * block_q // unit)))
    along_k = simplified(Binary(Op.MUL, J, Const(2 * block_k // unit)))
    return Binary(Op.MAX, Binary(Op.SUB, along_q, along_k), Binary(Op.SUB, Binary(Op.SUB, along_k, along_q), Const(1)))


def monotone(term: Term) -> bool:
    """A plain look-up in a table that never decreases: its bounds are its values at the ends of the tile."""
    match term.expr:
        case Lookup(table=Table(monotone=True), indices=(index,)) if term.axis != "h":
            form = linear_form(index)
            return form is not None and all(key in (None, OFFSET) or (isinstance(key, Var) and value == 1) for key, value in form.items())
        case _:
            return False


def _at_ends(term: Term, block: tuple[int, int]) -> tuple[Expr, Expr]:
    tile, edge, length = (I, block[0], Q_LEN) if term.axis == "q" else (J, block[1], K_LEN)
    first = simplified(Binary(Op.MUL, tile, Const(edge)))
    last = Binary(Op.SUB, Binary(Op.MIN, Binary(Op.ADD, first, Const(edge)), length), Const(1))
    return substitute(term.expr, {Var(term.axis): first}), substitute(term.expr, {Var(term.axis): last})
