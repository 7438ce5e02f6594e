"""Functions that masks and scores call: on traced values they build nodes, on plain numbers they compute."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import overload

from . import build
from .build import refusal
from .expr import K_LEN, Q_LEN, Op
from .trace import Traced, lifted

q_len = Traced(Q_LEN)
"""The number of queries of a batch item, inside a mask or a score."""
kv_len = Traced(K_LEN)
"""The number of keys of a batch item, inside a mask or a score."""


def where(condition: object, a: object, b: object) -> Traced:
    """`a` where `condition` holds, else `b`. Both are conditions or both are numbers."""
    return Traced(build.select(lifted(condition), lifted(a), lifted(b)))


def minimum(first: object, *others: object) -> Traced:
    """The least of its arguments."""
    return _least(Op.MIN, first, others)


def maximum(first: object, *others: object) -> Traced:
    """The greatest of its arguments."""
    return _least(Op.MAX, first, others)


def _least(op: Op, first: object, others: tuple[object, ...]) -> Traced:
    if not others:
        raise refusal(f"`lacuna.{op.value}imum` of one value", f"`lacuna.{op.value}imum(a, b)`")
    result = lifted(first)
    for other in others:
        result = build.binary(op, result, lifted(other))
    return Traced(result)


class _Real:
    """A function of reals: of a traced value a node, of a number the number."""

    def __init__(self, op: Op, compute: Callable[[float], float]) -> None:
        self.op = op
        self.compute = compute
        self.__name__ = op.value
        self.__doc__ = f"`{op.value}` of a real, for scores."

    def __repr__(self) -> str:
        return f"lacuna.{self.op.value}"

    @overload
    def __call__(self, value: Traced) -> Traced: ...
    @overload
    def __call__(self, value: float) -> float: ...
    def __call__(self, value: Traced | float) -> Traced | float:
        if isinstance(value, int | float):
            return self.compute(value)
        return Traced(build.unary(self.op, lifted(value)))


exp = _Real(Op.EXP, math.exp)
exp2 = _Real(Op.EXP2, math.exp2)
log = _Real(Op.LOG, math.log)
log2 = _Real(Op.LOG2, math.log2)
sqrt = _Real(Op.SQRT, math.sqrt)
tanh = _Real(Op.TANH, math.tanh)
sin = _Real(Op.SIN, math.sin)
cos = _Real(Op.COS, math.cos)
sigmoid = _Real(Op.SIGMOID, lambda value: 0.5 + 0.5 * math.tanh(0.5 * value))
erf = _Real(Op.ERF, math.erf)
