"""Positions tile by tile: what an expression over positions is of a tile, and of a place in it.

    (k // 64 // 120 * 2 + k // 32 % 2) * 3840      of tiles of 64 keys      j // 120 * 7680  +  step // 32 % 2 * 3840

A division of a position by tokens of a tile is the number of the tile, which a program knows once for all its rows; and what is left of a
position when its tile is taken away is the same in every tile.
"""

from __future__ import annotations

from typing import NamedTuple

from ..ir.digits import multiple, quotient, remainder, total
from ..ir.expr import ZERO, Binary, Const, Expr, Op, Var, fold, names, rebuilt

STEP = Var("step")  # the place of a token in its tile


class Tiled(NamedTuple):
    """Positions `position` of tiles of `edge` tokens, numbered `tile`; `step` counts those of one tile."""

    position: Expr
    tile: Expr
    edge: int
    step: Expr = STEP

    def within(self, expr: Expr) -> Expr:
        """`expr` with digits of the position read off tile and step, wherever they are digits of one of the two; equal to it."""
        return fold(expr, self._visit)

    def _visit(self, node: Expr, parts: tuple[Expr, ...]) -> Expr:
        return self._digit(node) or rebuilt(node, parts)

    def _digit(self, node: Expr) -> Expr | None:
        """A quotient of the position, or a remainder of one."""
        if node is self.position:
            return self.tile if self.edge == 1 else None
        number, size = _divided(node, Op.MOD) or (node, 0)
        stride = 1
        while (found := _divided(number, Op.FLOORDIV)) is not None:
            number, stride = found[0], stride * found[1]
        tile = self._tile_of(number)
        if tile is None:
            return None
        if stride % self.edge == 0:
            found = quotient(tile, stride // self.edge)
            return remainder(found, size) if size else found
        return remainder(quotient(self.step, stride), size) if size and self.edge % (stride * size) == 0 else None

    def _tile_of(self, number: Expr) -> Expr | None:
        """The number of the tile that a position is in, or that of one so many whole tiles before it."""
        match number:
            case Binary(op=Op.SUB, a=a, b=Const(value=int() as less)) if a is self.position and less % self.edge == 0:
                return Binary(Op.SUB, self.tile, Const(less // self.edge))
            case _:
                return self.tile if number is self.position else None


class Split(NamedTuple):
    """A sum: what the tile adds, and what the step adds."""

    tile: Expr
    step: Expr


def split(expr: Expr, tiled: Tiled) -> Split | None:
    """`expr`, which `within` made, as a sum; None where it is none, or reads the position itself."""
    if tiled.position in _leaves(expr):
        return None
    return _split(expr, tiled)


def _split(expr: Expr, tiled: Tiled) -> Split | None:
    read = _leaves(expr)
    if tiled.step not in read:
        return Split(expr, ZERO)
    if tiled.tile not in read and not names(expr) - names(tiled.step):
        return Split(ZERO, expr)
    match expr:
        case Binary(op=Op.ADD, a=a, b=b):
            first, second = _split(a, tiled), _split(b, tiled)
            return None if first is None or second is None else Split(*map(total, first, second))
        case Binary(op=Op.MUL, a=a, b=Const(value=int(by))):
            found = _split(a, tiled)
            return None if found is None else Split(*(multiple(part, by) for part in found))
        case _:
            return None


def _leaves(expr: Expr) -> frozenset[Expr]:
    return fold(expr, lambda node, parts: frozenset({node}) if not parts else frozenset[Expr]().union(*parts))


def _divided(node: Expr, op: Op) -> tuple[Expr, int] | None:
    match node:
        case Binary(op=found, a=a, b=Const(value=int() as by)) if found is op and by > 0:
            return a, by
        case _:
            return None
