"""A mask at many pairs at once, as fast as numpy goes: for masks whose integers are all known to fit 64 bits.

What reads one side is computed once for a row or a key. A value is dropped after its last use, so that few arrays live at a time.
"""

# Numpy's arrays carry no element type here, and values are of any type that numpy broadcasts.
# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false
from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ...ir.expr import Binary, Const, Expr, K, Lookup, Op, Q, Select, Symbol, Unary, Var, operands, walk
from .range_table import Array

Value = Any


class _Step(NamedTuple):
    """The value of one node from those of others, and which of them nobody asks for again."""

    node: Expr
    apply: Callable[..., Value]
    sources: tuple[Expr, ...]
    spent: tuple[Expr, ...]


class PairMask:
    """One mask at the values and tables of one (b, h).

    operations: how many values differ from pair to pair, at least 1.
    """

    def __init__(self, mask: Expr, values: Mapping[Expr, Value], tables: Mapping[str, Array]) -> None:
        self.mask = mask
        order = [node for node in walk(mask) if not isinstance(node, Const | Var | Symbol)]
        last = {source: node for node in order for source in operands(node)}
        self.leaves = {node: node.value if isinstance(node, Const) else values[node] for node in _leaves(mask)}
        self.steps = [
            _Step(node, _operation(node, tables), operands(node), tuple(each for each in set(operands(node)) if last[each] is node))
            for node in order
        ]
        self.operations = _joint(mask)

    def at(self, q: Array, k: Array) -> Array:
        """bool[boxes, rows, keys] of rows i64[boxes, rows] and keys i64[boxes, keys]."""
        values: dict[Expr, Value] = {**self.leaves, Q: q[:, :, None], K: k[:, None, :]}
        for node, apply, sources, spent in self.steps:
            values[node] = apply(*(values[source] for source in sources))
            for source in spent:
                del values[source]
        return np.broadcast_to(values[self.mask], (len(q), q.shape[1], k.shape[1]))


def _leaves(mask: Expr) -> list[Expr]:
    return [node for node in walk(mask) if isinstance(node, Const) or (isinstance(node, Var | Symbol) and node not in (Q, K))]


def _joint(mask: Expr) -> int:
    """Nodes that read both sides, at least 1."""
    sides: dict[Expr, frozenset[Expr]] = {}
    for node in walk(mask):
        sides[node] = frozenset({node} & {Q, K}).union(*(sides[each] for each in operands(node)))
    return max(1, sum(len(each) == 2 for each in sides.values()))


def _operation(node: Expr, tables: Mapping[str, Array]) -> Callable[..., Value]:
    match node:
        case Lookup(table=table):
            return _reading(tables[table.name])
        case Select():
            return np.where
        case Unary(op=op):
            return _UNARY[op]
        case Binary(op=Op.MOD, b=Const(value=int(by))) if by:
            return _remainder_by(by)
        case Binary(op=Op.FLOORDIV, b=Const(value=int(by))) if by:
            return np.floor_divide
        case Binary(op=op):
            return _BINARY[op]
        case _:
            raise NotImplementedError(f"`{node}` is a real function; masks are made of integers")


def _reading(array: Array) -> Callable[..., Value]:
    """Entries at indices, which are moved into the table: what is out of range belongs to pairs that do not count."""
    if array.ndim == 1 and array.size:
        return functools.partial(_taken, array)

    def read(*indices: Value) -> Value:
        if not array.size:
            return np.zeros(np.broadcast_shapes(*(np.shape(index) for index in indices)), array.dtype)
        return _widened(array[tuple(np.clip(index, 0, size - 1) for index, size in zip(indices, array.shape, strict=True))])

    return read


def _taken(array: Array, index: Value) -> Array:
    return _widened(array.take(index, mode="clip"))


def _widened(entries: Array) -> Array:
    return entries if entries.dtype == bool else entries.astype(np.int64, copy=False)


def _remainder_by(by: int) -> Callable[[Value, Value], Value]:
    """By a constant; a quotient by one is many times faster than a remainder."""
    if by > 0 and by & (by - 1) == 0:
        return lambda a, b: np.bitwise_and(a, by - 1)
    return lambda a, b: np.subtract(a, np.multiply(np.floor_divide(a, by), by))


def _quotient(a: Value, b: Value) -> Value:
    return np.where(np.equal(b, 0), 0, np.floor_divide(a, np.where(np.equal(b, 0), 1, b)))


def _remainder(a: Value, b: Value) -> Value:
    return np.where(np.equal(b, 0), 0, np.remainder(a, np.where(np.equal(b, 0), 1, b)))


def _shifted_right(a: Value, b: Value) -> Value:
    return np.right_shift(a, np.minimum(b, 63))


_BINARY: dict[Op, Callable[[Value, Value], Value]] = {
    Op.ADD: np.add,
    Op.SUB: np.subtract,
    Op.MUL: np.multiply,
    Op.MIN: np.minimum,
    Op.MAX: np.maximum,
    Op.FLOORDIV: _quotient,
    Op.MOD: _remainder,
    Op.BITAND: np.bitwise_and,
    Op.BITOR: np.bitwise_or,
    Op.BITXOR: np.bitwise_xor,
    Op.SHL: np.left_shift,
    Op.SHR: _shifted_right,
    Op.LT: np.less,
    Op.LE: np.less_equal,
    Op.EQ: np.equal,
    Op.NE: np.not_equal,
    Op.AND: np.logical_and,
    Op.OR: np.logical_or,
    Op.XOR: np.logical_xor,
}
_UNARY: dict[Op, Callable[[Value], Value]] = {Op.NEG: np.negative, Op.ABS: np.abs, Op.NOT: np.logical_not}
