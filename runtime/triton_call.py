"""Triton kernels: rendered text loaded as a module and launched on tensors.

CPU tensors are served by Triton's interpreter, one tile at a time in numpy: for tests and for looking.
"""

# Triton comes without types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
import triton.language as tl
from torch import Tensor
from triton.runtime.interpreter import InterpretedFunction

from ..codegen.triton import LENGTHS, argument_names
from ..ir.plan import Plan
from ..ir.source import Source
from .request import UNIFORM, Ragged
from .triton_interpreter import interpret as interpret_module
from .triton_interpreter import interpreting

ALIGNMENT_BYTES = 16  # of the widest load
TYPES = {"f32": tl.float32, "bf16": tl.bfloat16, "f16": tl.float16, "f64": tl.float64}


class Argument(NamedTuple):
    """A table or a parameter: its name in the program and in the kernel, and the rank of a table."""

    name: str
    argument: str
    rank: int = 0


@dataclass(frozen=True, slots=True)
class Signature:
    """How to launch a kernel; `asdict` of it is JSON, and `Signature.of_json` reads that."""

    entry: str
    dtype: str
    block_q: int
    parameters: tuple[Argument, ...]
    tables: tuple[Argument, ...]
    num_warps: int
    num_stages: int

    @classmethod
    def of(cls, plan: Plan, source: Source) -> Signature:
        parameters, tables = argument_names(plan)
        return cls(
            source.entry,
            plan.dtype,
            plan.block_q,
            tuple(Argument(symbol.name, name) for symbol, name in zip(plan.parameters, parameters, strict=True)),
            tuple(Argument(table.name, name, table.rank) for table, name in tables.items()),
            plan.num_warps,
            plan.num_stages,
        )

    @classmethod
    def of_json(cls, manifest: Mapping[str, Any]) -> Signature:
        lists: dict[str, Any] = {name: tuple(Argument(*each) for each in manifest[name]) for name in ("parameters", "tables")}
        return cls(**{**manifest, **lists})


@dataclass(frozen=True, slots=True)
class Kernel:
    """A loaded kernel: `function` is Triton's jitted function, or an interpreted one."""

    signature: Signature
    function: Any

    @property
    def interpreted(self) -> bool:
        return isinstance(self.function, InterpretedFunction)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One launch.

    query, out: [batch, heads, q_len, D], [..., Dv], any strides but a contiguous last dimension; packed sequences: [1, heads, total, D].
    key, value: [batch or 1, kv_heads, k_len, D], [..., Dv], likewise.
    lse:        f32 (f64 for f64) [batch, heads, q_len] or packed [1, heads, total]; None where it is not wanted.
    batch:      items, packed ones counted. q_len, k_len: rows and keys each item has room for; packed: those of the longest.
    ragged:     i64[batch] tensors on the device, or None.
    parameters, tables: value or tensor of each, by name.
    narrow:     every intermediate of mask and schedule is known to fit 32 bits.
    tf32:       float32 products may be rounded to TF32.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    out: Tensor
    lse: Tensor | None = None
    batch: int
    q_len: int
    k_len: int
    offset: int = 0
    scale: float
    ragged: Ragged = UNIFORM
    parameters: Mapping[str, int | float] = field(default_factory=dict[str, int | float])
    tables: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    narrow: bool = False
    tf32: bool = False


# -- loading ----------------------------------------------------------------------------------------------------------


def load(path: Path, signature: Signature, *, interpret: bool) -> Kernel:
    """The kernel in the file `path`, which must stay: Triton reads the text of a function from its file.

    Raises:
        AttributeError: the file has no function `signature.entry`.
    """
    spec = importlib.util.spec_from_file_location(f"lacuna_triton_{signature.entry}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"`{path}` is not a file that Python can load.\n  write a name that ends in `.py`")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if interpret:
        interpret_module(module)
    return Kernel(signature, getattr(module, signature.entry))


# -- launching --------------------------------------------------------------------------------------------------------


def launch(kernel: Kernel, call: Call) -> None:
    """Write `call.out` and `call.lse`. Rows past an item's length become 0 and -inf where the tensors have room for them."""
    programs = _tiles(kernel, call) * call.query.shape[1] * call.batch
    if programs == 0:
        return
    grid, given = (programs,), arguments(kernel, call)
    if kernel.interpreted:
        with interpreting():
            kernel.function[grid](**given)
    else:
        with torch.cuda.device(call.query.device):
            kernel.function[grid](**given, **options(kernel.signature))


def options(signature: Signature) -> dict[str, Any]:
    """Compiler options, the same for a launch and for a binary."""
    return {"num_warps": signature.num_warps, "num_stages": signature.num_stages, "enable_fp_fusion": True}


def _tiles(kernel: Kernel, call: Call) -> int:
    return -(-call.q_len // kernel.signature.block_q)


def arguments(kernel: Kernel, call: Call) -> dict[str, Any]:
    """Every argument of the kernel, by name."""
    signature = kernel.signature
    operand = TYPES[signature.dtype]
    if kernel.interpreted and operand is tl.bfloat16:
        operand = tl.float32  # the interpreter multiplies the bits of bfloat16 as integers; its products are exact in float32
    unit, strides = strides_of(call)
    return {
        "query": call.query,
        "key": call.key,
        "value": call.value,
        "out": call.out,
        "lse": call.lse,
        **{name: getattr(call.ragged, name) for name in LENGTHS},
        "heads": call.query.shape[1],
        "group": call.query.shape[1] // max(call.key.shape[1], 1),
        "q_len": call.q_len,
        "k_len": call.k_len,
        "offset": call.offset,
        "scale": call.scale,
        **strides,
        **_of_tables(signature, call.tables),
        **{each.argument: _number(call.parameters[each.name]) for each in signature.parameters},
        "INDEX": tl.int32 if call.narrow else tl.int64,
        "UNIT": unit,
        "OPERAND": operand,
        "PRECISION": "tf32" if call.tf32 else "ieee",
    }


def _number(value: float) -> int | float:
    """`value` as Triton takes it: a truth value is an integer."""
    return int(value) if isinstance(value, bool) else value


def strides_of(call: Call) -> tuple[int, dict[str, int]]:
    """The unit that strides are counted in, and every stride. A dimension of one entry has stride 0: shared keys, packed sequences.

    A unit of 16 bytes tells the compiler that each row begins where a wide load may.
    """
    tensors = {"q": call.query, "k": call.key, "v": call.value, "out": call.out}
    found = {f"{name}_{axis}": stride for name, tensor in tensors.items() for axis, stride in _strides(tensor).items()}
    unit = ALIGNMENT_BYTES // call.query.element_size()
    aligned = all(stride % unit == 0 for stride in found.values())
    aligned = aligned and all(tensor.data_ptr() % ALIGNMENT_BYTES == 0 for tensor in tensors.values())
    unit = unit if aligned else 1
    rest = {"batch": 0, "head": 0, "token": 0} if call.lse is None else _strides(call.lse)
    return unit, {name: stride // unit for name, stride in found.items()} | {f"lse_{axis}": stride for axis, stride in rest.items()}


def _strides(tensor: Tensor) -> dict[str, int]:
    sizes = zip(("batch", "head", "token"), tensor.shape, tensor.stride(), strict=False)
    return {axis: 0 if size == 1 else stride for axis, size, stride in sizes}


def _of_tables(signature: Signature, tables: Mapping[str, Tensor]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each in signature.tables:
        table = tables[each.name]
        if table.numel() == 0:
            table = table.new_zeros([1] * each.rank)  # never read for a result, but an index is held inside it
        found[each.argument] = table
        found |= {f"{each.argument}_stride{axis}": stride for axis, stride in enumerate(table.stride())}
        found |= {f"{each.argument}_size{axis}": size for axis, size in enumerate(table.shape)}
    return found
