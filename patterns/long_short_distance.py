"""CrossFormer: groups of neighbours in one layer, groups of tokens at an interval in the next."""

# Patterns are written without annotations.
# ruff: noqa: ANN001, ANN202
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
from __future__ import annotations

from ..ir.pattern import Pattern, pattern
from .checks import at_least, grid_extents
from .gna import MOST_AXES, PerAxis


def _long(q, k, *, group, interval):
    every = True
    for axis in range(len(q)):
        near = q[axis] // (group * interval) == k[axis] // (group * interval)
        every = every & near & (q[axis] % interval == k[axis] % interval)
    return every


@pattern
def _long_on_axis(q, k, *, group, interval):
    return (q // (group * interval) == k // (group * interval)) & (q % interval == k % interval)


_ON_GRID = {rank: pattern(rank=rank)(_long) for rank in range(2, MOST_AXES + 1)}


def long_short_distance(extents: PerAxis, group: int, interval: int = 1) -> Pattern:
    """On every axis: q // (G I) == k // (G I) and q = k (mod I). Interval 1 is the short-distance layer, `window` of G.

    extents: tokens along each axis. group: tokens of a group along an axis, G. interval: tokens between them, I.
    Traps: an image of at most G tokens along one axis is grouped by that many, without an interval, as in the authors' code: everything
    if it is square. At G I = extent it is the grid attention of MaxViT. Padded keys are masked, so that edges are clipped groups.
    Source: W. Wang et al., CrossFormer: A Versatile Vision Transformer Hinging on Cross-scale Attention, 2021.
    """
    sizes = grid_extents(extents)
    at_least(1, group=group, interval=interval)
    if min(sizes) <= group:
        group, interval = min(sizes), 1
    if len(sizes) == 1:
        return _long_on_axis(group=group, interval=interval)
    return _ON_GRID[len(sizes)](group=group, interval=interval).on(*sizes)
