"""Functions of torch and numpy on expressions: what to write instead of each, and the operators among those of numpy."""

# Python's operators are partly untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

from .build import refusal

_REALS = ("exp", "exp2", "log", "log2", "sqrt", "tanh", "sin", "cos", "sigmoid", "erf")
_INSTEAD: Mapping[str, str] = {
    "abs": "`abs(...)`",
    "absolute": "`abs(...)`",
    "where": "`lacuna.where(condition, a, b)`",
    **dict.fromkeys(("minimum", "min", "fmin"), "`lacuna.minimum(a, b)`"),
    **dict.fromkeys(("maximum", "max", "fmax"), "`lacuna.maximum(a, b)`"),
    **dict.fromkeys(("clamp", "clip", "clamp_min", "clamp_max"), "`lacuna.minimum(lacuna.maximum(x, low), high)`"),
    **dict.fromkeys(("logical_and", "bitwise_and"), "`a & b`"),
    **dict.fromkeys(("logical_or", "bitwise_or"), "`a | b`"),
    **dict.fromkeys(("logical_xor", "bitwise_xor"), "`a ^ b`"),
    **dict.fromkeys(("logical_not", "bitwise_not", "invert"), "`~a`"),
    **dict.fromkeys(("floor_divide", "div", "floor"), "`a // b`"),
    **dict.fromkeys(("remainder", "fmod"), "`a % b`"),
    "square": "`a ** 2`",
    **{name: f"`lacuna.{name}(...)`, in a score" for name in _REALS},
}

NUMPYS_OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "true_divide": operator.truediv,
    "floor_divide": operator.floordiv,
    "remainder": operator.mod,
    "power": operator.pow,
    "bitwise_and": operator.and_,
    "bitwise_or": operator.or_,
    "bitwise_xor": operator.xor,
    "left_shift": operator.lshift,
    "right_shift": operator.rshift,
    "less": operator.lt,
    "less_equal": operator.le,
    "greater": operator.gt,
    "greater_equal": operator.ge,
    "equal": operator.eq,
    "not_equal": operator.ne,
}
"""What numbers of numpy call where one stands before an operator: `np.int64(3) + q`."""


def unwrapped(value: Any) -> object:  # noqa: ANN401 (whatever stands before an operator)
    """The number of an array without axes, which is what numpy makes of its numbers; anything else as it is."""
    return value.item() if getattr(value, "shape", None) == () and hasattr(value, "__array__") else value


def foreign(library: str, name: str) -> TypeError:
    """What a user is told who gave an expression to a function of another library."""
    other = "operators, `lacuna.where`, `lacuna.minimum` and their like; or a function for FlexAttention, under `lacuna.interop.flex`"
    return refusal(
        f"`{library}.{name}` is given an expression, which stands for every (q, k) at once", _INSTEAD.get(name.strip("_"), other)
    )
