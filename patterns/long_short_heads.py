"""Some heads look back a little, the others all the way."""

# Patterns are written without annotations.
# ruff: noqa: ANN001, ANN202
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
from __future__ import annotations

from ..ir.pattern import Pattern, pattern
from .checks import at_least
from .per_item import PerItem, of, spans


@pattern
def _long_short(q, k, b, h, *, short_heads, window):
    return (k <= q) & ((h >= short_heads) | (q - k < of(window, b)))


def long_short_heads(short_heads: int, window: PerItem) -> Pattern:
    """k <= q and (h >= short_heads or q - k < window).

    short_heads: query heads with the window. window: tokens, the query included, or an integer tensor [batch] of them.
    Source: Short-Range Dependency Effects on Transformer Instability and a Decomposed Attention Solution, 2025.
    """
    at_least(0, short_heads=short_heads)
    spans(1, window=window)
    return _long_short(short_heads=short_heads, window=window)
