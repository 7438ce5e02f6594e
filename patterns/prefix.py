"""A prefix that everybody sees."""

# Patterns are written without annotations.
# ruff: noqa: ANN001, ANN202
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
from __future__ import annotations

from ..ir.pattern import Pattern, pattern
from .per_item import PerItem, of, spans


@pattern
def _prefix(q, k, b, *, prefix):
    return (k <= q) | (k < of(prefix, b))


def prefix_lm(prefix: PerItem) -> Pattern:
    """k <= q or k < prefix: both ways inside the prefix, causal after it.

    prefix: tokens, or an integer tensor [batch] of them.
    Source: C. Raffel et al., Exploring the Limits of Transfer Learning (T5), 2019.
    """
    spans(0, prefix=prefix)
    return _prefix(prefix=prefix)
