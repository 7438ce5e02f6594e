"""What is said of a term whose integers no kernel can hold."""

from __future__ import annotations

from ...ir.advice import advice
from ...ir.build import quoted
from ...ir.expr import Binary, Const, Expr, Op


class TooWide(OverflowError):
    """An integer of a mask or a score may leave 64 bits.

    term: which. low, high: what it may be.
    """

    def __init__(self, term: Expr, low: int, high: int) -> None:
        self.term = term
        what = f"`{quoted(term)}` can be {_shown(low)}..{_shown(high)} in this call, which 64 bits do not hold"
        if isinstance(term, Const):
            what = f"the constant {_shown(high)} does not fit in 64 bits"
        super().__init__(advice(what, _instead(term)))


class MeaninglessShift(ValueError):
    """A shift of a mask or a score may be by a negative number."""

    def __init__(self, term: Binary, least: int) -> None:
        what = f"`{quoted(term)}` can shift by {_shown(least)} positions in this call, which has no meaning"
        super().__init__(advice(what, f"`x {term.op.value} max({quoted(term.b)}, 0)`, and a condition for the pairs where that counts"))


def _instead(term: Expr) -> str:
    match term:
        case Const():
            return "a number between -2 ** 63 and 2 ** 63 - 1"
        case Binary(op=Op.SHL, b=by):
            return f"a shift that stays below 63, such as `x << min({quoted(by)}, 62)`"
        case Binary(op=Op.ADD | Op.SUB | Op.MUL, a=a, b=b):
            return f"smaller numbers: clamp them first, such as `min(max(x, -n), n)` for `{quoted(b if isinstance(a, Const) else a)}`"
        case _:
            return "smaller numbers: clamp them first, such as `min(max(x, -n), n)`"


def _shown(value: int) -> str:
    """A number, by its power of two where nobody would count the digits."""
    return str(value) if value.bit_length() <= 64 else f"about {'-' if value < 0 else ''}2 ** {value.bit_length()}"
