"""The C++ backend: every machine with a compiler."""

from __future__ import annotations

import torch
from torch import Tensor

from .cpp_backward import run_backward
from .cpp_launch import arguments_of, loaded, target_here, toolchain_of, variant_of
from .launches import values_of
from .request import Request

__all__ = ["run", "run_backward"]


def run(request: Request) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp of `request`, as `Request.new_outputs` lays them out."""
    out, lse = request.new_outputs()
    if out.numel() == 0 and lse.numel() == 0:
        return out, lse
    if request.k_len == 0 or request.batch == 0 or request.kv_heads == 0:
        return out.zero_(), lse.fill_(-torch.inf)
    target = target_here()
    values = values_of(request, variant_of(request, target), toolchain_of(target))
    arguments, kept = arguments_of(request, values, (out, lse))
    loaded(values.kernel)(arguments)
    del kept
    return out, lse
