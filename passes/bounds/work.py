"""How much a refinement may do, and how much it has done: the same amount on every machine, so that tiles do not depend on timing.

    rectangles   interval arithmetic on one rectangle, times the operations of the mask
    pairs        the mask at one pair of a query and a key, times the operations that read both
    listed       tiles that are written down

Past the first two a tile that could not be told is PARTIAL, which is sound; past the last there are no lists, and a kernel meets every
tile of a cover. On one core of 2020 the first two together are two to six seconds, the last is 64 MB.
"""

from __future__ import annotations

from dataclasses import dataclass

MOST_RECTANGLES = 1 << 25
MOST_PAIRS = 1 << 29
MOST_LISTED = 1 << 24


class TooManyTiles(Exception):
    """The tiles of a mask are too many to be listed."""

    def __init__(self) -> None:
        super().__init__(f"more than {MOST_LISTED} tiles to list")


@dataclass
class Work:
    """What is left of a budget, and what was looked at.

    boxes, points: rectangles and pairs, whatever each of them took.
    """

    rectangles: int = MOST_RECTANGLES
    pairs: int = MOST_PAIRS
    listed: int = MOST_LISTED
    boxes: int = 0
    points: int = 0
    _kept: tuple[int, int] = (0, 0)  # rectangles and pairs of problems that come later

    def begin(self, problems: int) -> None:
        """Keep back what the others of `problems` that are still to come may use; lists are shared by all."""
        self._kept = self.rectangles - self.rectangles // problems, self.pairs - self.pairs // problems

    def list_tiles(self, count: int) -> None:
        """Account for tiles that are about to be written down.

        Raises:
            TooManyTiles: they are more than are left.
        """
        self.listed -= count
        if self.listed < 0:
            raise TooManyTiles

    def allows_rectangles(self, count: int, operations: int) -> bool:
        """Whether `count` rectangles may be bounded; if so they are accounted for."""
        if self.rectangles - count * operations < self._kept[0]:
            return False
        self.rectangles -= count * operations
        self.boxes += count
        return True

    def allows_pairs(self, count: int, operations: int) -> bool:
        """Whether the mask may be evaluated at `count` pairs; if so they are accounted for."""
        if self.pairs - count * operations < self._kept[1]:
            return False
        self.pairs -= count * operations
        self.points += count
        return True
