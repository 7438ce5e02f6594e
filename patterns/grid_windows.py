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
from .gna import PerAxis, placed
from .padding import padded_keys


def _along(q, k, window, shifts, wraps):
    every = True
    for axis, (size, shift, extent) in enumerate(zip(window, shifts, q.extents, strict=True)):
        moved = [(side[axis] - shift) % extent if wraps else side[axis] - shift for side in (q, k)]
        every = every & (moved[0] // size == moved[1] // size)
    return every


@pattern(rank=2)
def _window_2(q, k, *, window, wraps, shift_0, shift_1):
    return _along(q, k, window, (shift_0, shift_1), wraps)


@pattern(rank=3)
def _window_3(q, k, *, window, wraps, shift_0, shift_1, shift_2):
    return _along(q, k, window, (shift_0, shift_1, shift_2), wraps)


@pattern(rank=4)
def _window_4(q, k, *, window, wraps, shift_0, shift_1, shift_2, shift_3):
    return _along(q, k, window, (shift_0, shift_1, shift_2, shift_3), wraps)


_ON_GRID = {2: _window_2, 3: _window_3, 4: _window_4}


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
    return _on_grid(extents, sizes, windows, shifts, wraps=False)


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
    return _on_grid(extents, sizes, windows, shifts, wraps=True)


def _on_grid(extents, sizes, windows, shifts, *, wraps):
    """Shifts are parameters: a window that is moved at every layer or step is one kernel."""
    moved = {f"shift_{axis}": shift for axis, shift in enumerate(shifts)}
    return placed(_ON_GRID[len(sizes)](window=windows, wraps=wraps, **moved), extents, sizes)


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
