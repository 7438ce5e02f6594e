"""Which GPU a device of torch is, and what starts kernels there."""

# torch's annotations are partial.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnnecessaryComparison=false
from __future__ import annotations

import contextlib
import functools
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from ...ir.target import Target
from ..kernels.shelves import changed
from ..tensors.host_numbers import CLAIMED
from .driver import Driver, driver_here

AnyDriver = TypeVar("AnyDriver", bound=Driver)


@dataclass(frozen=True, slots=True)
class Gpu:
    """index: of the device, as torch counts."""

    target: Target
    driver: Driver
    index: int
    device: torch.device


_claims: dict[str, Gpu] = {}


def gpu_of(device: torch.device) -> Gpu | None:
    """The GPU that `device` is; None for the CPU, which Triton's interpreter serves."""
    if device.type == "cpu":
        return _claims.get("cpu")
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


@contextlib.contextmanager
def claimed(target: str, driver: AnyDriver) -> Generator[AnyDriver]:
    """Take tensors on the CPU for tensors on a GPU that `driver` stands for: all that happens before a launch can be seen without one.

    target: `sm_90`, `gfx942`.
    """
    before = dict(_claims)
    CLAIMED.add("cpu")
    _claims["cpu"] = Gpu(Target("triton", target), driver, 0, torch.device("cpu"))
    changed()
    try:
        yield driver
    finally:
        _claims.clear()
        CLAIMED.clear()
        CLAIMED.update(before)
        _claims.update(before)
        changed()
