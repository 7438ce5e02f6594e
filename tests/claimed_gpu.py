"""A GPU that is claimed to be there: the launches of the whole path, run in Triton's interpreter on what the packed arguments say."""

# Triton comes without types, and tests may look inside.
# pyright: reportPrivateUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import torch
from lacuna.runtime import kernels
from lacuna.runtime.driver import Frame
from lacuna.runtime.recording import Launched, Recording
from lacuna.runtime.triton_kernel import Loaded, Signature, Start, load

DTYPES = {
    "*fp32": torch.float32,
    "*bf16": torch.bfloat16,
    "*fp16": torch.float16,
    "*fp64": torch.float64,
    "*i1": torch.bool,
    "*i8": torch.int8,
    "*i16": torch.int16,
    "*i32": torch.int32,
    "*i64": torch.int64,
}


class Simulated(Recording):
    """Runs what it is asked to launch, from nothing but the bytes in argument memory and the layout of the binary."""

    def launch(self, function: int, frame: Frame, stream: int) -> None:
        super().launch(function, frame, stream)
        run(self.launches[-1])


def run(launched: Launched) -> None:
    layout = launched.layout
    given: dict[str, Any] = dict(layout.special.fixed)
    for slot in layout.slots[:-2]:
        value = launched.arguments[slot.name]
        given[slot.name] = at(int(value), DTYPES[slot.type]) if slot.is_pointer else value
    if given.get("OPERAND") == "bf16":
        given["OPERAND"] = "f32"  # see `Loaded.operand`
    entry = layout.entry.removesuffix("_merge")
    _interpreted(entry).run(Start(launched.programs, given, layout.family == "merge"), torch.device("cpu"))


def at(address: int, dtype: torch.dtype) -> torch.Tensor:
    """A tensor of one entry at an address: kernels only ask where it is."""
    memory = (ctypes.c_char * dtype.itemsize).from_address(address)
    return torch.frombuffer(memory, dtype=dtype)


def _interpreted(entry: str) -> Loaded:
    built = next(each for each in kernels._kernels.values() if each.entry == entry)
    return load(Path(built.path), Signature(entry, built.variant.dtype, 0, (), (), 0, 0), interpret=True)
