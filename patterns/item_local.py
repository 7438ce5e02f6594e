"""Items of a few codes each, and an end token that belongs to the last of them."""

# Patterns are written without annotations.
# ruff: noqa: ANN001, ANN202
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
from __future__ import annotations

from ..ir.functions import kv_len, maximum, minimum
from ..ir.pattern import Pattern, pattern
from .per_item import PerItem, of, spans


@pattern
def _item(q, k, b, *, codes):
    codes = of(codes, b)
    last = maximum((kv_len - 1) // codes - 1, 0)
    return minimum(q // codes, last) == minimum(k // codes, last)


def item_local(codes: PerItem = 4) -> Pattern:
    """min(q // codes, last) == min(k // codes, last), last = (Lk - 1) // codes - 1: the end token is glued to the last item.

    codes: tokens of an item, or an integer tensor [batch] of them. The sequence holds whole items and one end token.
    Source: C. Liu et al., DiscRec: Disentangled Semantic-Collaborative Modeling for Generative Recommendation, 2025.
    """
    spans(1, codes=codes)
    return _item(codes=codes)
