"""Triton kernels: which one serves a request, how it is built, and the call that it is launched with."""

# torch's types are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import functools
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from ..ir.plan import Plan
from ..ir.source import Source
from ..ir.target import Target
from .gpu import gpu_of
from .kernels import Kernel, Toolchain, Variant
from .launches import Values, values_of
from .request import NAMES, Request
from .triton_call import Call
from .triton_gpu import GpuKernel
from .triton_kernel import Kernel as TritonKernel
from .triton_kernel import Signature, arguments_named, load

FEW_ROWS = 16
INTERPRETER = Target("triton", "interpreter")


def target_of(device: torch.device) -> Target:
    gpu = gpu_of(device)
    return INTERPRETER if gpu is None else gpu.target


def variant_of(request: Request, target: Target) -> Variant:
    """Tile edges by dtype and dimensions: what fits shared memory and registers without spilling."""
    moved = request.offset != 0 or request.ragged.offsets is not None
    wide = request.query.element_size() > 2 or max(request.head_dim, request.value_dim) > 128
    block = (64, 32) if wide or target.name == "interpreter" else (128, 64)
    dtype, dims = NAMES[request.query.dtype], (request.head_dim, request.value_dim)
    if request.q_len <= FEW_ROWS:  # a cache that grows from one key passes offset 0 on its way: one kernel serves every offset
        return Variant(request.program, target, dtype, dims, (FEW_ROWS, block[1]), shifted=True, family="decode")
    return Variant(request.program, target, dtype, dims, block, moved)


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
        batch=request.batch,
        q_len=request.q_len,
        k_len=request.k_len,
        offset=request.offset,
        scale=request.scale,
        ragged=request.ragged,
        parameters=values.parameters,
        tables=values.tables,
        narrow=values.narrow,
        tf32=bool(torch.backends.cuda.matmul.allow_tf32),
    )


# -- building ---------------------------------------------------------------------------------------------------------


@functools.cache
def toolchain() -> Toolchain:
    return Toolchain(f"triton {version('triton')}", render, _write, ".py", _tuned)


def _tuned(plan: Plan) -> Plan:
    warps, stages = tuning(plan.family, plan.dtype)
    return replace(plan, num_warps=warps, num_stages=stages)


def tuning(family: str, dtype: str) -> tuple[int, int]:
    """Warps of a program, and stages of its loops."""
    narrow = dtype in ("f16", "bf16")
    if family == "decode":
        return 4, 3 if narrow else 2
    return 8, 3 if narrow and family == "forward" else 2


def render(plan: Plan) -> Source:
    """The text of a plan's kernel."""
    from ..codegen import triton, triton_backward, triton_decode  # with them comes jinja2, which a warm start does without

    renderers = {
        "forward": triton.render,
        "decode": triton_decode.render,
        "backward": triton_backward.render_keys,
        "backward_queries": triton_backward.render_queries,
    }
    return renderers[plan.family](plan)


def _write(source: Source, path: Path) -> None:
    """Binaries are made of it one by one, see `triton_gpu`."""
    path.write_text(source.text, encoding="utf-8")


@functools.lru_cache(maxsize=1024)
def loaded(kernel: Kernel) -> TritonKernel:
    variant = kernel.variant
    warps, stages = tuning(variant.family, variant.dtype)
    parameters, tables = arguments_named(kernel.parameters, kernel.tables)
    signature = Signature(kernel.entry, variant.dtype, kernel.schedule.block_q, parameters, tables, warps, stages)
    return load(kernel.path, signature, interpret=True) if variant.target == INTERPRETER else GpuKernel(kernel, signature)
