"""HAT: the windows of keys are larger than those of queries by a ratio, so that neighbours overlap."""

from __future__ import annotations

import math
from fractions import Fraction

from ..ir.pattern import Pattern
from .checks import wholes
from .gna import PerAxis
from .halo import halo, halo_padding


def overlapping_cross(extents: PerAxis, window: int, overlap: float) -> Pattern:
    """`halo` with blocks of `window` and a halo of overlap * window / 2: the keys of (1 + overlap) * window.

    window: queries that share keys, M, along each axis. overlap: gamma, such that the halo is a whole number of tokens.
    Trap: the published module unfolds with zeros, which count in the softmax: `overlapping_cross_padding`, as `zero_keys=` of the call.
    Source: X. Chen et al., HAT: Hybrid Attention Transformer for Image Restoration, 2023 (the overlapping cross-attention).
    """
    return halo(extents, window, _rim(window, overlap))


def overlapping_cross_padding(extents: PerAxis, window: int, overlap: float) -> tuple[int, ...]:
    """`halo_padding` of the same windows."""
    return halo_padding(extents, window, _rim(window, overlap))


def _rim(window: int, overlap: float) -> int:
    (window,) = wholes(1, window=window)
    if not isinstance(overlap, int | float | Fraction) or not math.isfinite(overlap):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError(f"`overlap` is {overlap!r:.60}, which is no ratio\n  write a number, such as 0.5")
    rim = Fraction(overlap).limit_denominator(window) * window / 2
    if rim < 0 or rim.denominator != 1:
        raise ValueError(f"`overlap * window / 2` is {float(overlap) * window / 2}\n  write an overlap that makes a whole number of tokens")
    return int(rim)
