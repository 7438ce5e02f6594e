"""The backward pass of the eager backend, over the same tiles as the forward pass and in the same order."""

# torch's types are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...ir.expr import Expr, Lookup, S
from ..request.gradients import Gradients, Saved
from ..request.request import Extra, Request
from .evaluate import Values
from .products import Factor, gathered, shared, weighted
from .tile_pairs import Plane, at_once, planes, scored, taken

if TYPE_CHECKING:
    from ...passes.program.derivative import Derivatives


def run_backward(request: Request, saved: Saved, tables: frozenset[str]) -> Gradients:
    """Gradients of query, key, value, of the float tables named in `tables` and of the extra keys."""
    sums = Sums.of(request, tables)
    for plane in planes(request):
        keys = Factor.of(plane.keys(plane.request.key))
        for tile in range(plane.section.q_tiles):
            _descend(plane, Rows.of(plane, tile, saved), keys, sums)
    return sums.gradients(request)


@functools.lru_cache(maxsize=256)
def _derivatives(score: Expr) -> Derivatives:
    from ...passes.program.derivative import derivatives  # with it comes sympy, which no other score needs

    return derivatives(score)


@dataclass(frozen=True)
class Sums:
    """Gradients while they are summed, in the dtype of the log-sum-exp, tables in float64; shapes of what they are gradients of."""

    query: Tensor
    key: Tensor
    value: Tensor
    tables: dict[str, Tensor]
    extra: Extra | None

    @staticmethod
    def of(request: Request, tables: frozenset[str]) -> Sums:
        query, key, value = (torch.zeros_like(each, dtype=request.lse_dtype) for each in (request.query, request.key, request.value))
        found = {name: _table(request, name) for name in sorted(tables)}
        zeros = {name: torch.zeros(table.shape, dtype=torch.float64, device=table.device) for name, table in found.items()}
        extra = None if request.extra is None else Extra(*(torch.zeros_like(each, dtype=request.lse_dtype) for each in request.extra))
        return Sums(query, key, value, zeros, extra)

    def gradients(self, request: Request) -> Gradients:
        dtype = request.query.dtype
        tables = {name: total.to(_table(request, name).dtype) for name, total in self.tables.items()}
        extra = None if self.extra is None else Extra(*(each.to(dtype) for each in self.extra))
        return Gradients(self.query.to(dtype), self.key.to(dtype), self.value.to(dtype), tables, extra)


def _table(request: Request, name: str) -> Tensor:
    table = request.bindings[name]
    assert isinstance(table, Tensor)  # `check_bound_tensors` has seen it
    return table


# -- one query tile ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rows:
    """One query tile of a plane, in the dtype of the log-sum-exp.

    query:    [batch, heads, rows, D].   rise: gradient of the output, [batch, heads, rows, Dv].   factors: both, as products take them.
    lse:      [batch, heads, rows, 1].
    subtract: what is taken from the gradient of each weight, [batch, heads, rows, 1].
    """

    tile: int
    query: Tensor
    rise: Tensor
    factors: tuple[Factor, Factor]
    lse: Tensor
    subtract: Tensor

    @staticmethod
    def of(plane: Plane, tile: int, saved: Saved) -> Rows:
        real = plane.known.real
        out, rise = (plane.rows(tensor, tile).to(real) for tensor in (saved.out, saved.grad_out))
        subtract = (out * rise).sum(dim=-1, keepdim=True)
        if saved.grad_lse is not None:
            subtract = subtract - plane.rows(saved.grad_lse, tile).unsqueeze(-1)
        query = plane.rows(plane.request.query, tile).to(real)
        return Rows(tile, query, rise, (Factor.of(query), Factor.of(rise)), plane.rows(saved.lse, tile).unsqueeze(-1), subtract)


def _descend(plane: Plane, rows: Rows, of_keys: Factor, sums: Sums) -> None:
    """Add what one query tile contributes, strip by strip. of_keys: the keys of the plane."""
    request, real = plane.request, plane.known.real
    steps = _past_extra(plane, rows, sums)
    for keys, masked in plane.strips(rows.tile):
        key, value = (taken(plane.keys(tensor), keys, real) for tensor in (request.key, request.value))
        scores = shared(rows.query, key.transpose(-1, -2)) * request.scale
        pairs = plane.pairs(rows.tile, keys, scores)
        weights = _weights(scored(plane, pairs, masked), rows.lse)
        moved = _where_seen(weights, weights * (shared(rows.rise, value.transpose(-1, -2)) - rows.subtract))
        before = _before_score(request.program.score, pairs, weights, moved) * request.scale
        steps += weighted(before, weights != 0, of_keys.seen_as(functools.partial(taken, keys=keys, dtype=real)), shared)
        for total, part in zip((sums.key, sums.value), _of_keys(rows, (before, weights), weights != 0, key.shape[1]), strict=True):
            _add(plane.keys(total), keys, part)
        if sums.tables:
            _add_to_tables(request.program.score, sums, pairs, (weights, moved))
    plane.rows(sums.query, rows.tile).copy_(steps)


def _past_extra(plane: Plane, rows: Rows, sums: Sums) -> Tensor:
    """Add what the extra keys contribute, by their scores alone; returns the gradient of the queries so far."""
    steps = torch.zeros_like(rows.query)
    first = 0
    for key, value in at_once(plane):
        assert sums.extra is not None
        weights = _weights(shared(rows.query, key.transpose(-1, -2)) * plane.request.scale, rows.lse)
        moved = _where_seen(weights, weights * (shared(rows.rise, value.transpose(-1, -2)) - rows.subtract)) * plane.request.scale
        steps += weighted(moved, weights != 0, Factor.of(key), shared)
        keys = torch.arange(first, first + key.shape[2])
        for total, part in zip(plane.extra(sums.extra), _of_keys(rows, (moved, weights), weights != 0, key.shape[1]), strict=True):
            _add(total, keys, part)
        first += key.shape[2]
    return steps


def _of_keys(rows: Rows, parts: tuple[Tensor, Tensor], seen: Tensor, kv_heads: int) -> list[Tensor]:
    """What rows add to the gradients of keys and of values. parts: the gradient of scaled query . key, and the weights."""
    product = functools.partial(gathered, kv_heads=kv_heads)
    return [weighted(part, seen, factor, product) for part, factor in zip(parts, rows.factors, strict=True)]


def _weights(scores: Tensor, lse: Tensor) -> Tensor:
    """Weights after the softmax; 0 where the score is -inf, be it hidden or not, also in rows that see nothing."""
    return torch.where(scores == -math.inf, 0.0, torch.exp(scores - lse))


def _where_seen(weights: Tensor, gradient: Tensor) -> Tensor:
    """What has no weight has no gradient, whatever its slope is."""
    return torch.where(weights == 0, 0.0, gradient)


def _before_score(score: Expr, pairs: Values, weights: Tensor, moved: Tensor) -> Tensor:
    """The gradient of scaled query . key, given that of what the score function makes of it."""
    return moved if score is S else _where_seen(weights, moved * pairs.of(_derivatives(score).by_score))


def _add(total: Tensor, keys: Tensor, part: Tensor) -> None:
    """Add rows for `keys`, each of which occurs once; summed over the batch where it shares its keys."""
    part = part.sum(dim=0, keepdim=True) if total.shape[0] < part.shape[0] else part
    first, last = int(keys[0]), int(keys[-1])
    if last - first + 1 == len(keys):
        total[:, :, first : last + 1] += part
    else:
        total.index_add_(2, keys.to(total.device), part)


# -- tables -----------------------------------------------------------------------------------------------------------


def _add_to_tables(score: Expr, sums: Sums, pairs: Values, gradient: tuple[Tensor, Tensor]) -> None:
    weights, moved = gradient
    for lookup, by in _derivatives(score).by_lookup:
        total = sums.tables.get(lookup.table.name)
        if total is not None and total.numel():
            _add_to_entries(total, _entries(lookup, pairs, total), _where_seen(weights, moved * pairs.of(by)))


def _entries(lookup: Lookup, pairs: Values, table: Tensor) -> Tensor:
    """Number of the entry that each pair reads, i64, broadcasting to the pairs: rows and keys that do not count read any."""
    found = torch.zeros((), dtype=torch.int64, device=table.device)
    for index, size in zip(lookup.indices, table.shape, strict=True):
        found = found * size + pairs.of(index).clamp(0, size - 1)
    return found


def _add_to_entries(total: Tensor, entries: Tensor, parts: Tensor) -> None:
    """Add each part to its entry, summed first along axes that the entry does not depend on; always in the same order."""
    entries = entries.view((1,) * (parts.dim() - entries.dim()) + entries.shape)
    free = [axis for axis, size in enumerate(entries.shape) if size == 1]
    parts = parts.double().sum(dim=free, keepdim=True) if free else parts.double()
    flat, which, what = total.view(-1), entries.flatten(), parts.expand(entries.shape).flatten()
    if total.is_cuda:
        flat.index_put_((which,), what, accumulate=True)  # sorts first; `index_add_` would be atomic there
    else:
        flat.index_add_(0, which, what)  # one after another
