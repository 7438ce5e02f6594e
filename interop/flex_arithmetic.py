"""Arithmetic, comparisons, logic and bits of two values, in the dtype in which torch computes them."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..ir import build
from ..ir.build import quoted, refusal
from ..ir.expr import ZERO, Op
from .flex_bounds import bounds_of
from .flex_values import WHOLE, Value, as_dtype, common, number, real, truth, truth_value, wrapped

Binary = Callable[[Value, Value], Value]


def refused_truth(what: str, a: Value) -> TypeError:
    return refusal(f"`{what}` of the truth value `{quoted(a.expr)}`, which torch refuses", "`.int()` of it for a number, `~` to negate it")


def of_integers(op: Op, a: Value, b: Value) -> Value:
    """Two integers of one dtype."""
    low, high = bounds_of(op, (a.low, a.high), (b.low, b.high))
    return wrapped(Value(build.binary(op, a.expr, b.expr), a.dtype, low, high), a.dtype)


def arithmetic(op: Op, of_truths: Op | None = None) -> Binary:
    """of_truths: what two truth values come to; None is refused."""

    def apply(a: Value, b: Value) -> Value:
        dtype = common(a, b)
        if dtype in WHOLE:
            return of_integers(op, as_dtype(a, dtype), as_dtype(b, dtype))
        if dtype.is_floating_point:
            return Value(build.binary(op, real(a), real(b)), dtype)
        if of_truths is None:
            raise refused_truth(op.value, a)
        return truth_value(build.binary(of_truths, a.expr, b.expr))

    return apply


add, multiply = arithmetic(Op.ADD, Op.BITOR), arithmetic(Op.MUL, Op.BITAND)
floor_divide, remainder = arithmetic(Op.FLOORDIV), arithmetic(Op.MOD)
greater, lesser = arithmetic(Op.MAX, Op.BITOR), arithmetic(Op.MIN, Op.BITAND)


def _scaled(a: Value, b: Value, alpha: Value | None) -> Value:
    return b if alpha is None else multiply(b if common(a, b) not in WHOLE else as_dtype(b, common(a, b)), alpha)


def plus(a: Value, b: Value, *, alpha: Value | None = None) -> Value:
    return add(a, _scaled(a, b, alpha))


def minus(a: Value, b: Value, *, alpha: Value | None = None) -> Value:
    for each in (a, b):
        if each.is_truth and not (b.weak and not b.is_truth):  # `(q >= k) - 1` is taken where scalars are mapped over, as masks are
            raise refused_truth("-", each)
    return arithmetic(Op.SUB)(a, _scaled(a, b, alpha))


def divided(a: Value, b: Value, rounding: str | None = None) -> Value:
    if rounding is not None:
        return floor_divide(a, b) if rounding == "floor" else truncated(a, b)
    dtype = common(a, b)
    return Value(build.binary(Op.DIV, real(a), real(b)), dtype if dtype.is_floating_point else torch.get_default_dtype())


def truncated(a: Value, b: Value) -> Value:
    """The quotient rounded towards zero."""
    dtype = common(a, b)
    if dtype not in WHOLE:
        return floor_divide(a, b)  # which says why not
    a, b = as_dtype(a, dtype), as_dtype(b, dtype)
    sizes = [build.unary(Op.ABS, each.expr) for each in (a, b)]
    quotient = build.binary(Op.FLOORDIV, *sizes)
    signs = build.binary(Op.XOR, *(build.binary(Op.LT, each.expr, ZERO) for each in (a, b)))
    most = max(abs(a.low), abs(a.high))
    return wrapped(Value(build.select(signs, build.unary(Op.NEG, quotient), quotient), dtype, -most, most), dtype)


def fmod(a: Value, b: Value) -> Value:
    """The remainder with the sign of `a`, as C has it."""
    dtype = common(a, b)
    if dtype not in WHOLE:
        return remainder(a, b)  # likewise
    a, b = as_dtype(a, dtype), as_dtype(b, dtype)
    size = build.unary(Op.ABS, b.expr)
    negative = build.unary(Op.NEG, build.binary(Op.MOD, build.unary(Op.NEG, a.expr), size))
    most = max(abs(b.low), abs(b.high))
    found = build.select(build.binary(Op.LT, a.expr, ZERO), negative, build.binary(Op.MOD, a.expr, size))
    return Value(found, dtype, -most if a.low < 0 else 0, most)


def compared(op: Op, *, swapped: bool = False) -> Binary:
    """swapped: `a > b` as `b < a`."""

    def apply(a: Value, b: Value) -> Value:
        dtype = common(a, b)
        if dtype.is_floating_point:
            sides = [real(a), real(b)]
        elif dtype in WHOLE:
            sides = [as_dtype(a, dtype).expr, as_dtype(b, dtype).expr]
        else:
            sides = [a.expr, b.expr] if op in (Op.EQ, Op.NE) else [number(a).expr, number(b).expr]
        return truth_value(build.binary(op, *(reversed(sides) if swapped else sides)))

    return apply


def logical(op: Op) -> Binary:
    return lambda a, b: truth_value(build.binary(op, truth(a).expr, truth(b).expr))


def bitwise(op: Op) -> Binary:
    """Logic between truth values, bits as soon as one side is an integer."""
    return arithmetic(op, op)
