"""Schedules at concrete lengths with the arrays they read; derived once and reused while the values they hold for are the same."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ...ir.expr import OFFSET, Binary, Op, Q
from ...ir.program import Program
from ...ir.schedule import Schedule
from ...passes.bounds.widths import require_64_bits
from ...passes.program.binding import bound_values
from ...passes.program.call_values import Launch
from ...passes.program.flatten_grid import FlattenGrid
from ...passes.schedules.derive import Derivation, derive
from ...passes.schedules.tile_classes import tile_row
from .term_arrays import term_arrays
from .tile_lists import say_covered, say_untold

MOST_PER_PROGRAM = 8


@dataclass(frozen=True)
class Tiles:
    """A schedule and everything it reads at one launch."""

    schedule: Schedule
    launch: Launch
    arrays: Mapping[str, np.ndarray]

    def row(self, b: int, h: int, i: int) -> np.ndarray:
        """uint8[k_tiles]: the class of each key tile of query tile `i`."""
        return tile_row(self.schedule, self.launch, self.arrays, (b, h, i))[0]


def tiles_of(program: Program, block: tuple[int, int], launch: Launch) -> Tiles:
    """The tiles of `program`, whose schedule may come from an earlier call.

    Raises:
        TooWide, MeaninglessShift: an integer of the program may leave 64 bits, or it may shift by a negative number.
    """
    require_64_bits(FlattenGrid()(program).substituted({Q: Binary(Op.ADD, Q, OFFSET)} if launch.offset else {}), launch)
    derivation = _derivation(program, block, launch)
    return Tiles(derivation.schedule, launch, {**derivation.arrays, **term_arrays(derivation.schedule, launch)})


@functools.lru_cache(maxsize=256)
def _kept(program: Program, block: tuple[int, int], shifted: bool) -> list[Derivation]:
    """Derivations of one program; the list grows as launches with other values come."""
    return []


def _derivation(program: Program, block: tuple[int, int], launch: Launch) -> Derivation:
    kept = _kept(program, block, launch.offset != 0)
    found = next((each for each in kept if holds(each, program, launch)), None)
    if found is None:
        found = derive(program, *block, launch)
        if found.schedule.route == "cover":
            say_covered(program)
        elif found.schedule.counters.untold:
            say_untold(program)
        kept.insert(0, found)
        del kept[MOST_PER_PROGRAM:]
    return found


def forget_derivations() -> None:
    """Drop every schedule of this process, as a new one would start."""
    _kept.cache_clear()


def holds(derivation: Derivation, program: Program, launch: Launch) -> bool:
    """Whether what was bound in `derivation` has the same values in `launch`; what was read out of tables never has."""
    if derivation.schedule.route not in ("symbolic", "axes", "bound") and launch.tables:
        return False
    values: dict[str, object] = {"Lq": launch.q_len, "Lk": launch.k_len, "offset": launch.offset, **launch.parameters}
    values |= bound_values(program, launch)
    return all(name in values and values[name] == value for name, value in derivation.bound.items())
