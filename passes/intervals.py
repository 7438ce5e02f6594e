"""Interval arithmetic on many boxes at once: what an expression can be when q and k range over rectangles.

Sound, not tight: operands are treated as independent. Integers are inclusive (low, high) arrays, truth values are (can be true, can be
false) arrays. On boxes of one pair the answer is the value itself.
"""

# Numpy's arrays carry no element type here.
# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false
from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ..ir.expr import Binary, Const, Expr, Kind, Lookup, Op, Select, Symbol, Table, Unary, Var, fold
from .range_table import Array, RangeTable, Span

WIDE = 2**60


def span(value: int | Array) -> Span:
    array = np.asarray(value, np.int64)
    return Span(array, array)


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
    always = (b.low == 0) & (b.high == 0)  # or one pair alone would stay undecided
    reach = np.where(always, 0, np.maximum(np.abs(a.low), np.abs(a.high)))
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
