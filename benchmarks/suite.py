"""The patterns that every backend is timed on, each also as FlexAttention and SDPA take it."""

# Masks of FlexAttention and scores are written without annotations.
# ruff: noqa: ANN001, ANN201, ANN202
from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lacuna
import torch
from lacuna import patterns
from torch import Tensor

Mod = Callable[..., Any]


@dataclass(frozen=True)
class Case:
    """A pattern and a score, and the same for the peers.

    mask_mod:  (b, h, q, k) -> bool, None where everything is seen; `score_mod`: (score, b, h, q, k) -> score.
    bias:      makes what the score adds, [H, L, L], for SDPA; None where it adds nothing. `capped`: SDPA has no counterpart of the score.
    causal:    SDPA has a path of its own for this mask.
    """

    name: str
    pattern: object
    mask_mod: Mod | None
    score: object = None
    score_mod: Mod | None = None
    bias: Callable[[], Tensor] | None = None
    capped: bool = False
    causal: bool = False

    def mask(self, heads: int, length: int) -> Tensor:
        """bool[H or 1, L, L]."""
        if self.mask_mod is None:
            return torch.ones(1, length, length, dtype=torch.bool)
        position = torch.arange(length)
        head = torch.arange(heads)[:, None, None]
        found = self.mask_mod(0, head, position[:, None], position[None, :])
        return found if found.dim() == 3 else found[None]


@lacuna.score
def alibi(s, q, k, h, *, slopes):
    return s + slopes[h] * (k - q)


@lacuna.score
def soft_cap(s):
    return 30.0 * lacuna.tanh(s / 30.0)


@lacuna.pattern(rank=2)
def near(q, k, *, window, rows, columns):
    inside = True
    for axis, extent in enumerate((rows, columns)):
        start = lacuna.minimum(lacuna.maximum(q[axis] - window // 2, 0), extent - window)
        inside = inside & (start <= k[axis]) & (k[axis] < start + window)
    return inside


def shifted(position, window: int, extent: int):
    """The first of the `window` positions that a query sees along an axis."""
    return (position - window // 2).clamp(0, extent - window)


def cases(length: int, heads: int) -> list[Case]:
    """Dense attention and thirteen patterns at `length` tokens, a power of two from 256 on."""
    rows = 2 ** (int(math.log2(length)) // 2)
    columns = length // rows
    document = torch.arange(length) // (length // 8)
    slopes = 2.0 ** (-8.0 * torch.arange(1, heads + 1) / heads)
    position = torch.arange(length)

    def inside(q, k, window, extent):
        start = shifted(q, window, extent)
        return (start <= k) & (k < start + window)

    def blocks(q, k):
        return q // 64 - k // 64

    return [
        Case("dense", None, None),
        Case("causal", patterns.causal(), lambda b, h, q, k: k <= q, causal=True),
        Case("window 256", patterns.sliding_window(256), lambda b, h, q, k: (k <= q) & (q - k < 256)),
        Case("window 1024", patterns.sliding_window(1024), lambda b, h, q, k: (k <= q) & (q - k < 1024)),
        Case("dilated 256 x 4", patterns.dilated_window(256, 4), lambda b, h, q, k: (k <= q) & (q - k < 1024) & ((q - k) % 4 == 0)),
        Case("prefix 1024", patterns.prefix_lm(1024), lambda b, h, q, k: (k <= q) | (k < 1024)),
        Case("8 documents", patterns.documents(document), lambda b, h, q, k: (k <= q) & (document[q] == document[k])),
        Case(
            "S2, stride per head",
            patterns.s2_local_stride(heads, local_blocks=4, vert_stride=8),
            lambda b, h, q, k: (k <= q) & ((blocks(q, k) < 4) | ((k // 64 + h * max(1, 8 // heads)) % 8 == 0)),
        ),
        Case("sink 4 + window 256", patterns.sink_window(4, 256), lambda b, h, q, k: (k <= q) & ((k < 4) | (q - k < 256))),
        Case("neighborhood 1-D, 257", patterns.neighborhood(257), lambda b, h, q, k: inside(q, k, 257, length)),
        Case(
            f"neighborhood {rows} x {columns}, 13",
            near(window=13, rows=rows, columns=columns).on(rows, columns),
            lambda b, h, q, k: inside(q // columns, k // columns, 13, rows) & inside(q % columns, k % columns, 13, columns),
        ),
        Case("block-causal 64", patterns.block_causal(64), lambda b, h, q, k: k // 64 <= q // 64),
        Case(
            "ALiBi + window 1024",
            patterns.sliding_window(1024),
            lambda b, h, q, k: (k <= q) & (q - k < 1024),
            score=alibi(slopes=slopes),
            score_mod=lambda s, b, h, q, k: s + slopes[h] * (k - q),
            bias=lambda: slopes[:, None, None] * (position - position[:, None]),
        ),
        Case(
            "soft cap + causal",
            patterns.causal(),
            lambda b, h, q, k: k <= q,
            score=soft_cap,
            score_mod=lambda s, b, h, q, k: 30.0 * torch.tanh(s / 30.0),
            capped=True,
        ),
    ]
