"""Backward passes of the Triton backend that were made before: room is made, addresses are written, kernels are started."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor

from ..gpu.devices import Gpu, gpu_of
from ..parts.views_of_request import parts, places
from ..request.gradients import Saved
from ..request.request import Request
from .backward_kernels import Step, Work, add, clear, nothing_to_do, steps, summed, unseen_keys, works, zeros_of
from .gpu_kernel import GpuKernel, Ready, Sources
from .key_gradients import Room, with_places, without_places
from .launch import SPANS, sources_of_lengths

GIVEN = ("query", "key", "value", "out", "lse", "rise", "grad_lse")
MADE = ("grad_query", "grad_key", "grad_value", "delta")
"""Arguments of kernels in the order of their tensors; lengths on a GPU come after them, then the sums for tables."""


class Sums(NamedTuple):
    """Numbers that a launch leaves for a table. table: which one, among those that are wanted."""

    table: int
    shape: torch.Size


class Stage(NamedTuple):
    """One launch."""

    ready: Ready
    sums: tuple[Sums, ...]

    def __call__(self, stream: int, addresses: list[int], lse: Tensor, totals: Sequence[Tensor]) -> None:
        """lse: has the dtype of the sums."""
        if not self.sums:
            self.ready(stream, addresses)
            return
        left = [(lse.new_zeros(each.shape), lse.new_zeros(each.shape, dtype=torch.int64)) for each in self.sums]
        self.ready(stream, [*addresses, *(tensor.data_ptr() for pair in left for tensor in pair)])
        for each, pair in zip(self.sums, left, strict=True):
            add(totals[each.table], *pair)


class Part(NamedTuple):
    """The launches of one part of a request. rows: index of its own among all; None where all are."""

    stages: tuple[Stage, ...]
    rows: tuple[slice, ...] | None


class PreparedBackward(NamedTuple):
    """Everything that a backward pass starts, but for addresses and the stream.

    unseen: axis of keys in the layout of the call, and the first one that no kernel reaches; None where there are none.
    places: of keys, so that no two parts write the same gradient.
    """

    gpu: Gpu
    parts: tuple[Part, ...]
    unseen: tuple[int, int] | None
    places: int

    def __call__(self, tensors: Sequence[Tensor | None], tables: Sequence[Tensor] = ()) -> list[Tensor]:
        """Gradients of query, key, value and of `tables`, in the layout of the call.

        tensors: query, key, value, output, log-sum-exp and the gradients of both; then, where a GPU has one of them, q_len, kv_len and
                 q_offset. All is as it was but where it lies.
        """
        query, key, value = cast("Sequence[Tensor]", tensors[:3])
        room = with_places((torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)), self.places)
        totals = [zeros_of(table) for table in tables]
        gpu = self.gpu
        if gpu.driver.current() == gpu.index:
            self._start(tensors, room, totals)
        else:
            with torch.cuda.device(gpu.index):
                self._start(tensors, room, totals)
        room = without_places(room, (key, value))
        if self.unseen is not None:
            axis, first = self.unseen
            clear([each.narrow(axis, first, each.shape[axis] - first) for each in room[1:]])
        return [*room, *map(summed, tables, totals)]

    def _start(self, tensors: Sequence[Tensor | None], room: Room, totals: Sequence[Tensor]) -> None:
        stream = self.gpu.driver.stream(self.gpu.index)
        for stages, rows in self.parts:
            *given, lse, rise, grad_lse = tensors[: len(GIVEN)]
            assert lse is not None
            if rows is not None:
                lse = lse[rows].contiguous()
                grad_lse = None if grad_lse is None else grad_lse[rows].contiguous()
            delta = torch.empty_like(lse)
            every = (*given, lse, rise, grad_lse, *room, delta, *tensors[len(GIVEN) :])
            addresses = [0 if each is None else each.data_ptr() for each in every]
            for stage in stages:
                stage(stream, addresses, lse, totals)


def prepared_backward(request: Request, saved: Saved, room: Room, tables: Sequence[str]) -> PreparedBackward | None:
    """What it takes to carry out backward passes that differ from this one in addresses only; None where there is nothing to start, and
    with extra keys, whose gradients are a launch of their own.

    room:   where gradients would go, in the shapes of the request and as the call lays them out.
    tables: names of those that are wanted, sorted.
    """
    gpu = gpu_of(request.query.device)
    if gpu is None or nothing_to_do(request) or request.extra is not None:
        return None
    found = parts(request)
    placed = with_places(room, places(found))
    whole = (request.query, request.key, request.value, saved.out, saved.lse, saved.grad_out, saved.grad_lse, *placed)
    totals = {name: zeros_of(cast(Tensor, request.bindings[name])) for name in tables}
    made: list[Part] = []
    for work in works(found, saved, placed, totals):
        sources = _sources(work, whole)
        stages = tuple(_stage(step, gpu, sources, tables) for step in steps(work) if step.what.programs)
        made.append(Part(stages, None if work.part.is_all else work.part.own_rows))
    unseen = (1 if request.layout == "blhd" else 2, request.k_len) if unseen_keys(request, room) else None
    return PreparedBackward(gpu, tuple(made), unseen, places(found))


def _sources(work: Work, whole: Sequence[Tensor | None]) -> Sources:
    """What every launch of a part takes. whole: tensors of all parts; those with a number for each row are each part's own."""
    own = {"lse": work.lse, "grad_lse": work.grad_lse, "delta": work.delta}
    found: dict[str, tuple[int, Tensor]] = {}
    for number, (name, tensor) in enumerate(zip((*GIVEN, *MADE), (*whole, None), strict=True)):
        memory = own.get(name, tensor)
        if memory is not None:
            found[name] = number, memory
    return {**found, **sources_of_lengths(work.request, len(GIVEN + MADE))}


def _stage(step: Step, gpu: Gpu, sources: Sources, tables: Sequence[str]) -> Stage:
    kernel, what, slots = step
    assert isinstance(kernel, GpuKernel)
    first = len(GIVEN + MADE) + (len(SPANS) if any(name in sources for name in SPANS) else 0)
    own = {name: each for n, (_, *pair) in enumerate(slots.parts) for name, each in zip((f"sum{n}", f"entry{n}"), pair, strict=True)}
    numbered = {name: (number, tensor) for number, (name, tensor) in enumerate(own.items(), first)}
    sums = tuple(Sums(tables.index(name), numbers.shape) for name, numbers, _ in slots.parts)
    return Stage(kernel.ready_for(what, gpu, {**sources, **numbered}), sums)
