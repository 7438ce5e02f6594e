"""The schedule of a pattern at concrete lengths: what `lacuna.schedule` returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ...ir.schedule import Schedule
from ...passes.program.call_values import Launch


@dataclass(frozen=True)
class TileSchedule:
    """The schedule of a pattern at concrete lengths.

    exact:       the classes are the definitions, not looser.
    closed_form: no array whose size depends on a length is needed.
    route:       `symbolic`, `axes`, `bound` or `refined`.
    """

    schedule: Schedule
    launch: Launch
    arrays: Mapping[str, np.ndarray]

    @property
    def exact(self) -> bool:
        return self.schedule.exact

    @property
    def closed_form(self) -> bool:
        return self.schedule.closed_form

    @property
    def route(self) -> str:
        return self.schedule.route

    def tiles(self, b: int = 0, h: int = 0) -> np.ndarray:
        """uint8[q_tiles, k_tiles] of one (b, h): 0 empty, 1 partial, 2 full."""
        from ...passes.schedules.tile_classes import tiles

        return tiles(self.schedule, self.launch, self.arrays, b, h)

    def __str__(self) -> str:
        return str(self.schedule)
