"""Spaces: what positions are, and the places that they stand for on row-major grids."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .expr import ONE, Binary, Const, Expr, Op, Symbol, Var
from .grid import Grid, divisor


@dataclass(frozen=True, slots=True)
class Space:
    """What positions are: flat indices (`rank` 1), or coordinates on a row-major grid.

    extents: tokens along each axis, outermost first; empty where they are not known, of flat positions or of a grid that is not bound yet.
    grids:   of flat positions, those that queries and keys lie on, where these are two or their extents are known at a call only.
    """

    rank: int = 1
    extents: tuple[int, ...] = ()
    grids: tuple[Grid, Grid] | None = None

    @staticmethod
    def of_tokens(queries: int | None, keys: int | None) -> Space:
        """Flat positions, so many of each; None is not known."""
        if queries == keys:
            return Space() if queries is None else Space(1, (queries,))
        return Space(grids=(Grid((queries,)), Grid((keys,))))

    @property
    def is_bound(self) -> bool:
        """Whether there are positions that it does not hold."""
        return bool(self.extents) or self.grids is not None

    @property
    def follows_keys(self) -> bool:
        """Whether both sides are on one grid that is as long as the keys of a call make it."""
        return self.grids is not None and self.grids[0] == self.grids[1] and self.grids[0].tokens is None

    def tokens(self, side: str) -> int | None:
        """Of one side, `q` or `k`; None where that is not known."""
        if self.grids is not None:
            return self.grids["qk".index(side)].tokens
        return math.prod(self.extents) if self.extents else None

    def met(self, other: Space) -> Space | None:
        """What positions are where both spaces hold; None where they cannot."""
        low, high = sorted((self, other), key=lambda space: (space.rank, bool(space.extents), space.grids is not None))
        known = [(low.tokens(side), high.tokens(side)) for side in "qk"]
        if any(None not in pair and pair[0] != pair[1] for pair in known) or (low.rank != high.rank and low.rank > 1):
            return None
        if high.rank > 1:
            return None if low.rank > 1 and low.extents and low.extents != high.extents else high
        if low.grids is None or low.grids == high.grids:
            return high if high.grids is not None or not low.extents else low
        query, key = ((a if b is None else b) for a, b in known)
        return Space.of_tokens(query, key)

    def coordinates(self, side: str) -> tuple[Var, ...]:
        """The variables of one side (`q` or `k`): itself when flat, else `q0, q1, ...`, outermost first."""
        return (Var(side),) if self.rank == 1 else tuple(Var(f"{side}{axis}") for axis in range(self.rank))

    def sizes(self, side: str) -> tuple[Expr | None, ...]:
        """Tokens along each axis of one side; empty where the grid is not bound, None for an axis nobody has measured."""
        del side  # both are on one grid
        return tuple(Const(extent) for extent in self.extents)

    @property
    def symbols(self) -> tuple[Symbol, ...]:
        """Parameters that extents are."""
        return ()

    @property
    def extent_symbols(self) -> tuple[Symbol, ...]:
        """Parameters that extents of `grids` are: a program on them has values for these, whether it reads them or not."""
        return tuple(dict.fromkeys(Symbol(name) for grid in self.grids or () for name in grid.names))

    def position(self, side: str) -> Expr:
        """The flat, row-major position of the coordinates of one side: Horner's scheme over the extents."""
        first, *rest = self.coordinates(side)
        found: Expr = first
        for coordinate, extent in zip(rest, self.sizes(side)[1:], strict=True):
            assert extent is not None  # the outermost alone may be
            found = Binary(Op.ADD, Binary(Op.MUL, found, extent), coordinate)
        return found

    def places(self, side: str, position: Expr) -> dict[Expr, Expr]:
        """What the coordinates of one side are at a flat position. The outermost one is not wrapped."""
        sizes = self.sizes(side)
        found: dict[Expr, Expr] = {}
        for axis, coordinate in enumerate(self.coordinates(side)):
            inner = divisor(sizes[axis + 1 :])
            quotient = position if inner is ONE else Binary(Op.FLOORDIV, position, inner)
            found[coordinate] = quotient if axis == 0 else Binary(Op.MOD, quotient, divisor(sizes[axis : axis + 1]))
        return found


@dataclass(frozen=True, slots=True)
class TwoGrids(Space):
    """A grid for queries and one for keys while a program is traced: extents may be parameters, or what lengths make of them.

    query, key: tokens along each axis, outermost first; None for an outermost one that is not known.
    """

    query: tuple[Expr | None, ...] = ()
    key: tuple[Expr | None, ...] = ()

    def sizes(self, side: str) -> tuple[Expr | None, ...]:
        return self.query if side == "q" else self.key

    @property
    def symbols(self) -> tuple[Symbol, ...]:
        return tuple(dict.fromkeys(each for each in (*self.query, *self.key) if isinstance(each, Symbol)))
