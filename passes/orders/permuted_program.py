"""Programs over the positions of an order of tokens, and back. Every call in an order reads this, so it loads nothing but nouns."""

from __future__ import annotations

from dataclasses import replace

from ...ir.expr import FALSE, K_LEN, Q_LEN, TRUE, Binary, Const, Expr, K, Q, S, Select, conjunction, disjunction, names, substitute
from ...ir.order import Order, Parts
from ...ir.program import Program, Space
from ..sequences.parts import on_tokens


def boxed(program: Program, order: Order) -> Program:
    """A program over positions of an order: `q` and `k` count the tokens of one box after the other, or those of a table.

    Needs: a bound grid, the one of the order. Keeps: the attended pairs of tokens, and scores; what is no token neither sees nor is seen.
    """
    rows, keys = order
    if isinstance(rows, Parts) and isinstance(keys, Parts):
        made = _in_parts(program, rows, keys)
        _of_sequences[made, order] = program
        return made
    flat = program.space.rank == 1  # a mask that does not look at coordinates may be in the order of a grid all the same
    coordinates: dict[Expr, Expr] = {
        place: at
        for name, variable, side in (("q", Q, order.rows), ("k", K, order.keys))
        for place, at in zip(program.space.coordinates(name), (side.token(variable),) if flat else side.coordinates(variable), strict=True)
    }
    over = replace(program.substituted(coordinates), space=Space())
    tables = dict.fromkeys((*program.tables, *order.tables))
    return replace(over, mask=conjunction(_tokens(order), over.mask), tables=tuple(tables))


_of_sequences: dict[tuple[Program, Order], Program] = {}
"""The programs over tokens that `boxed` was given of sequences: which rule they came of is not read back."""


def _in_parts(program: Program, rows: Parts, keys: Parts) -> Program:
    """By pairs of parts, so that coordinates on the grid of a part are those of its boxes."""
    lengths: dict[Expr, Expr] = {Q_LEN: Const(rows.extents[0]), K_LEN: Const(keys.extents[0])}
    flat = program.substituted(lengths)
    seen: Expr = FALSE
    for query in rows.placed:
        met = [(key, on_tokens(flat.mask, query, key)) for key in keys.placed]
        alike = len({part for _, part in met}) == 1
        of_query = met[0][1] if alike else disjunction(*(conjunction(key.holds(K), part) for key, part in met))
        seen = disjunction(seen, conjunction(query.holds(Q), of_query))
    tokens = conjunction(rows.valid(Q), keys.valid(K))
    return replace(flat, mask=conjunction(tokens, seen), score=_score_in_parts(flat.score, rows, keys), space=Space())


def _score_in_parts(score: Expr, rows: Parts, keys: Parts) -> Expr:
    """As little of a score as each pair of parts leaves of it, where that is one thing beside `s`: else tables would be read in each."""
    if not {"q", "k"} & names(score):
        return score
    pairs = [(query, key, on_tokens(score, query, key)) for query in rows.placed for key in keys.placed]
    changed = {part for _, _, part in pairs if part is not S}
    if len(changed) > 1:
        return substitute(score, {Q: rows.token(Q), K: keys.token(K)})
    there = disjunction(*(conjunction(query.holds(Q), key.holds(K)) for query, key, part in pairs if part is not S))
    return Select(there, changed.pop(), S) if changed else S


def unboxed(program: Program, order: Order) -> Program:
    """The program on a grid, or over the tokens of a sequence, of which `boxed` made this one."""
    if isinstance(order.rows, Parts):
        return _of_sequences[program, order]
    rank = len(order.rows.extents)
    space = Space(max(rank, 1), order.rows.extents if rank > 1 else ())  # a table of a line of any length has no extents
    places: dict[Expr, Expr] = {
        at: place
        for side, variable, boxes in (("q", Q, order.rows), ("k", K, order.keys))
        for place, at in zip(space.coordinates(side), boxes.coordinates(variable) or (boxes.token(variable),), strict=True)
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
