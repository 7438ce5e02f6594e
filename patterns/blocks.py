"""Blocks and strides of positions: tokens, or an integer tensor [batch] of them."""

# Patterns are written without annotations.
# ruff: noqa: ANN001, ANN202
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
from __future__ import annotations

from ..ir.pattern import Pattern, pattern
from .per_item import PerItem, of, spans


@pattern
def _same_block(q, k, b, *, block):
    block = of(block, b)
    return q // block == k // block


@pattern
def _chunked(q, k, b, *, chunk):
    chunk = of(chunk, b)
    return (k <= q) & (q // chunk == k // chunk)


@pattern
def _block_causal(q, k, b, *, block):
    block = of(block, b)
    return k // block <= q // block


@pattern
def _strided(q, k, b, *, stride):
    stride = of(stride, b)
    return (k <= q) & ((q - k < stride) | ((q - k) % stride == 0))


def block_local(block: PerItem) -> Pattern:
    """q // block == k // block, in both directions. Source: J. Qiu et al., Blockwise Self-Attention, 2019."""
    spans(1, block=block)
    return _same_block(block=block)


def chunked(chunk: PerItem) -> Pattern:
    """k <= q inside chunks: q // chunk == k // chunk. Source: Meta, Llama 4 (the layers with local attention), 2025."""
    spans(1, chunk=chunk)
    return _chunked(chunk=chunk)


def block_causal(block: PerItem) -> Pattern:
    """k // block <= q // block: causal between blocks, everything inside one. Source: M. Arriola et al., Block Diffusion, 2025."""
    spans(1, block=block)
    return _block_causal(block=block)


def strided(stride: PerItem) -> Pattern:
    """k <= q and (q - k < stride or (q - k) % stride == 0): the last `stride` tokens, and every `stride`-th one before.

    stride: tokens. Trap: the same paper's fixed form has columns at fixed positions and blocks instead of a window; it is not this.
    Source: R. Child et al., Generating Long Sequences with Sparse Transformers, 2019 (the strided form).
    """
    spans(1, stride=stride)
    return _strided(stride=stride)
