"""The C++ backend: every machine with a compiler."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from .cpp_call import Arguments, CppKernel
from .cpp_launch import arguments_of, loaded, target_here, toolchain_of, variant_of
from .kernels import Variant
from .launches import values_of
from .request import Request
from .threads import thread_count

if TYPE_CHECKING:
    from .gradients import Gradients, Saved


def run(request: Request) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp of `request`, as `Request.new_outputs` lays them out."""
    out, lse = request.new_outputs()
    launch = _launch(request, (out, lse))
    if launch is None:
        return out.zero_(), lse.fill_(-torch.inf)
    launch(request.query, request.key, request.value, out, lse)
    return out, lse


def run_backward(request: Request, saved: Saved, tables: frozenset[str]) -> Gradients:
    """Gradients of query, key, value and of `tables`."""
    from .cpp_backward import run_backward  # only training needs it: an import costs every process that starts

    return run_backward(request, saved, tables)


def prepare(request: Request) -> Launch | None:
    """What it takes to carry out requests that differ from `request` in addresses only; None where there is nothing to compute."""
    return _launch(request, request.new_outputs())


class Launch(NamedTuple):
    """A kernel and its arguments, but for the addresses of query, key, value and outputs.

    kept: what the arguments point to.
    """

    kernel: CppKernel
    arguments: Arguments
    kept: list[object]

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, out: Tensor, lse: Tensor) -> None:
        """Fill `out` and `lse`. Tensors have the shapes and strides of the request, in the layout of the call or in its own."""
        arguments = Arguments.from_buffer_copy(self.arguments)  # its own: several threads may be here
        arguments.q, arguments.k, arguments.v = query.data_ptr(), key.data_ptr(), value.data_ptr()
        arguments.out, arguments.lse = out.data_ptr(), lse.data_ptr()
        arguments.threads = thread_count()
        self.kernel(arguments)


def _launch(request: Request, outputs: tuple[Tensor, Tensor]) -> Launch | None:
    nothing = outputs[0].numel() == 0 and outputs[1].numel() == 0
    if nothing or request.k_len == 0 or request.batch == 0 or request.kv_heads == 0:
        return None
    return launch_of(request, variant_of(request, target_here()), outputs)


def launch_of(request: Request, variant: Variant, outputs: tuple[Tensor, Tensor]) -> Launch:
    """A launch of one kernel; there is something to compute."""
    values = values_of(request, variant, toolchain_of(variant.target))
    return Launch(loaded(values.kernel), *arguments_of(request, values, outputs))
