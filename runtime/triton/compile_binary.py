"""Triton kernels compiled for a GPU that need not be here: the binary, how it is launched, and what it uses of the GPU.

binary = binary_of_plan(plan, "sm_90")          # or: binary_of(kernel, plan, "sm_90", special), of a kernel that is loaded already
binary.layout.to_json(), binary.code
"""

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
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, CompiledKernel

from ...codegen.print_triton import names_of
from ...codegen.triton_arguments import LENGTHS
from ...ir.expr import Kind
from ...ir.plan import Plan
from ...passes.costs.gpu_limits import limits_of
from ...passes.costs.gpu_resources import most_registers
from ..gpu.gpu_binary import HIDDEN, SIZES, Binary, Fixed, Layout, Slot, Specialisation
from .kernel import ALIGNED, ALIGNMENT_BYTES, BYTES, INDEX, Loaded, Signature, load, meant, options

TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_100": GPUTarget("cuda", 100, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
    "gfx950": GPUTarget("hip", "gfx950", 64),
}
POINTERS = {"f32": "*fp32", "bf16": "*bf16", "f16": "*fp16", "f64": "*fp64", "bool": "*i1"}


@dataclass(frozen=True, slots=True)
class Resources:
    """What one program takes.

    registers: per thread. shared_bytes: per program.
    spills:    NVIDIA: bytes of local memory per thread; AMD: vector registers spilled.
    """

    registers: int
    spills: int
    shared_bytes: int


@dataclass(frozen=True)
class Compiled:
    """A compiled kernel: `assembly` is PTX or AMD GCN."""

    binary: Binary
    assembly: str
    resources: Resources

    @property
    def code(self) -> bytes:
        return self.binary.code


@dataclass(frozen=True, slots=True)
class Variant:
    """What a launch decides of a kernel's text, for those who compile ahead of any; a launch itself says it in `specialisation`.

    lse: the log-sum-exp is wanted; of a backward kernel, it has a gradient.
    lengths: names of LENGTHS that are there.
    split:   of a decode kernel: several programs share the keys of a row, and `merge` adds up what they leave.
    rows:    of a decode kernel: rows of a tile, of all its query heads.
    """

    narrow: bool = True
    aligned: bool = True
    lse: bool = True
    lengths: frozenset[str] = frozenset()
    split: bool = True
    rows: int = 0
    clipped: bool = False
    tf32: bool = False

    def special(self, plan: Plan, order: Sequence[str]) -> Specialisation:
        """Of the kernel of `plan` whose arguments are `order`."""
        fixed = {name: value for name, value in self._fixed(plan).items() if name in order}
        aligned = [name for name in order if name in ALIGNED and name not in fixed and self.aligned]
        return Specialisation(tuple(sorted(fixed.items())), tuple(sorted(aligned)))

    def _fixed(self, plan: Plan) -> dict[str, Fixed]:
        absent = [name for name in LENGTHS if name not in self.lengths]
        optional = {"forward": "lse", "backward_queries": "grad_lse"}
        if not self.lse and plan.family in optional:
            absent.append(optional[plan.family])
        if not self.split:
            absent += ["sums", "weights"]
        return {
            **dict.fromkeys(absent),
            "INDEX": INDEX[self.narrow],
            "UNIT": ALIGNMENT_BYTES // BYTES[plan.dtype] if self.aligned else 1,
            "OPERAND": plan.dtype,
            "PRECISION": "tf32" if self.tf32 else "ieee",
            "CLIPPED": self.clipped,
            "BLOCK_Q": self.rows or plan.block_q,
        }


def binary_of_plan(plan: Plan, target: str, variant: Variant | None = None, *, merge: bool = False) -> Binary:
    """The binary of a plan; of a decode plan the one that merges what splits leave, where `merge`.

    Raises:
        NotImplementedError: `target` is not one of TARGETS, or Triton has no kernel for the plan.
    """
    from .toolchain import render  # with it comes jinja2

    source = render(plan)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"{source.entry}.py")
        path.write_text(source.text, encoding="utf-8")
        kernel = load(path, Signature.of(plan, source), interpret=False)
        return compiled(kernel, plan, target, variant, merge=merge).binary


def cross_compile(kernel: Loaded, plan: Plan, target: str, variant: Variant | None = None) -> Compiled:
    """Compile a kernel that was loaded with `interpret=False`.

    Raises:
        NotImplementedError: `target` is not one of TARGETS.
    """
    return compiled(kernel, plan, target, variant)


def compiled(kernel: Loaded, plan: Plan, target: str, variant: Variant | None = None, *, merge: bool = False) -> Compiled:
    """As `cross_compile`; also of the function that merges."""
    order: list[str] = _function(kernel, merge).arg_names
    return specialised(kernel, plan, target, (variant or Variant()).special(plan, order), merge=merge)


def specialised(kernel: Loaded, plan: Plan, target: str, special: Specialisation, *, merge: bool = False) -> Compiled:
    """The kernel as a launch asks for it. Raises: as `cross_compile`."""
    if target not in TARGETS:
        known = ", ".join(f"`{name}`" for name in TARGETS)
        raise NotImplementedError(f"there are no kernels for `{target}`, a GPU that nothing was compiled for yet.\n  write one of {known}")
    source, kinds = _source(kernel, plan, special, merge=merge)
    slots = tuple(Slot(name, kind) for name, kind in kinds.items() if kind != "constexpr")
    family = "merge" if merge else plan.family

    def made(**bound: int) -> Compiled:
        with knobs.compilation.scope():
            knobs.compilation.disable_line_info = True  # a binary says nothing of the machine that it was made on
            found = triton.compile(source, target=TARGETS[target], options={**options(kernel.signature), **bound})
        read = _of_nvidia if TARGETS[target].backend == "cuda" else _of_amd
        return read(found, _layout(found.metadata, family, target, (slots, special)))

    first = made()
    room = _room(target, kernel.signature.num_warps)
    held_down = family == "forward" and first.resources.spills > 0 and first.resources.registers < room
    return made(maxnreg=room) if held_down else first


def _source(kernel: Loaded, plan: Plan, special: Specialisation, *, merge: bool) -> tuple[ASTSource, dict[str, str]]:
    """What Triton compiles, and the type of every argument."""
    function = _function(kernel, merge)
    order: list[str] = function.arg_names
    fixed = dict(special.fixed)
    kinds = {name: "constexpr" if name in fixed else kind for name, kind in ({**types(plan, order), **dict(special.pointers)}).items()}
    missing = [name for name in order if name.isupper() and name not in fixed]
    if missing or not fixed.keys() <= set(order):
        raise ValueError(f"`{kernel.signature.entry}` lacks values of {missing}, or has no arguments {sorted(fixed.keys() - set(order))}")
    source = ASTSource(
        fn=function,
        signature=kinds,
        constexprs={name: meant(name, value) for name, value in special.fixed},
        attrs={(order.index(name),): [["tt.divisibility", ALIGNMENT_BYTES]] for name in special.aligned},
    )
    return source, kinds


def _room(target: str, warps: int) -> int:
    """Registers a thread may have that the assembler can be told of; 0 where it holds none back.

    NVIDIA's would rather spill a few bytes than run fewer programs at once, unless it is told a bound.
    """
    return most_registers(limits_of(target), warps) if TARGETS[target].backend == "cuda" else 0


def _function(kernel: Loaded, merge: bool) -> Any:  # noqa: ANN401 (a function of Triton's)
    return kernel.merge if merge else kernel.function


def _layout(metadata: Any, family: str, target: str, arguments: tuple[tuple[Slot, ...], Specialisation]) -> Layout:  # noqa: ANN401
    slots, special = arguments
    return Layout(
        entry=metadata.name,
        target=target,
        family=family,
        slots=(*slots, *(Slot(name, "*i8") for name in HIDDEN)),
        special=special,
        threads=metadata.num_warps * TARGETS[target].warp_size,  # of a kernel that specialises warps: all of them
        shared_bytes=metadata.shared,
        ctas=metadata.num_ctas,
        scratch_bytes=getattr(metadata, "global_scratch_size", 0),
        scratch_alignment=getattr(metadata, "global_scratch_align", 1),
        cooperative=bool(metadata.launch_cooperative_grid),
        programmatic=bool(getattr(metadata, "launch_pdl", False)),
    )


def types(plan: Plan, order: Sequence[str]) -> dict[str, str]:
    """Triton's type of every argument, in the order of the kernel."""
    names = names_of(plan.parameters, plan.tables)
    real = "fp64" if plan.dtype == "f64" else "fp32"
    known = dict.fromkeys(ALIGNED, POINTERS[plan.dtype]) | dict.fromkeys(
        ("lse", "delta", "grad_lse", "sums", "weights", "zero_keys"), f"*{real}"
    )
    known |= dict.fromkeys(LENGTHS, "*i64") | {"scale": real}
    known |= {name: POINTERS.get(table.dtype, f"*{table.dtype}") for table, name in names.tables.items()}
    known |= {names.symbol(symbol): real for symbol in plan.parameters if symbol.kind is Kind.FLOAT}
    known |= {name: f"*{real}" for name in order if re.fullmatch(r"sum\d+", name)}
    known |= {name: "*i64" for name in order if re.fullmatch(r"entry\d+", name)}
    return {name: known.get(name, "constexpr" if name.isupper() else "i64") for name in order}


# -- what came of it --------------------------------------------------------------------------------------------------


def _of_nvidia(made: CompiledKernel, layout: Layout) -> Compiled:
    cubin: bytes = made.asm["cubin"]
    ptx: str = made.asm["ptx"]
    declared = re.findall(r"\.param \.[a-z](\d+)", _found(r"(?s)\.visible \.entry (.*?)\n\)", ptx))
    _require_sizes([int(bits) // 8 for bits in declared], layout)
    usage = _cuobjdump("-res-usage", cubin)
    registers, stack = (int(_found(rf"{what}:(\d+)", usage)) for what in ("REG", "STACK"))
    return Compiled(Binary(layout, cubin), ptx, Resources(registers, stack, made.metadata.shared))


def _of_amd(made: CompiledKernel, layout: Layout) -> Compiled:
    assembly: str = made.asm["amdgcn"]
    declared = re.findall(r"\.size: +(\d+)\n +\.value_kind: +(?:by_value|global_buffer)", assembly)
    _require_sizes([int(size) for size in declared], layout)
    registers, spilled = (int(_found(rf"\.{what}:\s*(\d+)", assembly)) for what in ("vgpr_count", "vgpr_spill_count"))
    return Compiled(Binary(layout, made.asm["hsaco"]), assembly, Resources(registers, spilled, made.metadata.shared))


def _require_sizes(declared: list[int], layout: Layout) -> None:
    """Raise unless the binary declares its arguments as the layout packs them."""
    packed = [SIZES[slot.code] for slot in layout.slots]
    if declared != packed:
        raise ValueError(
            f"`{layout.entry}` takes arguments of {declared} bytes, and Lacuna would give it {packed}.\n"
            "  write a version of Triton that constraints.txt names"
        )


def machine_code(made: Compiled) -> str:
    """What the processor executes, as text: SASS of a binary for NVIDIA, GCN of one for AMD."""
    return _cuobjdump("-sass", made.code) if made.binary.layout.target.startswith("sm_") else made.assembly


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
