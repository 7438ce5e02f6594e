"""Does what a program reads fit the call: devices, extents of a grid. `lookups` checks what it reads of tables."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ...ir.advice import advice
from ...ir.program import Program, Space
from .ragged import Lengths


def check_bound_tensors(program: Program, bindings: Mapping[str, object], device: torch.device) -> None:
    """Raise unless every table is on `device`."""
    for table in program.tables:
        bound = bindings[table.name]
        tensor = getattr(bound, "offsets", bound)
        if isinstance(tensor, Tensor) and tensor.device != device:
            raise ValueError(
                advice(f"table `{table.name}` is on {tensor.device}, the query on {device}", f"`{table.name}.to({str(device)!r})`")
            )


def check_space(space: Space, spans: Lengths, *, all_keys: bool) -> None:
    """Raise unless every position of the call lies in the space. all_keys: nobody said that the call has not all of them yet."""
    if space.follows_keys and spans.stop > spans.k_stop:
        wrong = f"queries reach position {spans.stop - 1} of a grid that is as long as the keys, {spans.k_stop} tokens"
        raise ValueError(advice(wrong, "`q_offset=` where queries are some of those tokens, or `.on(queries=..., keys=...)`"))
    for side, stop in (("q", spans.stop), ("k", spans.k_stop)):
        tokens = space.tokens(side)
        if tokens is None:
            continue
        lo = spans.offset if side == "q" else 0
        wrong = f"queries start at position {lo}" if lo < 0 else f"the call reaches position {stop - 1}" if stop > tokens else ""
        if not wrong and side == "k" and all_keys and stop < tokens and space.rank == 1:
            wrong = f"the call has {stop} keys; write `kv_len=` where they are its beginning"
        if wrong:
            raise ValueError(
                advice(
                    f"{_shown(space, side)} holds positions 0 to {tokens - 1}, and {wrong}",
                    "`pattern.on(...)` with the extents of the call",
                )
            )


def _shown(space: Space, side: str) -> str:
    if space.rank > 1:
        return f"the grid {' x '.join(str(extent) for extent in space.extents)}"
    return f"the space of {'queries' if side == 'q' else 'keys'}"
