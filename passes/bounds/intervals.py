"""Interval arithmetic on many boxes at once: what an expression can be when q and k range over rectangles.

Sound, not tight: operands are treated as independent. Integers are inclusive (low, high) arrays, truth values are (can be true, can be
false) arrays. On boxes of one pair the answer is the value itself, and a part of a box has no more values than the box.

Ends are the mathematical ones and never wrap or saturate: where one leaves 64 bits the expression is refused, `TooWide`, or, for those who
ask for it, counted on in Python's integers.
"""

# Numpy's arrays carry no element type here.
# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from ...ir.expr import Binary, Const, Expr, Kind, Lookup, Op, Select, Symbol, Table, Unary, Var, fold
from ..program.exact_integers import (
    LARGEST_SHIFT,
    absolute,
    added,
    divided,
    multiplied,
    narrowed,
    negative,
    remainder,
    shifted_left,
    shifted_right,
    subtracted,
    widened,
)
from .range_table import Array, Reads, Span
from .too_wide import MeaninglessShift, TooWide

ANY_REAL = Span(np.zeros(1, np.int64), np.zeros(1, np.int64))
"""Stands for a real number, of which nothing is known and whose comparisons come out either way."""


def span(value: int | Array) -> Span:
    array = widened(value)
    return Span(array, array)


def spans(
    expr: Expr,
    environment: Mapping[Expr, Span],
    tables: Mapping[str, Reads],
    observe: Callable[[Expr, Span], None] | None = None,
    *,
    in_64_bits: bool = True,
) -> Span:
    """The span of `expr` when variables and symbols range over `environment`, elementwise over the arrays there; of one box, arrays of one.

    observe:    is shown every integer and truth value with its span.
    in_64_bits: refuse what may leave them; else ends are Python's integers wherever they must be.

    Raises:
        TooWide: an integer may leave 64 bits.
        MeaninglessShift: a shift may be by a negative number.
    """

    def visit(node: Expr, parts: tuple[Span, ...]) -> Span:
        if node.kind is Kind.FLOAT:
            return ANY_REAL
        found = _in_arrays(environment[node]) if isinstance(node, Var | Symbol) else _rule(node, parts, tables)
        if node.kind is Kind.INT:
            found = _in_64_bits(node, found) if in_64_bits else Span(widened(found.low), widened(found.high))
        if observe is not None:
            observe(node, found)
        return found

    return fold(expr, visit)


def _in_arrays(ends: Span) -> Span:
    """One box as an array of one: of a bare object numpy makes whatever type it takes it for."""
    return Span(np.atleast_1d(ends.low), np.atleast_1d(ends.high))


def _in_64_bits(node: Expr, found: Span) -> Span:
    low, high = narrowed(found.low), narrowed(found.high)
    if low.dtype == object or high.dtype == object:
        raise TooWide(node, int(np.min(low)), int(np.max(high)))
    return Span(low, high)


def _rule(node: Expr, parts: tuple[Span, ...], tables: Mapping[str, Reads]) -> Span:
    match node:
        case Const(value=bool() as value):
            return _in_arrays(Span(np.asarray(value), np.asarray(not value)))
        case Const(value=value):
            return _in_arrays(span(int(value)))
        case Lookup(table=table):
            return _read(table, tables[table.name], parts)
        case Select():
            return _select(node, *parts)
        case Unary(op=op):
            return _UNARY[op](*parts)
        case Binary(op=op, a=a) if a.kind is Kind.BOOL:
            return _LOGIC[op](*parts)
        case Binary(a=a, b=b) if Kind.FLOAT in (a.kind, b.kind):
            return Span(np.ones(1, bool), np.ones(1, bool))
        case Binary(op=Op.SHL | Op.SHR as op):
            _require_shift(node, *parts)
            return _BINARY[op](*parts)
        case Binary(op=op):
            return _BINARY[op](*parts)
        case _:
            raise NotImplementedError(f"`{node}` has no interval rule")


def _require_shift(node: Binary, a: Span, by: Span) -> None:
    if by.low.size and np.min(by.low) < 0:
        raise MeaninglessShift(node, int(np.min(by.low)))
    if node.op is Op.SHL and by.high.size and np.max(by.high) > LARGEST_SHIFT and not (np.equal(a.low, 0) & np.equal(a.high, 0)).all():
        raise TooWide(node, *(int(end) << LARGEST_SHIFT for end in (np.min(a.low), np.max(a.high))))


def _read(table: Table, values: Reads, indices: tuple[Span, ...]) -> Span:
    found = values.over(indices)
    return Span(found.high > 0, found.low <= 0) if table.kind is Kind.BOOL else found


def _select(node: Select, condition: Span, a: Span, b: Span) -> Span:
    if node.kind is Kind.BOOL:
        return Span((condition.low & a.low) | (condition.high & b.low), (condition.low & a.high) | (condition.high & b.high))
    low = np.where(condition.low & condition.high, np.minimum(a.low, b.low), np.where(condition.low, a.low, b.low))
    high = np.where(condition.low & condition.high, np.maximum(a.high, b.high), np.where(condition.low, a.high, b.high))
    return Span(low, high)


def _corners(a: Span, b: Span, operation: Callable[[Array, Array], Array]) -> Span:
    """For operations that are monotone in each operand: the extrema are at the corners."""
    values = np.broadcast_arrays(*(operation(x, y) for x in (a.low, a.high) for y in (b.low, b.high)))
    return Span(np.minimum.reduce(values), np.maximum.reduce(values))


def _floordiv(a: Span, b: Span) -> Span:
    """Monotone in each operand while the divisor keeps its sign; a divisor of 0 gives 0.

    Around 0 no quotient is farther from it than those by 1 and by -1, where the divisor can be those.
    """
    crosses = (b.low <= 0) & (b.high >= 0)
    if not crosses.any():
        return _corners(a, b, divided)
    found = _corners(a, Span(np.where(crosses, 1, b.low), np.where(crosses, 1, b.high)), divided)
    turned = Span(negative(a.high), negative(a.low))  # by -1
    low = np.minimum(np.where(b.high > 0, np.minimum(a.low, 0), 0), np.where(b.low < 0, np.minimum(turned.low, 0), 0))
    high = np.maximum(np.where(b.high > 0, np.maximum(a.high, 0), 0), np.where(b.low < 0, np.maximum(turned.high, 0), 0))
    return Span(np.where(crosses, low, found.low), np.where(crosses, high, found.high))


def _mod(a: Span, b: Span) -> Span:
    """Within one period of a fixed divisor the remainder is monotone; else it covers the whole period."""
    fixed = (b.low == b.high) & (b.low != 0)
    divisor = np.where(fixed & (b.low != -1), b.low, 1)  # by -1 as by 1 it is 0
    one_period = fixed & (divided(a.low, divisor) == divided(a.high, divisor))
    low = np.where(one_period, remainder(a.low, divisor), np.minimum(b.low, -1) + 1)
    high = np.where(one_period, remainder(a.high, divisor), np.maximum(b.high, 1) - 1)
    return Span(np.minimum(low, high), np.maximum(low, high))


def _absolute(a: Span) -> Span:
    low, high = absolute(a.low), absolute(a.high)
    return Span(np.where((a.low <= 0) & (a.high >= 0), 0, np.minimum(low, high)), np.maximum(low, high))


class _Bits(NamedTuple):
    """What is known of the bits of the numbers between two ends: those above the highest bit in which the ends differ.

    least, most: every bit that is not known cleared, and set.   known: the sign is among the known ones.
    """

    least: Array
    most: Array
    known: Array

    @staticmethod
    def of(a: Span) -> _Bits:
        differing = np.bitwise_xor(a.low, a.high)
        known = np.asarray(differing >= 0)
        open_bits = _all_ones(np.where(known, differing, 0))
        return _Bits(np.bitwise_and(a.low, ~open_bits), np.bitwise_or(a.low, open_bits), known)


def _bits(operation: np.ufunc) -> Callable[[Span, Span], Span]:
    """Between numbers that are not negative the result has no bit above theirs; else it lies in the smallest word that holds both.

    Where both signs are known, so are the bits of the result above those that the ends of an operand leave open.
    """

    def apply(a: Span, b: Span) -> Span:
        reach = _all_ones(np.maximum.reduce(np.broadcast_arrays(*(np.where(end < 0, ~end, end) for end in (*a, *b)))))
        lowest = np.where((a.low >= 0) & (b.low >= 0), 0, ~reach)
        bits = _Bits.of(a), _Bits.of(b)
        known = bits[0].known & bits[1].known
        low, high = _between(operation, *bits)
        return Span(np.where(known, np.maximum(low, lowest), lowest), np.where(known, np.minimum(high, reach), reach))

    return apply


def _between(operation: np.ufunc, a: _Bits, b: _Bits) -> tuple[Array, Array]:
    """The least and the most that known bits leave; `&` and `|` never fall where an operand's bit is set, `^` may do either."""
    if operation is not np.bitwise_xor:
        return operation(a.least, b.least), operation(a.most, b.most)
    open_bits = np.bitwise_or(a.least ^ a.most, b.least ^ b.most)
    least = np.bitwise_and(a.least ^ b.least, ~open_bits)
    return least, np.bitwise_or(least, open_bits)


def _all_ones(value: Array) -> Array:
    """The smallest 2**n - 1 that is at least `value`, which is not negative."""
    value = np.asarray(value)
    if value.dtype == object:
        return np.asarray(np.frompyfunc(lambda each: (1 << int(each).bit_length()) - 1, 1, 1)(value), object)
    for width in (1, 2, 4, 8, 16, 32):
        value = value | (value >> width)
    return value


_UNARY = {
    Op.NEG: lambda a: Span(negative(a.high), negative(a.low)),
    Op.ABS: _absolute,
    Op.NOT: lambda a: Span(a.high, a.low),
}
_BINARY = {
    Op.ADD: lambda a, b: Span(added(a.low, b.low), added(a.high, b.high)),
    Op.SUB: lambda a, b: Span(subtracted(a.low, b.high), subtracted(a.high, b.low)),
    Op.MUL: lambda a, b: _corners(a, b, multiplied),
    Op.FLOORDIV: _floordiv,
    Op.MOD: _mod,
    Op.MIN: lambda a, b: Span(np.minimum(a.low, b.low), np.minimum(a.high, b.high)),
    Op.MAX: lambda a, b: Span(np.maximum(a.low, b.low), np.maximum(a.high, b.high)),
    Op.BITAND: _bits(np.bitwise_and),
    Op.BITOR: _bits(np.bitwise_or),
    Op.BITXOR: _bits(np.bitwise_xor),
    Op.SHL: lambda a, b: _corners(a, b, shifted_left),
    Op.SHR: lambda a, b: _corners(a, b, shifted_right),
    Op.LT: lambda a, b: Span(a.low < b.high, a.high >= b.low),
    Op.LE: lambda a, b: Span(a.low <= b.high, a.high > b.low),
    Op.EQ: lambda a, b: Span((a.low <= b.high) & (b.low <= a.high), ~((a.low == a.high) & (b.low == b.high) & (a.low == b.low))),
    Op.NE: lambda a, b: Span(~((a.low == a.high) & (b.low == b.high) & (a.low == b.low)), (a.low <= b.high) & (b.low <= a.high)),
}
_LOGIC = {
    Op.AND: lambda a, b: Span(a.low & b.low, a.high | b.high),
    Op.OR: lambda a, b: Span(a.low | b.low, a.high & b.high),
    Op.XOR: lambda a, b: Span((a.low & b.high) | (a.high & b.low), (a.low & b.low) | (a.high & b.high)),
    Op.EQ: lambda a, b: Span((a.low & b.low) | (a.high & b.high), (a.low & b.high) | (a.high & b.low)),
    Op.NE: lambda a, b: Span((a.low & b.high) | (a.high & b.low), (a.low & b.low) | (a.high & b.high)),
    Op.LT: lambda a, b: Span(a.high & b.low, a.low | b.high),
    Op.LE: lambda a, b: Span(a.high | b.low, a.low & b.high),
}
