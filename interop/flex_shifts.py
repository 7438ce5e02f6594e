"""Shifts and powers of integers as torch computes them."""

from __future__ import annotations

import torch

from ..ir import build
from ..ir.build import quoted, refusal
from ..ir.expr import ONE, ZERO, Const, Op
from .flex_arithmetic import Binary, arithmetic, multiply, of_integers
from .flex_bounds import bounds_of
from .flex_selections import where
from .flex_values import WHOLE, Value, as_dtype, common, real, truth_value

_LARGEST_POWER = 64


def shifted(op: Op) -> Binary:
    """By as many bits as there are, or by less than none, nothing but the sign is left."""

    def apply(a: Value, b: Value) -> Value:
        dtype = common(a, b)
        if dtype not in WHOLE:
            return arithmetic(op)(a, b)  # which says why not
        bits = (WHOLE[dtype][1] - WHOLE[dtype][0]).bit_length()
        a, b = as_dtype(a, dtype), as_dtype(b, dtype)
        inside = b.low >= 0 and b.high < bits
        nothing = 0 if op is Op.SHL else bits - (dtype is not torch.uint8)  # of a shift to the right the sign alone is left
        by = b if inside else _into(b, bits, nothing)
        if op is Op.SHL and dtype is torch.int64:
            _require_room(a, by)
        found = of_integers(op, a, by)
        return found if inside or op is Op.SHR else where(_inside(b, bits), found, Value(ZERO, dtype))

    return apply


def _inside(b: Value, bits: int) -> Value:
    return truth_value(build.binary(Op.AND, build.binary(Op.LE, ZERO, b.expr), build.binary(Op.LT, b.expr, Const(bits))))


def _into(b: Value, bits: int, otherwise: int) -> Value:
    expr = build.select(_inside(b, bits).expr, b.expr, Const(otherwise))
    return Value(expr, b.dtype, max(0, min(b.low, otherwise)), max(min(bits - 1, b.high), otherwise))


def _require_room(a: Value, by: Value) -> None:
    low, high = bounds_of(Op.SHL, (a.low, a.high), (by.low, by.high))
    if a.low != WHOLE[a.dtype][0] and not (WHOLE[a.dtype][0] <= low and high <= WHOLE[a.dtype][1]):
        what = f"`{quoted(a.expr)} << {quoted(by.expr)}` may pass 63 bits, where torch drops the upper ones"
        raise refusal(what, "a shift by less, such as `1 << (kv_idx % 32)`")


def power(a: Value, b: Value) -> Value:
    """A small constant whole exponent is repeated multiplication; others are for reals."""
    dtype = common(a, b)
    exponent = b.expr
    if not (isinstance(exponent, Const) and type(exponent.value) is int and 0 <= exponent.value <= _LARGEST_POWER):
        if dtype.is_floating_point:
            return Value(build.power(real(a), real(b)), dtype)
        what = f"`{quoted(a.expr)} ** {quoted(exponent)}`: the exponent must be a constant integer from 0 to {_LARGEST_POWER}"
        raise refusal(what, "`1 << n` for a power of two, or the product itself")
    if dtype.is_floating_point:
        return Value(build.power(real(a), exponent), dtype)
    return _repeated(as_dtype(a, dtype), exponent.value)


def _repeated(a: Value, times: int) -> Value:
    """By squaring, so that parts are shared; upper bits are lost at each step."""
    if times < 2:
        return a if times else Value(ONE, a.dtype, 1, 1)
    half = _repeated(a, times // 2)
    square = _even(multiply(half, half))
    return multiply(square, a) if times % 2 else square


def _even(square: Value) -> Value:
    """A square is not negative, unless its upper bits were lost."""
    lost = square.low == WHOLE[square.dtype][0]
    return square if lost else Value(square.expr, square.dtype, max(square.low, 0), square.high)
