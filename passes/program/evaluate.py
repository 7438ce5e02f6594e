"""The value of an expression on integers or numpy arrays. Python's semantics: integers never wrap, division rounds down.

A zero divisor gives 0.
"""

# Values are of any type that numpy broadcasts.
# pyright: reportUnknownVariableType=false
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...ir.expr import Binary, Const, Expr, Kind, Lookup, Op, Select, Symbol, Table, Unary, Var, fold
from .exact_integers import (
    absolute,
    added,
    divided,
    fits,
    multiplied,
    narrowed,
    negative,
    remainder,
    shifted_left,
    shifted_right,
    subtracted,
    widened,
)

Value = Any  # int | bool | float | np.ndarray: numpy broadcasts them alike
Read = Callable[[Table, tuple[Value, ...]], Value]

BINARY: dict[Op, Callable[[Value, Value], Value]] = {
    Op.ADD: added,
    Op.SUB: subtracted,
    Op.MUL: multiplied,
    Op.MIN: np.minimum,
    Op.MAX: np.maximum,
    Op.FLOORDIV: divided,
    Op.MOD: remainder,
    Op.BITAND: np.bitwise_and,
    Op.BITOR: np.bitwise_or,
    Op.BITXOR: np.bitwise_xor,
    Op.SHL: shifted_left,
    Op.SHR: shifted_right,
    Op.LT: np.less,
    Op.LE: np.less_equal,
    Op.EQ: np.equal,
    Op.NE: np.not_equal,
    Op.AND: np.logical_and,
    Op.OR: np.logical_or,
    Op.XOR: np.logical_xor,
}
UNARY: dict[Op, Callable[[Value], Value]] = {
    Op.NEG: negative,
    Op.ABS: absolute,
    Op.NOT: np.logical_not,
    Op.FLOAT: lambda a: np.asarray(a, float),
}


def no_tables(table: Table, indices: tuple[Value, ...]) -> Value:
    raise KeyError(f"table `{table.name}` has no values here")


def evaluate(expr: Expr, environment: Mapping[Expr, Value], read: Read = no_tables) -> Value:
    """The value of an integer or boolean `expr`.

    Args:
        environment: values of variables and symbols; arrays broadcast against each other.
        read:        gives the entries of a table at integer indices.

    Raises:
        KeyError: a variable or symbol has no value.
        ValueError: a shift by a negative number.
        NotImplementedError: a real function, which belongs to scores.
    """

    def visit(node: Expr, parts: tuple[Value, ...]) -> Value:
        match node:
            case Const(value=value):
                return _exact(node, value)
            case Var() | Symbol():
                return _exact(node, environment[node])
            case Lookup(table=table):
                return _exact(node, read(table, parts))
            case Select():
                return np.where(*parts)
            case Unary(op=op) if op in UNARY:
                return _exact(node, UNARY[op](*parts))
            case Binary(op=op) if op in BINARY:
                return _exact(node, BINARY[op](*parts))
            case _:
                raise NotImplementedError(f"`{node}` is a real function; schedules and masks are made of integers")

    return fold(expr, visit)


def _exact(node: Expr, value: Value) -> Value:
    """Integers in a type that their arithmetic is exact in, whatever they were held in."""
    return widened(value) if node.kind is Kind.INT and not (type(value) is int and fits(value)) else value


def reader(tables: Mapping[str, np.ndarray]) -> Read:
    """Reads numpy arrays, indices clamped: what is out of range belongs to rows and keys that do not count."""

    def read(table: Table, indices: tuple[Value, ...]) -> Value:
        array = tables[table.name]
        clamped = tuple(narrowed(np.clip(widened(index), 0, max(0, size - 1))) for index, size in zip(indices, array.shape, strict=True))
        if not array.size:
            return np.zeros(np.broadcast_shapes(*(np.shape(index) for index in indices)), array.dtype)
        found: Value = array[clamped]
        return found

    return read
