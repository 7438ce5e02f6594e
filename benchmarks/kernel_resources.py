"""What Triton's kernels take of GPUs that need not be here: `python benchmarks/kernel_resources.py`.

Registers of a thread, spills (NVIDIA: bytes of local memory a thread; AMD: vector registers) and shared memory of a program, in bytes, for
the kernels of a window in bfloat16 with the tiles that a call would choose. The forward ones must not spill, and tests hold that.
"""

from __future__ import annotations

from collections.abc import Iterator

from lacuna import patterns
from lacuna.ir.target import Target
from lacuna.passes.launch import Launch
from lacuna.runtime.kernels import Variant, kernel_of
from lacuna.runtime.triton_backward import block_of
from lacuna.runtime.triton_binary import cross_compile
from lacuna.runtime.triton_launch import loaded, toolchain

BLOCKS = {"forward": (128, 64), "decode": (16, 64)}


def resources() -> Iterator[str]:
    """A line for each kernel and GPU."""
    yield "kernel            D    tile       target   registers  spills  shared bytes"
    for family in ("forward", "decode", "backward_queries", "backward"):
        for dim in (64, 128):
            block = BLOCKS.get(family) or block_of(family, "bf16", (dim, dim))
            pattern = patterns.sliding_window(256)
            variant = Variant(pattern.program, Target("triton", "sm_90"), "bf16", (dim, dim), block, False, family)
            kernel = kernel_of(variant, Launch(1024, 1024, parameters={"window": 256}), toolchain())
            for target in ("sm_80", "sm_90", "gfx942"):
                made = cross_compile(loaded(kernel), kernel.plan, target).resources
                tile = f"{block[0]} x {block[1]}"
                yield f"{family:17} {dim:3}  {tile:9}  {target:7}  {made.registers:9}  {made.spills:6}  {made.shared_bytes:12}"


if __name__ == "__main__":
    for line in resources():
        print(line, flush=True)
