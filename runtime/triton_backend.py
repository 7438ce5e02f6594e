"""The Triton backend: NVIDIA and AMD; CPU tensors are served by Triton's interpreter, slowly, for tests and for looking."""

from __future__ import annotations

import functools
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from ..ir.plan import Plan, Target
from ..ir.source import Source
from .kernels import Kernel, Toolchain, Variant
from .launches import values_of
from .request import NAMES, Request
from .triton_call import Call, Signature, launch, load
from .triton_call import Kernel as TritonKernel

WARPS, STAGES = 8, 3


def run(request: Request) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp of `request`, as `Request.new_outputs` lays them out."""
    out, lse = request.new_outputs()
    if out.numel() == 0 and lse.numel() == 0:
        return out, lse
    if request.k_len == 0 or request.batch == 0 or request.kv_heads == 0:
        return out.zero_(), lse.fill_(-torch.inf)
    target = target_of(request.query.device)
    values = values_of(request, variant_of(request, target), toolchain())
    call = Call(
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
    launch(_loaded(values.kernel), call)
    return out, lse


def target_of(device: torch.device) -> Target:
    if device.type == "cpu":
        return Target("triton", "interpreter")
    major, minor = torch.cuda.get_device_capability(device)
    return Target("triton", f"sm_{major}{minor}")


def variant_of(request: Request, target: Target) -> Variant:
    """Tile edges by dtype and dimensions: what fits shared memory and registers without spilling."""
    moved = request.offset != 0 or request.ragged.offsets is not None
    wide = request.query.element_size() > 2 or max(request.head_dim, request.value_dim) > 128
    block = (64, 32) if wide or target.name == "interpreter" else (128, 64)
    if request.q_len <= 16:
        block = (16, block[1])
    return Variant(request.program, target, NAMES[request.query.dtype], (request.head_dim, request.value_dim), block, moved)


@functools.cache
def toolchain() -> Toolchain:
    return Toolchain(f"triton {version('triton')}", _render, _write, ".py", _tuned)


def _tuned(plan: Plan) -> Plan:
    return replace(plan, num_warps=WARPS, num_stages=STAGES if plan.dtype in ("f16", "bf16") else 2)


def _render(plan: Plan) -> Source:
    from ..codegen.triton import render  # with it comes jinja2, which a warm start does without

    return render(plan)


def _write(source: Source, path: Path) -> None:
    """Triton compiles when it is first launched, and keeps what it compiles in a cache of its own."""
    path.write_text(source.text, encoding="utf-8")


@functools.lru_cache(maxsize=1024)
def _loaded_at(path: Path, signature: Signature, interpret: bool) -> TritonKernel:
    return load(path, signature, interpret=interpret)


def _loaded(kernel: Kernel) -> TritonKernel:
    return _loaded_at(kernel.path, _signature(kernel), kernel.variant.target.name == "interpreter")


@functools.lru_cache(maxsize=1024)
def _signature(kernel: Kernel) -> Signature:
    return Signature.of(kernel.plan, Source("python", kernel.entry, ""))
