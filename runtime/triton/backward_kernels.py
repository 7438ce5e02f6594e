"""The launches of a backward pass: for each part of a request the kernel of the queries, then that of keys and values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...codegen.triton_arguments import KEYS, PAIRS, ROWS, TILES
from ..choices.cuts import cut
from ..kernels.variant import Variant
from ..parts.views_of_request import Part
from ..request.extra_keys import seeing_beside
from ..request.gradients import Saved
from ..request.request import NAMES, Request
from .call import Call, extra_arguments, extra_by_name, shared_arguments, turns, turns_of_queries
from .kernel import Kernel, Start, strides_by_axis, strides_in_units
from .key_gradients import Room, at_place
from .launch import call_of, loaded, target_of, values_for

MOST_PAIR_BYTES = 2**28


def nothing_to_do(request: Request) -> bool:
    """Whether a tensor is empty, so that no gradient is anything but 0."""
    return request.query.numel() == 0 or request.key.numel() == 0 or request.value.numel() == 0 or request.batch == 0


def unseen_keys(request: Request, room: Room) -> tuple[Tensor, ...]:
    """What no kernel writes: gradients past the keys of a call that sees fewer than there are."""
    if request.ragged.k_start is not None or request.k_len >= request.key.shape[2]:
        return ()
    return tuple(each[:, :, request.k_len :] for each in room[1:])


def clear(tensors: Sequence[Tensor]) -> None:
    for each in tensors:
        each.zero_()


def zeros_of(table: Tensor) -> Tensor:
    """Room for the sums of a table: f64[entries]."""
    return torch.zeros(table.numel(), dtype=torch.float64, device=table.device)


def summed(table: Tensor, total: Tensor) -> Tensor:
    """The gradient of a table."""
    return total.view(table.shape).to(table.dtype)


@dataclass(frozen=True)
class Work:
    """A part of a request, what its forward pass left, and room for its gradients.

    lse, delta, grad_lse: f32 (f64 for f64), contiguous, all of one shape.
    query, key, value: gradients, in the dtype of the request.   totals: f64[entries] of each table that is wanted.
    part: says which rows of the whole request these are.
    """

    request: Request
    saved: Saved
    lse: Tensor
    delta: Tensor
    grad_lse: Tensor | None
    query: Tensor
    key: Tensor
    value: Tensor
    totals: Mapping[str, Tensor]
    part: Part

    def launch_of(self, family: str) -> tuple[Kernel, Call]:
        request, variant = _served(self.request, family, tuple(self.totals))
        values = values_for(request, variant)
        call = call_of(request, values, (self.saved.out, self.lse))
        return loaded(values.kernel), call


def works(found: Sequence[Part], saved: Saved, room: Room, totals: Mapping[str, Tensor]) -> Iterator[Work]:
    """One for each part; together they fill `room`."""
    query, key, value = room
    for each in found:
        mine = each.saved(saved)
        lse, grad_lse = mine.lse.contiguous(), None if mine.grad_lse is None else mine.grad_lse.contiguous()
        at_query, at_key, at_value = each.of_rows(query), *(each.of_keys(at_place(whole, query, each.place)) for whole in (key, value))
        yield Work(each.request, mine, lse, torch.empty_like(lse), grad_lse, at_query, at_key, at_value, totals, each)


def table_of(request: Request, name: str) -> Tensor:
    table = request.bindings[name]
    assert isinstance(table, Tensor)  # `check_bound_tensors` has seen it
    return table


def _served(request: Request, family: str, wanted: tuple[str, ...]) -> tuple[Request, Variant]:
    """A kernel, and the request as it takes it."""
    moved = request.moved
    target, dtype = target_of(request.query.device), NAMES[request.query.dtype]
    dims = (request.head_dim, request.value_dim)
    variant = Variant(request.program, target, dtype, dims, (0, 0), moved, family, wanted)
    return cut(seeing_beside(variant, request) if family == "backward_queries" else variant, request)


class Step(NamedTuple):
    """One launch, and the numbers that it leaves for tables."""

    kernel: Kernel
    what: Start
    slots: Slots


def steps(work: Work) -> Iterator[Step]:
    """What is started for a part, in this order."""
    yield from _of_queries(work)
    yield of_keys(work)


# -- queries ----------------------------------------------------------------------------------------------------------


def _of_queries(work: Work) -> Iterator[Step]:
    """Fills the gradient of the queries and `delta`."""
    request = work.request
    kernel, call = work.launch_of("backward_queries")
    tiles = -(-call.q_len // kernel.signature.block_q)
    programs = tiles * request.heads * request.batch
    half = {"q": request.query, "k": request.key, "v": request.value, "rise": work.saved.grad_out, **extra_by_name(request.extra)}
    unit, strides = strides_in_units({**half, "out": work.saved.out, "grad": work.query})
    given: dict[str, Any] = {
        "query": request.query,
        "key": request.key,
        "value": request.value,
        "out": work.saved.out,
        "rise": work.saved.grad_out,
        "grad_query": work.query,
        "lse": work.lse,
        "delta": work.delta,
        "grad_lse": work.grad_lse,
        **extra_arguments(request.extra),
        **strides,
        **_strides_of_rows(work.lse),
        **shared_arguments(kernel, call),
        **turns_of_queries(call),
        "UNIT": unit,
    }
    at_once = _at_once(kernel, request)
    for first in range(0, programs, at_once):
        slots = Slots.of_queries(kernel, work, (tiles, min(at_once, programs - first)))
        yield Step(kernel, Start(slots.programs, {**given, **slots.given, "first_place": first}), slots)


def _strides_of_rows(lse: Tensor) -> dict[str, int]:
    strides = strides_by_axis(lse)
    return {f"{ROWS}_{axis}": strides[axis] for axis in ("batch", "head")}


def _at_once(kernel: Kernel, request: Request) -> int:
    """Programs of a launch: all, unless each writes a number for every pair of its rows and the keys."""
    count = sum(over == PAIRS for _, over in kernel.sums)
    if not count:
        return 2**31 - 1
    return max(1, MOST_PAIR_BYTES // (count * kernel.signature.block_q * request.k_len * (8 + request.lse_dtype.itemsize)))


# -- keys and values --------------------------------------------------------------------------------------------------


def of_keys(work: Work) -> Step:
    """Fills the gradients of keys and values; `delta` is there."""
    request = work.request
    kernel, call = work.launch_of("backward")
    shared = request.kv_batch == 1 and request.ragged.k_start is None
    items = request.batch if shared else 1
    planes = request.batch // items * request.kv_heads
    rows_bytes = request.q_len * (request.head_dim + request.value_dim) * request.query.element_size()
    half = {"q": request.query, "k": request.key, "v": request.value, "rise": work.saved.grad_out}
    unit, strides = strides_in_units({**half, "grad_key": work.key, "grad_value": work.value})
    slots = Slots.of_keys(kernel, work)
    given: dict[str, Any] = {
        "query": request.query,
        "key": request.key,
        "value": request.value,
        "rise": work.saved.grad_out,
        "grad_key": work.key,
        "grad_value": work.value,
        "lse": work.lse,
        "delta": work.delta,
        **strides,
        **_strides_of_rows(work.lse),
        **shared_arguments(kernel, call),
        **turns(planes, 1, items * request.heads // request.kv_heads * rows_bytes),
        **slots.given,
        "items": items,
        "UNIT": unit,
        "CLIPPED": items > 1 and request.ragged.k_lens is not None,
    }
    given["first_offset"] = given.pop("offset")
    tiles = -(-call.k_len // kernel.signature.block_q)
    return Step(kernel, Start(tiles * planes, given), slots)


# -- tables -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Slots:
    """Numbers that a launch writes, and the entries of tables that they belong to.

    parts: name of the table, numbers, entries i64 of the same shape; where nothing is written, 0 and entry 0.
    """

    programs: int
    parts: tuple[tuple[str, Tensor, Tensor], ...]
    strides: Mapping[str, int]

    @staticmethod
    def of_queries(kernel: Kernel, work: Work, extent: tuple[int, int]) -> Slots:
        """extent: tiles of queries, and programs of the launch."""
        tiles, programs = extent
        request = work.request
        shapes = {
            TILES: (request.batch, request.heads, tiles),
            "rows": tuple(work.lse.shape),
            PAIRS: (programs * kernel.signature.block_q, request.k_len),
        }
        strides = {f"sum{n}_row": request.k_len for n, (_, over) in enumerate(kernel.sums) if over == PAIRS}
        return Slots(programs, tuple(_part(name, shapes[over], work) for name, over in kernel.sums), strides)

    @staticmethod
    def of_keys(kernel: Kernel, work: Work) -> Slots:
        request = work.request
        packed = request.ragged.k_start is not None
        shape = (1 if packed else request.batch, request.heads, request.key.shape[2])
        tokens = request.key.shape[2]
        batch = 0 if packed else request.heads * tokens
        numbers = [n for n, (_, over) in enumerate(kernel.sums) if over == KEYS]
        strides = {name: stride for n in numbers for name, stride in ((f"sum{n}_batch", batch), (f"sum{n}_head", tokens))}
        return Slots(0, tuple(_part(name, shape, work) for name, _ in kernel.sums), strides)

    @property
    def given(self) -> dict[str, Any]:
        tensors: dict[str, Any] = {}
        for n, (_, numbers, entries) in enumerate(self.parts):
            tensors |= {f"sum{n}": numbers, f"entry{n}": entries}
        return {**tensors, **self.strides}

    def add_to(self, totals: Mapping[str, Tensor]) -> None:
        """Add every number to its entry."""
        for name, numbers, entries in self.parts:
            add(totals[name], numbers, entries)


def add(total: Tensor, numbers: Tensor, entries: Tensor) -> None:
    """Add every number to its entry of `total`, in a fixed order."""
    if total.numel() == 0:
        return
    flat, what = entries.flatten(), numbers.double().flatten()
    if total.is_cuda:
        total.index_put_((flat,), what, accumulate=True)  # sorts first; `index_add_` would be atomic there
    else:
        total.index_add_(0, flat, what)  # one after another


def _part(name: str, shape: tuple[int, ...], work: Work) -> tuple[str, Tensor, Tensor]:
    numbers = torch.zeros(shape, dtype=work.lse.dtype, device=work.lse.device)
    return name, numbers, torch.zeros(shape, dtype=torch.int64, device=work.lse.device)
