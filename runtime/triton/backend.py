"""The Triton backend: NVIDIA and AMD; CPU tensors are served by Triton's interpreter, slowly, for tests and for looking."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from ..gpu.devices import Gpu, gpu_of
from ..kernels.kernel_of import Kernel
from ..parts.views_of_request import parts
from ..request.gradients import Gradients, Saved
from ..request.request import Request
from . import backward as triton_backward
from . import call as triton_call
from . import decode as triton_decode
from .call import Call
from .decode import Split
from .gpu_kernel import GpuKernel, Ready
from .kernel import EXTRA
from .launch import SPANS, call_of, loaded, served, sources_of_lengths, target_of, values_for
from .toolchain import toolchain

if TYPE_CHECKING:
    from .key_gradients import Room
    from .prepared_backward import PreparedBackward

__all__ = ["run", "run_backward", "toolchain"]


def run(request: Request) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp of `request`, as `Request.new_outputs` lays them out."""
    out, lse = request.new_outputs()
    if nothing_to_do(request):
        return out.zero_(), lse.fill_(-torch.inf)
    for each in parts(request):
        _run(each.request, (each.of_rows(out), each.of_rows(lse)))
    return out, lse


def nothing_to_do(request: Request) -> bool:
    """Whether no row sees a key, or there are no rows."""
    return 0 in (request.query.shape[0], request.query.shape[1], request.query.shape[2], request.k_len, request.batch, request.kv_heads)


def run_backward(request: Request, saved: Saved, tables: frozenset[str]) -> Gradients:
    """Gradients of query, key, value and of `tables`."""
    return triton_backward.run_backward(request, saved, tables)


def _run(request: Request, outputs: tuple[Tensor, Tensor]) -> None:
    kernel, call = _call(request, outputs)
    if _few_rows(kernel):
        triton_decode.launch(loaded(kernel), call, _split(kernel, call))
    else:
        triton_call.launch(loaded(kernel), call)


def _call(request: Request, outputs: tuple[Tensor, Tensor]) -> tuple[Kernel, Call]:
    placed, variant = served(request, target_of(request.query.device))
    values = values_for(placed, variant)
    return values.kernel, call_of(placed, values, outputs)


def _few_rows(kernel: Kernel) -> bool:
    return kernel.variant.family == "decode"


def _split(kernel: Kernel, call: Call) -> Split:
    return Split.of(call, kernel.schedule.block_k, _heads_differ(kernel))


@functools.lru_cache(maxsize=1024)
def _heads_differ(kernel: Kernel) -> bool:
    """Asked at every step of a growing cache: kernels are told apart by identity, schedules only by all they hold."""
    return kernel.schedule.heads_differ


# -- calls that were made before --------------------------------------------------------------------------------------


class Prepared(NamedTuple):
    """Everything that a call starts, but for addresses and the stream.

    room: entries of the memory between two kernels, and their type; none where there are none.
    """

    gpu: Gpu
    steps: tuple[Ready, ...]
    room: tuple[int, torch.dtype, torch.device] | None

    def __call__(self, tensors: Sequence[Tensor | None]) -> None:
        """Start it. tensors: query, key, value, output, log-sum-exp, zero keys, extra keys and extra values, shaped and laid out as they
        were, in the layout of the call; then q_len, kv_len and q_offset, where a GPU has one of them.
        """
        addresses = [0 if tensor is None else tensor.data_ptr() for tensor in tensors]
        if self.room is not None:
            entries, dtype, device = self.room
            room = torch.empty(entries, dtype=dtype, device=device)  # torch keeps the memory until the launches are over
            addresses.append(room.data_ptr())
        gpu = self.gpu
        if gpu.driver.current() == gpu.index:
            self._start(addresses)
        else:
            with torch.cuda.device(gpu.index):
                self._start(addresses)

    def _start(self, addresses: Sequence[int]) -> None:
        stream = self.gpu.driver.stream(self.gpu.index)
        for step in self.steps:
            step(stream, addresses)


class Each(NamedTuple):
    """The launches of several parts of a call."""

    parts: tuple[Prepared, ...]

    def __call__(self, tensors: Sequence[Tensor | None]) -> None:
        for part in self.parts:
            part(tensors)


def prepare(request: Request) -> Prepared | Each | None:
    """What it takes to carry out requests that differ from `request` in addresses only; None where there is nothing to start.

    In the interpreter nothing is prepared.
    """
    if gpu_of(request.query.device) is None or nothing_to_do(request):
        return None
    outputs = request.new_outputs()
    whole = (request.query, request.key, request.value, *outputs, request.zero_keys, *(request.extra or (None, None)))
    found = tuple(_prepared(each.request, (each.of_rows(outputs[0]), each.of_rows(outputs[1])), whole) for each in parts(request))
    return found[0] if len(found) == 1 else Each(found)


def prepare_backward(request: Request, saved: Saved, room: Room, tables: Sequence[str]) -> PreparedBackward | None:
    """What it takes to carry out backward passes that differ in addresses only; see `prepared_backward`."""
    from .prepared_backward import prepared_backward  # only training needs it

    return prepared_backward(request, saved, room, tables)


def _prepared(request: Request, outputs: tuple[Tensor, Tensor], whole: Sequence[Tensor | None]) -> Prepared:
    built, call = _call(request, outputs)
    kernel, gpu = loaded(built), gpu_of(request.query.device)
    assert gpu is not None
    assert isinstance(kernel, GpuKernel)
    names = ("query", "key", "value", "out", "lse", "zero_keys", *EXTRA)
    sources = {name: (at, each) for name, (at, each) in zip(names, enumerate(whole), strict=True) if each is not None}
    sources.update(sources_of_lengths(request, len(whole)))
    if not _few_rows(built):
        steps = triton_call.starts(kernel, call)
        return Prepared(gpu, tuple(kernel.ready_for(step, gpu, sources) for step in steps), None)
    split = _split(built, call)
    room = triton_decode.room_of(call, split)
    if room is not None:
        last = len(whole) + (len(SPANS) if request.left else 0)
        sources |= {"sums": (last, room), "weights": (last, room)}
    steps = triton_decode.starts(kernel, call, split, room)
    size = None if room is None else (room.numel(), room.dtype, room.device)
    return Prepared(gpu, tuple(kernel.ready_for(step, gpu, sources) for step in steps), size)
