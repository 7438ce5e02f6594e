"""Radial attention: the farther two frames of a video are apart, the narrower the band of tokens that see each other."""

# Patterns are written without annotations.
# ruff: noqa: ANN001, ANN202
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
from __future__ import annotations

from fractions import Fraction

from ..ir.pattern import Pattern, pattern
from .checks import at_least
from .segmented import segmented


@pattern(rank=2)
def _radial(q, k, *, bands, sink):
    frames, along = abs(q[0] - k[0]), abs(q[1] - k[1])
    seen = (k[0] == 0) if sink else False
    for first, last, step, width in bands:
        near = (first <= frames) & (frames <= last) & (along <= width)
        seen = seen | (near & (frames % step == 0) if step > 1 else near)
    return seen


def radial(
    frames: int,
    tokens: int,
    *,
    block: int = 128,
    decay: float = 1.0,
    sink: bool = False,
    text: int = 0,
    next_width: int | None = None,
) -> Pattern:
    """With D = |frame(q) - frame(k)| and bl the bit length: span = 2^bl(tokens) / 2^bl(D), and a pair is seen iff

        the two frames are kept:     span >= block or D % floor(block / span) == 0
        they are close in the frame: |a - b| <= width, width = tokens for D <= 1, else max(span * decay, block)

    frames, tokens: of the video, and of a frame. block: the tile it was designed for, 64 or 128.
    decay:  of the widths alone, the thinning of frames does not know it. sink: every query sees frame 0.
    text:   tokens behind the video that see and are seen by everything. next_width: of neighbouring frames, None for a whole frame; the
            authors' code for Wan now has tokens // 2.
    Traps: the comparison is not strict. The authors round the mask to blocks, which adds and drops pairs; this is the mask before that.
    Source: X. Li et al., Radial Attention: O(n log n) Sparse Attention with Energy Decay for Long Video Generation, 2025.
    """
    at_least(1, frames=frames, tokens=tokens, block=block)
    at_least(0, text=text)
    if decay <= 0:
        raise ValueError(f"`decay` is {decay}, which leaves no width\n  write a positive number")
    farthest = (frames - 1).bit_length()
    bands = tuple(_band(bits, tokens, block, Fraction(decay), next_width) for bits in range(farthest + 1))
    video = _radial(bands=bands, sink=sink)
    if not text:
        return video.on(frames, tokens)
    return segmented({"video": (frames, tokens), "text": text}, {("video", "video"): video})


def _band(bits: int, tokens: int, block: int, decay: Fraction, next_width: int | None) -> tuple[int, int, int, int]:
    """(first, last, step, width) of the frame distances of one bit length."""
    span = Fraction(2 ** tokens.bit_length(), 2**bits)
    first, last = (1 << bits) >> 1, (1 << bits) - 1
    step = 1 if span >= block else int(block / span)
    if bits <= 1:
        return first, last, step, tokens if bits == 0 or next_width is None else next_width
    return first, last, step, int(max(span * decay, block))
