"""Windows along the sequence, with and without what is always seen."""

# Patterns are written without annotations.
# ruff: noqa: ANN001, ANN202
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
from __future__ import annotations

from ..ir.pattern import Pattern, pattern
from .checks import at_least


@pattern
def _sliding(q, k, *, window):
    return (k <= q) & (q - k < window)


@pattern
def _two_sided(q, k, *, left, right):
    return (q - k <= left) & (k - q <= right)


@pattern
def _dilated(q, k, *, window, dilation):
    return (k <= q) & (q - k < window * dilation) & ((q - k) % dilation == 0)


@pattern
def _sink(q, k, *, sinks, window):
    return (k <= q) & ((k < sinks) | (q - k < window))


def sliding_window(window: int | tuple[int, int]) -> Pattern:
    """k <= q and q - k < window; or -right <= q - k <= left for a pair (left, right).

    window: tokens seen, the query included; a pair counts tokens before and after the query, without it.
    Trap: FlashAttention's pair and Mistral's single number differ by one, which is why the two forms are told apart.
    Source: A. Q. Jiang et al., Mistral 7B, 2023; I. Beltagy et al., Longformer, 2020 (the pair).
    """
    if isinstance(window, tuple):
        if len(window) != 2:
            raise ValueError(f"`window` is {window}, which is no pair\n  write (tokens before, tokens after), or one integer")
        left, right = window
        at_least(0, left=left, right=right)
        return _two_sided(left=left, right=right)
    at_least(1, window=window)
    return _sliding(window=window)


def dilated_window(window: int, dilation: int) -> Pattern:
    """k <= q, q - k < window * dilation and dilation | q - k: `window` keys, `dilation` apart.

    Trap: clipped at the left edge and causal, so not the dilated neighborhood, whose windows shift inward.
    Source: I. Beltagy et al., Longformer, 2020.
    """
    at_least(1, window=window, dilation=dilation)
    return _dilated(window=window, dilation=dilation)


def sink_window(sinks: int, window: int) -> Pattern:
    """k <= q and (k < sinks or q - k < window): the first tokens are always seen.

    Source: G. Xiao et al., Efficient Streaming Language Models with Attention Sinks, 2023.
    """
    at_least(0, sinks=sinks)
    at_least(1, window=window)
    return _sink(sinks=sinks, window=window)


def a_shape(init: int, local: int) -> Pattern:
    """k <= q and (q - k < local or k < init), the static head of MInference.

    Source: H. Jiang et al., MInference 1.0, 2024.
    """
    at_least(0, init=init)
    at_least(1, local=local)
    return _sink(sinks=init, window=local)
