"""What each axis of a grid sees, where a mask joins conditions along one axis each by `and`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ...ir.expr import Expr, Lookup, Symbol, conjunction, conjuncts, names, walk
from ...ir.program import Program
from ..program.evaluate import evaluate

LONGEST_AXIS = 4096  # an axis is looked at pair by pair

Seen = np.ndarray
"""bool[n, n]: whether the query at a coordinate of an axis sees the key at another."""


def conditions_along(program: Program, values: Mapping[Symbol, int]) -> tuple[Expr, ...] | None:
    """The condition of each axis, the same for all heads; None where the mask is no such conjunction or reads what has no value."""
    sides = [[variable.name for variable in program.space.coordinates(side)] for side in "qk"]
    axis_of = {name: axis for side in sides for axis, name in enumerate(side)}  # `b` and `h` are no axes
    along: list[list[Expr]] = [[] for _ in sides[0]]
    for part in conjuncts(program.mask):
        read = {axis_of.get(name, -1) for name in names(part)}
        if len(read) > 1 or -1 in read or any(_is_unknown(node, values) for node in walk(part)):
            return None
        for axis in read or {0}:
            along[axis].append(part)
    return tuple(conjunction(*parts) for parts in along)


def _is_unknown(node: Expr, values: Mapping[Symbol, int]) -> bool:
    return isinstance(node, Lookup) or (isinstance(node, Symbol) and node not in values)


def seen_along(program: Program, values: Mapping[Symbol, int]) -> tuple[Seen, ...] | None:
    """What each axis of a grid of two axes or more sees; else None, and where an axis is too long to be looked at pair by pair."""
    extents = program.space.extents
    if len(extents) < 2 or max(extents) > LONGEST_AXIS:
        return None
    conditions = conditions_along(program, values)
    if conditions is None:
        return None
    return tuple(seen(program, axis, each, extents[axis], values) for axis, each in enumerate(conditions))


def seen(program: Program, axis: int, condition: Expr, extent: int, values: Mapping[Symbol, int]) -> Seen:
    """A condition along an axis at every pair of coordinates."""
    at = np.arange(extent)
    query, key = (program.space.coordinates(side)[axis] for side in "qk")
    found = evaluate(condition, {**values, query: at[:, None], key: at[None, :]})
    return np.broadcast_to(np.asarray(found, bool), (extent, extent))


def dilation_of(seen: Seen) -> int:
    """What all distances that are seen are multiples of."""
    queries, keys = np.nonzero(seen)
    return max(1, int(np.gcd.reduce(queries - keys))) if len(queries) else 1
