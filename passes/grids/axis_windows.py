"""Windows along an axis: every query sees one run of keys, within its residue class, and both ends of it only move forward.

    max(q - 6, 0) <= k and k < q + 7          start max(q - 6, 0), stop q + 7

Some query of a range sees some key of another then exactly where the first run starts before the keys end and the last one ends after they
start, and all see all where the last run starts and the first one ends outside of them: two comparisons of ends.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field

from ...ir.expr import ONE, ZERO, Binary, Const, Expr, K, Op, Q, Symbol, Unary, conjunction, conjuncts, disjunction, names, substitute
from ..program.canonicalise import combined, filled, simplified
from ..program.residues import congruences
from ..sets.integer_sets import is_empty
from .steps import step

RESIDUE = Symbol("residue")
MOST_CLASSES = 8

_Linear = tuple[int, Expr]


@dataclass(frozen=True)
class Windows:
    """start, stop: of the keys that the query at place `q` of its class sees, over `q` and RESIDUE. apart: between tokens of a class."""

    start: Expr
    stop: Expr
    apart: int
    found: dict[tuple[Expr, Expr, Expr], Expr] = field(default_factory=dict[tuple[Expr, Expr, Expr], Expr], compare=False)

    def of(self, end: Expr, place: Expr, residue: Expr) -> Expr:
        """An end of the window of the query at a place of a residue class, made once."""
        key = (end, place, residue)
        if key not in self.found:
            self.found[key] = filled(end, {Q: place, RESIDUE: residue})
        return self.found[key]


def windows(condition: Expr) -> Windows | None:
    """What a condition over `q` and `k` says as windows; None where it does not, or that is not proved for every value of its symbols."""
    parts = list(conjuncts(condition))
    alike = [modulus for part in parts for modulus, remainder in congruences(part) if remainder == 0]
    apart = max(alike, default=1)
    if apart > MOST_CLASSES:
        return None
    rest = [part for part in parts if not any((apart, 0) == each for each in congruences(part))]
    found = _ends([_within(part, apart) for part in rest])
    return None if found is None or not _touching(*found) else Windows(*found, apart)


def _within(part: Expr, apart: int) -> Expr:
    """A part over the places of tokens in their class."""
    if apart == 1:
        return part
    by = Const(apart)
    place: dict[Expr, Expr] = {}
    for side in (Q, K):
        place[side] = Binary(Op.ADD, Binary(Op.MUL, side, by), RESIDUE)
        place[Binary(Op.FLOORDIV, side, by)] = side
        place[Binary(Op.MOD, side, by)] = RESIDUE
    return simplified(substitute(part, place))


def _ends(parts: list[Expr]) -> tuple[Expr, Expr] | None:
    """First key and the one after the last, by comparisons with `k`."""
    starts: list[Expr] = []
    stops: list[Expr] = []
    for part in (each for whole in parts for each in _without_abs(whole)):
        found = _end(part)
        if found is None:
            return None
        (stops if found[0] else starts).append(found[1])
    if not starts or not stops:
        return None
    return functools.reduce(functools.partial(combined, Op.MAX), starts), functools.reduce(functools.partial(combined, Op.MIN), stops)


def _end(part: Expr) -> tuple[bool, Expr] | None:
    """Whether a comparison says where keys stop, and where that is; else where they start."""
    if not isinstance(part, Binary) or part.op not in (Op.LE, Op.LT):
        return None
    left, right = _linear(part.a), _linear(part.b)
    if left is None or right is None or abs(right[0] - left[0]) != 1:
        return None
    strict = ONE if part.op is Op.LT else ZERO
    if right[0] > left[0]:
        return False, _plus(_minus(left[1], right[1]), strict)
    return True, _minus(_plus(_minus(right[1], left[1]), ONE), strict)


def _without_abs(part: Expr) -> Iterator[Expr]:
    match part:
        case Binary(op=Op.LE | Op.LT as op, a=Unary(op=Op.ABS, a=inner), b=most):
            yield Binary(op, inner, most)
            yield Binary(op, simplified(Unary(Op.NEG, inner)), most)
        case _:
            yield part


def _linear(expr: Expr) -> _Linear | None:
    """Factor of `k` and the rest of a sum; None where `k` is under anything else."""
    if "k" not in names(expr):
        return 0, expr
    match expr:
        case Binary(op=Op.ADD | Op.SUB as op, a=a, b=b):
            left, right = _linear(a), _linear(b)
            if left is None or right is None:
                return None
            sign, join = (1, _plus) if op is Op.ADD else (-1, _minus)
            return left[0] + sign * right[0], join(left[1], right[1])
        case Unary(op=Op.NEG, a=a):
            inner = _linear(a)
            return None if inner is None else (-inner[0], _minus(ZERO, inner[1]))
        case _:
            return (1, ZERO) if expr is K else None


def _plus(a: Expr, b: Expr) -> Expr:
    return simplified(Binary(Op.ADD, a, b))


def _minus(a: Expr, b: Expr) -> Expr:
    match a, b:
        case Binary(op=Op.ADD, a=inner, b=Const(value=int(value))), Const(value=int(other)) if value == other:
            return inner
        case _:
            return simplified(Binary(Op.SUB, a, b))


def _touching(start: Expr, stop: Expr) -> bool:
    """Whether neither end ever moves back, no run is empty, and the run of the next query starts before this one ends, at the latest."""
    steps = step(start, Q), step(stop, Q)
    if any(each is None or each.low < 0 for each in steps):
        return False
    following = substitute(start, {Q: Binary(Op.ADD, Q, ONE)})
    match stop:
        case Binary(op=Op.ADD, a=same, b=Const(value=int(width))) if same is start and steps[0] is not None:
            return width >= max(1, steps[0].high)
        case _:
            return is_empty(Binary(Op.LE, stop, start)) and is_empty(Binary(Op.LT, stop, following))


# -- relations of ranges ----------------------------------------------------------------------------------------------

Ends = tuple[Expr, Expr]
"""Inclusive; the same object twice is one token."""


def some(seen: Windows, q: Ends, k: Ends) -> Expr:
    """Whether some query of a range sees some key of another."""
    if seen.apart == 1:
        return _meet(seen, q, k, ZERO)
    point = next((ends[0] for ends in (q, k) if ends[0] is ends[1]), None)
    if point is None:
        classes = [Const(residue) for residue in range(seen.apart)]
        return disjunction(*(_meet(seen, _places(q, each, seen.apart), _places(k, each, seen.apart), each) for each in classes))
    residue = Binary(Op.MOD, point, Const(seen.apart))
    return _meet(seen, _places(q, residue, seen.apart), _places(k, residue, seen.apart), residue)


def full(seen: Windows, q: Ends, k: Ends) -> Expr:
    """Whether every query of a range sees every key of another."""
    if seen.apart == 1:
        last, first = seen.of(seen.start, q[1], ZERO), seen.of(seen.stop, q[0], ZERO)
        return conjunction(combined(Op.LE, last, k[0]), combined(Op.LT, k[1], first))
    alone = [combined(Op.EQ, *ends) for ends in (q, k) if ends[0] is not ends[1]]  # neighbours are of different classes
    return conjunction(*alone, some(seen, (q[0], q[0]), (k[0], k[0])))


def reached(seen: Windows, q: Ends) -> Ends:
    """Start and stop, exclusive, of coordinates that hold every key that a range of queries sees."""
    by = Const(seen.apart)
    first, last = (combined(Op.FLOORDIV, end, by) for end in q)
    start = functools.reduce(functools.partial(combined, Op.MIN), _of_classes(seen.start, first, seen.apart))
    stop = functools.reduce(functools.partial(combined, Op.MAX), _of_classes(seen.stop, last, seen.apart))
    return combined(Op.MUL, start, by), combined(Op.MUL, stop, by)


def _of_classes(end: Expr, place: Expr, apart: int) -> list[Expr]:
    """An end of the window at a place of each residue class, or of the first and last of them where others lie between."""
    change = step(end, RESIDUE)
    classes = range(apart) if change is None or change.low < 0 < change.high else sorted({0, apart - 1})
    return [filled(end, {Q: place, RESIDUE: Const(residue)}) for residue in classes]


def _meet(seen: Windows, q: Ends, k: Ends, residue: Expr) -> Expr:
    """`some` for places of one residue class, of which there may be none."""
    start, stop = seen.of(seen.start, q[0], residue), seen.of(seen.stop, q[1], residue)
    there = [combined(Op.LE, *ends) for ends in (q, k) if seen.apart > 1]
    return conjunction(*there, combined(Op.LE, start, k[1]), combined(Op.LT, k[0], stop))


def _places(ends: Ends, residue: Expr, apart: int) -> Ends:
    """First and last place of a class in a range of tokens."""
    by = Const(apart)
    if residue is Binary(Op.MOD, ends[0], by) and ends[0] is ends[1]:
        place = Binary(Op.FLOORDIV, ends[0], by)
        return place, place
    first, last = (combined(Op.SUB, end, residue) for end in ends)
    return combined(Op.FLOORDIV, combined(Op.ADD, first, Const(apart - 1)), by), combined(Op.FLOORDIV, last, by)
