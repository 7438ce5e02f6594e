"""The backward pass of the C++ backend."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from torch import Tensor

from ...codegen.cpp_targets import VECTOR_BYTES
from ..choices.shapes import Block, chosen
from ..launches.launch_values import values_of
from ..parts.views_of_request import Part, parts, places, total
from ..request.extra_keys import over_extra
from ..request.gradients import Gradients, Saved
from ..request.request import Extra, Request
from .call import BackwardArguments, Triple
from .launch import arguments_of, loaded, toolchain_of
from .token_orders import ordered
from .variants import target_here, variant_of

ITEMS = 128  # that keep many threads busy
LEAST_GROUPS, MOST_GROUPS = 4, 16
GROUP = 16  # tiles: each tile of keys is laid out anew for every group of queries that it meets
MOST_TABLE_BYTES = 2**26


def run_backward(request: Request, saved: Saved, tables: frozenset[str], block: Block | None = None) -> Gradients:
    """Gradients of query, key, value, of `tables` and of the extra keys. block: edges of query and key tiles; None is the chosen shape."""
    beside = None if request.extra is None else over_extra(request)
    request = request._replace(extra=None)
    wanted = {name: cast(Tensor, request.bindings[name]) for name in sorted(tables)}
    nothing = request.query.numel() == 0 or request.key.numel() == 0 or request.value.numel() == 0 or request.batch == 0
    found = () if nothing else parts(request)
    blank = request.fills_tensors and not nothing and places(found) == 1  # kernels that reach every row and key clear the sums themselves
    room = _Room.of(request, blank=blank)
    sums = [_sum_into(room.of_part(each), each.request, each.saved(saved), wanted, block) for each in found]
    of_tables = {name: total([torch.zeros_like(table), *(each[name] for each in sums)]).to(table.dtype) for name, table in wanted.items()}
    extra = None if beside is None else _of_extra(room, beside, saved)
    return replace(room.gradients(request, of_tables), extra=extra)


def _of_extra(room: _Room, request: Request, saved: Saved) -> Extra:
    """Gradients of keys and values that every row sees; what they do to the queries is added to those in `room`.

    With the log-sum-exp of all that a row sees, the weights of any of it are what they were.
    """
    own = _Room(room.query, *(_sums(each, request.lse_dtype, torch.zeros) for each in (request.key, request.value)), blank=False)
    if request.query.numel() and request.batch:
        _sum_into(own, request, saved, {}, None)
    found = own.gradients(request, {})
    return Extra(found.key, found.value)


def _sum_into(room: _Room, request: Request, saved: Saved, wanted: Mapping[str, Tensor], block: Block | None) -> dict[str, Tensor]:
    """Add the gradients of query, key and value to `room`; those of the wanted tables, float64."""
    target = target_here()
    if block is None:
        request = ordered(request, "backward")
    variant = variant_of(request, target)._replace(family="backward", wanted=tuple(wanted))
    if request.order is None:
        variant = variant._replace(block=block or chosen(variant, request.q_len))
    values = values_of(request, variant, toolchain_of(target))
    call, kept = arguments_of(request, values, (saved.out, saved.lse))
    groups = _groups(request, variant.block)
    items = _planes(request) * groups
    sums = TableSums.of([values.tables[name] for name in values.kernel.gradients], items)
    progress = np.zeros(items + sums.slots, np.int64)
    delta = torch.empty_like(saved.lse)
    lse_grad = saved.grad_lse
    arguments = BackwardArguments(
        call,
        saved.grad_out.data_ptr(),
        None if lse_grad is None else lse_grad.data_ptr(),
        Triple(*saved.grad_out.stride()[:3]),
        Triple(*(0, 0, 0) if lse_grad is None else lse_grad.stride()),
        delta.data_ptr(),
        *(tensor.data_ptr() for tensor in (room.query, room.key, room.value)),
        *(Triple(*tensor.stride()[:3]) for tensor in (room.query, room.key, room.value)),
        ctypes.addressof(sums.pointers),
        sums.entries.ctypes.data,
        sums.slots,
        groups,
        progress.ctypes.data,
        int(room.blank),
    )
    loaded(values.kernel)(arguments)
    del kept
    return sums.by_table(values.kernel.gradients, wanted)


@dataclass(frozen=True)
class _Room:
    """Sums of reals, [batch or 1, heads, tokens, D in whole vectors], for the three tensors of a request.

    blank: nothing has been written there, and kernels reach every row and key once.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    blank: bool

    @staticmethod
    def of(request: Request, *, blank: bool) -> _Room:
        make = torch.empty if blank else torch.zeros
        query, key, value = (_sums(tensor, request.lse_dtype, make) for tensor in (request.query, request.key, request.value))
        return _Room(query, key, value, blank)

    def of_part(self, part: Part) -> _Room:
        return _Room(part.of_rows(self.query), part.of_keys(self.key), part.of_keys(self.value), self.blank)

    def gradients(self, request: Request, tables: Mapping[str, Tensor]) -> Gradients:
        """The sums as gradients, in the dtype of the request and without what was padded."""
        return Gradients(_cut(self.query, request.query), _cut(self.key, request.key), _cut(self.value, request.value), tables)


def _cut(total: Tensor, like: Tensor) -> Tensor:
    return total[..., : like.shape[-1]].to(like.dtype)


def _sums(like: Tensor, dtype: torch.dtype, make: Callable[..., Tensor]) -> Tensor:
    """Laid out as `like` is, heads or tokens first, each row in whole vectors."""
    lanes = VECTOR_BYTES[target_here().name] // dtype.itemsize
    batch, heads, tokens, width = like.shape
    padded = -(-width // lanes) * lanes
    if like.stride(1) < like.stride(2):
        return make((batch, tokens, heads, padded), dtype=dtype).transpose(1, 2)
    return make((batch, heads, tokens, padded), dtype=dtype)


def _planes(request: Request) -> int:
    """(b, key head) pairs whose gradients no two work items share."""
    shared = request.kv_batch == 1 and request.ragged.k_start is None
    return (1 if shared else request.batch) * request.kv_heads


def _groups(request: Request, block: Block) -> int:
    """Runs of tiles per plane: enough work items for many threads, from shapes alone."""
    tiles = min(-(-request.row_positions // block[0]), -(-request.key_positions // block[1]))
    return max(1, min(-(-ITEMS // _planes(request)), max(LEAST_GROUPS, tiles // GROUP), MOST_GROUPS, tiles))


@dataclass(frozen=True)
class TableSums:
    """Gradients of tables while they are summed: float64[slots, entries] for each look-up.

    slots: as many as there are work items, fewer where the sums would take too much memory.
    """

    sums: Sequence[np.ndarray]
    pointers: ctypes.Array[ctypes.c_void_p]
    entries: np.ndarray
    slots: int

    @staticmethod
    def of(tables: Sequence[Tensor], items: int) -> TableSums:
        """tables: of each look-up."""
        entries = np.array([table.numel() for table in tables], np.int64)
        slots = items if not tables else max(1, min(items, MOST_TABLE_BYTES // (8 * max(1, int(entries.sum())))))
        sums = [np.zeros((slots, int(count))) for count in entries]
        pointers = (ctypes.c_void_p * max(1, len(sums)))(*(each.ctypes.data for each in sums))
        return TableSums(sums, pointers, entries, slots)

    def by_table(self, names: Sequence[str], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The gradient of each wanted table, float64: slots and look-ups summed in order."""
        found: dict[str, Tensor] = {}
        for name, table in wanted.items():
            total = np.zeros(table.numel())
            for of, sums in zip(names, self.sums, strict=True):
                if of == name:
                    for slot in sums:
                        total += slot
            found[name] = torch.as_tensor(total).view(table.shape)
        return found
