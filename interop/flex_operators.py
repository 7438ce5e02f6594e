"""What torch's operators become: each a function of values, under the name that torch gives it, with the dtypes that torch computes in.

Truth values count as 0 and 1 where torch lets them meet numbers; narrow integers lose their upper bits as torch's do.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..ir import build
from ..ir.build import quoted, refusal
from ..ir.expr import ONE, ZERO, Const, Expr, Op
from .flex_arithmetic import (
    Binary,
    bitwise,
    compared,
    divided,
    floor_divide,
    fmod,
    greater,
    lesser,
    logical,
    minus,
    multiply,
    plus,
    refused_truth,
    remainder,
)
from .flex_bounds import bounds_of
from .flex_selections import clamp, extreme, filled, where, where_itself
from .flex_shifts import power, shifted
from .flex_values import WHOLE, Value, as_dtype, python_number, real, truth, truth_value, wrapped

Operator = Callable[..., Value]
Unary = Callable[[Value], Value]


def _inverted(a: Value) -> Value:
    """`~`: the other truth value, or the other bits."""
    if a.is_truth:
        return truth_value(build.inverted(a.expr))
    expr = build.binary(Op.SUB, build.unary(Op.NEG, a.expr), ONE)
    return wrapped(Value(expr, a.dtype, -a.high - 1, -a.low - 1), a.dtype) if a.dtype in WHOLE else a


def _real_of(op: Op) -> Unary:
    return lambda a: Value(build.unary(op, real(a)), _in_reals(a))


def _in_reals(a: Value) -> torch.dtype:
    return a.dtype if a.is_real else torch.get_default_dtype()


def _from_reals(compute: Callable[[Expr], Expr]) -> Unary:
    return lambda a: Value(compute(real(a)), _in_reals(a))


def _reciprocal(a: Expr) -> Expr:
    return build.binary(Op.DIV, Const(1.0), a)


def _signed(op: Op) -> Unary:
    """`-a` and `abs(a)`."""

    def apply(a: Value) -> Value:
        if a.is_truth:
            raise refused_truth(op.value, a)
        expr = build.unary(op, a.expr)
        return Value(expr, a.dtype) if a.is_real else wrapped(Value(expr, a.dtype, *bounds_of(op, (a.low, a.high))), a.dtype)

    return apply


def _sign(a: Value) -> Value:
    if a.is_truth:
        return a
    zero = Const(0.0) if a.is_real else ZERO
    positive, negative = (build.select(build.binary(Op.LT, *sides), ONE, ZERO) for sides in ((zero, a.expr), (a.expr, zero)))
    difference = build.binary(Op.SUB, positive, negative)
    return Value(build.as_real(difference), a.dtype) if a.is_real else Value(difference, a.dtype, -1, 1)


def _rounded(a: Value) -> Value:
    """floor, ceil, round and trunc, which leave integers as they are."""
    if a.is_real:
        raise refusal(f"the real `{quoted(a.expr)}` is rounded", "`torch.floor_divide` or `//` on integers, which rounds down")
    return _itself(a)


def _itself(a: Value) -> Value:
    if a.is_truth:
        raise refused_truth("+", a)
    return a


def _relu(a: Value) -> Value:
    return clamp(_itself(a), Value(Const(0.0) if a.is_real else ZERO, a.dtype))


def _summed(a: Value) -> Value:
    """The sum, or the product, of one number: integers have 64 bits in it."""
    return a if a.is_real else as_dtype(a, torch.int64)


def _mean(a: Value) -> Value:
    if not a.is_real:
        raise refusal(f"the mean of `{quoted(a.expr)}`, which is no real and which torch refuses", "`.float()` before it")
    return a


def _as_truth(a: Value) -> Value:
    """`any` and `all` of one number, which torch gives for bytes as bytes."""
    return as_dtype(truth(a), torch.uint8) if a.dtype is torch.uint8 else truth(a)


_UNARY: dict[str, Unary] = {
    "abs": _signed(Op.ABS),
    "amax": lambda a: a,
    "any": _as_truth,
    "expm1": _from_reals(lambda a: build.binary(Op.SUB, build.unary(Op.EXP, a), Const(1.0))),
    "floor": _rounded,
    "invert": _inverted,
    "log1p": _from_reals(lambda a: build.unary(Op.LOG, build.binary(Op.ADD, a, Const(1.0)))),
    "logical_not": lambda a: truth_value(build.inverted(truth(a).expr)),
    "mean": _mean,
    "neg": _signed(Op.NEG),
    "pos": _itself,
    "reciprocal": _from_reals(_reciprocal),
    "relu": _relu,
    "rsqrt": _from_reals(lambda a: _reciprocal(build.unary(Op.SQRT, a))),
    "sign": _sign,
    "square": lambda a: power(a, python_number(2)),
    "sum": _summed,
    **{op.value: _real_of(op) for op in (Op.EXP, Op.EXP2, Op.LOG, Op.LOG2, Op.SQRT, Op.TANH, Op.SIN, Op.COS, Op.SIGMOID, Op.ERF)},
}
_BINARY: dict[str, Binary] = {
    "and": bitwise(Op.BITAND),
    "clamp_max": lambda a, most: clamp(a, None, most),
    "clamp_min": lambda a, least: clamp(a, least),
    "eq": compared(Op.EQ),
    "floor_divide": floor_divide,
    "fmod": fmod,
    "ge": compared(Op.LE, swapped=True),
    "gt": compared(Op.LT, swapped=True),
    "le": compared(Op.LE),
    "logical_and": logical(Op.AND),
    "logical_or": logical(Op.OR),
    "logical_xor": logical(Op.XOR),
    "lshift": shifted(Op.SHL),
    "lt": compared(Op.LT),
    "maximum": greater,
    "minimum": lesser,
    "mul": multiply,
    "ne": compared(Op.NE),
    "or": bitwise(Op.BITOR),
    "pow": power,
    "remainder": remainder,
    "rshift": shifted(Op.SHR),
    "rsub": lambda a, b: minus(b, a),
    "xor": bitwise(Op.BITXOR),
}
_MORE: dict[str, Operator] = {
    "add": plus,
    "clamp": clamp,
    "div": divided,
    "masked_fill": filled,
    "max": extreme(greater),
    "min": extreme(lesser),
    "sub": minus,
    "where": where,
}
_ALSO = {
    "abs": "absolute",
    "amax": "amin",
    "and": "bitwise_and",
    "any": "all",
    "clamp": "clip",
    "div": "divide true_divide truediv",
    "floor": "ceil round trunc fix",
    "floor_divide": "floordiv",
    "ge": "greater_equal",
    "gt": "greater",
    "invert": "bitwise_not",
    "le": "less_equal",
    "lshift": "bitwise_left_shift",
    "lt": "less",
    "mul": "multiply",
    "ne": "not_equal",
    "neg": "negative",
    "or": "bitwise_or",
    "pos": "positive",
    "remainder": "mod",
    "rshift": "bitwise_right_shift",
    "sign": "sgn",
    "sub": "subtract",
    "sum": "prod",
    "xor": "bitwise_xor",
}
_FIRST: dict[str, Operator] = {**_UNARY, **_BINARY, **_MORE}
OPERATORS: dict[str, Operator] = {**_FIRST, **{also: _FIRST[name] for name, others in _ALSO.items() for also in others.split()}}
METHODS: dict[str, Operator] = {**OPERATORS, "where": where_itself}
