"""Does what a program reads fit the call: devices, extents of a grid. `lookups` checks what it reads of tables."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import torch
from torch import Tensor

from ...ir.advice import advice
from ...ir.expr import K, Lookup, Q, Table, walk
from ...ir.program import Program, Space
from .lengths import Lengths


def check_bound_tensors(program: Program, bindings: Mapping[str, object], device: torch.device) -> None:
    """Raise unless every table is on `device`."""
    for table in program.tables:
        bound = bindings[table.name]
        tensor = getattr(bound, "offsets", bound)
        if isinstance(tensor, Tensor) and tensor.device != device:
            raise ValueError(
                advice(f"table `{table.name}` is on {tensor.device}, the query on {device}", f"`{table.name}.to({str(device)!r})`")
            )


FEWEST_TOKENS = 32
"""Of a table that may be longer than a call: as many heads of fewer tokens than this are taken at their word."""


def check_layout(program: Program, bindings: Mapping[str, object], sizes: tuple[int, int], layout: str) -> None:
    """Raise where the pattern has as many tokens as the tensors have heads, and not as many as they have tokens: the axes are exchanged.

    sizes: heads of queries and keys alike, and tokens of keys, none of which is left out by a length.
    """
    heads, tokens = sizes
    wanted = [(f"{_shown(program.space, 'k')} holds", program.space.tokens("k"))]
    for table in program.tables if tokens < heads >= FEWEST_TOKENS else ():
        bound = bindings[table.name]
        if isinstance(bound, Tensor) and _by_position(program, table):
            wanted.append((f"table `{table.name}` has", bound.shape[0]))
    for what, has in wanted:
        if has == heads and tokens != heads:
            other = "blhd" if layout == "bhld" else "bhld"
            raise ValueError(
                advice(
                    f"{what} {has} tokens, and query and key have {heads} heads of {tokens} tokens in the layout `{layout}`",
                    f'`layout="{other}"`, or `.transpose(1, 2)` of query, key and value',
                )
            )


@functools.lru_cache(maxsize=256)
def _by_position(program: Program, table: Table) -> bool:
    """Whether the table is read along its first axis at positions as they are."""
    looks = [node for node in walk(program.mask, program.score) if isinstance(node, Lookup) and node.table == table]
    return bool(looks) and all(look.indices[0] in (Q, K) for look in looks)


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
