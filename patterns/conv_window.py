"""TiC: windows as those of a convolution, centred on the query, with or without holes, on an image that may be rolled."""

# Patterns are written without annotations.
# ruff: noqa: ANN001, ANN202
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
from __future__ import annotations

from ..ir.pattern import Pattern, pattern
from .checks import grid_extents, per_axis
from .gna import MOST_AXES, PerAxis
from .padding import padded_keys


def _conv(q, k, *, radius, dilation, roll):
    every = True
    for axis, (reach, apart, moved) in enumerate(zip(radius, dilation, roll, strict=True)):
        key = (k[axis] - moved) % q.extents[axis] if moved else k[axis]
        every = every & _near(q[axis], key, reach, apart)
    return every


def _near(q, k, radius, dilation):
    close = (q - k <= radius * dilation) & (k - q <= radius * dilation)
    return close & ((q - k) % dilation == 0) if dilation > 1 else close


@pattern
def _conv_on_axis(q, k, *, axis):
    reach, apart, moved, length = axis
    return _near(q, (k - moved) % length if moved else k, reach, apart)


_ON_GRID = {rank: pattern(rank=rank)(_conv) for rank in range(2, MOST_AXES + 1)}


def conv_window(extents: PerAxis, kernel: PerAxis, dilation: PerAxis = 1, *, roll: int | tuple[int, ...] = 0) -> Pattern:
    """On every axis: |q - k'| <= r d and d divides q - k', with r = (kernel - 1) // 2 and k' = (k - roll) mod extent.

    extents: tokens along each axis. kernel: odd, keys per query along an axis. dilation: d.
    roll:    tokens that keys and values are rolled by, as by `torch.roll`, before the windows are taken.
    Traps: windows are clipped at the edges, not shifted inward as a neighborhood's; TiC pads with zeros that count in the softmax:
    `conv_window_padding`, as `zero_keys=` of the call. An even kernel would have no centre and is refused.
    Source: TiC: Exploring Vision Transformer in Convolution, 2023. Without dilation also the local part of TransNeXt, which masks.
    """
    sizes, radius, apart = _checked(extents, kernel, dilation)
    moved = tuple(each % size for each, size in zip(per_axis("roll", roll, len(sizes), -(2**31)), sizes, strict=True))
    if len(sizes) == 1:
        return _conv_on_axis(axis=(radius[0], apart[0], moved[0], sizes[0]))
    return _ON_GRID[len(sizes)](radius=radius, dilation=apart, roll=moved).on(*sizes)


def conv_window_padding(extents: PerAxis, kernel: PerAxis, dilation: PerAxis = 1) -> tuple[int, ...]:
    """For every query, row-major, the keys of its window outside the grid, for `zero_keys=`. A roll changes nothing."""
    sizes, radius, apart = _checked(extents, kernel, dilation)

    def inside(axis: int, place: int) -> int:
        before = min(radius[axis], place // apart[axis])
        return 1 + before + min(radius[axis], (sizes[axis] - 1 - place) // apart[axis])

    return padded_keys(sizes, [2 * each + 1 for each in radius], inside)


def _checked(extents: object, kernel: object, dilation: object) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    sizes = grid_extents(extents)
    kernels = per_axis("kernel", kernel, len(sizes))
    for each in kernels:
        if each % 2 == 0:
            raise ValueError(f"`kernel` is {each}, which has no centre\n  write an odd number, such as {each + 1}")
    return sizes, tuple(each // 2 for each in kernels), per_axis("dilation", dilation, len(sizes))
