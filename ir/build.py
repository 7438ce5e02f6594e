"""Nodes from operators as users write them: integers made real where they meet reals, and refusals that say what to write."""

from __future__ import annotations

from .expr import FALSE, LOGIC, REAL, TRUE, Binary, Const, Expr, Kind, Op, Select, Unary, negated, operands
from .expr_text import show

_LARGEST_POWER = 64
_KIND_NAMES = {Kind.INT: "an integer", Kind.BOOL: "a truth value", Kind.FLOAT: "a real"}
_BITS_TO_LOGIC = {Op.BITAND: Op.AND, Op.BITOR: Op.OR, Op.BITXOR: Op.XOR}


def refusal(what: str, write: str) -> TypeError:
    """A TypeError in the house's form: what happened, then what to write instead."""
    return TypeError(f"{what}\n  write {write}")


def quoted(expr: Expr) -> str:
    """An expression as a message quotes it: its beginning, if it is long."""
    stack, parts = [expr], 0
    while stack and parts < 500:
        parts += 1
        stack.extend(operands(stack.pop()))
    text = "..." if stack else show(expr)
    return text if len(text) <= 120 else f"{text[:117]}..."


def as_real(expr: Expr) -> Expr:
    """`expr` as a real: constants converted here, the rest by an explicit node."""
    if expr.kind is Kind.FLOAT:
        return expr
    return Const(float(expr.value)) if isinstance(expr, Const) else Unary(Op.FLOAT, expr)


def binary(op: Op, a: Expr, b: Expr) -> Expr:
    """`a op b`; `& | ^` on truth values are logic, on integers they are bits."""
    _require_same_sort(op, a, b)
    if a.kind is Kind.BOOL:
        return _logic(_BITS_TO_LOGIC.get(op, op), a, b)
    if Kind.FLOAT in (a.kind, b.kind) or op in REAL:
        a, b = as_real(a), as_real(b)
    try:
        return Binary(op, a, b)
    except TypeError as error:
        raise refusal(
            f"`{op.value}` between the reals `{quoted(a)}` and `{quoted(b)}`: {error}", "it on integers, before they meet reals"
        ) from None


def _require_same_sort(op: Op, a: Expr, b: Expr) -> None:
    """Truth values and numbers do not mix, and truth values know only logic and equality."""
    truths = [side.kind is Kind.BOOL for side in (a, b)]
    if any(truths) and not all(truths):
        raise refusal(
            f"`{op.value}` mixes a truth value and a number: the left side `{quoted(a)}` is {_KIND_NAMES[a.kind]}, "
            f"the right side `{quoted(b)}` is {_KIND_NAMES[b.kind]}",
            "parentheses around each comparison, `(k <= q) & (q - k < w)`; `lacuna.where(condition, 1, 0)` makes a number",
        )
    if all(truths) and op not in {*LOGIC, *_BITS_TO_LOGIC, Op.EQ, Op.NE}:
        raise refusal(
            f"`{op.value}` between the truth values `{quoted(a)}` and `{quoted(b)}`",
            "`& | ^ ~ == !=` on conditions; `lacuna.where(condition, 1, 0)` makes a number",
        )


def _logic(op: Op, a: Expr, b: Expr) -> Expr:
    """Logic with constants folded. Equality becomes exclusive or: comparisons are of numbers only."""
    if op is Op.EQ:
        return negated(_logic(Op.XOR, a, b))
    if op is Op.NE:
        return _logic(Op.XOR, a, b)
    if isinstance(a, Const):
        a, b = b, a
    if isinstance(b, Const):
        at_false, at_true = {Op.AND: (FALSE, a), Op.OR: (a, TRUE), Op.XOR: (a, negated(a))}[op]
        return at_true if b is TRUE else at_false
    return Binary(op, a, b)


def unary(op: Op, a: Expr) -> Expr:
    if op is Op.NOT:
        return inverted(a)
    if a.kind is Kind.BOOL and op is not Op.FLOAT:
        raise refusal(f"`{op.value}` of the truth value `{quoted(a)}`", "`~` to negate it; `lacuna.where(condition, 1, 0)` makes a number")
    if op is Op.FLOAT:
        return as_real(a)
    return Unary(op, as_real(a) if op in REAL else a)


def inverted(a: Expr) -> Expr:
    if a.kind is not Kind.BOOL:
        raise refusal(
            f"`~` of `{quoted(a)}`, which is {_KIND_NAMES[a.kind]}", "`~` before conditions; for the bits of an integer, `-x - 1`"
        )
    return negated(a)


def power(a: Expr, b: Expr) -> Expr:
    """A small constant exponent is repeated multiplication; others are for reals."""
    if isinstance(b, Const) and b.kind is Kind.INT and 0 <= b.value <= _LARGEST_POWER and a.kind is not Kind.BOOL:
        return _repeated(a, int(b.value))
    if a.kind is Kind.INT and b.kind is Kind.INT:
        raise refusal(
            f"`{quoted(a)} ** {quoted(b)}`: the exponent must be a constant integer from 0 to {_LARGEST_POWER}",
            "`1 << n` for a power of two, or the product itself",
        )
    return binary(Op.POW, a, b)


def _repeated(a: Expr, times: int) -> Expr:
    """By squaring, so that parts are shared."""
    if times < 2:
        return a if times else (Const(1.0) if a.kind is Kind.FLOAT else Const(1))
    half = _repeated(a, times // 2)
    square = Binary(Op.MUL, half, half)
    return Binary(Op.MUL, square, a) if times % 2 else square


def select(condition: Expr, a: Expr, b: Expr) -> Expr:
    """`a` where `condition` holds, else `b`; between truth values it is logic where one side is constant."""
    if condition.kind is not Kind.BOOL:
        raise refusal(
            f"the condition `{quoted(condition)}` of a selection is a number", f"a comparison, such as `{quoted(condition)} != 0`"
        )
    if a is b or isinstance(condition, Const):
        return b if condition is FALSE else a
    if (a.kind is Kind.BOOL) is not (b.kind is Kind.BOOL):
        raise refusal(
            f"a selection between `{quoted(a)}` and `{quoted(b)}`: one is a truth value, one a number", "two conditions or two numbers"
        )
    if a.kind is Kind.BOOL:
        return _select_truth(condition, a, b)
    return Select(condition, as_real(a), as_real(b)) if a.kind is not b.kind else Select(condition, a, b)


def _select_truth(condition: Expr, a: Expr, b: Expr) -> Expr:
    if a is TRUE:
        return TRUE if b is negated(condition) else _logic(Op.OR, condition, b)
    if a is FALSE:
        return FALSE if b is condition else _logic(Op.AND, negated(condition), b)
    if b is FALSE:
        return _logic(Op.AND, condition, a)
    if b is TRUE:
        return _logic(Op.OR, negated(condition), a)
    return Select(condition, a, b)
