"""What torch's operators become: each a function of expressions, under the name that torch gives it.

Truth values count as 0 and 1 where torch lets them meet numbers, and integers as `x != 0` where it wants truth values.
"""

from __future__ import annotations

from collections.abc import Callable

from ..ir import build
from ..ir.build import quoted, refusal
from ..ir.expr import ONE, ZERO, Const, Expr, Kind, Op

Operator = Callable[..., Expr]
Unary = Callable[[Expr], Expr]
Binary = Callable[[Expr, Expr], Expr]


def number(a: Expr) -> Expr:
    """A truth value as 0 or 1."""
    return build.select(a, ONE, ZERO) if a.kind is Kind.BOOL else a


def truth(a: Expr) -> Expr:
    """A number as whether it is not zero."""
    if isinstance(a, Const):
        return Const(bool(a.value))
    return a if a.kind is Kind.BOOL else build.binary(Op.NE, a, Const(0.0) if a.kind is Kind.FLOAT else ZERO)


def _numeric(op: Op) -> Binary:
    return lambda a, b: build.binary(op, number(a), number(b))


def _swapped(op: Op) -> Binary:
    """`a > b` as `b < a`."""
    return lambda a, b: build.binary(op, number(b), number(a))


def _real(op: Op) -> Unary:
    return lambda a: build.unary(op, number(a))


def _logical(op: Op) -> Binary:
    return lambda a, b: build.binary(op, truth(a), truth(b))


def _bitwise(op: Op) -> Binary:
    """Logic between truth values, bits as soon as one side is an integer."""

    def apply(a: Expr, b: Expr) -> Expr:
        both = a.kind is Kind.BOOL and b.kind is Kind.BOOL
        return build.binary(op, a, b) if both else build.binary(op, number(a), number(b))

    return apply


def _inverted(a: Expr) -> Expr:
    """`~`: the other truth value, or the other bits."""
    return build.inverted(a) if a.kind is Kind.BOOL else build.binary(Op.SUB, build.unary(Op.NEG, a), ONE)


def where(condition: Expr, a: Expr, b: Expr) -> Expr:
    """`a` where `condition` holds, else `b`; a truth value beside a number is 0 or 1."""
    if a.kind is not b.kind:
        a, b = number(a), number(b)
    return build.select(truth(condition), a, b)


def clamp(a: Expr, least: Expr | None = None, most: Expr | None = None) -> Expr:
    """`a` brought into [least, most], the upper bound last as torch has it."""
    raised = a if least is None else build.binary(Op.MAX, number(a), number(least))
    return raised if most is None else build.binary(Op.MIN, number(raised), number(most))


def _sign(a: Expr) -> Expr:
    zero = Const(0.0) if a.kind is Kind.FLOAT else ZERO
    positive, negative = (build.select(build.binary(Op.LT, *sides), ONE, ZERO) for sides in ((zero, a), (a, zero)))
    difference = build.binary(Op.SUB, positive, negative)
    return build.as_real(difference) if a.kind is Kind.FLOAT else difference


def _fmod(a: Expr, b: Expr) -> Expr:
    """The remainder with the sign of `a`, as C has it."""
    a, size = number(a), build.unary(Op.ABS, number(b))
    negative = build.unary(Op.NEG, build.binary(Op.MOD, build.unary(Op.NEG, a), size))
    return build.select(build.binary(Op.LT, a, ZERO), negative, build.binary(Op.MOD, a, size))


def _whole(a: Expr) -> Expr:
    """A conversion to integers, which only integers and truth values have here."""
    if a.kind is Kind.FLOAT:
        raise refusal(f"the real `{quoted(a)}` is made an integer", "integers from the start, with `//` to round down")
    return number(a)


def _rounded(a: Expr) -> Expr:
    """floor, ceil, round and trunc, which leave integers as they are."""
    if a.kind is Kind.FLOAT:
        raise refusal(f"the real `{quoted(a)}` is rounded", "`torch.floor_divide` or `//` on integers, which rounds down")
    return number(a)


def _reciprocal(a: Expr) -> Expr:
    return build.binary(Op.DIV, Const(1.0), number(a))


_UNARY: dict[str, Unary] = {
    "abs": lambda a: build.unary(Op.ABS, number(a)),
    "bool": truth,
    "expm1": lambda a: build.binary(Op.SUB, build.unary(Op.EXP, number(a)), Const(1.0)),
    "float": _real(Op.FLOAT),
    "floor": _rounded,
    "int": _whole,
    "invert": _inverted,
    "log1p": lambda a: build.unary(Op.LOG, build.binary(Op.ADD, number(a), Const(1.0))),
    "logical_not": lambda a: build.inverted(truth(a)),
    "neg": lambda a: build.unary(Op.NEG, number(a)),
    "pos": lambda a: a,
    "reciprocal": _reciprocal,
    "relu": lambda a: clamp(number(a), Const(0.0) if a.kind is Kind.FLOAT else ZERO),
    "rsqrt": lambda a: _reciprocal(build.unary(Op.SQRT, number(a))),
    "sign": lambda a: _sign(number(a)),
    "square": lambda a: build.power(number(a), Const(2)),
    **{op.value: _real(op) for op in (Op.EXP, Op.EXP2, Op.LOG, Op.LOG2, Op.SQRT, Op.TANH, Op.SIN, Op.COS, Op.SIGMOID, Op.ERF)},
}
_BINARY: dict[str, Binary] = {
    "add": _numeric(Op.ADD),
    "and": _bitwise(Op.BITAND),
    "clamp_max": lambda a, most: clamp(a, None, most),
    "clamp_min": lambda a, least: clamp(a, least),
    "div": _numeric(Op.DIV),
    "eq": _bitwise(Op.EQ),
    "floor_divide": _numeric(Op.FLOORDIV),
    "fmod": _fmod,
    "ge": _swapped(Op.LE),
    "gt": _swapped(Op.LT),
    "le": _numeric(Op.LE),
    "logical_and": _logical(Op.AND),
    "logical_or": _logical(Op.OR),
    "logical_xor": _logical(Op.XOR),
    "lshift": _numeric(Op.SHL),
    "lt": _numeric(Op.LT),
    "maximum": _numeric(Op.MAX),
    "minimum": _numeric(Op.MIN),
    "mul": _numeric(Op.MUL),
    "ne": _bitwise(Op.NE),
    "or": _bitwise(Op.BITOR),
    "pow": lambda a, b: build.power(number(a), number(b)),
    "remainder": _numeric(Op.MOD),
    "rshift": _numeric(Op.SHR),
    "rsub": lambda a, b: build.binary(Op.SUB, number(b), number(a)),
    "sub": _numeric(Op.SUB),
    "xor": _bitwise(Op.BITXOR),
}
_ALSO = {
    "abs": "absolute",
    "and": "bitwise_and",
    "div": "divide true_divide truediv",
    "clamp": "clip",
    "float": "double",
    "floor": "ceil round trunc",
    "floor_divide": "floordiv",
    "ge": "greater_equal",
    "gt": "greater",
    "int": "long short",
    "invert": "bitwise_not",
    "le": "less_equal",
    "lshift": "bitwise_left_shift",
    "lt": "less",
    "mul": "multiply",
    "ne": "not_equal",
    "neg": "negative",
    "or": "bitwise_or",
    "pos": "positive clone contiguous detach",
    "remainder": "mod",
    "rshift": "bitwise_right_shift",
    "sub": "subtract",
    "xor": "bitwise_xor",
}
_FIRST: dict[str, Operator] = {**_UNARY, **_BINARY, "clamp": clamp, "where": where}
OPERATORS: dict[str, Operator] = {**_FIRST, **{also: _FIRST[name] for name, others in _ALSO.items() for also in others.split()}}
