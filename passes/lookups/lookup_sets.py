"""Look-ups as integer sets: which values of the symbols let a pair that counts read outside of its table.

    { symbols : exists q, k, h inside their lengths: guards and (index < 0 or size <= index) }

What is not affine is a number of its own between two ends, which are symbols too. On a grid pairs lie anywhere in it: its axes stay apart
then, and lengths and an offset would join them.
"""

# The set library's types are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
from __future__ import annotations

from collections.abc import Iterator, Mapping

import islpy as isl

from ...ir.expr import (
    FALSE,
    K_LEN,
    OFFSET,
    ONE,
    Q_LEN,
    ZERO,
    B,
    Binary,
    Const,
    Expr,
    H,
    K,
    Kind,
    Op,
    Q,
    Symbol,
    Var,
    conjunction,
    disjunction,
    names,
    operands,
    rebuilt,
    substitute,
    walk,
)
from ...ir.program import Program
from ...ir.space import Space
from ..program.abstraction import allows, powers_rewritten
from ..program.canonicalise import negation_free, simplified
from ..sets.coalesce import coalesced
from ..sets.integer_sets import Bounds, Builder, OverBudget, Problem, budgeted
from ..sets.pieces import Reading, holds
from .guards import Hazard, hazards
from .proof import HEADS, Proof, ends_of, symbols_of

BUDGET = 50_000  # library operations for one look-up
MOST_SETS = 32


def proofs(program: Program, values: Mapping[Symbol, int]) -> tuple[Proof | None, ...]:
    """A proof for each hazard of `program`, in their order.

    values: of the symbols that `proof.symbols_bound` names.
    """
    return tuple(_proof(hazard, program, {symbol: Const(value) for symbol, value in values.items()}) for hazard in hazards(program))


def _proof(hazard: Hazard, program: Program, values: Mapping[Expr, Expr]) -> Proof | None:
    """Of the guards that say something of the index, and on a grid of all of it: where those do not do, pairs are looked at."""
    condition = substitute(hazard.nearby, values)
    return _violated(conjunction(*_inside(program.space, condition), condition), program)


def _inside(space: Space, condition: Expr) -> Iterator[Expr]:
    """That the variables of a condition lie inside their lengths, on a grid inside its extents."""
    named = names(condition)
    if space.rank == 1:
        yield from (_between(low, at, stop) for low, at, stop in _spans() if at.name in named)
    else:
        for at, size in ((at, size) for side in "qk" for at, size in zip(space.coordinates(side), space.extents, strict=True)):
            if at.name in named:
                yield _between(ZERO, at, Const(size))
    if "h" in named:
        yield _between(ZERO, H, HEADS)


def _spans() -> tuple[tuple[Expr, Var, Expr], ...]:
    return (OFFSET, Q, Binary(Op.ADD, OFFSET, Q_LEN)), (ZERO, K, K_LEN)


def _between(low: Expr, at: Expr, stop: Expr) -> Expr:
    return conjunction(Binary(Op.LE, low, at), Binary(Op.LT, at, stop))


# -- sets ---------------------------------------------------------------------------------------------------------------


def _violated(condition: Expr, program: Program) -> Proof | None:
    affine, opaque = _abstracted(negation_free(simplified(powers_rewritten(condition))))
    head = Var("head")  # of the library's parameters `h` is one
    affine = simplified(substitute(affine, {**symbols_of(program), H: head}))
    if affine is FALSE:
        return Proof(FALSE)
    free = [node for node in walk(affine) if isinstance(node, Var) and node not in (Q, K, B)]
    builder = Builder(Problem(affine, affine, 1, 1, {node: Bounds(Q_LEN, K_LEN) for node in free}))
    try:
        with budgeted(builder.context, BUDGET):
            found = coalesced(builder.on_tiles(builder.set_of(affine)))
    except OverBudget:
        return None
    where = _read(found, builder.parameters)
    return None if where is None else Proof(where, tuple(opaque))


def _read(found: isl.Set, parameters: tuple[Expr, ...]) -> Expr | None:
    """Whether the symbols are in a set that says nothing of its dimensions."""
    basics = found.compute_divs().get_basic_sets()
    if len(basics) > MOST_SETS:
        return None
    reading = Reading(parameters, ZERO, {})
    each = (
        conjunction(*(holds(one.get_aff(), one.is_equality(), reading) for one in basic.get_constraints() if not one.is_div_constraint()))
        for basic in basics
    )
    return simplified(disjunction(*each))


def _abstracted(condition: Expr) -> tuple[Expr, list[Expr]]:
    """An affine condition, and the integers that its variables `t0`, `t1`, ... stand for; truth values may be either."""
    affine: set[Expr] = set()
    done: dict[Expr, Expr] = {}
    opaque: list[Expr] = []
    limits: list[Expr] = []
    for node in walk(condition):
        if _allowed(node) and all(part in affine for part in operands(node)):
            affine.add(node)
    for node in _top_down(condition, affine):
        if node in affine:
            done[node] = node
        elif _allowed(node):
            done[node] = rebuilt(node, tuple(done[part] for part in operands(node)))
        elif node.kind is Kind.BOOL:
            chosen = Var(f"u{len(limits)}")
            limits.append(_between(ZERO, chosen, Const(2)))
            done[node] = Binary(Op.EQ, chosen, ONE)
        else:
            number, (low, high) = Var(f"t{len(opaque)}"), ends_of(len(opaque))
            limits.append(conjunction(Binary(Op.LE, low, number), Binary(Op.LE, number, high)))
            opaque.append(node)
            done[node] = number
    return conjunction(*limits, done[condition]), opaque


def _allowed(node: Expr) -> bool:
    return allows(node) and not (isinstance(node, Symbol) and node.kind is Kind.BOOL)


def _top_down(root: Expr, affine: set[Expr]) -> Iterator[Expr]:
    """The nodes that are looked at from `root` on, operands first; what is affine, and what is not allowed, is taken whole."""
    seen: set[Expr] = set()
    stack: list[tuple[Expr, bool]] = [(root, False)]
    while stack:
        node, ready = stack.pop()
        if ready or node in affine or not _allowed(node):
            if ready or node not in seen:
                seen.add(node)
                yield node
        elif node not in seen:
            seen.add(node)
            stack += [(node, True), *((part, False) for part in operands(node))]
