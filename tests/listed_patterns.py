"""Patterns whose tiles come in lists, and what test_open_parts.py runs of them in a process that has a bundle."""

# Patterns are written without annotations.
# ruff: noqa: ANN001, ANN201
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
from __future__ import annotations

import os
import sys
from typing import Any

if __name__ == "__main__" and sys.argv[2] == "refused":
    import without_compiler as without_compiler  # refuses what builds kernels

import lacuna
import torch
from lacuna import patterns
from lacuna.ir.pattern import Pattern

TOKENS = 118
attention: Any = lacuna.attention


@lacuna.pattern
def scattered(q, k):
    return (q * k) % 5 == 0


@lacuna.pattern
def everything(q, k):
    return (q >= 0) & (k >= 0)


def beside_a_video() -> Pattern:
    whole = lacuna.sequence(text=None, video=lacuna.grid(4, 4, 3))
    near = patterns.gna((4, 4, 3), 2).on(whole["video"])
    return patterns.causal().on(whole["text"]) | everything().on(queries=whole["video"], keys=whole["text"]) | near


def nearest(place: torch.Tensor, other: torch.Tensor, extent: int) -> torch.Tensor:
    """A window of two, moved inward at the ends."""
    start = (place - 1).clamp(0, extent - 2)
    return (start <= other) & (other < start + 2)


def visible(name: str) -> torch.Tensor:
    """bool[TOKENS, TOKENS], by the definition."""
    q, k = torch.arange(TOKENS)[:, None], torch.arange(TOKENS)[None]
    if name == "scattered":
        return (q * k) % 5 == 0
    first = TOKENS - 48
    near = torch.ones(TOKENS, TOKENS, dtype=torch.bool)
    for inner, extent in ((12, 4), (3, 4), (1, 3)):
        near &= nearest((q - first) // inner % extent, (k - first) // inner % extent, extent)
    return torch.where(q < first, k <= q, (k < first) | near)


NAMED = {"scattered": scattered, "beside a video": beside_a_video}


def main(bundle: str, name: str) -> None:
    lacuna.load(bundle)
    os.environ["LACUNA_JIT"] = "0"
    query = torch.randn(1, 2, TOKENS, 24, requires_grad=True)
    out = attention(query, query, query, NAMED[name](), backend="cpp")
    (found,) = torch.autograd.grad(out.square().sum(), query)
    scores = (query @ query.transpose(-1, -2) / 24**0.5).masked_fill(~visible(name), -torch.inf)
    wanted = torch.softmax(scores, -1) @ query
    assert torch.allclose(out, wanted, atol=1e-5)
    assert torch.allclose(found, torch.autograd.grad(wanted.square().sum(), query)[0], atol=1e-4)
    print("islpy" if "islpy" in sys.modules else "no islpy")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[3])
