"""Looking at a pattern before running it: its schedule at concrete lengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

from ...ir.pattern import Pattern
from ..request.head_orders import ByHead, OrderGiven, OrdersOfHeads, asked
from ..request.merged_program import resolved
from .derived import derived, launch_of
from .lengths_given import block_given
from .tile_schedule import TileSchedule

if TYPE_CHECKING:
    from ..request.token_order import TokenOrder
    from .by_head import SchedulesOfHeads


@overload
def schedule(
    pattern: Pattern | None,
    q_len: int | None = None,
    kv_len: int | None = None,
    *,
    block: tuple[int, int] = (128, 64),
    heads: int = 1,
    batch: int = 1,
    order: TokenOrder | None = None,
) -> TileSchedule: ...
@overload
def schedule(
    pattern: Pattern | None,
    q_len: int | None = None,
    kv_len: int | None = None,
    *,
    block: tuple[int, int] = (128, 64),
    heads: int = 1,
    batch: int = 1,
    order: OrdersOfHeads | Sequence[TokenOrder | None] | ByHead,
) -> SchedulesOfHeads: ...
def schedule(
    pattern: Pattern | None,
    q_len: int | None = None,
    kv_len: int | None = None,
    *,
    block: tuple[int, int] = (128, 64),
    heads: int = 1,
    batch: int = 1,
    order: OrderGiven = None,
) -> TileSchedule | SchedulesOfHeads:
    """Derive which tiles of `block` tokens are empty, partial and full.

    q_len, kv_len: tokens; those of the pattern's grid or sequence where neither is given, else kv_len is q_len.
    order:         from `lacuna.orders`: tiles hold the tokens of so many positions of it. One for each head gives schedules of heads.

    Raises:
        ValueError: a length, a tile edge, `heads` or `batch` is no positive integer; orders are ones of other tokens, or too few.
        TypeError: there is no length, and the pattern does not know how many tokens there are.
    """
    block = block_given(block)
    launch, program = launch_of(pattern, (q_len, kv_len), (batch, heads)), resolved(pattern, None)[0]
    given = None if order is None else asked(order, heads)
    if isinstance(given, OrdersOfHeads):
        from .by_head import schedules_of_heads

        return schedules_of_heads(program, launch, block, given)
    return derived(program, launch, block, given)[0]
