"""How ranges of coordinates along one axis of a grid see each other: some of them, and all of them.

Where an axis has windows, two comparisons say it; where it has not, the condition is projected onto the ends of the ranges.
"""

# The set library's types are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import islpy as isl
import numpy as np

from ...ir.expr import (
    FALSE,
    TRUE,
    ZERO,
    Binary,
    Const,
    Expr,
    J,
    K,
    Op,
    Q,
    Select,
    Symbol,
    conjunction,
    conjuncts,
    disjunction,
    negated,
    substitute,
    walk,
)
from ..program.canonicalise import combined, filled, negation_free, simplified
from ..program.evaluate import evaluate
from ..sets.coalesce import coalesced
from ..sets.integer_sets import Builder, OverBudget, Problem, budgeted
from ..sets.pieces import Reading, holds, hull_of, pieces
from . import axis_windows
from .axis_windows import RESIDUE, Ends, Windows, reached, windows

BUDGET = 50_000
SMALL_BUDGET = 10_000  # of what has a plain way out
MOST_LOOKED_AT = 1 << 18  # pairs of coordinates
_ENDS = tuple(Symbol(f"{side} {end}") for side in "qk" for end in ("first", "last"))


class Reach(NamedTuple):
    """Coordinates along an axis, inclusive. The same object twice is one coordinate. whole: all of the axis."""

    low: Expr
    high: Expr
    whole: bool = False


class Known(NamedTuple):
    """Whether some query of a range sees some key of another, whether all see all, and whether not."""

    some: Expr
    full: Expr
    unfilled: Expr


@dataclass(frozen=True)
class Relation:
    """A negation-free condition over coordinates `q` and `k` of an axis.

    Raises:
        OverBudget: when it is asked about ranges and the condition takes too many operations to project.
    """

    condition: Expr
    windows: Windows | None
    facts: Facts
    projected: dict[tuple[str, bool, bool], Expr] = field(default_factory=dict[tuple[str, bool, bool], Expr])
    asked: dict[tuple[Reach, Reach], Known] = field(default_factory=dict[tuple[Reach, Reach], Known])

    @staticmethod
    def of(condition: Expr, queries: Expr, keys: Expr) -> Relation:
        """queries, keys: how many there are along the axis."""
        condition = negation_free(simplified(condition))
        return Relation(condition, windows(condition), Facts.of(condition, queries, keys))

    def known(self, q: Reach, k: Reach) -> Known:
        """Everything about two ranges, found once."""
        if (q, k) not in self.asked:
            full = self.full(q, k)
            unfilled = disjunction(*map(negated, conjuncts(full))) if self.windows is not None else negation_free(negated(full))
            self.asked[q, k] = Known(self.some(q, k), full, unfilled)
        return self.asked[q, k]

    def some(self, q: Reach, k: Reach) -> Expr:
        """Whether some query of a range sees some key of another."""
        if (q.whole and self.facts.every_key) or (k.whole and self.facts.every_query):
            return TRUE
        if self.windows is not None:
            return axis_windows.some(self.windows, (q.low, q.high), (k.low, k.high))
        return self._met("some", self.condition, q, k)

    def full(self, q: Reach, k: Reach) -> Expr:
        """Whether every query of a range sees every key of another."""
        if (q.whole and not self.facts.key_of_all) or (k.whole and not self.facts.query_of_all):
            return FALSE
        if self.windows is not None:
            return axis_windows.full(self.windows, (q.low, q.high), (k.low, k.high))
        return negation_free(negated(self._met("unfilled", negation_free(negated(self.condition)), q, k)))

    def reached(self, ends: Ends, count: Expr, *, mirrored: bool) -> Ends:
        """Start and stop, exclusive, of coordinates from 0 on, `count` of them, that hold every key that queries between `ends` see.

        mirrored: every query that sees a key between `ends`.
        """
        places: dict[Expr, Expr]
        if self.windows is None:
            side, other = (K, Q) if mirrored else (Q, K)
            inside = conjunction(Binary(Op.LE, _ENDS[0], side), Binary(Op.LE, side, _ENDS[1]), substitute(self.condition, {other: J}))
            start, stop = hull(inside, count)
            places = dict(zip(_ENDS, ends, strict=False))
            return filled(start, places), filled(stop, places)
        if not mirrored:
            return reached(self.windows, ends)
        by = Const(self.windows.apart)
        start, stop = hull(self._seeing(self.windows), _quotient_up(count, by))
        places = {end: combined(Op.FLOORDIV, at, by) for end, at in zip(_ENDS, ends, strict=False)}
        return combined(Op.MUL, filled(start, places), by), combined(Op.MUL, filled(stop, places), by)

    @staticmethod
    def _seeing(seen: Windows) -> Expr:
        """Whether the query at place `j` of a residue class, which is `k`, sees a key of it between the first two of _ENDS."""
        start, stop = (filled(end, {Q: J, RESIDUE: K}) for end in (seen.start, seen.stop))
        met = Binary(Op.LE, start, _ENDS[1]), Binary(Op.LT, _ENDS[0], stop)
        return conjunction(*met, Binary(Op.LE, ZERO, K), Binary(Op.LT, K, Const(seen.apart)))

    def _met(self, what: str, condition: Expr, q: Reach, k: Reach) -> Expr:
        key = (what, q.low is q.high, k.low is k.high)
        if key not in self.projected:
            self.projected[key] = on_ends(condition, *key[1:])
        ends = (q.low, q.high, k.low, k.high)
        return filled(self.projected[key], dict(zip(_ENDS, ends, strict=True)))


class Facts(NamedTuple):
    """What an axis as a whole says; the careful answer where that is not looked at.

    every_key:  each is seen by some query. every_query: each sees some key.
    key_of_all: there is one that all queries see. query_of_all: there is one that sees all keys.
    """

    every_key: bool = False
    every_query: bool = False
    key_of_all: bool = True
    query_of_all: bool = True

    @staticmethod
    def of(condition: Expr, queries: Expr, keys: Expr) -> Facts:
        if not isinstance(queries, Const) or not isinstance(keys, Const) or any(isinstance(node, Symbol) for node in walk(condition)):
            return Facts()
        if queries.value * keys.value > MOST_LOOKED_AT:
            return Facts()
        q, k = np.arange(int(queries.value))[:, None], np.arange(int(keys.value))[None, :]
        found = np.asarray(evaluate(condition, {Q: q, K: k}), bool)
        seen = np.broadcast_to(found, (q.size, k.size))
        return Facts(bool(seen.any(0).all()), bool(seen.any(1).all()), bool(seen.all(0).any()), bool(seen.all(1).any()))


def on_ends(condition: Expr, one_query: bool, one_key: bool) -> Expr:
    """Whether the condition holds for some `q` and `k` between _ENDS; one_query, one_key: their ends are the same.

    Raises:
        OverBudget: it takes too many operations.
    """
    q_first, q_last, k_first, k_last = _ENDS
    inside = [Binary(Op.LE, q_first, Q), Binary(Op.LE, Q, q_last), Binary(Op.LE, k_first, K), Binary(Op.LE, K, k_last)]
    known = conjunction(*_ordered((one_query, q_first, q_last), (one_key, k_first, k_last)))
    builder = Builder(Problem(conjunction(*inside, condition), known, 1, 1))
    with budgeted(builder.context, BUDGET):
        relation = coalesced(builder.on_tiles(builder.set_of(builder.problem.mask)))
        relation = coalesced(relation.gist(builder.on_tiles(builder.set_of(known))).compute_divs()).compute_divs()
    return union_of(relation, Reading(builder.parameters, ZERO, {}))


def _ordered(*ends: tuple[bool, Expr, Expr]) -> Iterable[Expr]:
    return (Binary(Op.EQ if same else Op.LE, first, last) for same, first, last in ends)


def union_of(relation: isl.Set, reading: Reading) -> Expr:
    """A set over parameters alone as a condition."""
    parts: list[Expr] = []
    for basic in relation.get_basic_sets():
        limits = [each for each in basic.get_constraints() if not each.is_div_constraint()]
        parts.append(conjunction(*(holds(each.get_aff(), each.is_equality(), reading) for each in limits)))
    return disjunction(*parts)


def hull(condition: Expr, count: Expr) -> Ends:
    """Start and stop of a range of `j`, of which there are `count`, outside of which the condition holds for no `q` and `k`.

    The condition is over the first two of _ENDS, of which the first is not above the second.
    """
    known = Binary(Op.LE, _ENDS[0], _ENDS[1])
    named = _bounded_parameters(condition)
    condition = substitute(condition, {value: symbol for symbol, value in named.items()})
    builder = Builder(Problem(condition, known, 1, 1))
    try:
        with budgeted(builder.context, SMALL_BUDGET):
            found = coalesced(builder.on_tiles(builder.set_of(condition)).gist(builder.on_tiles(builder.set_of(known))))
            around = pieces(found, Reading(builder.parameters, count, {}))
    except OverBudget:
        return ZERO, count
    starts = [each.start if len(around) == 1 else Select(Binary(Op.LT, each.start, each.stop), each.start, count) for each in around]
    start, stop = hull_of([(start, each.stop) for start, each in zip(starts, around, strict=True)])
    return substitute(start, named), substitute(stop, named)


def _bounded_parameters(condition: Expr) -> dict[Expr, Expr]:
    """A symbol for each `max(n, 1)` of a parameter: told apart by cases, they make many times the sets."""
    bounded = [node for node in walk(condition) if isinstance(node, Binary) and node.op is Op.MAX and isinstance(node.a, Symbol)]
    return {Symbol(str(node)): node for node in bounded if isinstance(node.b, Const)}


def _quotient_up(a: Expr, by: Const) -> Expr:
    return a if by.value == 1 else combined(Op.FLOORDIV, combined(Op.ADD, a, Const(by.value - 1)), by)
