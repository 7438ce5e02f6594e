"""Attention from a mask and a score given as tensors, in float64; and how far from it a result may be. Imports nothing of the package."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Score = Callable[[Tensor], Tensor]
FEW_ROWS = 1000


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scale: float | None = None,
    score: Score | None = None,
) -> tuple[Tensor, Tensor]:
    """f64[B, Hq, Lq, Dv] and its log-sum-exp f64[B, Hq, Lq], straight from the definition.

    mask:  bool, broadcasts to [B, Hq, Lq, Lk]; None sees everything.
    score: takes scale * query . key, [B, Hq, Lq, Lk], and returns what goes into the softmax, in the dtype it was given.
    """
    weights, lse = _weights(query.double(), key.double(), mask, scale, score)
    return _applied(weights, value.double()), lse


def rounded(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float | None = None, score: Score | None = None
) -> tuple[Tensor, Tensor]:
    """The same with float32 scores, float32 softmax, weights cast to the dtype, float32 accumulation and a cast at the end."""
    weights, lse = _weights(query.float(), key.float(), mask, scale, score)
    return _applied(weights.to(query.dtype).float(), value.float()).to(query.dtype), lse


def _weights(query: Tensor, key: Tensor, mask: Tensor | None, scale: float | None, score: Score | None) -> tuple[Tensor, Tensor]:
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = scale * torch.einsum("bhqd,bhkd->bhqk", query, _spread(key, query))
    scores = score(scores) if score is not None else scores
    scores = scores if mask is None else torch.where(mask, scores, -math.inf)
    if scores.shape[-1] == 0:
        return scores, scores.new_full(scores.shape[:-1], -math.inf)
    lse = torch.logsumexp(scores, dim=-1)
    lse = torch.where(lse == math.inf, math.nan, lse)
    weights = torch.softmax(scores, dim=-1)
    return torch.where((lse == -math.inf).unsqueeze(-1), 0.0, weights), lse


def _applied(weights: Tensor, value: Tensor) -> Tensor:
    spread = _spread(value, weights)
    return torch.einsum("bhqk,bhkd->bhqd", weights, spread)


def _spread(shared: Tensor, query: Tensor) -> Tensor:
    """Keys or values repeated so that each batch item and query head has its own."""
    batch, heads = query.shape[:2]
    group = heads // shared.shape[1] if shared.shape[1] else 1
    return shared.repeat_interleave(group, dim=1).expand(batch, heads, *shared.shape[2:])


@dataclass(frozen=True)
class Tolerance:
    """The largest difference that is allowed, in the max norm."""

    out: float
    lse: float


def tolerance(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float | None = None, score: Score | None = None
) -> Tolerance:
    """2 * err_ref + 4 ulp(dtype) * max|v|, err_ref being the error of `rounded`; the log-sum-exp likewise, with its own dtype and size.

    A few rows may happen to be summed almost exactly, so that the largest error over some orders of summation counts. For float64 the error
    of float32 is scaled by four times the ratio of the two unit round-offs.
    """
    exact_out, exact_lse = attention(query, key, value, mask, scale, score)
    rough = [rounded(query[..., order], key[..., order], value, mask, scale, score) for order in _orders(query)]
    out_error, lse_error = (max(_largest(each[n].double() - exact) for each in rough) for n, exact in enumerate((exact_out, exact_lse)))
    finer = 4 * torch.finfo(torch.float64).eps / torch.finfo(torch.float32).eps if query.dtype == torch.float64 else 1.0
    lse_ulp = torch.finfo(torch.float64 if query.dtype == torch.float64 else torch.float32).eps
    return Tolerance(
        out=2 * finer * out_error + 4 * torch.finfo(query.dtype).eps * _largest(value.double()),
        lse=2 * finer * lse_error + 4 * lse_ulp * max(1.0, _largest(exact_lse)),
    )


def _orders(query: Tensor) -> list[Tensor]:
    """Of the terms of query . key: first to last and, for few rows, last to first, every eighth together, shuffled."""
    order = torch.arange(query.shape[-1])
    if query.shape[:-1].numel() > FEW_ROWS:
        return [order]
    return [order, order.flip(0), (order % 8).argsort(stable=True), (order * 37 % 101).argsort(stable=True)]


def _largest(tensor: Tensor) -> float:
    finite = tensor[tensor.isfinite()].abs()
    return float(finite.max()) if finite.numel() else 0.0


def assert_close(actual: Tensor, exact: Tensor, allowed: float) -> None:
    """Finite entries within `allowed`, infinities equal, NaN where NaN is right."""
    assert actual.shape == exact.shape, f"shape {tuple(actual.shape)}, should be {tuple(exact.shape)}"
    actual = actual.detach().double().to(exact.device)
    assert torch.equal(actual.isnan(), exact.isnan()), "NaN in other places than it should be"
    infinite = exact.isinf()
    assert torch.equal(actual.isinf(), infinite), "infinite in other places than it should be"
    assert torch.equal(actual[infinite], exact[infinite])
    error = _largest(actual - exact)
    assert error <= allowed, f"off by {error:.3g}, allowed {allowed:.3g}"
