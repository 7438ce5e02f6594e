"""Triton kernels: which one serves a request, how it is built, and the call that it is launched with."""

# torch's types are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import functools
from typing import cast

import torch
from torch import Tensor

from ...codegen.triton_arguments import END
from ...ir.target import Target
from ...passes.costs.packing import heads_together
from ..choices.configurations import FEW_ROWS, configured
from ..choices.cuts import cut
from ..gpu.devices import gpu_of
from ..kernels.kernel_of import Kernel
from ..kernels.variant import Variant
from ..launches.launch_values import Values, values_of
from ..request.extra_keys import seeing_beside
from ..request.request import NAMES, Request
from .call import Call
from .gpu_kernel import GpuKernel, Sources
from .kernel import Kernel as TritonKernel
from .kernel import Signature, arguments_named, load
from .toolchain import toolchain

INTERPRETER = Target("triton", "interpreter")


def target_of(device: torch.device) -> Target:
    gpu = gpu_of(device)
    return INTERPRETER if gpu is None else gpu.target


def served(request: Request, target: Target) -> tuple[Request, Variant]:
    """The kernel of a forward pass, and the request as it takes it: over positions, where the tokens of a grid are taken in boxes."""
    return cut(unconfigured(request, target), request)


def variant_of(request: Request, target: Target) -> Variant:
    """The kernel of a forward pass over row-major tokens."""
    return configured(unconfigured(request, target), request)


def unconfigured(request: Request, target: Target) -> Variant:
    """The kernel of a forward pass, but for its tiles."""
    moved = request.moved
    variant = Variant(request.program, target, NAMES[request.query.dtype], (request.head_dim, request.value_dim), (0, 0), moved)
    variant = seeing_beside(variant, request)
    if request.q_len <= FEW_ROWS and request.asked is None:
        # A cache that grows from one key passes offset 0 on its way: one kernel serves every offset.
        return variant._replace(shifted=True, family="decode")
    return variant._replace(together=heads_together(request.program, request.heads // max(1, request.kv_heads)))


def values_for(request: Request, variant: Variant) -> Values:
    return values_of(request, variant, toolchain())


def call_of(request: Request, values: Values, outputs: tuple[Tensor, Tensor]) -> Call:
    """The launch of a kernel that reads and writes tensors of a request."""
    out, lse = outputs
    return Call(
        query=request.query,
        key=request.key,
        value=request.value,
        out=out,
        lse=lse,
        zero_keys=request.zero_keys,
        extra=request.extra,
        batch=request.batch,
        q_len=request.row_positions,
        k_len=request.key_positions,
        offset=END if request.from_end else request.offset,
        scale=request.scale,
        ragged=request.ragged,
        parameters=values.parameters,
        tables=values.tables,
        narrow=values.narrow,
        tf32=bool(torch.backends.cuda.matmul.allow_tf32),
    )


SPANS = ("q_lens", "k_lens", "offsets")


def sources_of_lengths(request: Request, first: int) -> Sources:
    """Lengths and offsets that stay on the GPU, where they come as tensors number `first` and the two after it."""
    given = enumerate((getattr(request.ragged, name) for name in SPANS), first)
    return {name: each for name, each in zip(SPANS, given, strict=True) if name in request.left}


# -- building ---------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1024)
def loaded(kernel: Kernel) -> TritonKernel:
    shipped = kernel.on_gpu()
    if shipped is not None:
        return cast("TritonKernel", shipped)
    variant = kernel.variant
    parameters, tables = arguments_named(kernel.parameters, kernel.tables)
    signature = Signature(
        kernel.entry,
        variant.dtype,
        kernel.schedule.block_q,
        parameters,
        tables,
        variant.warps,
        variant.stages,
        kernel.schedule.together,
        registers=variant.registers,
    )
    return load(kernel.path, signature, interpret=True) if variant.target == INTERPRETER else GpuKernel(kernel, signature)
