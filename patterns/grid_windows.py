"""Windows of a grid, shifted or not: blocks of tokens that see each other."""

# Patterns are written without annotations.
# ruff: noqa: ANN001, ANN202
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
from __future__ import annotations

from ..ir.functions import kv_len
from ..ir.grid import Grid
from ..ir.pattern import Pattern, pattern
from .checks import grid_extents, open_extents, per_axis
from .gna import MOST_AXES, PerAxis, placed
from .padding import padded_keys


def _window(q, k, *, window, shift):
    every = True
    for axis, size in enumerate(window):
        every = every & ((q[axis] - shift[axis]) // size == (k[axis] - shift[axis]) // size)
    return every


def _torus(q, k, *, window, shift):
    every = True
    for axis, size in enumerate(window):
        extent = q.extents[axis]
        every = every & ((q[axis] - shift[axis]) % extent // size == (k[axis] - shift[axis]) % extent // size)
    return every


_ON_GRID = {rank: pattern(rank=rank)(_window) for rank in range(2, MOST_AXES + 1)}
_ON_TORUS = {rank: pattern(rank=rank)(_torus) for rank in range(2, MOST_AXES + 1)}


@pattern
def _window_on_axis(q, k, *, window, shift):
    return (q - shift) // window == (k - shift) // window


@pattern
def _torus_on_axis(q, k, *, length, window, shift):
    return (q - shift) % length // window == (k - shift) % length // window


def window(extents: PerAxis | Grid, window: PerAxis, shift: PerAxis = 0) -> Pattern:
    """On every axis: (q - shift) // window == (k - shift) // window. The windows at the edges are what is left of them.

    extents: tokens along each axis, or a `lacuna.grid`, whose extents may be known at a call only.
    shift:   tokens, less than a window; 0 is the plain form, window // 2 Swin's second layer, whose cyclic shift
             with a mask by regions comes to this.
    Traps: an extent that the window does not divide leaves a smaller last window, where implementations pad to the right and count the
    padded keys: `window_padding`, as `zero_keys=`, for keys without a bias. A cyclic shift *without* the mask is `torus_window`.
    Source: Z. Liu et al., Swin Transformer, 2021; M. Ding et al., DaViT, 2022 (no shift); C. Yang et al., MOAT, 2022.
    """
    sizes, windows, shifts = _checked(extents, window, shift)
    if len(sizes) == 1:
        return _window_on_axis(window=windows[0], shift=shifts[0])
    return placed(_ON_GRID[len(sizes)](window=windows, shift=shifts), extents, sizes)


def torus_window(extents: PerAxis | Grid, window: PerAxis, shift: PerAxis = 0) -> Pattern:
    """On every axis: (q - shift) mod extent // window == (k - shift) mod extent // window: windows that wrap around.

    extents: as of `window`. window: HiDiffusion takes half of each extent, so that there are four on an image.
    shift:   tokens; it draws 0, 1/4, 1/2 or 3/4 of one.
    Trap: the tokens at opposite edges see each other, where shifted `window`s keep them apart.
    Source: S. Zhang et al., HiDiffusion, 2023. DITO (D. Kim et al., 2023) averages the outputs at shifts 0 and window / 2.
    """
    sizes, windows, shifts = _checked(extents, window, shift)
    if len(sizes) == 1:
        return _torus_on_axis(length=kv_len if sizes[0] is None else sizes[0], window=windows[0], shift=shifts[0])
    return placed(_ON_TORUS[len(sizes)](window=windows, shift=shifts), extents, sizes)


def window_padding(extents: PerAxis, window: PerAxis) -> tuple[int, ...]:
    """For every query, row-major, the keys that its window lacks at the right and bottom edges, for `zero_keys=`."""
    sizes = grid_extents(extents)
    windows = per_axis("window", window, len(sizes))

    def inside(axis: int, place: int) -> int:
        start = place // windows[axis] * windows[axis]
        return min(start + windows[axis], sizes[axis]) - start

    return padded_keys(sizes, windows, inside)


def _checked(extents: object, window: object, shift: object) -> tuple[tuple[int | None, ...], tuple[int, ...], tuple[int, ...]]:
    sizes = open_extents(extents)
    windows, shifts = per_axis("window", window, len(sizes)), per_axis("shift", shift, len(sizes), 0)
    for size, moved in zip(windows, shifts, strict=True):
        if moved >= size:
            raise ValueError(f"`shift` is {moved} and `window` {size}\n  write a shift of at most {size - 1}")
    return sizes, windows, shifts
