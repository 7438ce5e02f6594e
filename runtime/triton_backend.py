"""The Triton backend: NVIDIA and AMD; CPU tensors are served by Triton's interpreter, slowly, for tests and for looking."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from . import triton_backward, triton_decode
from .gradients import Gradients, Saved
from .kernels import Kernel
from .request import Request
from .residue_classes import by_class, residue_classes
from .triton_call import launch
from .triton_decode import Split
from .triton_launch import call_of, loaded, target_of, toolchain, values_for, variant_of

__all__ = ["run", "run_backward", "toolchain"]


def run(request: Request) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp of `request`, as `Request.new_outputs` lays them out."""
    out, lse = request.new_outputs()
    if out.numel() == 0 and lse.numel() == 0:
        return out, lse
    if request.k_len == 0 or request.batch == 0 or request.kv_heads == 0:
        return out.zero_(), lse.fill_(-torch.inf)
    for each in residue_classes(request):
        _run(each.request, (each.of_rows(out), each.of_rows(lse)))
    return out, lse


def run_backward(request: Request, saved: Saved, tables: frozenset[str]) -> Gradients:
    """Gradients of query, key, value and of `tables`."""
    return by_class(request, saved, tables, triton_backward.run_backward)


def _run(request: Request, outputs: tuple[Tensor, Tensor]) -> None:
    values = values_for(request, variant_of(request, target_of(request.query.device)))
    kernel, call = loaded(values.kernel), call_of(request, values, outputs)
    if values.kernel.variant.family == "decode":
        triton_decode.launch(kernel, call, Split.of(call, values.kernel.schedule.block_k, _heads_differ(values.kernel)))
    else:
        launch(kernel, call)


@functools.lru_cache(maxsize=1024)
def _heads_differ(kernel: Kernel) -> bool:
    """Asked at every step of a growing cache: kernels are told apart by identity, schedules only by all they hold."""
    return kernel.schedule.heads_differ
