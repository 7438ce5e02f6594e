"""Products in the eager backend: what a hidden pair multiplies gives nothing, also where it is not finite.

A hidden pair weighs 0, and 0 times NaN or infinity is NaN. So sums are taken over what is finite, and what is not is added to the sums of
those who see it.
"""

# torch's types are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Product = Callable[[Tensor, Tensor], Tensor]
View = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Factor:
    """A tensor that weights multiply.

    finite: a copy, 0 in place of what is not finite. whole: the tensor where it is not all finite, else None.
    """

    finite: Tensor
    whole: Tensor | None

    @staticmethod
    def of(tensor: Tensor) -> Factor:
        finite = tensor.isfinite()
        return Factor(torch.where(finite, tensor, 0), None if bool(finite.all()) else tensor)

    def seen_as(self, view: View) -> Factor:
        return Factor(view(self.finite), None if self.whole is None else view(self.whole))


def weighted(weights: Tensor, seen: Tensor, factor: Factor, product: Product) -> Tensor:
    """product(weights, factor), where pairs that are not `seen` add nothing.

    weights, seen: real and bool[batch, heads, rows, keys], 0 where not seen.   product: adds up left entry times right entry.
    """
    total = product(weights, factor.finite)
    if factor.whole is None:
        return total
    rest = _rest(weights, seen, factor.whole, product)
    return torch.where(rest == 0, total, total + rest)


def _rest(weights: Tensor, seen: Tensor, whole: Tensor, product: Product) -> Tensor:
    """The sum over what is not finite, 0 where none of it is seen: the product counts how often each kind of term occurs."""

    def some(left: Tensor, right: Tensor) -> Tensor:
        return product(left.to(weights.dtype), right.to(weights.dtype)) > 0

    up, down = (whole == math.inf) | whole.isnan(), (whole == -math.inf) | whole.isnan()  # NaN is both
    rises = some(weights > 0, up) | some(weights < 0, down)
    falls = some(weights > 0, down) | some(weights < 0, up)
    undefined = some(seen & (weights == 0), ~whole.isfinite())
    sides = torch.where(rises, math.inf, 0.0) + torch.where(falls, -math.inf, 0.0)
    return torch.where(undefined, math.nan, sides).to(weights.dtype)


def shared(left: Tensor, right: Tensor) -> Tensor:
    """left @ right, where each matrix of `right` [batch or 1, kv_heads, n, m] serves a group of heads of `left` [batch, heads, rows, n]."""
    batch, heads, rows, inner = left.shape
    kv_heads = right.shape[1]
    grouped = left.reshape(batch, kv_heads, heads // kv_heads * rows, inner)
    return (grouped @ right).view(batch, heads, rows, right.shape[-1])


def gathered(left: Tensor, right: Tensor, kv_heads: int) -> Tensor:
    """left^T @ right, summed over the group of heads that shares a key head: [batch, kv_heads, n, m].

    left: [batch, heads, rows, n]; right: [batch, heads, rows, m].
    """
    batch, heads, rows, _ = left.shape
    first, second = (each.reshape(batch, kv_heads, heads // kv_heads * rows, each.shape[-1]) for each in (left, right))
    return first.transpose(-1, -2) @ second
