"""How many boxes of a grid hold tokens, and how many nothing else."""

from __future__ import annotations

from typing import NamedTuple

from ...ir.order import Boxes


class Held(NamedTuple):
    """Boxes of a grid that hold a token, and those that hold tokens alone."""

    begun: int
    filled: int


def held(boxes: Boxes) -> Held:
    begun = filled = 1
    for extent, edge, apart in zip(*boxes, strict=True):
        lengths = [len(range(residue, extent, apart)) for residue in range(apart)]
        begun, filled = begun * sum(-(-length // edge) for length in lengths), filled * sum(length // edge for length in lengths)
    return Held(begun, filled)
