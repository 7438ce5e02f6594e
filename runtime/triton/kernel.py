"""Triton kernels: rendered text, interpreted, or compiled and started through the driver; what both take, by name.

CPU tensors are served by Triton's interpreter, one tile at a time in numpy: for tests and for looking.
"""

# Triton comes without types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch import Tensor

from ...codegen.print_triton import parameter_arguments, table_arguments
from ...codegen.triton_arguments import AXES
from ..gpu.gpu_binary import Fixed
from .needed import require_triton

if TYPE_CHECKING:
    from ...ir.plan import Plan
    from ...ir.source import Source

ALIGNMENT_BYTES = 16  # of the widest load
EXTRA = ("extra_keys", "extra_values")
ALIGNED = ("query", "key", "value", "out", "rise", "grad_query", "grad_key", "grad_value", "sums", "weights", *EXTRA)
"""Pointers that a kernel may take for multiples of ALIGNMENT_BYTES."""
BYTES = {"f32": 4, "bf16": 2, "f16": 2, "f64": 8}
INDEX = {True: "i32", False: "i64"}
"""What kernels count with, by whether every number is known to fit 32 bits."""
TYPES = {"f32": "float32", "bf16": "bfloat16", "f16": "float16", "f64": "float64", "i32": "int32", "i64": "int64"}
"""What Triton calls the types that arguments in capitals name."""

Given = Mapping[str, "Tensor | Fixed | float"]
"""Every argument of a kernel by name. Names in capitals are part of its text, and so is a tensor that is None."""


class Argument(NamedTuple):
    """A table or a parameter: its name in the program and in the kernel."""

    name: str
    argument: str


@dataclass(frozen=True, slots=True)
class Signature:
    """How to launch a kernel; `asdict` of it is JSON, and `Signature.of_json` reads that.

    block_q: tokens of the tile that a program owns.
    together, persistent, registers: as in `Plan`, `Schedule`.
    """

    entry: str
    dtype: str
    block_q: int
    parameters: tuple[Argument, ...]
    tables: tuple[Argument, ...]
    num_warps: int
    num_stages: int
    together: int = 1
    persistent: int = 0
    registers: int = 0

    @classmethod
    def of(cls, plan: Plan, source: Source) -> Signature:
        named = arguments_named([symbol.name for symbol in plan.parameters], [table.name for table in plan.tables])
        packed = {"together": plan.schedule.together, "persistent": plan.persistent, "registers": plan.registers}
        return cls(source.entry, plan.dtype, plan.block_q, *named, num_warps=plan.num_warps, num_stages=plan.num_stages, **packed)

    @classmethod
    def of_json(cls, manifest: Mapping[str, Any]) -> Signature:
        lists: dict[str, Any] = {name: tuple(Argument(*each) for each in manifest[name]) for name in ("parameters", "tables")}
        return cls(**{**manifest, **lists})


def arguments_named(parameters: Sequence[str], tables: Sequence[str]) -> tuple[tuple[Argument, ...], tuple[Argument, ...]]:
    """What a kernel calls parameters and tables of these names."""
    return (
        tuple(map(Argument, parameters, parameter_arguments(parameters))),
        tuple(map(Argument, tables, table_arguments(tables))),
    )


class Kernel(Protocol):
    """What a backend starts.

    operand: what matrix products take.
    sums:    of a backward kernel: name of the table, and over what one number is a sum, for each gradient that it writes.
    """

    @property
    def signature(self) -> Signature: ...
    @property
    def operand(self) -> str: ...
    @property
    def sums(self) -> tuple[tuple[str, str], ...]: ...
    def run(self, start: Start, device: torch.device) -> None: ...


class Start(NamedTuple):
    """One launch. merge: of the second function of a decode kernel, which adds up what splits left."""

    programs: int
    given: Given
    merge: bool = False


def start(kernel: Kernel, what: Start, device: torch.device) -> None:
    """Run the programs of a launch, where there are any."""
    if what.programs:
        kernel.run(what, device)


# -- loading ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Loaded:
    """A kernel loaded as a module: `function` is Triton's jitted function, to be compiled, or an interpreted one; `merge` likewise."""

    signature: Signature
    function: Any
    sums: tuple[tuple[str, str], ...] = ()
    merge: Any = None
    interpreted: bool = True

    @property
    def operand(self) -> str:
        dtype = self.signature.dtype
        # the interpreter multiplies the bits of bfloat16 as integers; in float32 products are exact
        return "f32" if self.interpreted and dtype == "bf16" else dtype

    def run(self, start: Start, device: torch.device) -> None:
        """In the interpreter."""
        from .interpreter import interpreting

        assert self.interpreted, "a compiled kernel is started through the driver"
        function = self.merge if start.merge else self.function
        with interpreting():
            function[(start.programs,)](**{name: meant(name, value) for name, value in start.given.items()})


class _FromText(SourceFileLoader):
    """Loads the text whose digest was checked; a `.pyc` beside it would be checked by nobody."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def load(path: Path, signature: Signature, *, interpret: bool) -> Loaded:
    """The kernel in the file `path`, which must stay: Triton reads the text of a function from its file.

    Raises:
        AttributeError: the file has no function `signature.entry`.
    """
    name = f"lacuna_triton_{signature.entry}"
    spec = importlib.util.spec_from_file_location(name, path, loader=_FromText(name, str(path)))
    if spec is None or spec.loader is None:
        raise ImportError(f"`{path}` is not a file that Python can load.\n  write a name that ends in `.py`")
    require_triton()
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if interpret:
        from .interpreter import interpret as interpret_module

        interpret_module(module)
    merge = getattr(module, f"{signature.entry}_merge", None)
    return Loaded(signature, getattr(module, signature.entry), tuple(getattr(module, "SUMS", ())), merge, interpret)


def meant(name: str, value: Any) -> Any:  # noqa: ANN401 (what Triton takes)
    """The value of an argument as Triton takes it: types are written as text."""
    if name in ("INDEX", "OPERAND"):
        import triton.language as tl

        return getattr(tl, TYPES[value])
    return value


def options(signature: Signature) -> dict[str, Any]:
    """Options of the compiler."""
    bound = {"maxnreg": signature.registers} if signature.registers else {}
    return {"num_warps": signature.num_warps, "num_stages": signature.num_stages, "enable_fp_fusion": True, **bound}


# -- arguments --------------------------------------------------------------------------------------------------------


def strides_by_axis(tensor: Tensor | None) -> dict[str, int]:
    """Strides for (batch, head, token). A dimension of one entry has stride 0: shared keys, packed sequences."""
    if tensor is None:
        return dict.fromkeys(AXES, 0)
    sizes = zip(AXES, tensor.shape, tensor.stride(), strict=False)
    return {axis: 0 if size == 1 else stride for axis, size, stride in sizes}


def strides_in_units(tensors: Mapping[str, Tensor]) -> tuple[int, dict[str, int]]:
    """The unit that strides are counted in, and every stride.

    A unit of 16 bytes tells the compiler that each row begins where a wide load may.
    """
    found = {f"{name}_{axis}": stride for name, tensor in tensors.items() for axis, stride in strides_by_axis(tensor).items()}
    unit = min(ALIGNMENT_BYTES // tensor.element_size() for tensor in tensors.values())
    aligned = all(stride % unit == 0 for stride in found.values())
    aligned = aligned and all(tensor.data_ptr() % ALIGNMENT_BYTES == 0 for tensor in tensors.values())
    unit = unit if aligned else 1
    return unit, {name: stride // unit for name, stride in found.items()}


def values_by_argument(signature: Signature, parameters: Mapping[str, int | float], tables: Mapping[str, Tensor]) -> dict[str, Any]:
    """Parameters and tables as a kernel takes them."""
    found: dict[str, Any] = {}
    for each in signature.tables:
        table = tables[each.name]
        if table.numel() == 0:
            table = table.new_zeros([1] * table.dim())  # never read for a result, but an index is held inside it
        found[each.argument] = table
        found |= {f"{each.argument}_stride{axis}": stride for axis, stride in enumerate(table.stride())}
        found |= {f"{each.argument}_size{axis}": size for axis, size in enumerate(table.shape)}
    return found | {each.argument: _number(parameters[each.name]) for each in signature.parameters}


def _number(value: float) -> int | float:
    """`value` as Triton takes it: a truth value is an integer."""
    return int(value) if isinstance(value, bool) else value
