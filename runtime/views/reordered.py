"""The schedule of a pattern over the positions of an order, as kernels derive it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ...ir.advice import advice
from ...ir.order import Given
from ...ir.program import Program
from ...passes.program.call_values import Launch
from ...passes.schedules.derive import Derivation, derive, derive_prepared
from ...passes.schedules.prepare import prepare
from ...passes.schedules.sequence_schedule import scheduled
from ..choices.positions import over_positions
from ..launches.term_arrays import term_arrays
from .tile_schedule import TileSchedule

if TYPE_CHECKING:
    from ..request.token_order import TokenOrder


def derived(program: Program, launch: Launch, block: tuple[int, int], order: TokenOrder) -> TileSchedule:
    """launch: over tokens.

    Raises:
        ValueError: the order is one of other tokens.
    """
    side, extents = order.order.rows, program.space.extents if program.space.rank > 1 else ()
    if {launch.q_len, launch.k_len} != {math.prod(order.extents)} or (extents and extents != order.extents):
        wrong = f"`order` is one of {order.extents} tokens, for {launch.q_len} queries and {launch.k_len} keys"
        raise ValueError(advice(wrong, "an order with the extents of the pattern"))
    over = over_positions(program, order.order)
    tables = {table.name: given.numpy() for table, given in zip(order.order.tables, order.tables, strict=True)}
    launch = launch._replace(q_len=side.positions, k_len=side.positions, tables={**launch.tables, **tables})
    found = _by_axis(over, launch, block, order) or derive(over, *block, launch)
    return TileSchedule(found.schedule, launch, {**found.arrays, **term_arrays(found.schedule, launch)})


def _by_axis(over: Program, launch: Launch, block: tuple[int, int], order: TokenOrder) -> Derivation | None:
    """Where tiles are boxes."""
    side = order.order.rows
    if isinstance(side, Given) or block != (side.tokens, side.tokens):
        return None
    prepared = prepare(over, launch, shifted=False)
    found = scheduled(prepared, over, order.order, launch)
    return Derivation(found) if found else derive_prepared(prepared, block, launch)
