"""Schedules that are known by the bounds of their terms, compared with the tiles that the values of a call have.

`doc[q] == doc[k]` is derived for every table: a tile is met where the least and the greatest id of its rows and of its keys allow it. For
one table those may be all the tiles there are, or a few more. Who looks at a schedule is told which; kernels follow the bounds, which cost
a launch next to nothing.
"""

# Numpy's arrays carry no element type here.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ...ir.schedule import Counters
from ..bounds.range_table import Array
from ..bounds.refine import extents, refined
from ..bounds.work import TooManyTiles
from ..program.call_values import Launch
from .derive import Derivation
from .listed import listed_schedule
from .tile_classes import tile_counts, tiles

MOST_TILES = 1 << 22  # of all (b, h), that are compared


def exactly(found: Derivation, launch: Launch, arrays: Mapping[str, Array]) -> Derivation:
    """The same schedule where its tiles are those of the definition, which it then says; else lists of those that are.

    arrays: bounds of the terms. Where it takes too much to tell, what was found stays what it is.
    """
    schedule = found.schedule
    batch, heads = extents(schedule.program, launch)
    q_tiles, k_tiles = tile_counts(schedule, launch)
    if schedule.exact or schedule.route == "cover" or batch * heads * q_tiles * k_tiles > MOST_TILES:
        return found
    try:
        told = refined(schedule.program, (schedule.block_q, schedule.block_k), launch)
    except TooManyTiles:
        return found
    if told.untold:
        return found
    listed = listed_schedule(schedule.program, (schedule.block_q, schedule.block_k), 1)
    more = loose = 0
    for b, h in np.ndindex(batch, heads):
        bounded, real = tiles(schedule, launch, arrays, b, h), tiles(listed, launch, {**launch.tables, **told.arrays}, b, h)
        more += int(((bounded != 0) & (real == 0)).sum())
        loose += int((bounded != real).sum())
    counters = Counters(told.points, told.boxes, schedule.counters.fallbacks)
    if not loose:
        return replace(found, schedule=replace(schedule, exact=True, counters=counters))
    reason = f"kernels follow the bounds of its terms, by which {more} tiles more are met and {loose - more} full ones partial"
    counters = counters._replace(fallbacks=(*schedule.counters.fallbacks, reason))
    return replace(found, schedule=replace(listed, counters=counters), arrays=told.arrays)
