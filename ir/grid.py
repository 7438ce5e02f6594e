"""Grids: how tokens are laid out along axes, with extents that are numbers, or known only at a call."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import cast

from .expr import K_LEN, ONE, Binary, Const, Expr, Op, Symbol

Extent = int | str | None


@dataclass(frozen=True, slots=True)
class Grid:
    """Row-major positions.

    extents: tokens along each axis, outermost first: a number; the name of a parameter, bound like those of a pattern; or None for the
             outermost, which is as long as the keys of a call make it.
    """

    extents: tuple[Extent, ...]

    @property
    def rank(self) -> int:
        return len(self.extents)

    @property
    def tokens(self) -> int | None:
        """Of the whole grid; None where an extent is known at the call only."""
        sizes = [extent for extent in self.extents if isinstance(extent, int)]
        return math.prod(sizes) if len(sizes) == self.rank else None

    @property
    def fixed(self) -> tuple[int, ...]:
        """The extents, where all are numbers; else empty."""
        return cast("tuple[int, ...]", self.extents) if self.tokens is not None else ()

    @property
    def names(self) -> tuple[str, ...]:
        """Of parameters, outermost first, each once."""
        return tuple(dict.fromkeys(extent for extent in self.extents if isinstance(extent, str)))

    def sizes(self, *, of_all_keys: bool) -> tuple[Expr | None, ...]:
        """The extents as expressions. of_all_keys: keys are on this grid, so that their number says how long the outermost axis is."""
        found: list[Expr | None] = [_size(extent) for extent in self.extents]
        if found[0] is None and of_all_keys:
            found[0] = slices(K_LEN, found[1:])
        return tuple(found)

    def __str__(self) -> str:
        return " x ".join("?" if extent is None else str(extent) for extent in self.extents)


def _size(extent: Extent) -> Expr | None:
    return None if extent is None else Symbol(extent) if isinstance(extent, str) else Const(extent)


def slices(length: Expr, inner: Sequence[Expr | None]) -> Expr:
    """How many slices of these extents so many tokens begin."""
    slice_of = divisor(inner)
    if slice_of is ONE:
        return length
    last = Const(slice_of.value - 1) if isinstance(slice_of, Const) else Binary(Op.SUB, slice_of, ONE)
    return Binary(Op.FLOORDIV, Binary(Op.ADD, length, last), slice_of)


def divisor(sizes: Sequence[Expr | None]) -> Expr:
    """The product of some extents, as what divides a position: at least 1 to see where it is only known at a call.

    Quotients by `max(n, 1)` are bounded over a tile and `n` is not made part of a kernel, as other divisors are.
    """
    numbers = math.prod(size.value for size in sizes if isinstance(size, Const))
    symbols = [size for size in sizes if size is not None and not isinstance(size, Const)]
    if not symbols:
        return Const(int(numbers))
    product = reduce(lambda a, b: Binary(Op.MUL, a, b), symbols)
    return Binary(Op.MAX, product if numbers == 1 else Binary(Op.MUL, product, Const(int(numbers))), ONE)
