"""A GPU that is claimed to be there, for tests and for looking at launches where there is none."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import TypeVar

import torch

from ...ir.target import Target
from ..gpu.devices import CLAIMS, Gpu
from ..gpu.driver import Driver
from ..tensors.host_numbers import CLAIMED
from .prepared_calls import forget_prepared

AnyDriver = TypeVar("AnyDriver", bound=Driver)


@contextlib.contextmanager
def claimed(target: str, driver: AnyDriver) -> Generator[AnyDriver]:
    """Take tensors on the CPU for tensors on a GPU that `driver` stands for: all that happens before a launch can be seen without one.

    target: `sm_90`, `gfx942`.
    """
    before = dict(CLAIMS)
    CLAIMED.add("cpu")
    CLAIMS["cpu"] = Gpu(Target("triton", target), driver, 0, torch.device("cpu"))
    forget_prepared()
    try:
        yield driver
    finally:
        CLAIMS.clear()
        CLAIMED.clear()
        CLAIMED.update(before)
        CLAIMS.update(before)
        forget_prepared()
