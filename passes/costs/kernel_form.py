"""What a Triton forward kernel makes of its GPU beside tiles and warps: tensor descriptors, and warps that share work by kind.

By the target, the dtype and the dimensions alone: on where binaries of a window and of a score with slopes were seen to have no more
registers than without, and no spills. Nothing here was timed on a GPU; `benchmarks/gpu.py` times every form.

    descriptors   sm_90 and later, two bytes a number: the tensor unit copies keys and values, threads compute no addresses
    specialised   sm_100, descriptors, dimensions up to 64: with 128 some tiles and masks spill. What Triton 3.6 makes of it for sm_90 is
                  nothing with 8 warps, and an error with 4
    persistent    nowhere: a program that walks tiles takes 20 to 90 registers more, and saves the start of a program for each tile
"""

from __future__ import annotations

from dataclasses import replace

from ...ir.plan import Plan
from ...ir.target import Target

HALF = ("f16", "bf16")
LARGEST_SPECIALISED = 64


def formed(plan: Plan) -> Plan:
    """`plan` in the form that its target is served best by, as far as that is known."""
    descriptors = plan.family == "forward" and plan.dtype in HALF and capability(plan.target) >= 90
    return replace(plan, descriptors=descriptors, specialised=descriptors and _shares_work(plan))


def _shares_work(plan: Plan) -> bool:
    dims = (plan.head_dim, plan.value_dim)
    return capability(plan.target) // 10 == 10 and max(dims) <= LARGEST_SPECIALISED


def capability(target: Target) -> int:
    """Of an NVIDIA GPU, as in `sm_90`; 0 of anything else."""
    return int(target.name[3:]) if target.backend == "triton" and target.name.startswith("sm_") else 0
