"""One value or another: `where`, `masked_fill`, `clamp`, `max` and `min`."""

from __future__ import annotations

from collections.abc import Callable

from ..ir import build
from ..ir.build import quoted, refusal
from .flex_arithmetic import Binary, greater, lesser
from .flex_values import Value, as_dtype, common, fitting


def where(condition: Value, a: Value, b: Value) -> Value:
    """`a` where `condition` holds, else `b`."""
    if not condition.is_truth:
        raise refusal(f"the condition `{quoted(condition.expr)}` of `where` is a number", f"`{quoted(condition.expr)} != 0`")
    dtype = common(a, b)
    a, b = fitting(a, dtype), fitting(b, dtype)
    return Value(build.select(condition.expr, a.expr, b.expr), dtype, min(a.low, b.low), max(a.high, b.high))


def where_itself(a: Value, condition: Value, b: Value) -> Value:
    """`a.where(condition, b)`."""
    return where(condition, a, b)


def filled(a: Value, condition: Value, value: Value) -> Value:
    """`a.masked_fill(condition, value)`, in the dtype of `a`."""
    if common(a, value) != a.dtype:
        raise refusal(f"`{quoted(value.expr)}` fills `{quoted(a.expr)}`, which is {a.dtype}", "a value of that dtype, or `torch.where`")
    return where(condition, fitting(value, a.dtype), a)


def clamp(a: Value, least: Value | None = None, most: Value | None = None) -> Value:
    """`a` brought into [least, most], the upper bound last as torch has it."""
    bounds = [each for each in (least, most) if each is not None]
    if len({each.weak for each in bounds}) > 1:
        raise refusal("a clamp between a number and a tensor", "two clamps, `x.clamp(min=0).clamp(max=most)`")
    dtype = common(a, *bounds)
    found = as_dtype(a, dtype)
    for op, bound in ((greater, least), (lesser, most)):
        found = found if bound is None else op(found, fitting(bound, dtype))
    return found


def extreme(op: Binary) -> Callable[..., Value]:
    """`max` and `min`: of one number that number, of two tensors the greater; a number beside a tensor is an axis."""

    def apply(a: Value, b: Value | None = None) -> Value:
        if b is not None and b.weak:
            raise refusal("`max` or `min` along an axis of one number", "`torch.maximum`, `torch.minimum` or `.clamp`")
        return a if b is None else op(a, b)

    return apply
