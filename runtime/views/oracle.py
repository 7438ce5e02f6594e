"""What is right, by definition: masks and attention evaluated densely in int64 and float64.

It shares nothing with the compiler but the nouns: it has its own reading of every operation. No pass, kernel or benchmark may call it.
"""

# torch's types are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ...ir.expr import Kind
from ...ir.program import Program, Space
from ..request import materialise
from .oracle_values import EXACT, Environment, Values, evaluate

PAIRS_AT_ONCE = 1 << 18  # (query, key) pairs of a row chunk, all batch items and heads together


# -- masks ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rectangle:
    """All pairs of `q_len` query rows, the first at position `offset`, and `k_len` keys."""

    q_len: int
    k_len: int
    offset: int = 0

    @property
    def positions(self) -> int:
        return max(self.q_len + self.offset, self.k_len, 0)

    def environment(self, program: Program, bindings: materialise.Bindings) -> dict[str, Tensor]:
        """Every symbol of `program` as an i64 (f64, bool) scalar."""
        values = materialise.parameters(program, bindings)
        lengths = {"Lq": self.q_len, "Lk": self.k_len, "offset": self.offset}
        kinds = {symbol.name: symbol.kind for symbol in program.parameters}
        return {name: torch.tensor(value, dtype=EXACT[kinds.get(name, Kind.INT)]) for name, value in {**values, **lengths}.items()}

    def row_chunks(self, planes: int) -> Iterator[slice]:
        """Slices of rows; each holds a bounded number of pairs over `planes` (batch item, head) planes."""
        rows = max(1, PAIRS_AT_ONCE // max(1, planes * self.k_len))
        return (slice(start, min(start + rows, self.q_len)) for start in range(0, self.q_len, rows))

    def coordinates(self, space: Space, rows: slice) -> dict[str, Tensor]:
        q = torch.arange(rows.start, rows.stop)[:, None] + self.offset
        return {**_unravelled("q", q, space), **_unravelled("k", torch.arange(self.k_len), space)}


def _unravelled(side: str, positions: Tensor, space: Space) -> dict[str, Tensor]:
    """Row-major coordinates of flat positions; the outermost one is not wrapped."""
    found: dict[str, Tensor] = {}
    names = [coordinate.name for coordinate in space.coordinates(side)]
    for name, extent in reversed(list(zip(names[1:], space.extents[1:], strict=True))):
        found[name] = torch.remainder(positions, extent)
        positions = torch.div(positions, extent, rounding_mode="floor")
    return {**found, names[0]: positions}


def dense_mask(
    program: Program, q_len: int, k_len: int, bindings: materialise.Bindings | None = None, batch: int = 1, heads: int = 1, offset: int = 0
) -> Tensor:
    """bool[batch, heads, q_len, k_len]: the mask of `program`, with query row 0 at position `offset`."""
    area = Rectangle(q_len, k_len, offset)
    bindings = bindings or {}
    values = area.environment(program, bindings)
    values |= {"b": torch.arange(batch).view(-1, 1, 1, 1), "h": torch.arange(heads).view(-1, 1, 1)}
    tables = materialise.tables(program, bindings, area.positions)
    mask = torch.empty(batch, heads, q_len, k_len, dtype=torch.bool)
    for rows in area.row_chunks(batch * heads):
        mask[:, :, rows] = evaluate(program.mask, Environment({**values, **area.coordinates(program.space, rows)}, tables))
    return mask


# -- attention --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ragged:
    """What may differ between batch items: lengths and the position of query row 0, in tokens; i64[batch], or None for the tensors' own.

    offset: a number, one number per batch item, or "end" for Lk - Lq.
    """

    q_lens: Tensor | None = None
    k_lens: Tensor | None = None
    offset: int | Tensor | str = 0

    def rectangle(self, item: int, q_len: int, k_len: int) -> Rectangle:
        q_len = q_len if self.q_lens is None else int(self.q_lens[item])
        k_len = k_len if self.k_lens is None else int(self.k_lens[item])
        if isinstance(self.offset, str):
            return Rectangle(q_len, k_len, k_len - q_len)
        return Rectangle(q_len, k_len, int(self.offset[item]) if isinstance(self.offset, Tensor) else self.offset)


def attention(
    program: Program,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bindings: materialise.Bindings | None = None,
    *,
    scale: float | None = None,
    ragged: Ragged | None = None,
) -> tuple[Tensor, Tensor]:
    """Attention by definition: f64[B, Hq, Lq, Dv] and its log-sum-exp f64[B, Hq, Lq].

    Rows without a visible key, or whose visible scores are all -inf, and rows past their length are 0 and -inf. A row that sees a
    score of NaN or +inf is NaN in both.

    Args:
        query: [B, Hq, Lq, D], key: [Bkv, Hkv, Lk, D], value: [Bkv, Hkv, Lk, Dv] of any real dtype; Bkv is 1 or B.
        scale: 1 / sqrt(D) where it is not given.
    """
    query, key, value = (tensor.detach().to("cpu", torch.float64) for tensor in (query, key, value))
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    batch, heads, q_len, _ = query.shape
    out = torch.zeros(batch, heads, q_len, value.shape[-1], dtype=torch.float64)
    lse = torch.full((batch, heads, q_len), -math.inf, dtype=torch.float64)
    for item in range(batch):
        area = (ragged or Ragged()).rectangle(item, q_len, key.shape[2])
        other = item if key.shape[0] > 1 else 0
        planes = (query[item] * scale, _per_query_head(key[other], heads), _per_query_head(value[other], heads))
        for rows, (chunk_out, chunk_lse) in _rows_of_item(program, planes, bindings or {}, area, item):
            out[item, :, rows], lse[item, :, rows] = chunk_out, chunk_lse
    return out, lse


def _per_query_head(tensor: Tensor, heads: int) -> Tensor:
    return tensor.repeat_interleave(heads // tensor.shape[0], dim=0) if tensor.shape[0] else tensor


def _rows_of_item(
    program: Program, planes: tuple[Tensor, Tensor, Tensor], bindings: materialise.Bindings, area: Rectangle, item: int
) -> Iterator[tuple[slice, tuple[Tensor, Tensor]]]:
    query, key, value = planes
    key, value = key[:, : area.k_len], value[:, : area.k_len]
    tables = materialise.tables(program, bindings, area.positions)
    values = {**area.environment(program, bindings), "b": torch.tensor(item), "h": torch.arange(query.shape[0]).view(-1, 1, 1)}
    for rows in area.row_chunks(query.shape[0]):
        here = {**values, **area.coordinates(program.space, rows), "s": query[:, rows] @ key.transpose(1, 2)}
        environment = Environment(here, tables)
        mask, scored = evaluate(program.mask, environment), Values(environment)
        score, missing = scored.of(program.score)
        scored.require(missing & mask)
        yield rows, _softmax(torch.where(mask, score.expand_as(here["s"]), -math.inf), value)


def _softmax(score: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted sum of `value` [heads, k, Dv] and log-sum-exp, from scores [heads, q, k] that are -inf where nothing is seen."""
    if score.shape[-1] == 0:
        return score.new_zeros(*score.shape[:2], value.shape[-1]), score.new_full(score.shape[:2], -math.inf)
    highest = score.amax(dim=-1, keepdim=True)
    weight = torch.exp(score - torch.where(highest == -math.inf, 0.0, highest))
    total = weight.sum(dim=-1, keepdim=True)
    out = torch.where(highest == -math.inf, 0.0, (weight @ value) / total)
    return out, (highest + torch.log(total)).squeeze(-1)
