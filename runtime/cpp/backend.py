"""The C++ backend: every machine with a compiler."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch import Tensor

from ..kernels.variant import Variant
from ..launches.launch_values import values_of
from ..parts.views_of_request import parts
from ..request.request import Request
from .call import Arguments, BesideArguments, CppKernel
from .launch import arguments_of, loaded, toolchain_of
from .threads import thread_count
from .token_orders import ordered
from .variants import target_here, variant_of

if TYPE_CHECKING:
    from ..request.gradients import Gradients, Saved


Addresses = tuple[int, ...]
"""Of query, key, value, output, log-sum-exp, zero keys, extra keys and extra values, in bytes; 0 of what there is not."""


def run(request: Request) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp of `request`, as `Request.new_outputs` lays them out."""
    out, lse = request.new_outputs()
    launches = _launches(request, (out, lse))
    if launches is None:
        return out.zero_(), lse.fill_(-torch.inf)
    launches((request.query, request.key, request.value, out, lse, request.zero_keys, *(request.extra or (None, None))))
    return out, lse


def run_backward(request: Request, saved: Saved, tables: frozenset[str]) -> Gradients:
    """Gradients of query, key, value and of `tables`."""
    from .backward import run_backward  # only training needs it: an import costs every process that starts

    return run_backward(request, saved, tables)


def prepare(request: Request) -> Launch | Launches | None:
    """What it takes to carry out requests that differ from `request` in addresses only; None where there is nothing to compute."""
    return _launches(request, request.new_outputs())


BESIDE = ("zero_keys", "extra_k", "extra_v")
"""What kernels call them."""


class Launch(NamedTuple):
    """A kernel and its arguments, but for the addresses of query, key, value, outputs and what rows see beside the pattern.

    kept:  what the arguments point to.
    start: bytes from the start of each of these tensors to what the kernel reads or writes of it.
    """

    kernel: CppKernel
    arguments: Arguments
    kept: list[object]
    start: Addresses = (0,) * 8

    def __call__(self, tensors: Sequence[Tensor | None]) -> None:
        """Fill output and log-sum-exp, the fourth and fifth tensor; all have the shapes and strides of the request.

        Then come zero keys, extra keys and extra values; a kernel that takes none of them need not be given any.
        """
        query, key, value, out, lse = cast("Sequence[Tensor]", tensors[:5])
        arguments = type(self.arguments).from_buffer_copy(self.arguments)  # its own: several threads may be here
        q, k, v, to_out, to_lse, *more = self.start
        arguments.q, arguments.k, arguments.v = query.data_ptr() + q, key.data_ptr() + k, value.data_ptr() + v
        arguments.out, arguments.lse = out.data_ptr() + to_out, lse.data_ptr() + to_lse
        if isinstance(arguments, BesideArguments):
            for name, tensor, offset in zip(BESIDE, tensors[5:], more, strict=True):
                setattr(arguments, name, None if tensor is None else tensor.data_ptr() + offset)
        arguments.threads = thread_count()
        self.kernel(arguments)


class Launches(NamedTuple):
    """One launch for each part of a request."""

    each: tuple[Launch, ...]

    def __call__(self, tensors: Sequence[Tensor | None]) -> None:
        """As `Launch`; the tensors are those of the whole request."""
        for launch in self.each:
            launch(tensors)


def _launches(request: Request, outputs: tuple[Tensor, Tensor]) -> Launch | Launches | None:
    nothing = outputs[0].numel() == 0 and outputs[1].numel() == 0
    if nothing or request.k_len == 0 or request.batch == 0 or request.kv_heads == 0:
        return None
    whole = _addresses(request, outputs)
    found: list[Launch] = []
    for each in parts(request):
        part = (each.of_rows(outputs[0]), each.of_rows(outputs[1]))
        inner = ordered(each.request)
        launch = launch_of(inner, variant_of(inner, target_here()), part)
        start = tuple(mine - first for mine, first in zip(_addresses(inner, part), whole, strict=True))
        found.append(launch._replace(start=start))
    return found[0] if len(found) == 1 else Launches(tuple(found))


def _addresses(request: Request, outputs: tuple[Tensor, Tensor]) -> Addresses:
    out, lse = outputs
    tensors = (request.query, request.key, request.value, out, lse, request.zero_keys, *(request.extra or (None, None)))
    return tuple(0 if each is None else each.data_ptr() for each in tensors)


def launch_of(request: Request, variant: Variant, outputs: tuple[Tensor, Tensor]) -> Launch:
    """A launch of one kernel; there is something to compute."""
    values = values_of(request, variant, toolchain_of(variant.target))
    return Launch(loaded(values.kernel), *arguments_of(request, values, outputs))
