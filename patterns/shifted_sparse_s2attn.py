"""LongLoRA: half of the heads attend in groups, the other half in groups shifted by half a group."""

# Patterns are written without annotations.
# ruff: noqa: ANN001, ANN202
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
from __future__ import annotations

from ..ir.functions import maximum
from ..ir.pattern import Pattern, pattern
from .checks import truth, wholes
from .per_item import PerItem, of, spans


@pattern
def _varlen(q, k, h, *, group, plain_heads):
    size = maximum(group, 1)  # divisors of this form are no part of a kernel: one serves every length
    plain = q // size == k // size
    shifted = (q + size // 2) // size == (k + size // 2) // size
    return (k <= q) & (((h < plain_heads) & plain) | ((h >= plain_heads) & shifted))


@pattern
def _sinks(q, k, b, *, sinks):
    return (k <= q) & (k < of(sinks, b))


@pattern
def _rolled(q, k, h, *, group, length, plain_heads):
    size, whole = maximum(group, 1), maximum(length, 1)
    rolled_q, rolled_k = (q - size // 2) % whole, (k - size // 2) % whole
    plain = (q // size == k // size) & (k <= q)
    shifted = (rolled_q // size == rolled_k // size) & (rolled_k <= rolled_q)
    return ((h < plain_heads) & plain) | ((h >= plain_heads) & shifted)


def shifted_sparse_s2attn(length: int, heads: int, *, groups: int = 4, wrap: bool = False, sinks: PerItem = 0) -> Pattern:
    """q // G == k // G in the first half of the heads, the same of positions moved by G / 2 in the second; causal. G = length / groups.

    length: tokens, a multiple of `groups`. heads: query heads.
    wrap:   the eager form, which rolls the sequence: causal in the *rolled* order, so the first half group sees the end of the sequence.
            The default is the form for packed sequences, with half groups at both ends.
    sinks:  tokens in front that every later one sees, as in SinkLoRA (by its text: its public code has none).

    Trap: the two public forms are not equivalent, and the rolled one attends to the future.
    Source: Y. Chen et al., LongLoRA, 2023; SinkLoRA, 2024.
    """
    length, heads, groups = wholes(1, length=length, heads=heads, groups=groups)
    spans(0, sinks=sinks)
    truth(wrap=wrap)
    if length % groups:
        raise ValueError(f"`length` is {length}, which {groups} groups do not divide\n  write a multiple of {groups}")
    group = length // groups
    found = _rolled(group=group, length=length, plain_heads=heads // 2) if wrap else _varlen(group=group, plain_heads=heads // 2)
    return found if isinstance(sinks, int) and sinks == 0 else found | _sinks(sinks=sinks)
