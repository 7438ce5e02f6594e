"""Masks and a score that keys beside the pattern are tried with, and how far results are from the definition."""

# ruff: noqa: ANN401 (masks and scores are functions of anything that has operators)
# Patterns are written without annotations, and torch's are partial.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lacuna
import torch
from torch import Tensor

SHUFFLED = torch.randperm(40, generator=torch.Generator().manual_seed(1))


@lacuna.pattern
def near(q: Any, k: Any, *, reach: Any) -> Any:
    return abs(q - k) <= reach


@lacuna.pattern
def every_second(q: Any, k: Any) -> Any:
    return ((q - k) % 2 == 0) & (abs(q - k) <= 12)


@lacuna.pattern
def late(q: Any, k: Any) -> Any:
    return (q >= 20) & (k <= q)


@lacuna.score
def biased(s: Any, q: Any, k: Any, *, bias: Any) -> Any:
    return s + bias[abs(q - k)]


def square(queries: Tensor, keys: Tensor) -> Tensor:
    """5 x 5 windows of a 12 x 12 grid, moved in at its edges."""
    row, col, key_row, key_col = (each for of in (queries, keys) for each in (of // 12, of % 12))
    return ((row.clamp(2, 9) - key_row).abs() <= 2) & ((col.clamp(2, 9) - key_col).abs() <= 2)


def off(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
    """The largest error, of each tensor over its largest entry, where both are finite; entries that are not are the same."""
    worst = 0.0
    for ours, theirs in zip(found, wanted, strict=True):
        finite = theirs.isfinite()
        assert torch.equal(ours.isfinite(), finite)
        assert ours.shape == theirs.shape
        error = (ours.double() - theirs).where(finite, 0).abs().max() / theirs.where(finite, 0).abs().max().clamp(min=1e-3)
        worst = max(worst, float(error.detach()))
    return worst
