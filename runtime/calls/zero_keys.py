"""Keys that are zero: they add to the softmax's denominator and nothing to its numerator, so no kernel has to see them."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from ...ir.advice import advice


def zero_keys(out: Tensor, lse: Tensor, count: Tensor | tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Attention as if every row saw `count` more keys, of score 0 and value 0: what zero padding around an image comes to.

    Args:
        out:   [B, H, L, D] of `lacuna.attention(..., return_lse=True)`, in the layout "bhld".
        lse:   [B, H, L], its log-sum-exp.
        count: keys of each row, [L] or anything that broadcasts to the shape of `lse`, such as `lacuna.patterns.halo_padding(...)`. Padded
               keys whose score is a bias count exp(bias) each: then it is their sum, and may require a gradient where it is not 0.

    Returns:
        out * exp(lse) / (exp(lse) + count), and log(exp(lse) + count). Both are differentiable through `out`, `lse` and `count`. A row that
        sees nothing stays 0.

    Raises:
        ValueError: shapes do not fit, or a count is negative.
    """
    counts = torch.as_tensor(cast(Tensor, count), device=lse.device).to(lse.dtype)
    _check(out, lse, counts)
    padded = counts > 0
    mass = torch.where(padded, counts, 1).log()  # a logarithm of 0 would have a gradient that is no number
    more = torch.logaddexp(lse, mass)
    share = torch.where(padded, torch.sigmoid(lse - mass), 1)
    return (out * share.unsqueeze(-1)).to(out.dtype), torch.where(padded, more, lse)


def _check(out: Tensor, lse: Tensor, counts: Tensor) -> None:
    if out.dim() != 4 or out.shape[:-1] != lse.shape:
        what = f"`out` has the shape {tuple(out.shape)} and `lse` {tuple(lse.shape)}"
        raise ValueError(advice(what, "[B, H, L, D] and [B, H, L], as `lacuna.attention(..., return_lse=True)` returns them"))
    sizes = zip(reversed(counts.shape), reversed(lse.shape), strict=False)
    fits = counts.dim() <= lse.dim() and all(size in (1, rows) for size, rows in sizes)
    if not fits:
        raise ValueError(advice(f"`count` has the shape {tuple(counts.shape)}, of {tuple(lse.shape)} rows", "one number for each row, [L]"))
    if not torch.compiler.is_compiling() and bool((counts < 0).any()):
        raise ValueError(advice("`count` has negative entries", "how many keys are padded, or the sum of exp(bias) over them"))
