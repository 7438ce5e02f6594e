"""Does what a program reads fit the call: devices, lengths of tables, extents of a grid."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from ...ir.advice import advice
from ...ir.expr import Binary, Const, Expr, Lookup, Op, Var, walk
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


class Reach(NamedTuple):
    """Along `axis`, `table` is read at `variable + shift`, in the program `written`."""

    table: str
    axis: int
    variable: str
    shift: int
    written: str


@functools.lru_cache(maxsize=1024)
def reaches(program: Program) -> tuple[Reach, ...]:
    """Every look-up of `program` whose index is a variable plus a constant; the others are clamped by kernels."""
    found: dict[Reach, None] = {}
    for node in walk(program.mask, program.score):
        if isinstance(node, Lookup):
            for axis, index in enumerate(node.indices):
                shifted = _shifted(index)
                if shifted is not None:
                    found[Reach(node.table.name, axis, *shifted, f"{index}")] = None
    return tuple(found)


def _shifted(index: Expr) -> tuple[str, int] | None:
    match index:
        case Var(name=name) if name in ("q", "k", "b", "h"):
            return name, 0
        case Binary(op=Op.ADD, a=Var(name=name), b=Const(value=int(shift))) if name in ("q", "k", "b", "h"):
            return name, shift
        case Binary(op=Op.SUB, a=Var(name=name), b=Const(value=int(shift))) if name in ("q", "k", "b", "h"):
            return name, -shift
        case _:
            return None


def check_tables(program: Program, bindings: Mapping[str, object], ranges: Mapping[str, tuple[int, int]]) -> None:
    """Raise unless every table holds the entries that are read.

    ranges: half-open range of `q` (positions), `k`, `b`, `h` in this call.

    Raises:
        ValueError: a table is shorter than its index reaches, or is read before its beginning.
    """
    for reach in reaches(program):
        shape: tuple[int, ...] | None = getattr(bindings[reach.table], "shape", None)  # segments have none, and answer everywhere
        start, stop = ranges[reach.variable]
        if shape is not None and start < stop:
            lo, hi = start + reach.shift, stop - 1 + reach.shift
            if lo < 0 or hi >= shape[reach.axis]:
                raise ValueError(_too_short(reach, shape, (lo, hi)))


def _too_short(reach: Reach, shape: tuple[int, ...], reached: tuple[int, int]) -> str:
    (lo, hi), size = reached, shape[reach.axis]
    along = f" along axis {reach.axis}" if len(shape) > 1 else ""
    holds = f"table `{reach.table}` holds {size} {'entry' if size == 1 else 'entries'}{along}"
    if lo < 0:
        return advice(
            f"{holds}, but `{reach.written}` starts at {lo}, and a negative index does not wrap", f"`max({reach.written}, 0)` as the index"
        )
    return advice(f"{holds}, but `{reach.written}` reaches {hi}", f"a table with at least {hi + 1} entries")
