"""MoA: a sink and a local window per head, in blocks, whose length may grow with the sequence."""

# Patterns are written without annotations.
# ruff: noqa: ANN001, ANN202
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
from __future__ import annotations

from ..ir.pattern import Pattern, pattern
from .checks import at_least, wholes


@pattern
def _elastic(q, k, h, *, block, sink, local):
    q_block, k_block = q // block, k // block
    return (k <= q) & ((k_block < sink) | (k_block > q_block - local[h]))


def elastic_sink_local(local: object, *, sink: int = 1, block: int = 64) -> Pattern:
    """k <= q and (kb < sink or kb > qb - local[h]), in blocks of `block` tokens.

    local: integer tensor [heads] of blocks; `elastic_blocks` computes one from MoA's (alpha, beta). sink: blocks.
    Source: T. Fu et al., MoA: Mixture of Sparse Attention, 2024.
    """
    at_least(0, sink=sink)
    at_least(1, block=block)
    if len(getattr(local, "shape", ())) != 1 or "int" not in str(getattr(local, "dtype", "")):
        raise ValueError(f"`local` is {local!r:.60}, not one length per head\n  write an integer tensor [heads], in blocks")
    return _elastic(block=block, sink=sink, local=local)


def elastic_blocks(alpha: float, beta: float, length: int, block: int = 64) -> int:
    """Local blocks of a head at a sequence length: alpha // block + beta * length / block, cut to an integer.

    alpha: tokens that do not grow. beta: share of the sequence. length: tokens.
    """
    length, block = wholes(1, length=length, block=block)
    return int(alpha // block + beta * (length / block))
