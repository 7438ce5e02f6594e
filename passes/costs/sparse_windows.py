"""Windows and strides near those of a neighborhood that tiles fit perfectly: every visited pair is attended, nothing is padded.

Along an axis a window is `start <= k < stop`. Tiles of queries fit where `start` and `stop` change at multiples of their edge only, tiles
of keys where all of them are multiples of theirs. So what fits are the divisors of two numbers, which are exact for every window.
"""

# Numpy's arrays carry no element type here.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np

from ..grids.axis_runs import Array, Axis, Line, touching
from .tile_costs import TileCost

NEAR = 3  # windows up to a third shorter and longer
MOST_WINDOWS = 33
WEIGHT = 8.0  # of a doubled window, beside a doubled stride
MOST_SHOWN = 6

PerAxis = tuple[int, ...]


class Neighborhood(NamedTuple):
    """The parameters of `patterns.gna`, one of each for every axis."""

    extents: PerAxis
    window: PerAxis
    stride: PerAxis
    dilation: PerAxis
    causal: tuple[bool, ...]

    def axes(self) -> tuple[Axis, ...] | None:
        """What its axes see, by its definition; None where an axis is no axis of a neighborhood."""
        found = [neighborhood_axis(*along) for along in zip(*self, strict=True)]
        return None if None in found else tuple(each for each in found if each is not None)


@dataclass(frozen=True)
class Sparse:
    """A neighborhood that is perfectly tile-sparse. bound: all pairs over visited ones, which are the attended ones.

    change: how far it is from what was asked: doublings of strides, and WEIGHT times those of windows.
    """

    window: PerAxis
    stride: PerAxis
    tile: tuple[int, int]
    queries: PerAxis
    keys: PerAxis
    bound: float
    time: float
    change: float


class Choice(NamedTuple):
    """A window and stride of one axis. queries, keys: the edges that fit are the divisors of these."""

    change: float
    window: int
    stride: int
    queries: int
    keys: int


# -- one axis ---------------------------------------------------------------------------------------------------------


def neighborhood_axis(extent: int, window: int, stride: int, dilation: int, causal: bool) -> Axis | None:
    """Its residue classes; None where the numbers make no neighborhood."""
    if not 1 <= stride <= window or dilation < 1 or window * dilation > extent:
        return None
    ends = [runs(len(range(first, extent, dilation)), window, stride, causal) for first in range(dilation)]
    lines = [Line(len(start), (start, stop)) for start, stop in ends]
    return Axis.in_classes(lines[0], dilation, lines) if all(touching(*each) for each in ends) else None


def runs(size: int, window: int, stride: int, causal: bool) -> tuple[Array, Array]:
    """First key of each query of a residue class, and the one after its last."""
    at = np.arange(size)
    leader = np.minimum(at // stride * stride + (stride - 1 if causal else stride // 2), size - 1)
    if causal:
        return (leader - window + 1).clip(0), at + 1
    start = (leader - window // 2).clip(0, size - window)
    return start, start + window


def fitting(size: int, window: int, stride: int, causal: bool) -> tuple[int, int]:
    """Edges of queries, and of keys, fit if they divide these. A causal window ends elsewhere for each query."""
    if causal:
        return 1, 1
    first = np.arange(0, size, stride)
    start = (np.minimum(first + stride // 2, size - 1) - window // 2).clip(0, size - window)
    changes = first[1:][np.diff(start) != 0]
    return int(np.gcd.reduce(changes, initial=size)), int(np.gcd.reduce(start, initial=window))


def choices(extent: int, window: int, stride: int, dilation: int, causal: bool) -> list[Choice]:
    """Near a window and stride, without those that fit no more than one that is nearer."""
    found: list[Choice] = []
    sizes = {len(range(first, extent, dilation)) for first in range(dilation)}
    for wide in _windows(window, extent // dilation):
        for step in _strides(stride, wide):
            fits = [fitting(size, wide, step, causal) for size in sizes]
            change = WEIGHT * abs(math.log2(wide / window)) + abs(math.log2(step / stride))
            found.append(Choice(change, wide, step, *(_power(math.gcd(*each)) for each in zip(*fits, strict=True))))
    kept: list[Choice] = []
    for each in sorted(found):
        if not any(nearer.queries >= each.queries and nearer.keys >= each.keys for nearer in kept):
            kept.append(each)
    return kept


def _power(number: int) -> int:
    """The largest power of two that divides it."""
    return number & -number


def _windows(window: int, most: int) -> Iterator[int]:
    lowest, highest = max(1, window - max(2, window // NEAR)), min(most, window + max(2, window // NEAR))
    step = max(1, 1 << ((highest - lowest) // MOST_WINDOWS).bit_length())
    yield from sorted({window, *range(-(-lowest // step) * step, highest + 1, step)})


def _strides(stride: int, window: int) -> Iterator[int]:
    """Every small one, then ever fewer."""
    wanted = {stride, window, *range(1, 17), *range(16, 129, 8), *range(128, window + 1, 64)}
    yield from sorted(each for each in wanted if each <= window)


# -- all axes ---------------------------------------------------------------------------------------------------------


def perfectly_sparse(near: Neighborhood, costs: Sequence[TileCost]) -> tuple[Sparse, ...]:
    """The nearest neighborhoods that tiles fit perfectly and that are not slower than nearer ones, each in its fastest tiles."""
    along = [choices(*each) for each in zip(*near, strict=True)]
    tiles = [cost for cost in costs if _power(cost.queries) == cost.queries and _power(cost.keys) == cost.keys]
    found: list[Sparse] = []
    for picked in sorted(product(*along), key=lambda picked: sum(each.change for each in picked)):
        most = math.prod(each.queries for each in picked), math.prod(each.keys for each in picked)
        fits = [cost for cost in tiles if cost.queries <= most[0] and cost.keys <= most[1]]
        if fits:
            best = min((_sparse(near, picked, cost) for cost in fits), key=lambda each: each.time)
            found += [best] * (not any(nearer.time < best.time for nearer in found))
        if len(found) == MOST_SHOWN:
            break
    return tuple(found)


def _sparse(near: Neighborhood, picked: Sequence[Choice], cost: TileCost) -> Sparse:
    window, stride = tuple(each.window for each in picked), tuple(each.stride for each in picked)
    axes = near._replace(window=window, stride=stride).axes()
    assert axes is not None
    live = math.prod(int(axis.total(lambda line: np.array(line.live))) for axis in axes)
    rows = math.prod(near.extents) // cost.queries
    return Sparse(
        window,
        stride,
        (cost.queries, cost.keys),
        _shared_out([each.queries for each in picked], cost.queries),
        _shared_out([each.keys for each in picked], cost.keys),
        math.prod(near.extents) ** 2 / live,
        live / (cost.queries * cost.keys) * cost.full + rows * cost.row,
        sum(each.change for each in picked),
    )


def _shared_out(most: Sequence[int], tokens: int) -> PerAxis:
    """Edges, powers of two, of a box of that many tokens: an axis after the other is doubled, the innermost first."""
    edges = [1] * len(most)
    while math.prod(edges) < tokens:
        at = min((axis for axis, edge in enumerate(edges) if edge < most[axis]), key=lambda axis: (edges[axis], -axis))
        edges[at] *= 2
    return tuple(edges)
