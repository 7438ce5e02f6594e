"""How many query heads that share keys share a tile of rows of a forward kernel.

Packed or not, a tile has as many rows, and reads each key once for all of them. Packed, it reaches over fewer tokens: it meets fewer tiles
at the edges of a mask, more of those it meets are full, and calls of few rows fill it. So packing costs nothing, unless

    the group is no multiple of the heads in a tile     then rows of the last tile of a group stand empty
    the mask reads `h`                                  then each head meets the tiles of all that share its tile

and it is done where neither is the case. A kernel for 4 heads in a tile serves every group, so groups share few kernels.
"""

from __future__ import annotations

import functools

from ...ir.expr import names
from ...ir.program import Program

MOST_TOGETHER = 8  # tiles keep 16 tokens of each head; more would save little


@functools.lru_cache(maxsize=1024)
def heads_together(program: Program, group: int) -> int:
    """Query heads in a tile, a power of two. group: query heads of a key head."""
    if "h" in names(program.mask):
        return 1
    return min(MOST_TOGETHER, group & -group) if group else 1
