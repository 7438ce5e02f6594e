"""What `lacuna.tune` asks of a backend whose kernels it tunes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from ...ir.configuration import Configuration, Cut
from ...ir.order import Order

Run = Callable[[], object]
Tiles = tuple[int, int] | Configuration | Cut | Order | None
"""What is chosen: edges of the tiles of queries and of keys; on a GPU warps and stages with them, on grids boxes too; on the CPU also the
order of tokens, where None is row-major."""


class Tuned(Protocol):
    """The kernel of a request whose tiles are tuned. direction: its family.   ranking: what the model ranks, the best first."""

    @property
    def direction(self) -> str: ...
    @property
    def in_use(self) -> Tiles: ...
    @property
    def ranking(self) -> Sequence[Tiles]: ...
    def keep(self, tiles: Tiles) -> None: ...
    def run_of(self, tiles: Tiles) -> Run: ...
    def quiet(self) -> AbstractContextManager[object]:
        """While it lasts, runs are measured."""
        ...

    def seconds(self, run: Run, repeats: int) -> float:
        """Of one run, on average."""
        ...
