"""Masks that are there as tensors of truth values, pair by pair. The other way is `lacuna.dense`."""

# Patterns are written without annotations.
# ruff: noqa: ANN001, ANN202
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
from __future__ import annotations

import torch
from torch import Tensor

from .. import pattern
from ..ir.build import refusal
from ..ir.pattern import Pattern
from .given_tiles import at, per_axes, without_axes


@pattern
def _allowed(b, h, q, k, *, allowed, per):
    return allowed[at(per, b, h, q, k)]


def from_dense(mask: Tensor) -> Pattern:
    """The pattern of a dense mask, true where a query sees a key, for its lengths: as `attn_mask` of scaled_dot_product_attention.

    mask: bool[q_len, kv_len] or bool[batch or 1, heads or 1, q_len, kv_len]; a table of the pattern, not copied where it is contiguous.

    Its tiles are classified at the first call: extrema of squares of it, two thirds of its memory, are made once and serve every tile.

    Raises:
        TypeError: it is no tensor of truth values with two or four axes.
    """
    _require_mask(mask)
    whole = mask if mask.ndim == 4 else mask[None, None]
    return _allowed(allowed=without_axes(whole), per=per_axes(whole))


def _require_mask(mask: object) -> None:
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.ndim not in (2, 4):
        given = f"{mask.dtype} of shape {tuple(mask.shape)}" if isinstance(mask, Tensor) else type(mask).__name__
        raise refusal(f"`mask` is {given}", "bool[q_len, kv_len] or bool[batch, heads, q_len, kv_len]; `bias == 0` of a mask that is added")
