"""Stretches: tokens next to each other in a sequence, laid out on a grid of their own."""

from __future__ import annotations

from dataclasses import dataclass

from .expr import K_LEN, TRUE, ZERO, Binary, Const, Expr, K, Op, Q, conjunction
from .grid import Grid
from .space import Space

_POSITIONS: dict[str, Expr] = {"q": Q, "k": K}


@dataclass(frozen=True, slots=True)
class Stretch:
    """Tokens next to each other. size: how many, None where only a call knows.

    before: tokens before them whose number is known.
    last:   nothing comes after them.
    behind: tokens after them, where some before the end of these are known only at a call: they are then counted from the end of the keys.
    """

    grid: Grid
    before: int = 0
    last: bool = True
    behind: int | None = None

    @property
    def size(self) -> int | None:
        return self.grid.tokens

    @property
    def start(self) -> int | None:
        """Tokens before them; None where these are known only at a call."""
        return self.before if self.behind is None or self.size is None else None

    @property
    def stop(self) -> int | None:
        return None if self.size is None or self.start is None else self.start + self.size

    @property
    def is_whole(self) -> bool:
        """Whether the sequence has no other tokens."""
        return self.start == 0 and self.last

    @property
    def first(self) -> Expr:
        """The position of the first token."""
        return self._from_the_end(self.size or 0) if self.start is None else Const(self.start)

    @property
    def length(self) -> Expr:
        """How many tokens there are."""
        if self.size is not None:
            return Const(self.size)
        return Binary(Op.SUB, self._from_the_end(0), self.first) if self.start else self._from_the_end(0)

    def _from_the_end(self, tokens: int) -> Expr:
        after = tokens + (self.behind or 0)
        return Binary(Op.SUB, K_LEN, Const(after)) if after else K_LEN

    def holds(self, side: str) -> Expr:
        """Whether the position of a side is here. The ends of a sequence are not asked for, but where rows may lie behind the last key."""
        position = _POSITIONS[side]
        after = TRUE if self.start == 0 else Binary(Op.LE, self._lowest, position)
        may_lie_behind = side == "q" and self.behind is not None and not self.is_whole
        if self.last and not may_lie_behind:
            return after
        stop = self._from_the_end(0) if self.stop is None else Const(self.stop)
        return conjunction(after, Binary(Op.LT, position, stop))

    @property
    def _lowest(self) -> Expr:
        """The first position that is here: of fewer keys than the other parts have tokens, those before these keep theirs."""
        return Binary(Op.MAX, Const(self.before), self.first) if self.start is None and self.before else self.first

    def places(self, side: str, space: Space) -> dict[Expr, Expr]:
        """What the variables of a side in `space` stand for, as expressions of its flat position in the sequence.

        They are outside of it for positions of other tokens: whoever puts them in asks beside them whether the position is here.
        """
        position = _POSITIONS[side]
        local = position if self.first == ZERO else Binary(Op.SUB, position, self.first)
        if space.rank == 1:
            return {position: local}
        return {space.position(side): local, **space.places(side, local)}
