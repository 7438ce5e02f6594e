"""Grids as users give them.

>>> grid(30, 48, 80).tokens
115200
>>> print(grid(None, "rows", "cols"))
? x rows x cols
"""

from __future__ import annotations

from typing import TypeGuard

from .build import refusal
from .grid import Extent, Grid
from .reserved import misnamed

MOST_AXES = 4


def grid(*extents: Extent) -> Grid:
    """Tokens along one to four axes, outermost first, for `pattern.on(...)`.

    An extent is a number; a name, and then a parameter of the pattern that is bound as others are, `pattern(rows=48)`, and no part of a
    kernel; or None for the outermost, which is as long as the keys of a call make it.

    Raises:
        ValueError: there are no extents, or too many; one is not positive, misnamed, or None on an inner axis.
        TypeError: one is something else.
    """
    if not 1 <= len(extents) <= MOST_AXES:
        raise ValueError(f"a grid of {len(extents)} axes\n  write one to {MOST_AXES} extents, outermost first, `lacuna.grid(30, 48, 80)`")
    for axis, extent in enumerate(extents):
        _require_extent(axis, extent)
    return Grid(extents)


def _require_extent(axis: int, extent: object) -> None:
    if extent is None:
        if axis:
            raise ValueError(f"the extent of axis {axis} is None: only the outermost follows from a length\n  write a number, or a name")
    elif isinstance(extent, str):
        complaint = misnamed(extent)
        if complaint:
            raise ValueError(f"the name `{extent}` of an extent {complaint}\n  write another name, such as `rows`")
        if axis == 0:
            raise ValueError(f"the outermost extent is the name `{extent}`\n  write None: it is as long as the tokens of a call make it")
    elif not is_count(extent):
        if isinstance(extent, int) and not isinstance(extent, bool):
            raise ValueError(f"the extent of axis {axis} is {extent!r}\n  write a positive integer")
        raise refusal(f"the extent of axis {axis} is {extent!r} of type {type(extent).__name__}", "a positive integer, a name, or None")
    elif extent == 0:
        raise ValueError(f"the extent of axis {axis} is 0\n  write a positive integer")


def is_count(value: object) -> TypeGuard[int]:
    """Whether `value` is an integer from 0 on, as a user may or may not have given it."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def as_grid(value: object) -> Grid:
    """A grid as it is, a number of tokens as a grid of one axis, a tuple as its extents.

    Raises: as `grid`.
    """
    if isinstance(value, Grid):
        return value
    if isinstance(value, tuple):
        return grid(*value)  # pyright: ignore[reportUnknownArgumentType] (looked at there)
    if isinstance(value, int) and not isinstance(value, bool):
        return grid(value)
    raise refusal(f"a space is {value!r} of type {type(value).__name__}", "`lacuna.grid(48, 80)`, or a number of tokens")
