"""The eager backend: torch operations over the tiles of the schedule, on any device torch knows."""

# torch's types are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..request.request import Request
from .products import Factor, shared, weighted
from .tile_pairs import BLOCK_Q, KEYS_AT_ONCE, Plane, at_once, planes, scored, taken

if TYPE_CHECKING:
    from ..request.gradients import Gradients, Saved

__all__ = ["BLOCK_Q", "KEYS_AT_ONCE", "run", "run_backward"]


def run(request: Request) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp of `request`, as `Request.new_outputs` lays them out."""
    out, lse = request.new_outputs()
    out.zero_()
    lse.fill_(-math.inf)
    for plane in planes(request):
        values = Factor.of(plane.keys(plane.request.value))
        for tile in range(plane.section.q_tiles):
            _attend(plane, tile, values, (out, lse))
    return out, lse


def run_backward(request: Request, saved: Saved, tables: frozenset[str]) -> Gradients:
    """Gradients of query, key, value, of `tables` and of the extra keys."""
    from .backward import run_backward  # only training needs it

    return run_backward(request, saved, tables)


# -- one query tile ---------------------------------------------------------------------------------------------------


def _attend(plane: Plane, tile: int, values: Factor, outputs: tuple[Tensor, Tensor]) -> None:
    """Fill the rows of one query tile, strip by strip, with a running maximum. values: of the plane."""
    request, real = plane.request, plane.known.real
    query = plane.rows(request.query, tile).to(real)
    state = State.empty(query, request.value_dim)
    for key, value in at_once(plane):
        state = state.after(shared(query, key.transpose(-1, -2)) * request.scale, Factor.of(value))
    for keys, masked in plane.strips(tile):
        key, value = taken(plane.keys(request.key), keys, real), values.seen_as(functools.partial(taken, keys=keys, dtype=real))
        scores = shared(query, key.transpose(-1, -2)) * request.scale
        state = state.after(scored(plane, plane.pairs(tile, keys, scores), masked), value)
    if request.zero_keys is not None:
        state = state.with_zero_keys(plane.rows(request.zero_keys, tile).unsqueeze(-1))
    out, lse = (plane.rows(tensor, tile) for tensor in outputs)
    out.copy_(state.out())
    lse.copy_(state.lse())


@dataclass(frozen=True)
class State:
    """Online softmax: the highest score so far, the sum of weights and of weighted values relative to it."""

    highest: Tensor
    total: Tensor
    sums: Tensor

    @staticmethod
    def empty(query: Tensor, value_dim: int) -> State:
        column = query.new_zeros((*query.shape[:3], 1))
        return State(torch.full_like(column, -math.inf), column, query.new_zeros((*query.shape[:3], value_dim)))

    def after(self, scores: Tensor, value: Factor) -> State:
        highest = torch.maximum(self.highest, scores.amax(dim=-1, keepdim=True))
        base = torch.where(highest == -math.inf, 0.0, highest)
        weights = torch.exp(scores - base)
        kept = torch.exp(self.highest - base)
        added = weighted(weights, scores != -math.inf, value, shared)
        return State(highest, self.total * kept + weights.sum(dim=-1, keepdim=True), self.sums * kept + added)

    def with_zero_keys(self, counts: Tensor) -> State:
        """With so many keys of score 0 and value 0 for each row: the first two sums shrink where every score is less."""
        none = counts <= 0
        highest = torch.where(none, self.highest, self.highest.clamp(min=0))
        base = torch.where(highest == -math.inf, 0.0, highest)
        kept = torch.exp(self.highest - base)
        return State(highest, self.total * kept + torch.where(none, 0, counts * torch.exp(-base)), self.sums * kept)

    def out(self) -> Tensor:
        return torch.where(self.highest == -math.inf, 0.0, self.sums / self.total)

    def lse(self) -> Tensor:
        return (self.highest + torch.log(self.total)).squeeze(-1)
