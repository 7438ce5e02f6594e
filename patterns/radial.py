"""Radial attention: the farther two frames of a video are apart, the narrower the band of tokens that see each other."""

# Patterns are written without annotations.
# ruff: noqa: ANN001, ANN202
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
from __future__ import annotations

import math
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING

from ..ir.pattern import Pattern, pattern
from .checks import truth, whole, wholes
from .segmented import segmented

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

_Band = tuple[int, int, int, int]
"""First and last frame distance of one bit length, every how many of them are kept, and the width."""


@pattern(rank=2)
def _radial(q, k, *, bands, sink):
    frames, along = abs(q[0] - k[0]), abs(q[1] - k[1])
    seen = (k[0] == 0) if sink else False
    for first, last, step, width in bands:
        near = (first <= frames) & (frames <= last) & (along <= width)
        seen = seen | (near & (frames % step == 0) if step > 1 else near)
    return seen


@pattern
def _of_blocks(q, k, *, kept, block):
    return kept[q // block, k // block]


def radial(
    frames: int,
    tokens: int,
    *,
    block: int = 128,
    decay: float = 1.0,
    sink: bool = False,
    text: int = 0,
    next_width: int | None = None,
    rounding: str | None = None,
) -> Pattern:
    """With D = |frame(q) - frame(k)| and bl the bit length: span = 2^bl(tokens) / 2^bl(D), and a pair is seen iff

        the two frames are kept:     span >= block or D % floor(block / span) == 0
        they are close in the frame: |a - b| <= width, width = tokens for D <= 1, else max(span * decay, block)

    frames, tokens: of the video, and of a frame. block: the tile it was designed for, 64 or 128.
    decay:  of the widths alone, the thinning of frames does not know it. sink: every query sees frame 0.
    text:   tokens behind the video that see and are seen by everything. next_width: of neighbouring frames, None for a whole frame; the
            authors' code for Wan now has tokens // 2.
    rounding: to blocks of the video's tokens. None is the mask as defined. "superset" keeps every block that holds a pair of it. "paper" is
            what the authors run: for two frames at a time, a block is kept where, among its columns that hold a pair, more than 60 % hold
            one in more than a third of the rows; blocks that any two frames keep are kept, one that the video does not fill is too.
    Traps: the comparison is not strict. The authors' rounding both adds and drops pairs; and of a frame that starts inside a block it
    leaves out what lies in one block more than its tokens would fill.
    Source: X. Li et al., Radial Attention: O(n log n) Sparse Attention with Energy Decay for Long Video Generation, 2025.

    Raises:
        ValueError: a number that has no meaning, or a rounding of another name.
    """
    frames, tokens, block = wholes(1, frames=frames, tokens=tokens, block=block)
    (text,) = wholes(0, text=text)
    truth(sink=sink)
    next_width = None if next_width is None else whole("next_width", next_width, 0)
    if not isinstance(rounding, str | None) or rounding not in (None, "paper", "superset"):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError(f'`rounding` is {rounding!r}\n  write "paper", "superset", or None for the mask before it')
    if not isinstance(decay, int | float | Fraction) or not 0 < decay < math.inf:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError(f"`decay` is {decay}, which leaves no width\n  write a positive number")
    farthest = (frames - 1).bit_length()
    bands = tuple(_band(bits, tokens, block, Fraction(decay), next_width) for bits in range(farthest + 1))
    if rounding is not None:
        from .radial_blocks import Frames  # numpy, which nobody else here needs

        kept = Frames(frames, tokens, block, rounding == "superset").kept(partial(_width, bands), sink=sink)
        video = _of_blocks(kept=_table(kept), block=block)
        return segmented({"video": frames * tokens, "text": text}, {("video", "video"): video})
    video = _radial(bands=bands, sink=sink)
    if not text:
        return video.on(frames, tokens)
    return segmented({"video": (frames, tokens), "text": text}, {("video", "video"): video})


def _width(bands: tuple[_Band, ...], distance: int) -> int | None:
    """Of the tokens that frames at a distance see of each other; None where they are thinned out."""
    found = [width for first, last, step, width in bands if first <= distance <= last and distance % step == 0]
    return found[0] if found else None


def _table(kept: np.ndarray) -> Tensor:
    import torch  # tables are tensors

    return torch.from_numpy(kept)


def _band(bits: int, tokens: int, block: int, decay: Fraction, next_width: int | None) -> _Band:
    """(first, last, step, width) of the frame distances of one bit length."""
    span = Fraction(2 ** tokens.bit_length(), 2**bits)
    first, last = (1 << bits) >> 1, (1 << bits) - 1
    step = 1 if span >= block else int(block / span)
    if bits <= 1:
        return first, last, step, tokens if bits == 0 or next_width is None else next_width
    return first, last, step, int(max(span * decay, block))
