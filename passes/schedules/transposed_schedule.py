"""The schedule seen from the keys: which query tiles each key tile needs. What a backward pass for keys and values walks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...ir.schedule import Schedule
from ..program.call_values import Launch
from .transpose import transposed_launch, transposed_prepared

if TYPE_CHECKING:
    from .prepare import Prepared


def transposed_schedule(prepared: Prepared, block: tuple[int, int], launch: Launch, *, covered: bool = False) -> Schedule:
    """Which query tiles each key tile meets, for a prepared program that is not transposed yet.

    block: edges of query and key tiles, as the forward schedule has them. launch: not transposed either.
    covered: as in `derive_prepared`.
    """
    from .derive import derive_prepared  # with it comes the set library, which a warm start does without

    turned, mirrored = transposed_prepared(prepared), transposed_launch(launch)
    return derive_prepared(turned, (block[1], block[0]), mirrored, for_kernel=True, covered=covered).schedule
