"""Neighborhood attention along one axis: windows that shift inward at the edges instead of being clipped."""

# Patterns are written without annotations.
# ruff: noqa: ANN001, ANN202
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
from __future__ import annotations

from ..ir.functions import kv_len, maximum, minimum
from ..ir.pattern import Pattern, pattern
from .checks import at_least


@pattern
def _neighborhood(q, k, *, window, stride, dilation):
    residue = q % dilation
    size = (kv_len - residue + dilation - 1) // dilation
    leader = minimum(q // dilation // stride * stride + stride // 2, size - 1)
    start = minimum(maximum(leader - window // 2, 0), size - window)
    return (k % dilation == residue) & (start <= k // dilation) & (k // dilation < start + window)


@pattern
def _causal_neighborhood(q, k, *, window, stride, dilation):
    residue = q % dilation
    size = (kv_len - residue + dilation - 1) // dilation
    leader = minimum(q // dilation // stride * stride + stride - 1, size - 1)
    start = maximum(leader - window + 1, 0)
    return (k % dilation == residue) & (start <= k // dilation) & (k <= q)


def neighborhood(window: int, *, stride: int = 1, dilation: int = 1, causal: bool = False) -> Pattern:
    """With i = q // dilation, j = k // dilation in the residue class q = k (mod dilation) of size n:

        leader = min(i // stride * stride + stride // 2, n - 1),  start = clamp(leader - window // 2, 0, n - window)
        start <= j < start + window
        causal:  leader = min(i // stride * stride + stride - 1, n - 1),  max(leader - window + 1, 0) <= j <= i

    window: keys per query along the axis; stride: queries that share a window, at most `window`; dilation: tokens between neighbours.
    Traps: windows shift at the edges, so every row of the plain form has exactly `window` keys; an even window has one key more on
    the left; window * dilation may not pass the length, which is known at the call only.
    Source: A. Hassani et al., Neighborhood Attention Transformer, 2022; Dilated NAT, 2022; Generalized Neighborhood Attention, 2025.
    """
    at_least(1, window=window, stride=stride, dilation=dilation)
    if stride > window:
        raise ValueError(
            f"`stride` is {stride} and `window` {window}: some keys would be seen by nobody\n  write a stride of at most {window}"
        )
    chosen = _causal_neighborhood if causal else _neighborhood
    return chosen(window=window, stride=stride, dilation=dilation)
