"""From what a user bound to a pattern to what expressions read: numbers for symbols, one tensor per table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...ir.advice import advice
from ...ir.expr import Kind, Table
from ...ir.program import Program
from .bound_tensors import tensor_of

Bindings = Mapping[str, object]

DTYPES = {
    "i8": torch.int8,
    "i16": torch.int16,
    "i32": torch.int32,
    "i64": torch.int64,
    "u8": torch.uint8,
    "u16": torch.uint16,
    "u32": torch.uint32,
    "u64": torch.uint64,
    "bool": torch.bool,
    "f16": torch.float16,
    "bf16": torch.bfloat16,
    "f32": torch.float32,
    "f64": torch.float64,
}


def parameters(program: Program, bindings: Bindings) -> dict[str, int | float | bool]:
    """The value of every declared symbol, as a Python number.

    Raises:
        ValueError: a symbol has no value.
    """
    return {symbol.name: number(symbol.kind, bound(bindings, symbol.name)) for symbol in program.parameters}


def number(kind: Kind, value: object) -> int | float | bool:
    scalar: Any = value.item() if isinstance(value, Tensor) else value
    if kind is Kind.INT:
        return int(scalar)
    return bool(scalar) if kind is Kind.BOOL else float(scalar)


def bound(bindings: Bindings, name: str) -> object:
    if name not in bindings:
        raise ValueError(advice(f"parameter `{name}` has no value", f"`pattern({name}=...)`"))
    return bindings[name]


def tables(program: Program, bindings: Bindings, length: int, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """The tensor of every declared table, on `device`.

    length: positions from 0 on that a table of segments must answer for, in tokens.
    """
    return {table.name: entries(table, bound(bindings, table.name), length).to(device) for table in program.tables}


def arrays(tables: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """What masks may read of `tables`: those that hold no reals, on the host."""
    return {name: table.cpu().numpy() for name, table in tables.items() if not table.is_floating_point()}


def entries(table: Table, value: object, length: int) -> Tensor:
    """The tensor that `table` reads: `value` itself, or the segment of each position where `value` holds the offsets of segments.

    What holds nothing, and is read where nothing counts alone, has one entry of 0.

    Raises:
        TypeError: `value` is no tensor.
        ValueError: `value` has another rank than the program was written for.
        OverflowError: an entry does not fit in 64 bits with a sign.
    """
    offsets = getattr(value, "offsets", None)
    if offsets is None and not hasattr(value, "shape"):
        raise TypeError(advice(f"table `{table.name}` is bound to a {type(value).__name__}", "a tensor: `torch.as_tensor(...)`"))
    given = tensor_of(value)
    tensor = given if offsets is None else segment_ids(given, length)
    if not tensor.numel():  # of nothing, nothing can be read, and kernels hold every index inside
        tensor = tensor.new_zeros(tuple(max(size, 1) for size in tensor.shape))
    tensor = tensor.reshape(1) if tensor.dim() == 0 else tensor
    if tensor.dim() != table.rank:
        raise ValueError(
            advice(
                f"table `{table.name}` has rank {table.rank} in the program, but the tensor bound to it has shape {tuple(tensor.shape)}",
                f"a tensor with {table.rank} dimensions",
            )
        )
    _require_64_bits(table, tensor)
    return tensor


def _require_64_bits(table: Table, tensor: Tensor) -> None:
    if tensor.dtype == torch.uint64 and (tensor.view(torch.int64) < 0).any():
        most = int(tensor.cpu().numpy().max())
        what = f"table `{table.name}` of torch.uint64 holds {most}, and integers are 64 bits with a sign"
        fix = f"entries below 2 ** 63; what is only tested for equality may be `{table.name}.view(torch.int64)`"
        raise OverflowError(advice(what, fix))


def segment_ids(offsets: Tensor, length: int) -> Tensor:
    """i32[..., length]: how many of `offsets` after the first are at or before each position.

    Offsets that decrease are raised to the largest before them, so ids never decrease. Positions past the last offset are one more segment.

    offsets: integer[..., segments + 1], in tokens.
    """
    if offsets.shape[-1] == 0:
        return torch.zeros(*offsets.shape[:-1], length, dtype=torch.int32, device=offsets.device)
    rising = torch.cummax(offsets.to(torch.int64), dim=-1).values
    positions = torch.arange(length, device=offsets.device).expand(*offsets.shape[:-1], length).contiguous()
    return torch.searchsorted(rising[..., 1:].contiguous(), positions, right=True).to(torch.int32)
