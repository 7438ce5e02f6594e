"""A prefix that everybody sees."""

# Patterns are written without annotations.
# ruff: noqa: ANN001, ANN202
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
from __future__ import annotations

from ..ir.pattern import Pattern, pattern
from .checks import at_least


@pattern
def _prefix(q, k, *, prefix):
    return (k <= q) | (k < prefix)


@pattern
def _prefix_per_item(q, k, b, *, prefix):
    return (k <= q) | (k < prefix[b])


def prefix_lm(prefix: object) -> Pattern:
    """k <= q or k < prefix: both ways inside the prefix, causal after it.

    prefix: tokens, or an integer tensor [batch] of them.
    Source: C. Raffel et al., Exploring the Limits of Transfer Learning (T5), 2019.
    """
    at_least(0, prefix=prefix)
    return _prefix(prefix=prefix) if isinstance(prefix, int) else _prefix_per_item(prefix=prefix)
