"""A driver for a GPU that is not here: it writes down what it was asked to launch, and launches nothing.

    with claimed("sm_90", Recording()) as driver, torch.no_grad():
        lacuna.attention(query, key, value, pattern, backend="triton")          # tensors on the CPU; outputs stay unwritten
    driver.launches[0].arguments["heads"]

Everything before the launch happens as on a GPU, compiling included.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Mapping
from typing import NamedTuple

from .driver import Frame
from .gpu_binary import Binary, Layout


class Launched(NamedTuple):
    """One launch as the GPU would have met it: numbers read back from the memory that the driver was given."""

    layout: Layout
    programs: int
    arguments: Mapping[str, float]
    stream: int


class Recording:
    """As `driver.Driver`. keep: remember launches; without, all that is left of one is what leads to it."""

    def __init__(self, *, keep: bool = True) -> None:
        self.keep = keep
        self.launches: list[Launched] = []
        self.binaries: list[Binary] = []

    def function(self, binary: Binary, device: int) -> int:
        """Handles count the binaries."""
        if binary not in self.binaries:
            self.binaries.append(binary)
        return self.binaries.index(binary) + 1

    def launch(self, function: int, frame: Frame, stream: int) -> None:
        if self.keep:
            self.launches.append(launched(frame, stream))

    def stream(self, device: int) -> int:
        return 0

    def current(self) -> int:
        return 0


def launched(frame: Frame, stream: int) -> Launched:
    """What is in the memory of a frame, found through its pointers as a driver finds it."""
    layout, grid = frame.layout, frame.config
    pointers = (ctypes.c_void_p * len(layout.slots)).from_address(frame.pointers_at)
    values: dict[str, float] = {}
    for slot, pointer in zip(layout.slots, pointers, strict=True):
        assert pointer is not None
        size = struct.calcsize(slot.code)
        values[slot.name] = struct.unpack(slot.code, ctypes.string_at(pointer, size))[0]
    return Launched(layout, grid.grid_x // layout.ctas, values, stream)
