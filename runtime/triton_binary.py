"""Triton kernels compiled for a GPU that need not be here, and what they use of it."""

# Triton comes without types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import triton
import triton.backends.nvidia
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, CompiledKernel

from ..codegen.print_triton import names_of
from ..codegen.triton_arguments import LENGTHS
from ..ir.expr import Kind
from ..ir.plan import Plan
from .triton_kernel import ALIGNMENT_BYTES, TYPES, Kernel, options

TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_100": GPUTarget("cuda", 100, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
POINTERS = {"f32": "*fp32", "bf16": "*bf16", "f16": "*fp16", "f64": "*fp64", "bool": "*i1"}
BYTES = {"f32": 4, "bf16": 2, "f16": 2, "f64": 8}
ALIGNED = ("query", "key", "value", "out", "rise", "grad_query", "grad_key", "grad_value")


@dataclass(frozen=True, slots=True)
class Resources:
    """What one program takes.

    registers: per thread. shared_bytes: per program.
    spills:    NVIDIA: bytes of local memory per thread; AMD: vector registers spilled.
    """

    registers: int
    spills: int
    shared_bytes: int


@dataclass(frozen=True, slots=True)
class Compiled:
    """A compiled kernel: `code` is what the driver loads, `assembly` is PTX or AMD GCN."""

    code: bytes
    assembly: str
    resources: Resources


@dataclass(frozen=True, slots=True)
class Variant:
    """What a launch decides of a kernel's text, as in `triton_call.Call`.

    lse: the log-sum-exp is wanted; of a backward kernel, it has a gradient.
    """

    narrow: bool = True
    aligned: bool = True
    lse: bool = True
    lengths: frozenset[str] = frozenset()


def cross_compile(kernel: Kernel, plan: Plan, target: str, variant: Variant | None = None) -> Compiled:
    """Compile a kernel that was loaded with `interpret=False`.

    Raises:
        NotImplementedError: `target` is not one of TARGETS.
    """
    if target not in TARGETS:
        known = ", ".join(f"`{name}`" for name in TARGETS)
        raise NotImplementedError(f"there are no kernels for `{target}`, a GPU that nothing was compiled for yet.\n  write one of {known}")
    variant = variant or Variant()
    fixed = constants(plan, variant)
    order: list[str] = kernel.function.arg_names
    signature = {name: "constexpr" if name in fixed else kind for name, kind in types(plan, order).items()}
    aligned = [name for name in order if name in ALIGNED and variant.aligned]
    attributes = {(order.index(name),): [["tt.divisibility", ALIGNMENT_BYTES]] for name in aligned}
    source = ASTSource(fn=kernel.function, signature=signature, constexprs=fixed, attrs=attributes)
    compiled = triton.compile(source, target=TARGETS[target], options=options(kernel.signature))
    read = _of_nvidia if TARGETS[target].backend == "cuda" else _of_amd
    return read(compiled)


def constants(plan: Plan, variant: Variant) -> dict[str, Any]:
    """Arguments that are part of the kernel's text."""
    absent = {name: None for name in LENGTHS if name not in variant.lengths}
    optional = {"forward": "lse", "backward_queries": "grad_lse"}
    if not variant.lse and plan.family in optional:
        absent[optional[plan.family]] = None
    return {
        **absent,
        "INDEX": tl.int32 if variant.narrow else tl.int64,
        "UNIT": ALIGNMENT_BYTES // BYTES[plan.dtype] if variant.aligned else 1,
        "OPERAND": TYPES[plan.dtype],
        "PRECISION": "ieee",
        **({"CLIPPED": False} if plan.family == "backward" else {}),
        **({"BLOCK_Q": plan.block_q} if plan.family == "decode" else {}),
    }


def types(plan: Plan, order: Sequence[str]) -> dict[str, str]:
    """Triton's type of every argument, in the order of the kernel."""
    names = names_of(plan.parameters, plan.tables)
    real = "fp64" if plan.dtype == "f64" else "fp32"
    known = dict.fromkeys(ALIGNED, POINTERS[plan.dtype]) | dict.fromkeys(("lse", "delta", "grad_lse", "sums", "weights"), f"*{real}")
    known |= dict.fromkeys(LENGTHS, "*i64") | {"scale": real}
    known |= {name: POINTERS.get(table.dtype, f"*{table.dtype}") for table, name in names.tables.items()}
    known |= {names.symbol(symbol): real for symbol in plan.parameters if symbol.kind is Kind.FLOAT}
    known |= {name: f"*{real}" for name in order if re.fullmatch(r"sum\d+", name)}
    known |= {name: "*i64" for name in order if re.fullmatch(r"entry\d+", name)}
    return {name: known.get(name, "constexpr" if name.isupper() else "i64") for name in order}


def _of_nvidia(compiled: CompiledKernel) -> Compiled:
    cubin: bytes = compiled.asm["cubin"]
    usage = _cuobjdump("-res-usage", cubin)
    registers, stack = (int(_found(rf"{what}:(\d+)", usage)) for what in ("REG", "STACK"))
    return Compiled(cubin, compiled.asm["ptx"], Resources(registers, stack, compiled.metadata.shared))


def _of_amd(compiled: CompiledKernel) -> Compiled:
    assembly: str = compiled.asm["amdgcn"]
    registers, spilled = (int(_found(rf"\.{what}:\s*(\d+)", assembly)) for what in ("vgpr_count", "vgpr_spill_count"))
    return Compiled(compiled.asm["hsaco"], assembly, Resources(registers, spilled, compiled.metadata.shared))


def _cuobjdump(option: str, cubin: bytes) -> str:
    """The report of the tool that comes with Triton."""
    tool = Path(triton.backends.nvidia.__path__[0], "bin", "cuobjdump")
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        return subprocess.run([tool, option, file.name], check=True, capture_output=True, text=True).stdout


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise ValueError(f"the report of the binary says nothing of `{pattern}`:\n{text[:2000]}")
    return match[1]
