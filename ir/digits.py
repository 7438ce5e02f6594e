"""Digits of numbers, and the arithmetic with constants that they take, written without what changes nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .expr import ZERO, Binary, Const, Expr, Op


def digits(number: Expr, sizes: Sequence[int], *, whole: bool = True) -> list[Expr]:
    """`number` in mixed radix, the most significant digit first; `whole`: it has no more digits than that."""
    strides = [math.prod(sizes[at + 1 :]) for at in range(len(sizes))]
    found = [remainder(quotient(number, stride), size) for stride, size in zip(strides, sizes, strict=True)]
    first = next((at for at, size in enumerate(sizes) if size > 1), None)
    if whole and first is not None:
        found[first] = quotient(number, strides[first])
    return found


def quotient(a: Expr, by: int) -> Expr:
    return a if by == 1 else Binary(Op.FLOORDIV, a, Const(by))


def remainder(a: Expr, by: int) -> Expr:
    return ZERO if by == 1 else Binary(Op.MOD, a, Const(by))


def multiple(a: Expr, by: int) -> Expr:
    return a if by == 1 or a is ZERO else Binary(Op.MUL, a, Const(by))


def total(a: Expr, b: Expr) -> Expr:
    return b if a is ZERO else a if b is ZERO else Binary(Op.ADD, a, b)
