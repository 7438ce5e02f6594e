"""The lists of tiles that a launch brings, and what is said where the budget of finding them ends."""

from __future__ import annotations

import functools
import warnings

import numpy as np

from ...ir.advice import advice
from ...ir.program import Program
from ...ir.schedule import Schedule
from ...passes.program.call_values import Launch
from ..process.callers_line import depth_of_caller

REMEDY = "a condition of `q - k`, or of `q` and `k` apart, where there is one: it is found exactly; `lacuna.explain` says what was done"


def tile_lists(schedule: Schedule, launch: Launch) -> dict[str, np.ndarray]:
    """Tables of the tiles of a schedule that reads them from lists.

    Raises:
        TooManyTiles: there are more than are listed.
    """
    from ...passes.schedules.known_parts import classified  # few patterns need it, and every start would load it

    found = classified(schedule.program, (schedule.block_q, schedule.block_k), launch, schedule.together)
    if found.untold:
        say_untold(schedule.program)
    return found.arrays


@functools.lru_cache(maxsize=256)
def say_untold(program: Program) -> None:
    """Warn, once for a program, that some tiles are partial because nobody could tell."""
    what = f"some tiles of `{program.name}` could not be told within the budget of a refinement, and run with the mask"
    warnings.warn(advice(what, REMEDY), RuntimeWarning, stacklevel=depth_of_caller())


@functools.lru_cache(maxsize=256)
def say_covered(program: Program) -> None:
    """Warn, once for a program, that every tile which a wider mask holds is met."""
    what = f"`{program.name}` has too many tiles to list them, and every tile that its affine conditions leave runs with the mask"
    warnings.warn(advice(what, REMEDY), RuntimeWarning, stacklevel=depth_of_caller())
