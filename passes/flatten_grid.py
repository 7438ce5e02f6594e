"""Grid coordinates as quotients and remainders of flat positions.

Apart from the other forms of a mask, because a warm start asks for this one alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from ..ir.expr import Binary, Const, Expr, Op, Var
from ..ir.program import Program, Space


@dataclass(frozen=True)
class FlattenGrid:
    """Replace coordinates by quotients and remainders of the flat positions, and positions made of them by those themselves.

    x // n * n + x % n is x, which no analysis of ranges would find: a table with an entry for each token could not be read safely.

    Needs: a bound grid. Keeps: the set of attended pairs of flat, row-major positions. A flat program is left alone.
    """

    name: ClassVar[str] = "flatten-grid"
    needs: ClassVar[tuple[str, ...]] = ()

    def __call__(self, program: Program) -> Program:
        if program.space.rank == 1:
            return program
        coordinates = {**_unravelled("q", program.space), **_unravelled("k", program.space)}
        return replace(program.substituted(coordinates), space=Space())


def _unravelled(side: str, space: Space) -> dict[Expr, Expr]:
    found: dict[Expr, Expr] = {space.position(side): Var(side)}
    inner = 1
    for axis in reversed(range(space.rank)):
        quotient: Expr = Binary(Op.FLOORDIV, Var(side), Const(inner)) if inner > 1 else Var(side)
        found[Var(f"{side}{axis}")] = quotient if axis == 0 else Binary(Op.MOD, quotient, Const(space.extents[axis]))
        inner *= space.extents[axis]
    return found
