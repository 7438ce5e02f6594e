"""A pattern's mask in full, for a peer that takes it as a tensor: evaluated directly, since benchmarks do not call the oracle."""

# torch's types are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..ir.expr import Kind, names
from ..ir.pattern import Pattern
from ..passes.program.flatten_grid import FlattenGrid
from ..runtime.eager.evaluate import Values
from ..runtime.request import materialise
from ..runtime.request.merged_program import resolved

ROWS_AT_ONCE = 128


@dataclass(frozen=True)
class Sizes:
    """Extents of a problem: items, query heads, tokens."""

    batch: int
    heads: int
    q_len: int
    kv_len: int

    @property
    def pairs(self) -> int:
        return self.batch * self.heads * self.q_len * self.kv_len


def mask_shape(pattern: Pattern, sizes: Sizes) -> tuple[int, int, int, int]:
    """[B or 1, H or 1, Lq, Lk]: an extent is 1 where the mask does not depend on it."""
    read = names(resolved(pattern, None)[0].mask)
    return (sizes.batch if "b" in read else 1, sizes.heads if "h" in read else 1, sizes.q_len, sizes.kv_len)


def full_mask(pattern: Pattern, sizes: Sizes, device: str = "cpu") -> Tensor:
    """bool[B or 1, H or 1, Lq, Lk], true where a query sees a key."""
    mask = torch.empty(mask_shape(pattern, sizes), dtype=torch.bool, device=device)
    flat = FlattenGrid()(resolved(pattern, None)[0])
    known = _known(pattern, sizes, device)
    key = torch.arange(sizes.kv_len, device=device)[None]
    for b, h in _each(mask):
        for start in range(0, sizes.q_len, ROWS_AT_ONCE):
            query = torch.arange(start, min(start + ROWS_AT_ONCE, sizes.q_len), device=device)[:, None]
            item, head = (torch.tensor(index, device=device) for index in (b, h))
            mask[b, h, start : start + len(query)] = known.with_names(q=query, k=key, b=item, h=head).of(flat.mask)
    return mask


def _each(mask: Tensor) -> Iterator[tuple[int, int]]:
    return ((b, h) for b in range(mask.shape[0]) for h in range(mask.shape[1]))


def _known(pattern: Pattern, sizes: Sizes, device: str) -> Values:
    program, bindings = resolved(pattern, None)
    tables = materialise.tables(program, bindings, max(sizes.q_len, sizes.kv_len), device)
    values = Values({}, tables, torch.float64, torch.device(device))
    kinds = {symbol.name: symbol.kind for symbol in program.parameters}
    numbers = {**materialise.parameters(program, bindings), "Lq": sizes.q_len, "Lk": sizes.kv_len, "offset": 0}
    known = {name: torch.tensor(value, dtype=values.dtype(kinds.get(name, Kind.INT)), device=device) for name, value in numbers.items()}
    return values.with_names(**known)
