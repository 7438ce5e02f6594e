"""Windows that reach over the edge of a grid: how many of their keys are padding."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product


def padded_keys(extents: Sequence[int], window: Sequence[int], inside: Callable[[int, int], int]) -> tuple[int, ...]:
    """For every query of a row-major grid, the keys of its window that are outside.

    window: keys of a whole window along each axis. inside(axis, coordinate): those of them that are on the axis.
    """
    whole = math.prod(window)
    counts = [[inside(axis, coordinate) for coordinate in range(extent)] for axis, extent in enumerate(extents)]
    return tuple(whole - math.prod(place) for place in product(*counts))
