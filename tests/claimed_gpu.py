"""A GPU that is claimed to be there: the launches of the whole path, run in Triton's interpreter on what the packed arguments say."""

# Triton comes without types, and tests may look inside.
# pyright: reportPrivateUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Generator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lacuna.runtime.gpu.driver import Frame
from lacuna.runtime.gpu.gpu_binary import Binary, Layout, Specialisation
from lacuna.runtime.gpu.recording import Launched, Recording
from lacuna.runtime.kernels import kernel_of
from lacuna.runtime.triton import compile_binary as triton_binary
from lacuna.runtime.triton import launch as triton_launch
from lacuna.runtime.triton.compile_binary import Compiled, Resources
from lacuna.runtime.triton.gpu_kernel import GpuKernel
from lacuna.runtime.triton.kernel import Loaded, Signature, Start, load

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
    "*u8": torch.uint8,
    "*u16": torch.uint16,
    "*u32": torch.uint32,
    "*u64": torch.uint64,
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
    built = next(each for each in kernel_of._kernels.values() if each.entry == entry)
    return load(Path(built.path), Signature(entry, built.variant.dtype, 0, (), (), 0, 0), interpret=True)


@contextlib.contextmanager
def uncompiled() -> Generator[None]:
    """Binaries are their layouts: all of a launch happens but Triton's compiler, which other tests run."""

    def laid_out(source: Any, target: Any, options: Any) -> SimpleNamespace:  # noqa: ANN401
        facts = {
            "name": source.fn.__name__,
            "num_warps": options["num_warps"],
            "shared": 0,
            "num_ctas": 1,
            "launch_cooperative_grid": False,
        }
        return SimpleNamespace(metadata=SimpleNamespace(**facts))

    def empty(made: object, layout: Layout) -> Compiled:
        return Compiled(Binary(layout, layout.entry.encode()), "", Resources(0, 0, 0))

    def opened(kernel: GpuKernel, special: Specialisation, merge: bool) -> Binary:
        loaded = load(kernel.built.path, kernel.signature, interpret=False)
        return triton_binary.specialised(loaded, kernel.built.plan, kernel.built.variant.target.name, special, merge=merge).binary

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(triton_binary.triton, "compile", laid_out)
        patched.setattr(triton_binary, "_of_nvidia", empty)
        patched.setattr(GpuKernel, "_opened", opened)
        triton_launch.loaded.cache_clear()
        yield
    triton_launch.loaded.cache_clear()
