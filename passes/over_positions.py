"""Programs over the positions of an order of tokens, and back. Every call in an order reads this, so it loads nothing but nouns."""

from __future__ import annotations

from dataclasses import replace

from ..ir.expr import TRUE, Binary, Const, Expr, K, Q, conjunction
from ..ir.order import Order
from ..ir.program import Program, Space


def boxed(program: Program, order: Order) -> Program:
    """A program over positions of an order: `q` and `k` count the tokens of one box after the other, or those of a table.

    Needs: a bound grid, the one of the order. Keeps: the attended pairs of tokens, and scores; what is no token neither sees nor is seen.
    """
    flat = program.space.rank == 1  # a mask that does not look at coordinates may be in the order of a grid all the same
    coordinates: dict[Expr, Expr] = {
        place: at
        for name, variable, side in (("q", Q, order.rows), ("k", K, order.keys))
        for place, at in zip(program.space.coordinates(name), (side.token(variable),) if flat else side.coordinates(variable), strict=True)
    }
    over = replace(program.substituted(coordinates), space=Space())
    tables = dict.fromkeys((*program.tables, *order.tables))
    return replace(over, mask=conjunction(_tokens(order), over.mask), tables=tuple(tables))


def unboxed(program: Program, order: Order) -> Program:
    """The program on a grid of which `boxed` made this one."""
    rank = len(order.rows.extents)
    space = Space(rank, order.rows.extents if rank > 1 else ())
    places: dict[Expr, Expr] = {
        at: place
        for side, variable, boxes in (("q", Q, order.rows), ("k", K, order.keys))
        for place, at in zip(space.coordinates(side), boxes.coordinates(variable), strict=True)
        if not isinstance(at, Const)  # an axis of one token
    }
    tokens, mask = _tokens(order), program.mask
    if mask is tokens:
        mask = TRUE
    elif tokens is not TRUE and isinstance(mask, Binary) and mask.a is tokens:
        mask = mask.b
    tables = tuple(table for table in program.tables if table not in order.tables)
    return replace(replace(program, mask=mask, tables=tables).substituted(places), space=space)


def _tokens(order: Order) -> Expr:
    """Whether query and key are tokens."""
    return conjunction(order.rows.valid(Q), order.keys.valid(K))
