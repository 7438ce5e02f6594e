"""The Triton backend: NVIDIA and AMD; CPU tensors are served by Triton's interpreter, slowly, for tests and for looking."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from . import triton_decode
from .kernels import Kernel
from .request import Request
from .triton_backward import run_backward
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
    values = values_for(request, variant_of(request, target_of(request.query.device)))
    kernel, call = loaded(values.kernel), call_of(request, values, (out, lse))
    if values.kernel.variant.family == "decode":
        triton_decode.launch(kernel, call, Split.of(call, values.kernel.schedule.block_k, _heads_differ(values.kernel)))
    else:
        launch(kernel, call)
    return out, lse


@functools.lru_cache(maxsize=1024)
def _heads_differ(kernel: Kernel) -> bool:
    """Asked at every step of a growing cache: kernels are told apart by identity, schedules only by all they hold."""
    return kernel.schedule.heads_differ
