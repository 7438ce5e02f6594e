"""Orders of the tokens of a grid as permutations: the row-major token at each position.

hilbert   from each token to one beside it, in the smallest cube of powers of two around the grid
morton    by the bits of all coordinates, one of each in turn
shells    by the distance from a token, in steps along the axes: those of one distance side by side
axes      row-major with the axes exchanged
"""

# Numpy's arrays carry no element type here.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np

from ...ir.expr import Q
from ...ir.order import Boxes
from ..program.evaluate import evaluate

Array = np.ndarray
Extents = tuple[int, ...]


def morton(extents: Extents) -> Array:
    """i64[tokens]."""
    return np.argsort(_interleaved(_coordinates(extents), _bits(extents)), kind="stable")


def hilbert(extents: Extents) -> Array:
    """i64[tokens]. A grid of unlike extents takes the curve of the cube around it, with what lies outside left out."""
    bits = _bits(extents)
    return np.argsort(_interleaved(_turned(_coordinates(extents), bits), bits), kind="stable")


def shells(extents: Extents, centre: Sequence[int]) -> Array:
    """i64[tokens]: by the sum of distances along the axes from `centre`, row-major within a shell."""
    places = _coordinates(extents)
    distance = sum((np.abs(along - at) for along, at in zip(places, centre, strict=True)), np.zeros(len(places[0]), np.int64))
    return np.argsort(distance, kind="stable")


def axes(extents: Extents, order: Sequence[int]) -> Array:
    """i64[tokens]: row-major with axis order[0] outermost."""
    return np.arange(math.prod(extents)).reshape(extents).transpose(order).reshape(-1)


def in_boxes(boxes: Boxes) -> Array:
    """i64[tokens]: the positions of boxes, without those that no token has."""
    position = np.arange(boxes.positions)
    valid = np.broadcast_to(evaluate(boxes.valid(Q), {Q: position}), position.shape)
    return np.broadcast_to(evaluate(boxes.token(Q), {Q: position}), position.shape)[valid.astype(bool)]


def by_box(extents: Extents, box: Extents, curve: Callable[[Extents], Array]) -> Array:
    """i64[tokens]: boxes along a curve of their own grid, row-major in each; boxes at the end of an axis may hold less."""
    counts = tuple(-(-extent // edge) for extent, edge in zip(extents, box, strict=True))
    rank = np.empty(math.prod(counts), np.int64)
    rank[curve(counts)] = np.arange(len(rank))
    places = _coordinates(extents)
    number = functools.reduce(lambda total, each: total * each[1] + each[0], zip(_quotients(places, box), counts, strict=True), 0)
    return np.argsort(rank[number], kind="stable")


def _quotients(places: Sequence[Array], by: Extents) -> list[Array]:
    return [along // edge for along, edge in zip(places, by, strict=True)]


def _coordinates(extents: Extents) -> list[Array]:
    """Along each axis, of every row-major token."""
    return list(np.indices(extents).reshape(len(extents), -1))


def _bits(extents: Extents) -> int:
    return max(1, (max(extents) - 1).bit_length())


def _interleaved(places: Sequence[Array], bits: int) -> Array:
    """Numbers made of the bits of the coordinates, the highest of each first."""
    found = np.zeros_like(places[0])
    for bit in reversed(range(bits)):
        for along in places:
            found = found << 1 | (along >> bit & 1)
    return found


def _turned(places: Sequence[Array], bits: int) -> list[Array]:
    """Coordinates whose interleaved bits count the steps of the Hilbert curve.

    From the largest cube to the smallest: the half of a cube that a bit of an axis names is the whole cube mirrored or with that axis and
    the first exchanged, and what is below that bit is turned back. Then bits become those of a count whose neighbours differ in one bit.
    """
    found = [along.copy() for along in places]
    for bit in reversed(range(1, bits)):
        below = (1 << bit) - 1
        for axis in range(len(found)):
            upper = (found[axis] >> bit & 1).astype(bool)
            exchanged = np.where(upper, 0, (found[0] ^ found[axis]) & below)
            found[0] = np.where(upper, found[0] ^ below, found[0] ^ exchanged)
            found[axis] = found[axis] ^ exchanged if axis else found[0]
    for axis in range(1, len(found)):
        found[axis] = found[axis] ^ found[axis - 1]
    changed = np.zeros_like(found[-1])
    for bit in reversed(range(1, bits)):
        changed = np.where(found[-1] >> bit & 1, changed ^ ((1 << bit) - 1), changed)
    return [along ^ changed for along in found]
