"""The definition of every tile class, by looking at every pair. Shares nothing with the code under test but the node classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from lacuna.ir.expr import Binary, Const, Expr, Lookup, Op, Select, Symbol, Unary, Var

Array = np.ndarray


@dataclass(frozen=True)
class Problem:
    """A mask at concrete values. `offset` is the position of query row 0."""

    mask: Expr
    q_len: int
    k_len: int
    offset: int = 0
    parameters: Mapping[str, int] = field(default_factory=dict[str, int])
    tables: Mapping[str, Array] = field(default_factory=dict[str, Array])


def _floor_quotient(a: int, b: int) -> int:
    size = abs(a) // abs(b)
    exact = size * abs(b) == abs(a)
    return size if (a < 0) == (b < 0) else -size - (not exact)


_BINARY: dict[Op, Callable[[Any, Any], Any]] = {
    Op.ADD: lambda a, b: a + b,
    Op.SUB: lambda a, b: a - b,
    Op.MUL: lambda a, b: a * b,
    Op.MIN: lambda a, b: a if a < b else b,
    Op.MAX: lambda a, b: b if a < b else a,
    Op.FLOORDIV: _floor_quotient,
    Op.MOD: lambda a, b: a - b * _floor_quotient(a, b),
    Op.LT: lambda a, b: a < b,
    Op.LE: lambda a, b: a <= b,
    Op.EQ: lambda a, b: a == b,
    Op.NE: lambda a, b: a != b,
    Op.AND: lambda a, b: a and b,
    Op.OR: lambda a, b: a or b,
    Op.XOR: lambda a, b: a is not b,
}
_UNARY: dict[Op, Callable[[Any], Any]] = {Op.NEG: lambda a: -a, Op.ABS: lambda a: a if a >= 0 else -a, Op.NOT: lambda a: not a}

Value = Callable[[Mapping[str, Any]], Any]


def compiled(expr: Expr, problem: Problem) -> Value:
    """`expr` as a function of the variables, in Python integers."""
    match expr:
        case Const(value=value):
            return lambda at: value
        case Var(name=name):
            return lambda at: at[name]
        case Symbol(name=name):
            known = {"Lq": problem.q_len, "Lk": problem.k_len, "offset": problem.offset, **problem.parameters}
            return lambda at: known[name]
        case Unary(op=op, a=a):
            inner, unary = compiled(a, problem), _UNARY[op]
            return lambda at: unary(inner(at))
        case Binary(op=op, a=a, b=b):
            left, right, binary = compiled(a, problem), compiled(b, problem), _BINARY[op]
            return lambda at: binary(left(at), right(at))
        case Select(condition=condition, a=a, b=b):
            test, yes, no = (compiled(part, problem) for part in (condition, a, b))
            return lambda at: yes(at) if test(at) else no(at)
        case Lookup(table=table, indices=indices):
            return _lookup(problem.tables[table.name], [compiled(index, problem) for index in indices])
        case _:
            raise TypeError(f"{expr!r} is not a node of a mask")


def _lookup(values: Array, indices: list[Value]) -> Value:
    def read(at: Mapping[str, Any]) -> int | bool:
        place = tuple(index(at) for index in indices)
        assert all(0 <= each < size for each, size in zip(place, values.shape, strict=True)), f"{place} is outside {values.shape}"
        return values[place].item()

    return read


def dense(problem: Problem, b: int = 0, h: int = 0) -> Array:
    """bool[q_len, k_len]: the attended pairs."""
    mask = compiled(problem.mask, problem)
    pairs = [[mask({"q": row + problem.offset, "k": key, "b": b, "h": h}) for key in range(problem.k_len)] for row in range(problem.q_len)]
    return np.array(pairs, bool).reshape(problem.q_len, problem.k_len)


def classes(pairs: Array, block_q: int, block_k: int) -> Array:
    """uint8[q_tiles, k_tiles]: 0 empty, 1 partial, 2 full (all pairs, and the whole key tile inside the key length)."""
    q_len, k_len = pairs.shape
    found = np.zeros((-(-q_len // block_q), -(-k_len // block_k)), np.uint8)
    for i in range(found.shape[0]):
        for j in range(found.shape[1]):
            tile = pairs[i * block_q : (i + 1) * block_q, j * block_k : (j + 1) * block_k]
            whole = (j + 1) * block_k <= k_len
            found[i, j] = 0 if not tile.any() else 2 if whole and tile.all() else 1
    return found
