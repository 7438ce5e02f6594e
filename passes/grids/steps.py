"""By how much an integer expression changes when a variable grows by one: what shows that the ends of a window only ever move forward."""

from __future__ import annotations

from typing import NamedTuple

from ...ir.expr import Binary, Const, Expr, Op, Unary, fold


class Step(NamedTuple):
    """Inclusive bounds of `expr(x + 1) - expr(x)`, for every x and every value of all else."""

    low: int
    high: int


STILL = Step(0, 0)


def step(expr: Expr, of: Expr) -> Step | None:
    """The step of an integer expression in the variable or symbol `of`; None where it is not known to have bounds."""

    def visit(node: Expr, parts: tuple[Step | None, ...]) -> Step | None:
        if node is of:
            return Step(1, 1)
        known = [part for part in parts if part is not None]
        if len(known) < len(parts):
            return None
        return STILL if all(part == STILL for part in known) else _rule(node, known)

    return fold(expr, visit)


def _rule(node: Expr, parts: list[Step]) -> Step | None:
    match node:
        case Binary(op=Op.ADD):
            return Step(parts[0].low + parts[1].low, parts[0].high + parts[1].high)
        case Binary(op=Op.SUB):
            return Step(parts[0].low - parts[1].high, parts[0].high - parts[1].low)
        case Unary(op=Op.NEG):
            return Step(-parts[0].high, -parts[0].low)
        case Binary(op=Op.MIN | Op.MAX):  # where either side may be the one that is taken, before and after
            return Step(min(parts[0].low, parts[1].low), max(parts[0].high, parts[1].high))
        case Binary(op=Op.MUL, a=Const(value=int(by))):
            return _scaled(parts[1], by)
        case Binary(op=Op.MUL, b=Const(value=int(by))):
            return _scaled(parts[0], by)
        case Binary(op=Op.FLOORDIV, b=Const(value=int(by))) if by > 0:
            return Step(parts[0].low // by, -(-parts[0].high // by))
        case Unary(op=Op.ABS):
            most = max(abs(parts[0].low), abs(parts[0].high))
            return Step(-most, most)
        case _:
            return None


def _scaled(part: Step, by: int) -> Step:
    return Step(*sorted((part.low * by, part.high * by)))
