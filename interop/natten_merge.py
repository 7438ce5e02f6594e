"""Attention over several sets of keys, put together by their log-sum-exps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..ir.advice import advice


def merge_attentions(
    outputs: Sequence[Tensor],
    lse_tensors: Sequence[Tensor],
    torch_compile: bool = True,
    use_autograd_fix: bool = True,
) -> tuple[Tensor, Tensor]:
    """What attention of the same queries over all the keys together would have returned.

    Args:
        outputs:     two or more tensors [batch, tokens, heads, head_dim], strided in any way.
        lse_tensors: their log-sum-exps, [batch, tokens, heads].
        torch_compile, use_autograd_fix: NATTEN's; the result and its gradients are the same with and without.

    Returns:
        The output in the dtype of the first, and its log-sum-exp in float32 (float64 for float64). Differentiable through all
        tensors. A row that sees nothing anywhere is 0, its log-sum-exp -inf.

    Raises:
        ValueError: there are fewer than two, or shapes do not fit.
    """
    _check(outputs, lse_tensors)
    exact = torch.float64 if outputs[0].dtype == torch.float64 else torch.float32
    each = torch.stack([lse.to(exact) for lse in lse_tensors])
    greatest = each.detach().amax(0)
    shift = torch.where(greatest == -math.inf, 0, greatest)
    weights = torch.exp(each - shift)
    total = weights.sum(0)
    seen = total > 0
    total = torch.where(seen, total, 1)
    merged = torch.stack([output.to(exact) * share.unsqueeze(-1) for output, share in zip(outputs, weights / total, strict=True)]).sum(0)
    return merged.to(outputs[0].dtype), torch.where(seen, shift + total.log(), -math.inf)


def _check(outputs: Sequence[Tensor], lse_tensors: Sequence[Tensor]) -> None:
    if len(outputs) < 2:
        raise ValueError(advice(f"{len(outputs)} attention is merged", "two or more outputs and their log-sum-exps"))
    if len(outputs) != len(lse_tensors):
        raise ValueError(advice(f"{len(outputs)} outputs meet {len(lse_tensors)} log-sum-exps", "one log-sum-exp for each output"))
    shape = outputs[0].shape
    for at, (output, lse) in enumerate(zip(outputs, lse_tensors, strict=True)):
        if output.dim() != 4 or output.shape != shape:
            raise ValueError(
                advice(f"output {at} has the shape {tuple(output.shape)}", "[batch, tokens, heads, head_dim], the same for all")
            )
        if lse.shape != shape[:3]:
            raise ValueError(advice(f"log-sum-exp {at} has the shape {tuple(lse.shape)}", f"[batch, tokens, heads], {tuple(shape[:3])}"))
