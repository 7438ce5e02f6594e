"""Gradients of attention from a mask and a score given as tensors, in float64; and how far from them a result may be.

Imports nothing of the package.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

Score = Callable[[Tensor], Tensor]
VALUE = 2  # its place among the gradients
FEW_SUMS = 16


@dataclass(frozen=True)
class Call:
    """What is differentiated, and where from.

    query, key, value: as in `reference.attention`.
    mask:     bool, broadcasts to [B, Hq, Lq, Lk].
    score:    takes scale * query . key and returns what goes into the softmax, in the dtype it was given; differentiable by `tables`.
    tables:   leaves that `score` reads.
    grad_out, grad_lse: gradients of the output and of the log-sum-exp.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor
    scale: float
    score: Score | None
    tables: Sequence[Tensor]
    grad_out: Tensor
    grad_lse: Tensor

    def cast(self, dtype: torch.dtype) -> Call:
        query, key, value, grad_out, grad_lse = (
            tensor.detach().to(dtype) for tensor in (self.query, self.key, self.value, self.grad_out, self.grad_lse)
        )
        return replace(self, query=query, key=key, value=value, grad_out=grad_out, grad_lse=grad_lse)

    def scored(self, scores: Tensor) -> Tensor:
        return scores if self.score is None else self.score(scores)

    def spread(self, shared: Tensor) -> Tensor:
        """Keys or values repeated so that each batch item and query head has its own."""
        batch, heads = self.query.shape[:2]
        group = heads // shared.shape[1]
        return shared.repeat_interleave(group, dim=1).expand(batch, heads, *shared.shape[2:])


def gradients(call: Call) -> list[Tensor]:
    """f64 gradients of query, key, value and the tables, by autograd on the definition."""
    exact = call.cast(torch.float64)
    leaves = [tensor.requires_grad_() for tensor in (exact.query, exact.key, exact.value)]
    scores = exact.scored(exact.scale * torch.einsum("bhqd,bhkd->bhqk", exact.query, exact.spread(exact.key)))
    weights, total, highest = _softmax(scores, exact.mask)
    out = torch.einsum("bhqk,bhkd->bhqd", weights, exact.spread(exact.value))
    lse = (highest + torch.log(total)).squeeze(-1)  # rows that see nothing: 0, a constant, where a user sees -inf
    loss = (out * exact.grad_out).sum() + (lse * exact.grad_lse).sum()
    return [each.double() for each in torch.autograd.grad(loss, [*leaves, *call.tables], allow_unused=True, materialize_grads=True)]


def _softmax(scores: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Weights, their sum before division and the highest score; hidden and infinitely low scores take no part, also in derivatives."""
    seen = mask & (scores != -math.inf)
    some = seen.any(dim=-1, keepdim=True)
    low = torch.where(seen, scores.detach(), -math.inf)
    highest = torch.where(some, low.amax(dim=-1, keepdim=True), 0.0) if scores.shape[-1] else scores.new_zeros((*scores.shape[:-1], 1))
    raw = torch.where(seen, torch.exp(torch.where(seen, scores, 0.0) - highest), 0.0)
    total = torch.where(some, raw.sum(dim=-1, keepdim=True), 1.0)
    return raw / total, total, highest


@dataclass(frozen=True)
class Rough:
    """A low-precision backward pass, and how large its sums are without the signs of their terms, in the max norm.

    The slopes of the score keep their signs.
    """

    gradients: list[Tensor]
    sizes: list[float]


def rounded(call: Call) -> Rough:
    """The same with float32 scores, P from the float32 log-sum-exp, P and dS cast to the dtype, float32 accumulation, a cast at the end.

    The output it starts from is one of that kind too: P cast to the dtype, and cast at the end.
    """
    dtype, rough = call.query.dtype, call.cast(torch.float32)
    key, value = rough.spread(rough.key), rough.spread(rough.value)
    before = (rough.scale * torch.einsum("bhqd,bhkd->bhqk", rough.query, key)).requires_grad_()
    after = rough.scored(before)
    weights = _from_log_sum_exp(after, rough.mask).detach()
    rise = torch.einsum("bhqd,bhkd->bhqk", rough.grad_out, value)
    out = torch.einsum("bhqk,bhkd->bhqd", weights.to(dtype).float(), value).to(dtype).float()
    level = (out * rough.grad_out).sum(dim=-1, keepdim=True) - rough.grad_lse.unsqueeze(-1)
    moved, terms = weights * (rise - level), weights * (rise.abs() + level.abs())
    found = _through(rough, after, before, moved, weights, dtype)
    sizes = _through(_absolute(rough), after, before, terms, weights, torch.float32)
    return Rough(found, [_largest(each) for each in sizes])


def _from_log_sum_exp(scores: Tensor, mask: Tensor) -> Tensor:
    """Weights as a backward pass has them that keeps one number per row."""
    weights, total, highest = _softmax(scores, mask)
    return torch.where(weights == 0, 0.0, torch.exp(scores - (highest + torch.log(total))))


def _absolute(call: Call) -> Call:
    return replace(
        call, query=call.query.abs(), key=call.key.abs(), value=call.value.abs(), scale=abs(call.scale), grad_out=call.grad_out.abs()
    )


def _through(call: Call, after: Tensor, before: Tensor, moved: Tensor, weights: Tensor, dtype: torch.dtype) -> list[Tensor]:
    """From the gradient of what goes into the softmax to those of the inputs, products of operands cast to `dtype`."""
    step, *tables = torch.autograd.grad(
        after, [before, *call.tables], moved.to(dtype).float(), allow_unused=True, materialize_grads=True, retain_graph=True
    )
    step, weights = (torch.where(weights == 0, 0.0, each).to(dtype).float() for each in (step, weights))
    query = call.scale * torch.einsum("bhqk,bhkd->bhqd", step, call.spread(call.key))
    key = call.scale * torch.einsum("bhqk,bhqd->bhkd", step, call.query)
    value = torch.einsum("bhqk,bhqd->bhkd", weights, call.grad_out)
    found = [query, *(_gathered(each, call.key.shape) for each in (key, value))]
    return [each.to(dtype) for each in found] + tables


def _gathered(spread: Tensor, shape: torch.Size) -> Tensor:
    """The sum over the query heads and batch items that share a key."""
    batch, heads, tokens, dim = spread.shape
    kv_heads = shape[1]
    grouped = spread.view(batch, kv_heads, heads // kv_heads, tokens, dim).sum(dim=2)
    return grouped.sum(dim=0, keepdim=True) if shape[0] < batch else grouped


def tolerances(call: Call, exact: Sequence[Tensor]) -> list[float]:
    """For each gradient 2 * err_ref + 4 ulp(dtype) * max|grad|, err_ref being the error of `rounded`.

    Gradients cancel: where every row sees one key that of its query is exactly 0, but no difference of two rounded sums is. Hence 4 ulp of
    the accumulator for each of the two, times the largest sum without signs. For float64 the error of float32 is scaled by four times the
    ratio of the two unit round-offs.

    A few sums may happen to come out almost exact, so that the largest error over some scales of the values counts: all but the gradient of
    the values grow with them, and round differently.
    """
    dtype, rough = call.query.dtype, rounded(call)
    draws = [[each.double() for each in rough.gradients]]
    if any(right.numel() <= FEW_SUMS for right in exact):
        for factor in (1.25, 1.5, 1.75):
            grown = rounded(replace(call, value=call.value.float() * factor, grad_lse=call.grad_lse * factor)).gradients
            draws.append([each.double() / (1.0 if n == VALUE else factor) for n, each in enumerate(grown)])
    errors = [max(_largest(draw[n] - right) for draw in draws) for n, right in enumerate(exact)]
    double, single = torch.finfo(torch.float64).eps, torch.finfo(torch.float32).eps
    finer, accumulator = (4 * double / single, double) if dtype == torch.float64 else (1.0, single)
    return [
        2 * finer * error + 4 * torch.finfo(dtype).eps * _largest(right) + 8 * accumulator * size
        for error, right, size in zip(errors, exact, rough.sizes, strict=True)
    ]


def _largest(tensor: Tensor) -> float:
    return float(tensor.abs().max()) if tensor.numel() else 0.0
