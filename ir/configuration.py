"""How a Triton program is cut: what is chosen of a kernel beside its text."""

from __future__ import annotations

from typing import NamedTuple

from .order import Order


class Configuration(NamedTuple):
    """One way to run a family of Triton kernels.

    block_q, block_k: edges of the tiles of queries and of keys, in tokens; powers of two from 16 on.
    warps:            of a program.   stages: tiles of a loop that are under way at once.
    registers:        that a thread may take; 0: as many as the compiler likes.
    """

    block_q: int
    block_k: int
    warps: int
    stages: int
    registers: int = 0

    @property
    def block(self) -> tuple[int, int]:
        return self.block_q, self.block_k

    def __str__(self) -> str:
        return f"{self.block_q} x {self.block_k}, {self.warps} warps, {self.stages} stages"


class Cut(NamedTuple):
    """How a grid is cut for a Triton kernel. order: None where tiles are runs of row-major tokens."""

    configuration: Configuration
    order: Order | None = None

    def __str__(self) -> str:
        return f"{self.configuration}, {'row-major' if self.order is None else self.order}"
