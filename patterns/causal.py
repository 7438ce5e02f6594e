"""Everything, and everything up to the query."""

# Patterns are written without annotations.
# ruff: noqa: ANN001, ANN202
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
from __future__ import annotations

from ..ir.pattern import Pattern, pattern


@pattern
def _full(q, k):
    return True | (k <= q)


@pattern
def _causal(q, k):
    return k <= q


def full() -> Pattern:
    """Every pair: dense attention, as something to subtract from (`full() - chunked(64)`)."""
    return _full


def causal() -> Pattern:
    """k <= q: a query sees itself and what came before.

    With more keys than queries positions start at the top left; pass `q_offset="end"` for the bottom right.
    Source: A. Vaswani et al., Attention Is All You Need, 2017 (the decoder).
    """
    return _causal
