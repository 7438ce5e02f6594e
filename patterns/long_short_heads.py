"""Some heads look back a little, the others all the way."""

# Patterns are written without annotations.
# ruff: noqa: ANN001, ANN202
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
from __future__ import annotations

from ..ir.pattern import Pattern, pattern
from .checks import at_least


@pattern
def _long_short(q, k, h, *, short_heads, window):
    return (k <= q) & ((h >= short_heads) | (q - k < window))


def long_short_heads(short_heads: int, window: int) -> Pattern:
    """k <= q and (h >= short_heads or q - k < window).

    short_heads: query heads with the window. window: tokens, the query included.
    Source: Short-Range Dependency Effects on Transformer Instability and a Decomposed Attention Solution, 2025.
    """
    at_least(0, short_heads=short_heads)
    at_least(1, window=window)
    return _long_short(short_heads=short_heads, window=window)
