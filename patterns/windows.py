"""Windows along the sequence, with and without what is always seen. Every number of tokens may be an integer tensor [batch] of them."""

# Patterns are written without annotations.
# ruff: noqa: ANN001, ANN202
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
from __future__ import annotations

from ..ir.pattern import Pattern, pattern
from .per_item import PerItem, of, spans


@pattern
def _sliding(q, k, b, *, window):
    return (k <= q) & (q - k < of(window, b))


@pattern
def _two_sided(q, k, b, *, left, right):
    return (q - k <= of(left, b)) & (k - q <= of(right, b))


@pattern
def _dilated(q, k, b, *, window, dilation):
    window, dilation = of(window, b), of(dilation, b)
    return (k <= q) & (q - k < window * dilation) & ((q - k) % dilation == 0)


@pattern
def _sink(q, k, b, *, sinks, window):
    return (k <= q) & ((k < of(sinks, b)) | (q - k < of(window, b)))


def sliding_window(window: PerItem | tuple[PerItem, PerItem]) -> Pattern:
    """k <= q and q - k < window; or -right <= q - k <= left for a pair (left, right).

    window: tokens seen, the query included; a pair counts tokens before and after the query, without it.
    Trap: FlashAttention's pair and Mistral's single number differ by one, which is why the two forms are told apart.
    Source: A. Q. Jiang et al., Mistral 7B, 2023; I. Beltagy et al., Longformer, 2020 (the pair).
    """
    if isinstance(window, tuple | list):
        if len(window) != 2:
            raise ValueError(f"`window` is {window}, which is no pair\n  write (tokens before, tokens after), or one integer")
        left, right = window
        spans(0, left=left, right=right)
        return _two_sided(left=left, right=right)
    spans(1, window=window)
    return _sliding(window=window)


def dilated_window(window: PerItem, dilation: PerItem) -> Pattern:
    """k <= q, q - k < window * dilation and dilation | q - k: `window` keys, `dilation` apart.

    Trap: clipped at the left edge and causal, so not the dilated neighborhood, whose windows shift inward.
    Source: I. Beltagy et al., Longformer, 2020.
    """
    spans(1, window=window, dilation=dilation)
    return _dilated(window=window, dilation=dilation)


def sink_window(sinks: PerItem, window: PerItem) -> Pattern:
    """k <= q and (k < sinks or q - k < window): the first tokens are always seen.

    Source: G. Xiao et al., Efficient Streaming Language Models with Attention Sinks, 2023.
    """
    spans(0, sinks=sinks)
    spans(1, window=window)
    return _sink(sinks=sinks, window=window)


def a_shape(init: PerItem, local: PerItem) -> Pattern:
    """k <= q and (q - k < local or k < init), the static head of MInference.

    Source: H. Jiang et al., MInference 1.0, 2024.
    """
    spans(0, init=init)
    spans(1, local=local)
    return _sink(sinks=init, window=local)
