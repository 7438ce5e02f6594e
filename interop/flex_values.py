"""What functions written for FlexAttention compute with: expressions, with the dtype that torch gives them and bounds of integers."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch

from ..ir import build
from ..ir.build import quoted, refusal
from ..ir.expr import ONE, ZERO, Const, Expr, Kind, Op
from ..ir.trace import lifted

WHOLE = {
    torch.uint8: (0, 255),
    **{each: (torch.iinfo(each).min, torch.iinfo(each).max) for each in (torch.int8, torch.int16, torch.int32, torch.int64)},
}
REALS = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})
POSITIONS = (0, 2**31 - 1)  # of tokens, heads and batch items


@dataclass(frozen=True, slots=True)
class Value:
    """One scalar tensor, or a Python number.

    low, high: inclusive bounds of an integer; of a truth value 0 and 1, of a real they mean nothing.
    weak:      a Python number, which takes the dtype of what it meets where that is of the same kind.
    """

    expr: Expr
    dtype: torch.dtype
    low: int = 0
    high: int = 0
    weak: bool = False

    @property
    def is_real(self) -> bool:
        return self.expr.kind is Kind.FLOAT

    @property
    def is_truth(self) -> bool:
        return self.expr.kind is Kind.BOOL


def position(expr: Expr) -> Value:
    return Value(expr, torch.int64, *POSITIONS)


def truth_value(expr: Expr) -> Value:
    return Value(expr, torch.bool, 0, 1)


def integer(expr: Expr, dtype: torch.dtype) -> Value:
    """Any integer of that dtype."""
    return Value(expr, dtype, *WHOLE[dtype])


def python_number(value: object) -> Value:
    """Raises: as `lifted`, of what is no number."""
    expr = lifted(value)
    assert isinstance(expr, Const)
    if expr.kind is Kind.INT:
        return Value(expr, torch.int64, int(expr.value), int(expr.value), weak=True)
    return Value(expr, torch.bool if expr.kind is Kind.BOOL else torch.get_default_dtype(), 0, 1, weak=True)


def common(*values: Value) -> torch.dtype:
    """The dtype in which torch computes with scalar tensors and Python numbers."""
    strong = [value.dtype for value in values if not value.weak]
    if not strong:
        return max((value.dtype for value in values), key=_rank)
    found = functools.reduce(torch.promote_types, strong)
    weak = [value.dtype for value in values if value.weak and _rank(value.dtype) > _rank(found)]
    return max(weak, key=_rank, default=found)


def _rank(dtype: torch.dtype) -> int:
    return 0 if dtype is torch.bool else 1 if dtype in WHOLE else 2


def number(value: Value) -> Value:
    """A truth value as 0 or 1."""
    if not value.is_truth:
        return value
    return Value(build.select(value.expr, ONE, ZERO), torch.int64, 0, 1, value.weak)


def truth(value: Value) -> Value:
    """A number as whether it is not zero."""
    expr = value.expr
    if isinstance(expr, Const):
        return truth_value(Const(bool(expr.value)))
    return value if value.is_truth else truth_value(build.binary(Op.NE, expr, Const(0.0) if value.is_real else ZERO))


def real(value: Value) -> Expr:
    return build.as_real(number(value).expr)


def as_dtype(value: Value, dtype: torch.dtype) -> Value:
    """`value.to(dtype)`; integers that do not fit lose their upper bits.

    Raises:
        TypeError: a real is made an integer, or what a half-precision number may not hold is made one.
    """
    if dtype is torch.bool:
        return truth(value)
    if dtype in REALS:
        return _as_real(value, dtype)
    if dtype not in WHOLE:
        raise refusal(f"`{quoted(value.expr)}` is made {dtype}", f"one of {', '.join(str(each) for each in (torch.bool, *WHOLE, *REALS))}")
    if value.is_real:
        raise refusal(f"the real `{quoted(value.expr)}` is made an integer", "integers from the start, with `//` to round down")
    return wrapped(number(value), dtype)


_EXACT = {torch.bfloat16: 2**8, torch.float16: 2**11}  # every integer up to there is such a real


def _as_real(value: Value, dtype: torch.dtype) -> Value:
    most = _EXACT.get(dtype)
    wide = value.dtype is not dtype if value.is_real else max(-value.low, value.high) > (most or 0)
    if most is not None and wide and not isinstance(value.expr, Const):
        raise refusal(f"`{quoted(value.expr)}` is rounded to {dtype}, and kernels compute in float32", "`.float()`, or nothing")
    return Value(real(value), dtype)


def wrapped(value: Value, dtype: torch.dtype) -> Value:
    """An integer as `dtype` holds it: modulo 2 to the number of its bits, where it may be outside. Those of 64 bits are taken to fit."""
    least, most = WHOLE[dtype]
    low, high = value.low, value.high
    if least <= low and high <= most:
        return Value(value.expr, dtype, low, high)
    if dtype is torch.int64:
        return Value(value.expr, dtype, min(max(low, least), most), max(min(high, most), least))
    if isinstance(value.expr, Const):
        inside = (int(value.expr.value) - least) % (most - least + 1) + least
        return Value(Const(inside), dtype, inside, inside)
    counted = build.binary(Op.MOD, _plus(value.expr, -least), Const(most - least + 1))
    return Value(_plus(counted, least), dtype, least, most)


def _plus(expr: Expr, number: int) -> Expr:
    if number == 0:
        return expr
    return build.binary(Op.ADD if number > 0 else Op.SUB, expr, Const(abs(number)))


def fitting(value: Value, dtype: torch.dtype) -> Value:
    """As `as_dtype`, where torch refuses a Python number that the dtype does not hold."""
    if value.weak and dtype in WHOLE and not value.is_truth:
        least, most = WHOLE[dtype]
        if not (-most if least == 0 else least) <= value.low <= most:
            raise refusal(f"{value.low} does not fit {dtype}, which torch refuses", "a number that does, or `.long()` of the tensor first")
    return as_dtype(value, dtype)
