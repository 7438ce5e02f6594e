"""Bounds of terms over tiles of keys, and proofs about them, kept while the tables hold the same: a growing cache reads more, nothing else.

Both are made for the next power of two keys. A tile that lengths cut has the bounds of the whole of it, which are sound: it is never full.
"""

from __future__ import annotations

import functools
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from ...ir.expr import K_LEN, OFFSET, Q_LEN, Symbol, names, walk
from ...ir.schedule import Schedule, Term
from ...passes.bounds.too_wide import TooWide
from ...passes.bounds.widths import Sizes, Width, width_of, width_up_to
from ...passes.program.call_values import Launch
from ..request import materialise
from ..request.request import Request
from ..tensors.kept_facts import kept
from .term_arrays import Array, bounds_of

if TYPE_CHECKING:
    from ..kernels.kernel_of import Kernel

LENGTHS = frozenset({Q_LEN, K_LEN, OFFSET})


# -- tables -----------------------------------------------------------------------------------------------------------


def kept_tables(request: Request, length: int, states: tuple[Hashable, ...] | None) -> dict[str, Tensor]:
    """As `materialise.tables`; ids of segments for the next power of two positions. states: of each, None where one could change unseen."""
    program, bindings, device = request.program, request.bindings, request.query.device
    if states is None:
        return materialise.tables(program, bindings, length, device)
    found: dict[str, Tensor] = {}
    for table, state in zip(program.tables, states, strict=True):
        made = functools.partial(materialise.entries, table, materialise.bound(bindings, table.name), 1 << length.bit_length())
        found[table.name] = kept((state, length.bit_length()), made) if table.monotone else made()
        found[table.name] = found[table.name].to(device)
    return found


# -- bounds -----------------------------------------------------------------------------------------------------------


def kept_term_arrays(schedule: Schedule, launch: Launch, states: Hashable | None) -> dict[str, Array]:
    """As `term_arrays`. states: of the tables, the same for as long as these hold the same; None where a change could not be seen."""
    found: dict[str, Array] = {}
    for term in schedule.terms:
        keep = states is not None and _grows(term)
        bounds = _of_next_power(term, schedule, launch, states) if keep else bounds_of(term, schedule, launch)
        found[term.low.name], found[term.high.name] = bounds
    return found


@functools.lru_cache(maxsize=1024)
def _grows(term: Term) -> bool:
    """Whether its bounds over a tile of keys are those of a longer cache too."""
    return term.axis == "k" and not any(node in LENGTHS for node in walk(term.expr))


def _of_next_power(term: Term, schedule: Schedule, launch: Launch, states: Hashable) -> tuple[Array, Array]:
    keys = 1 << max(launch.k_len - 1, 0).bit_length()
    read = names(term.expr)
    extents = (launch.batch if "b" in read else 1, launch.heads if "h" in read else 1)
    known = ("bounds", term, (schedule.block_k, schedule.together), states, keys, extents, _values_read(term, launch))
    whole = kept(known, lambda: _bounds_or_none(term, schedule, launch._replace(k_len=keys, ragged={})))
    if whole is None:
        return bounds_of(term, schedule, launch)
    low, high = whole
    tiles = -(-launch.k_len // schedule.block_k)
    return np.ascontiguousarray(low[..., :tiles]), np.ascontiguousarray(high[..., :tiles])


def _bounds_or_none(term: Term, schedule: Schedule, launch: Launch) -> tuple[Array, Array] | None:
    """None where keys that no call has yet would leave 64 bits."""
    try:
        return bounds_of(term, schedule, launch)
    except TooWide:
        return None


def _values_read(term: Term, launch: Launch) -> tuple[Any, ...]:
    return tuple(sorted((node.name, launch.parameters[node.name]) for node in set(walk(term.expr)) if isinstance(node, Symbol)))


# -- proofs -----------------------------------------------------------------------------------------------------------


def kept_width(kernel: Kernel, launch: Launch, arrays: Mapping[str, Array], states: Hashable | None) -> Width:
    """As `width_of` for a launch, as the schedule of a kernel knows it. arrays: of terms and lists of tiles; states: as above."""
    given: Mapping[Any, Any] = launch.ragged  # arrays, or what stands for one that stays on a device
    if launch.tables and states is not None and all(isinstance(values, np.ndarray) for values in given.values()):
        sizes, ragged = Sizes.above(launch), bool(launch.ragged)
        proved = kept((kernel, sizes, ragged, states), lambda: width_up_to(kernel.schedule, sizes, launch.tables, ragged=ragged))
        if proved is not None:
            return proved
    return width_of(kernel.schedule, launch, {**launch.tables, **arrays})
