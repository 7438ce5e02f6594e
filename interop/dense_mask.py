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


@pattern
def _allowed(b, h, q, k, *, mask, along):
    return mask[tuple(place for place, differs in zip((b, h, q, k), along, strict=True) if differs) or 0]


def from_dense(mask: Tensor) -> Pattern:
    """The pattern of a dense mask, true where a query sees a key, for its lengths: as `attn_mask` of scaled_dot_product_attention.

    mask: bool[batch or 1, heads or 1, q_len or 1, kv_len or 1], leading axes left out or not, as it is broadcast there; a table of the
          pattern, read where it lies.

    Its tiles are classified at the first call: extrema of squares of it, two thirds of its memory, are made once and serve every tile.

    Raises:
        TypeError: it is no dense tensor of truth values with one to four axes.
    """
    _require_mask(mask)
    along = (False,) * (4 - mask.ndim) + tuple(size != 1 for size in mask.shape)
    table = mask.squeeze()
    return _allowed(mask=table if any(along) else table.reshape(1), along=along)


def _require_mask(mask: object) -> None:
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.ndim not in range(1, 5) or mask.layout != torch.strided:
        given = f"{mask.dtype} of layout {mask.layout} and shape {tuple(mask.shape)}" if isinstance(mask, Tensor) else type(mask).__name__
        raise refusal(
            f"`mask` is {given}",
            "bool[q_len, kv_len], or bool[batch, heads, q_len, kv_len] with 1 for any; `bias == 0` of a mask that is added",
        )
