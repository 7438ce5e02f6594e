"""FreeSwim: windows on rows and columns that shift inward, of all frames of a video."""

# Patterns are written without annotations.
# ruff: noqa: ANN001, ANN202
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
from __future__ import annotations

from ..ir.functions import maximum
from ..ir.grid import Grid
from ..ir.pattern import Pattern, pattern
from .checks import open_extents, per_axis, truth
from .gna import placed


def _inside(q, k, extent, half):
    """Half a window on either side, and on the other side what is missing on one."""
    return (q - half - maximum(half + q - extent + 1, 0) <= k) & (k <= q + half + maximum(half - q, 0))


@pattern(rank=3)
def _inward(q, k, *, half):
    _, rows, cols = q.extents
    return _inside(q[1], k[1], rows, half[0]) & _inside(q[2], k[2], cols, half[1])


@pattern(rank=3)
def _inward_or_all(q, k, b, *, half):
    _, rows, cols = q.extents
    return (b % 2 == 1) | (_inside(q[1], k[1], rows, half[0]) & _inside(q[2], k[2], cols, half[1]))


def inward_window(extents: tuple[int, int, int] | Grid, half: int | tuple[int, int], *, branches: bool = False) -> Pattern:
    """On rows and columns: q - d - max(d + q - n + 1, 0) <= k <= q + d + max(d - q, 0); every frame sees every frame.

    extents:  (frames, rows, columns), or a `lacuna.grid` of them, whose extents may be known at a call only.
    half:     d, tokens on either side, for rows and columns or one for both.
    branches: odd batch items see everything, as the full branch that runs in one call with the window branch.
    It is the neighborhood of 2 d + 1; with 2 d + 1 > n the axis is seen whole.
    Source: FreeSwim: Revisiting Sliding-Window Attention Mechanisms for Training-Free Ultra-High-Resolution Video Generation, 2025.
    """
    sizes = open_extents(extents, 3)
    truth(branches=branches)
    if len(sizes) != 3:
        raise ValueError(f"`extents` is {extents!r}\n  write `(frames, rows, columns)` of the video")
    return placed((_inward_or_all if branches else _inward)(half=per_axis("half", half, 2, 0)), extents, sizes)
