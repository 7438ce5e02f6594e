"""Stretches: tokens next to each other in a sequence, laid out on a grid of their own."""

from __future__ import annotations

from dataclasses import dataclass

from .expr import TRUE, Binary, Const, Expr, K, Op, Q, conjunction
from .grid import Grid
from .space import Space

_POSITIONS: dict[str, Expr] = {"q": Q, "k": K}


@dataclass(frozen=True, slots=True)
class Stretch:
    """Tokens from `start` on. size: how many, None where only a call knows. last: nothing comes after them."""

    grid: Grid
    start: int = 0
    last: bool = True

    @property
    def size(self) -> int | None:
        return self.grid.tokens

    @property
    def stop(self) -> int | None:
        return None if self.size is None else self.start + self.size

    def holds(self, side: str) -> Expr:
        """Whether the position of a side is here; the ends of the sequence are not asked for."""
        position = _POSITIONS[side]
        after = Binary(Op.LE, Const(self.start), position) if self.start else TRUE
        return after if self.last or self.stop is None else conjunction(after, Binary(Op.LT, position, Const(self.stop)))

    def places(self, side: str, space: Space) -> dict[Expr, Expr]:
        """What the variables of a side in `space` stand for, as expressions of its flat position in the sequence.

        They are outside of it for positions of other tokens: whoever puts them in asks beside them whether the position is here.
        """
        position = _POSITIONS[side]
        local = Binary(Op.SUB, position, Const(self.start)) if self.start else position
        if space.rank == 1:
            return {position: local}
        return {space.position(side): local, **space.places(side, local)}
