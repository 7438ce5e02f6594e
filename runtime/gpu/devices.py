"""Which GPU a device of torch is, and what starts kernels there."""

# torch's annotations are partial.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnnecessaryComparison=false
from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch

from ...ir.target import Target
from .driver import Driver, driver_here


@dataclass(frozen=True, slots=True)
class Gpu:
    """index: of the device, as torch counts."""

    target: Target
    driver: Driver
    index: int
    device: torch.device


CLAIMS: dict[str, Gpu] = {}
"""GPUs that types of devices stand for, see `calls.claimed`."""


def gpu_of(device: torch.device) -> Gpu | None:
    """The GPU that `device` is; None for the CPU, which Triton's interpreter serves."""
    if device.type == "cpu":
        return CLAIMS.get("cpu")
    index: int | None = device.index
    return _found(torch.cuda.current_device() if index is None else index)


@functools.cache
def _found(index: int) -> Gpu:
    device = torch.device("cuda", index)
    return Gpu(Target("triton", name_of(device)), driver_here(), index, device)


def name_of(device: torch.device) -> str:
    """What compilers call a GPU of torch's."""
    if torch.version.hip is not None:  # `cuda` is what torch calls AMD's GPUs too
        properties: Any = torch.cuda.get_device_properties(device)
        return str(properties.gcnArchName).partition(":")[0]  # of `gfx942:sramecc+:xnack-`
    major, minor = torch.cuda.get_device_capability(device)
    return f"sm_{major}{minor}"
