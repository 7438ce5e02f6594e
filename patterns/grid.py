"""MaxViT: every token of a sparse grid over the image sees the others of it."""

# Patterns are written without annotations.
# ruff: noqa: ANN001, ANN202
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
from __future__ import annotations

from ..ir.pattern import Pattern, pattern
from .checks import grid_extents, per_axis
from .gna import MOST_AXES, PerAxis


def _grid(q, k, *, apart):
    every = True
    for axis, step in enumerate(apart):
        every = every & (q[axis] % step == k[axis] % step)
    return every


@pattern
def _grid_on_axis(q, k, *, apart):
    return q % apart == k % apart


_ON_GRID = {rank: pattern(rank=rank)(_grid) for rank in range(2, MOST_AXES + 1)}


def grid(extents: PerAxis, keys: PerAxis) -> Pattern:
    """On every axis: q = k (mod extent / keys), so that each query sees `keys` tokens, spread over the whole axis.

    extents: tokens along each axis. keys: G, of each query along each axis; it divides the extent.
    The other half of MaxViT is `window(extents, G)`. Trap: relative positions count within the partition, not in pixels.
    Source: Z. Tu et al., MaxViT: Multi-Axis Vision Transformer, 2022.
    """
    sizes = grid_extents(extents)
    seen = per_axis("keys", keys, len(sizes))
    for size, each in zip(sizes, seen, strict=True):
        if size % each:
            raise ValueError(f"`keys` is {each}, which does not divide the extent {size}\n  write a divisor of it")
    apart = tuple(size // each for size, each in zip(sizes, seen, strict=True))
    return _grid_on_axis(apart=apart[0]) if len(sizes) == 1 else _ON_GRID[len(sizes)](apart=apart).on(*sizes)
