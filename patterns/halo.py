"""HaloNet: the queries of a block see the block and a rim around it."""

# Patterns are written without annotations.
# ruff: noqa: ANN001, ANN202
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
from __future__ import annotations

from ..ir.grid import Grid
from ..ir.pattern import Pattern, pattern
from .checks import grid_extents, open_extents, per_axis
from .gna import MOST_AXES, PerAxis, placed
from .padding import padded_keys


def _halo(q, k, *, block, halo):
    every = True
    for axis, size in enumerate(block):
        start = q[axis] // size * size
        every = every & (start - halo[axis] <= k[axis]) & (k[axis] < start + size + halo[axis])
    return every


@pattern
def _halo_on_axis(q, k, *, block, halo):
    start = q // block * block
    return (start - halo <= k) & (k < start + block + halo)


_ON_GRID = {rank: pattern(rank=rank)(_halo) for rank in range(2, MOST_AXES + 1)}


def halo(extents: PerAxis | Grid, block: PerAxis, halo: PerAxis) -> Pattern:
    """On every axis: b * (q // b) - h <= k < b * (q // b) + b + h, clipped at the edges.

    extents: tokens along each axis, or a `lacuna.grid`, whose extents may be known at a call only.
    block: queries that share a window, b. halo: tokens on either side of it, h.
    Trap: HaloNet and HAT pad with zeros and count them in the softmax: `halo_padding`, as `zero_keys=` of the call.
    Source: A. Vaswani et al., Scaling Local Self-Attention for Parameter Efficient Visual Backbones, 2021.
    """
    sizes = open_extents(extents)
    blocks, halos = per_axis("block", block, len(sizes)), per_axis("halo", halo, len(sizes), 0)
    if len(sizes) == 1:
        return _halo_on_axis(block=blocks[0], halo=halos[0])
    return placed(_ON_GRID[len(sizes)](block=blocks, halo=halos), extents, sizes)


def halo_padding(extents: PerAxis, block: PerAxis, halo: PerAxis) -> tuple[int, ...]:
    """For every query, row-major, the keys of its window outside the grid, for `zero_keys=`. The block divides the extents."""
    sizes = grid_extents(extents)
    blocks, halos = per_axis("block", block, len(sizes)), per_axis("halo", halo, len(sizes), 0)
    if any(size % each for size, each in zip(sizes, blocks, strict=True)):
        raise ValueError(f"`block` is {block}, which does not divide {extents}\n  write a divisor of every extent")

    def inside(axis: int, place: int) -> int:
        start = place // blocks[axis] * blocks[axis]
        return min(start + blocks[axis] + halos[axis], sizes[axis]) - max(start - halos[axis], 0)

    return padded_keys(sizes, [size + 2 * rim for size, rim in zip(blocks, halos, strict=True)], inside)
