"""Generalized neighborhood attention: on each axis of a grid a window, shared by groups of queries, dilated, causal where asked."""

# Patterns are written without annotations.
# ruff: noqa: ANN001, ANN201, ANN202
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
from __future__ import annotations

from ..ir.functions import maximum, minimum
from ..ir.grid import Grid
from ..ir.pattern import Pattern, pattern
from .checks import open_extents, per_axis, truth_per_axis

MOST_AXES = 4

PerAxis = int | tuple[int, ...]
"""A number for every axis, or one for each."""


def seen(q, k, length, window, stride, dilation, causal):
    """Whether the query at q sees the key at k on an axis of `length` tokens. Numbers that are known to be 1 leave no trace."""
    sees = _behind if causal else _around
    if _is_one(dilation):
        return sees(q, k, length, window, stride)
    residue = q % dilation
    size = (length - residue + dilation - 1) // dilation
    return (k % dilation == residue) & sees(q // dilation, k // dilation, size, window, stride)


def _is_one(value):
    return isinstance(value, int) and value == 1


def _around(i, j, size, window, stride):
    leader = i if _is_one(stride) else minimum(i // stride * stride + stride // 2, size - 1)
    start = minimum(maximum(leader - window // 2, 0), size - window)
    return (start <= j) & (j < start + window)


def _behind(i, j, size, window, stride):
    leader = i if _is_one(stride) else minimum(i // stride * stride + stride - 1, size - 1)
    return (leader - window < j) & (j <= i)


def _seen_on_every(q, k, windows, fixed, stride, dilation, causal):
    every = True
    for axis, (extent, window) in enumerate(zip(q.extents, windows, strict=True)):
        wide = maximum(window, 1) if fixed[axis] is None else fixed[axis]  # of a window of 0 nothing is proved, and no axis has one
        every = every & seen(q[axis], k[axis], extent, wide, stride[axis], dilation[axis], causal[axis])
    return every


@pattern
def _gna_1(q, k, *, length, window_0, fixed, stride, dilation, causal):
    return seen(q, k, length, window_0 if fixed[0] is None else fixed[0], stride[0], dilation[0], causal[0])


@pattern(rank=2)
def _gna_2(q, k, *, window_0, window_1, fixed, stride, dilation, causal):
    return _seen_on_every(q, k, (window_0, window_1), fixed, stride, dilation, causal)


@pattern(rank=3)
def _gna_3(q, k, *, window_0, window_1, window_2, fixed, stride, dilation, causal):
    return _seen_on_every(q, k, (window_0, window_1, window_2), fixed, stride, dilation, causal)


@pattern(rank=4)
def _gna_4(q, k, *, window_0, window_1, window_2, window_3, fixed, stride, dilation, causal):
    return _seen_on_every(q, k, (window_0, window_1, window_2, window_3), fixed, stride, dilation, causal)


_ON_GRID = {2: _gna_2, 3: _gna_3, 4: _gna_4}


def gna(
    extents: PerAxis | Grid, window: PerAxis, stride: PerAxis = 1, dilation: PerAxis = 1, causal: bool | tuple[bool, ...] = False
) -> Pattern:
    """On every axis, with i = q // dilation, j = k // dilation in the residue class q = k (mod dilation), of size n:

        leader = min(i // stride * stride + stride // 2, n - 1),  start = clamp(leader - window // 2, 0, n - window)
        start <= j < start + window
        causal:  leader = min(i // stride * stride + stride - 1, n - 1),  leader - window < j <= i

    extents: tokens along each axis, outermost first, of one to four axes; positions are row-major. Or a `lacuna.grid` of two to four,
             whose extents may be known at a call only; an axis that turns out shorter than its window is seen whole.
    window:  keys per query along each axis. stride: queries that share a window, at most `window`. dilation: tokens between neighbours.
    causal:  for each axis, or all. One number or truth value stands for every axis.

    Windows are parameters, but on axes with a stride; the rest is part of the program. `neighborhood` without a length serves
    every length and window of a sequence by one kernel.
    Traps: windows shift inward at the edges, so every row of the plain form has exactly `window` keys along each axis; an even window has
    one key more on the left, a group of even stride its leader on the right; stride = window blocks the axis only if it divides the
    extent, else the last window overlaps its neighbour; sliding *tiles* are this only for a window of an odd number of tiles.
    Source: A. Hassani et al., Generalized Neighborhood Attention, 2025.

    Raises:
        ValueError: a number that no axis can have, such as window * dilation beyond the extent.
    """
    sizes = _sizes(extents)
    axes = len(sizes)
    window, stride, dilation = per_axis("window", window, axes), per_axis("stride", stride, axes), per_axis("dilation", dilation, axes)
    causal = truth_per_axis("causal", causal, axes)
    for axis, (extent, wide, step, apart) in enumerate(zip(sizes, window, stride, dilation, strict=True)):
        require_window(extent, wide, step, apart, f" on axis {axis}" if axes > 1 else "")
    numbers = _numbers(window, stride, dilation, causal)
    if axes == 1:
        return _gna_1(length=sizes[0], **numbers)
    return placed(_ON_GRID[axes](**numbers), extents, sizes)


def placed(pattern: Pattern, extents: PerAxis | Grid, sizes: tuple[int | None, ...]) -> Pattern:
    """A pattern on the grid that a function was called with. sizes: `open_extents` of it."""
    return pattern.on(extents) if isinstance(extents, Grid) else pattern.on(*sizes)


def _numbers(window, stride, dilation, causal):
    """The arguments of a pattern. Windows are parameters, but where queries share them: that takes a second to derive."""
    fixed = tuple([wide if step > 1 else None for wide, step in zip(window, stride, strict=True)])
    windows = {f"window_{axis}": wide for axis, wide in enumerate(window)}
    return {**windows, "fixed": fixed, "stride": stride, "dilation": dilation, "causal": causal}


def _sizes(extents: PerAxis | Grid) -> tuple[int | None, ...]:
    sizes = open_extents(extents, MOST_AXES)
    if sizes == (None,):
        raise ValueError(f"`extents` is one axis, {extents}\n  write `lacuna.patterns.neighborhood(window)`, which serves every length")
    return sizes


def require_window(extent: int | None, window: int, stride: int, dilation: int, where: str = "") -> None:
    """ValueError unless the windows of an axis fit it and leave no key out. where: " on axis 1", for the message."""
    if stride > window:
        raise ValueError(
            f"`stride` is {stride} and `window` {window}{where}: some keys would be seen by nobody\n  write a stride of at most {window}"
        )
    if extent is not None and window * dilation > extent:
        raise ValueError(
            f"`window * dilation` is {window * dilation}{where}, of {extent} tokens\n  write a window of at most {extent // dilation}"
        )
