"""Neighborhood attention along one axis: windows that shift inward at the edges instead of being clipped."""

# Patterns are written without annotations.
# ruff: noqa: ANN001, ANN202
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
from __future__ import annotations

from ..ir.functions import kv_len, maximum, minimum
from ..ir.pattern import Pattern, pattern
from .checks import at_least


def _sees(q, k, length, window, stride, dilation):
    residue = q % dilation
    size = (length - residue + dilation - 1) // dilation
    leader = minimum(q // dilation // stride * stride + stride // 2, size - 1)
    start = minimum(maximum(leader - window // 2, 0), size - window)
    return (k % dilation == residue) & (start <= k // dilation) & (k // dilation < start + window)


def _sees_back(q, k, length, window, stride, dilation):
    residue = q % dilation
    size = (length - residue + dilation - 1) // dilation
    leader = minimum(q // dilation // stride * stride + stride - 1, size - 1)
    start = maximum(leader - window + 1, 0)
    return (k % dilation == residue) & (start <= k // dilation) & (k <= q)


@pattern
def _neighborhood(q, k, *, window, stride, dilation):
    return _sees(q, k, kv_len, window, stride, dilation)


@pattern
def _neighborhood_of(q, k, *, length, window, stride, dilation):
    return _sees(q, k, length, window, stride, dilation)


@pattern
def _causal_neighborhood(q, k, *, window, stride, dilation):
    return _sees_back(q, k, kv_len, window, stride, dilation)


@pattern
def _causal_neighborhood_of(q, k, *, length, window, stride, dilation):
    return _sees_back(q, k, length, window, stride, dilation)


def neighborhood(window: int, *, stride: int = 1, dilation: int = 1, causal: bool = False, length: int | None = None) -> Pattern:
    """With i = q // dilation, j = k // dilation in the residue class q = k (mod dilation) of size n:

        leader = min(i // stride * stride + stride // 2, n - 1),  start = clamp(leader - window // 2, 0, n - window)
        start <= j < start + window
        causal:  leader = min(i // stride * stride + stride - 1, n - 1),  max(leader - window + 1, 0) <= j <= i

    window: keys per query along the axis; stride: queries that share a window, at most `window`; dilation: tokens between neighbours.
    length: tokens along the axis, where the last window ends; None means the number of keys of the call.
    Traps: windows shift at the edges, so every row of the plain form has exactly `window` keys; an even window has one key more on
    the left; a call shorter than window * dilation sees its whole residue class, where NATTEN refuses it.
    Source: A. Hassani et al., Neighborhood Attention Transformer, 2022; Dilated NAT, 2022; Generalized Neighborhood Attention, 2025.
    """
    at_least(1, window=window, stride=stride, dilation=dilation)
    if stride > window:
        raise ValueError(
            f"`stride` is {stride} and `window` {window}: some keys would be seen by nobody\n  write a stride of at most {window}"
        )
    if length is None:
        return (_causal_neighborhood if causal else _neighborhood)(window=window, stride=stride, dilation=dilation)
    at_least(1, length=length)
    if window * dilation > length:
        raise ValueError(
            f"`window * dilation` is {window * dilation} and `length` {length}\n  write a window of at most {length // dilation}"
        )
    chosen = _causal_neighborhood_of if causal else _neighborhood_of
    return chosen(length=length, window=window, stride=stride, dilation=dilation)
