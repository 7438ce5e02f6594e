"""Grid coordinates as quotients and remainders of flat positions.

Apart from the other forms of a mask, because a warm start asks for this one alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from ...ir.expr import Expr, K, Q
from ...ir.program import Program, Space


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
        found: dict[Expr, Expr] = {}
        for side in (Q, K):
            found[program.space.position(side.name)] = side
            found.update(program.space.places(side.name, side))
        return replace(program.substituted(found), space=Space())
