"""Interval arithmetic on many boxes at once: what an expression can be when q and k range over rectangles.

Sound, not tight: operands are treated as independent. Integers are inclusive (low, high) arrays, truth values are (can be true, can be
false) arrays. On boxes of one pair the answer is the value itself.
"""

# Numpy's arrays carry no element type here.
# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false
from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ..ir.expr import Binary, Const, Expr, Kind, Lookup, Op, Select, Symbol, Table, Unary, Var, fold

WIDE = 2**60
Array = np.ndarray


class Span(NamedTuple):
    """Inclusive bounds of an integer, or what a truth value can be (`low`: can be true, `high`: can be false)."""

    low: Array
    high: Array


def span(value: int | Array) -> Span:
    array = np.asarray(value, np.int64)
    return Span(array, array)


class RangeTable:
    """Minimum and maximum of a table over ranges of its last axis, or over rectangles of its last two for truth values."""

    def __init__(self, array: Array) -> None:
        self.array = np.asarray(array)
        self.integers = self.array.astype(np.int64)

    @cached_property
    def levels(self) -> list[tuple[Array, Array]]:
        """Level n holds the extrema of 2**n neighbours, as in a sparse table for range queries."""
        found = [(self.integers, self.integers)]
        width = 1
        while 2 * width <= self.integers.shape[-1]:
            low, high = found[-1]
            found.append((np.minimum(low[..., :-width], low[..., width:]), np.maximum(high[..., :-width], high[..., width:])))
            width *= 2
        return found

    @cached_property
    def sums(self) -> Array:
        """Counts of true entries above and to the left, for the last two axes."""
        padded = np.zeros((*self.integers.shape[:-2], self.integers.shape[-2] + 1, self.integers.shape[-1] + 1), np.int64)
        padded[..., 1:, 1:] = self.integers.cumsum(-1).cumsum(-2)
        return padded

    def over(self, indices: tuple[Span, ...]) -> Span:
        shape = np.broadcast_shapes(*(each.low.shape for each in indices))
        low = [np.broadcast_to(np.clip(each.low, 0, size - 1), shape) for each, size in zip(indices, self.array.shape, strict=True)]
        high = [np.broadcast_to(np.clip(each.high, 0, size - 1), shape) for each, size in zip(indices, self.array.shape, strict=True)]
        exact = np.logical_and.reduce([a == b for a, b in zip(low[:-1], high[:-1], strict=True)]) if len(low) > 1 else np.ones(shape, bool)
        if len(low) > 1 and self.array.dtype == bool and not exact.all():
            return self._rectangles(low, high)
        return self._last_axis(low, high, exact)

    def _last_axis(self, low: list[Array], high: list[Array], exact: Array) -> Span:
        level = np.maximum(0, np.ceil(np.log2(high[-1] - low[-1] + 2)).astype(np.int64) - 1)
        bottom, top = np.full(level.shape, self.integers.min()), np.full(level.shape, self.integers.max())
        for n, (smallest, largest) in enumerate(self.levels):
            here = exact & (level == n)
            if here.any():
                lead = tuple(index[here] for index in low[:-1])
                first, last = low[-1][here], high[-1][here] - 2**n + 1
                bottom[here] = np.minimum(smallest[(*lead, first)], smallest[(*lead, last)])
                top[here] = np.maximum(largest[(*lead, first)], largest[(*lead, last)])
        return Span(bottom, top)

    def _rectangles(self, low: list[Array], high: list[Array]) -> Span:
        lead = tuple(low[:-2])
        (r0, c0), (r1, c1) = (low[-2], low[-1]), (high[-2] + 1, high[-1] + 1)
        count = self.sums[(*lead, r1, c1)] - self.sums[(*lead, r0, c1)] - self.sums[(*lead, r1, c0)] + self.sums[(*lead, r0, c0)]
        return Span((count == (r1 - r0) * (c1 - c0)).astype(np.int64), (count > 0).astype(np.int64))


def spans(
    expr: Expr, environment: Mapping[Expr, Span], tables: Mapping[str, RangeTable], observe: Callable[[Expr, Span], None] | None = None
) -> Span:
    """The span of `expr` when variables and symbols range over `environment`, elementwise over the arrays there.

    observe: is shown every node with its span.
    """

    def visit(node: Expr, parts: tuple[Span, ...]) -> Span:
        found = environment[node] if isinstance(node, Var | Symbol) else _rule(node, parts, tables)
        if observe is not None:
            observe(node, found)
        return found

    return fold(expr, visit)


def _rule(node: Expr, parts: tuple[Span, ...], tables: Mapping[str, RangeTable]) -> Span:
    match node:
        case Const(value=bool() as value):
            return Span(np.asarray(value), np.asarray(not value))
        case Const(value=value):
            return span(int(value))
        case Lookup(table=table):
            return _read(table, tables[table.name], parts)
        case Select():
            return _select(node, *parts)
        case Unary(op=op):
            return _UNARY[op](*parts)
        case Binary(op=op, a=a) if a.kind is Kind.BOOL:
            return _LOGIC[op](*parts)
        case Binary(op=op):
            return _clipped(op, _BINARY[op](*parts))
        case _:
            raise NotImplementedError(f"`{node}` has no interval rule")


def _read(table: Table, values: RangeTable, indices: tuple[Span, ...]) -> Span:
    found = values.over(indices)
    return Span(found.high > 0, found.low <= 0) if table.kind is Kind.BOOL else found


def _clipped(op: Op, found: Span) -> Span:
    if op in (Op.LT, Op.LE, Op.EQ, Op.NE):
        return found
    return Span(np.clip(found.low, -WIDE, WIDE), np.clip(found.high, -WIDE, WIDE))


def _select(node: Select, condition: Span, a: Span, b: Span) -> Span:
    if node.kind is Kind.BOOL:
        return Span((condition.low & a.low) | (condition.high & b.low), (condition.low & a.high) | (condition.high & b.high))
    low = np.minimum(np.where(condition.low, a.low, WIDE), np.where(condition.high, b.low, WIDE))
    high = np.maximum(np.where(condition.low, a.high, -WIDE), np.where(condition.high, b.high, -WIDE))
    return Span(low, high)


def _corners(a: Span, b: Span, operation: Callable[[Array, Array], Array]) -> Span:
    """For operations that are monotone in each operand: the extrema are at the corners."""
    values = [operation(x, y) for x in (a.low, a.high) for y in (b.low, b.high)]
    return Span(np.minimum.reduce(np.broadcast_arrays(*values)), np.maximum.reduce(np.broadcast_arrays(*values)))


def _product(a: Span, b: Span) -> Span:
    def saturated(x: Array, y: Array) -> Array:
        size = np.multiply(x, y, dtype=np.float64)
        return np.where(np.abs(size) >= WIDE, np.where(size > 0, WIDE, -WIDE), np.multiply(x, np.where(np.abs(size) >= WIDE, 0, y)))

    return _corners(a, b, saturated)


def _floordiv(a: Span, b: Span) -> Span:
    """Monotone in each operand while the divisor keeps its sign; a divisor of 0 gives 0."""
    crosses = (b.low <= 0) & (b.high >= 0)
    safe = Span(np.where(crosses, 1, b.low), np.where(crosses, 1, b.high))
    found = _corners(a, safe, np.floor_divide)
    reach = np.maximum(np.abs(a.low), np.abs(a.high))
    return Span(np.where(crosses, -reach, found.low), np.where(crosses, reach, found.high))


def _mod(a: Span, b: Span) -> Span:
    """Within one period of a fixed divisor the remainder is monotone; else it covers the whole period."""
    fixed = (b.low == b.high) & (b.low != 0)
    divisor = np.where(fixed, b.low, 1)
    one_period = fixed & (a.low // divisor == a.high // divisor)
    low = np.where(one_period, np.where(divisor > 0, a.low % divisor, a.low % divisor), np.minimum(b.low + 1, 0))
    high = np.where(one_period, a.high % divisor, np.maximum(b.high - 1, 0))
    return Span(np.minimum(low, high), np.maximum(low, high))


def _absolute(a: Span) -> Span:
    low = np.where((a.low <= 0) & (a.high >= 0), 0, np.minimum(np.abs(a.low), np.abs(a.high)))
    return Span(low, np.maximum(np.abs(a.low), np.abs(a.high)))


def _bits(operation: np.ufunc) -> Callable[[Span, Span], Span]:
    def apply(a: Span, b: Span) -> Span:
        point = (a.low == a.high) & (b.low == b.high)
        exact = operation(a.low, b.low)
        reach = _all_ones(np.maximum.reduce(np.broadcast_arrays(*(np.abs(x) for x in (a.low, a.high, b.low, b.high)))))
        lowest = np.where((a.low >= 0) & (b.low >= 0), 0, -reach - 1)
        return Span(np.where(point, exact, lowest), np.where(point, exact, reach))

    return apply


def _all_ones(value: Array) -> Array:
    """The smallest 2**n - 1 that is at least `value`."""
    return np.left_shift(1, np.ceil(np.log2(value.astype(np.float64) + 1)).astype(np.int64)) - 1


def _shift(left: bool) -> Callable[[Span, Span], Span]:
    def apply(a: Span, b: Span) -> Span:
        amount = Span(np.clip(b.low, 0, 62), np.clip(b.high, 0, 62))
        if left:
            return _product(a, Span(np.left_shift(1, np.minimum(amount.low, 60)), np.left_shift(1, np.minimum(amount.high, 60))))
        return _corners(a, amount, np.right_shift)

    return apply


_UNARY = {
    Op.NEG: lambda a: Span(-a.high, -a.low),
    Op.ABS: _absolute,
    Op.NOT: lambda a: Span(a.high, a.low),
}
_BINARY = {
    Op.ADD: lambda a, b: Span(a.low + b.low, a.high + b.high),
    Op.SUB: lambda a, b: Span(a.low - b.high, a.high - b.low),
    Op.MUL: _product,
    Op.FLOORDIV: _floordiv,
    Op.MOD: _mod,
    Op.MIN: lambda a, b: Span(np.minimum(a.low, b.low), np.minimum(a.high, b.high)),
    Op.MAX: lambda a, b: Span(np.maximum(a.low, b.low), np.maximum(a.high, b.high)),
    Op.BITAND: _bits(np.bitwise_and),
    Op.BITOR: _bits(np.bitwise_or),
    Op.BITXOR: _bits(np.bitwise_xor),
    Op.SHL: _shift(True),
    Op.SHR: _shift(False),
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
