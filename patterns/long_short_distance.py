"""CrossFormer: groups of neighbours in one layer, groups of tokens at an interval in the next."""

# Patterns are written without annotations.
# ruff: noqa: ANN001, ANN202
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
from __future__ import annotations

from ..ir.pattern import Pattern, pattern
from .checks import grid_extents, wholes
from .gna import MOST_AXES, PerAxis


def _long(q, k, *, group, interval, before):
    every = True
    for q_place, k_place, padding in zip(q, k, before, strict=True):
        every = every & _grouped(q_place + padding, k_place + padding, group, interval)
    return every


@pattern
def _long_on_axis(q, k, *, group, interval, before):
    return _grouped(q + before, k + before, group, interval)


def _grouped(q, k, group, interval):
    return (q // (group * interval) == k // (group * interval)) & (q % interval == k % interval)


_ON_GRID = {rank: pattern(rank=rank)(_long) for rank in range(2, MOST_AXES + 1)}


def long_short_distance(extents: PerAxis, group: int, interval: int = 1, *, pad_type: int = 0) -> Pattern:
    """On every axis: q // (G I) == k // (G I) and q = k (mod I). Interval 1 is the short-distance layer, `window` of G.

    extents: tokens along each axis. group: tokens of a group along an axis, G. interval: tokens between them, I.
    pad_type: where extents that G I does not divide are padded, as in the authors' code: 0 at the end of each axis, 1 on both sides, the
              smaller half first, which moves the groups by as much.
    Traps: an image of at most G tokens along one axis is grouped by that many, without an interval, as in the authors' code: everything
    if it is square. At G I = extent it is the grid attention of MaxViT. Padded keys are masked, so that edges are clipped groups.
    Source: W. Wang et al., CrossFormer: A Versatile Vision Transformer Hinging on Cross-scale Attention, 2021.
    """
    sizes = grid_extents(extents)
    group, interval = wholes(1, group=group, interval=interval)
    if pad_type not in (0, 1):
        raise ValueError(f"`pad_type` is {pad_type!r:.60}\n  write 0 for padding at the end of each axis, 1 for both sides")
    if min(sizes) <= group:
        group, interval = min(sizes), 1
    before = tuple(-size % (group * interval) // 2 if pad_type else 0 for size in sizes)
    if len(sizes) == 1:
        return _long_on_axis(group=group, interval=interval, before=before[0])
    return _ON_GRID[len(sizes)](group=group, interval=interval, before=before).on(*sizes)
