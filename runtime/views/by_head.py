"""Schedules of heads whose tokens are in orders of their own, and which orders suit heads of different kinds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from ...ir.advice import advice
from ...ir.head_orders import head_views
from ...ir.program import Program
from ...ir.schedule import Tile
from ...passes.orders.permutations import axes
from ...passes.program.call_values import Launch
from ...passes.program.head_program import kinds_of_heads, of_heads
from ..request.head_orders import OrdersOfHeads
from ..request.token_order import TokenOrder
from .derived import derived
from .tile_schedule import TileSchedule


class HeadsInOrder(NamedTuple):
    """Heads that share an order. program: theirs alone, whose head 0 is the first of them. launch: of them, over tokens."""

    heads: range
    order: TokenOrder | None
    program: Program
    launch: Launch

    def __str__(self) -> str:
        return f"heads {', '.join(map(str, self.heads))} in {'row-major tokens' if self.order is None else self.order}"


def heads_in_order(program: Program, launch: Launch, given: OrdersOfHeads) -> Iterator[HeadsInOrder]:
    """Views of heads, as calls where each has its own keys take them.

    Raises:
        ValueError: there are more or fewer orders than heads.
    """
    if len(given.orders) != launch.heads:
        wrong = f"`order` has {len(given.orders)} orders, and there are {launch.heads} `heads`"
        raise ValueError(advice(wrong, f"`heads={len(given.orders)}`, or one order for each head"))
    common = tuple(zip(given.of_head, kinds_of_heads(program, launch), strict=True))
    for view in head_views(common, launch.heads):
        own, moved = of_heads(program, view.heads, launch)
        there = launch._replace(heads=len(view.heads), parameters={**launch.parameters, **moved})
        yield HeadsInOrder(view.heads, given.orders[view.heads[0]], own, there)


@dataclass(frozen=True)
class SchedulesOfHeads:
    """The schedules of a pattern at concrete lengths, where heads have orders of their own: what `lacuna.schedule` returns then."""

    each: tuple[tuple[HeadsInOrder, TileSchedule], ...]

    @property
    def exact(self) -> bool:
        """Whether the classes are the definitions for all heads."""
        return all(found.exact for _, found in self.each)

    @property
    def closed_form(self) -> bool:
        return all(found.closed_form for _, found in self.each)

    def tiles(self, b: int = 0, h: int = 0) -> np.ndarray:
        """uint8[q_tiles, k_tiles] of one (b, h) over the positions of the order of `h`: 0 empty, 1 partial, 2 full."""
        for view, found in self.each:
            if h in view.heads:
                return found.tiles(b, view.heads.index(h))
        raise ValueError(advice(f"there is no head {h}", f"one of {sorted(head for view, _ in self.each for head in view.heads)}"))

    def __str__(self) -> str:
        return "\n".join(f"{view}\n{found}" for view, found in self.each)


def schedules_of_heads(program: Program, launch: Launch, block: tuple[int, int], given: OrdersOfHeads) -> SchedulesOfHeads:
    """launch: of all heads."""
    views = heads_in_order(program, launch, given)
    return SchedulesOfHeads(tuple((view, derived(view.program, view.launch, block, view.order)[0]) for view in views))


# -- orders that suit -------------------------------------------------------------------------------------------------


class Suiting(NamedTuple):
    """An order for heads of a kind. name: row-major, or which axis is innermost.   visited, full: tiles of the first of these heads."""

    name: str
    visited: int
    full: int


class KindOfHeads(NamedTuple):
    """Heads for which conditions on `h` come out the same. orders: the one with the fewest visited tiles first."""

    heads: tuple[int, ...]
    orders: tuple[Suiting, ...]


def orders_of_kinds(program: Program, launch: Launch, block: tuple[int, int]) -> tuple[KindOfHeads, ...]:
    """Every kind, and how many tiles orders of axes come to; nothing where heads are of one kind, or tokens of no grid."""
    if program.space.rank < 2 or launch.q_len != launch.k_len:
        return ()
    kinds = kinds_of_heads(program, launch)
    if len(set(kinds)) < 2:
        return ()
    of_kind = [tuple(head for head, own in enumerate(kinds) if own == kind) for kind in dict.fromkeys(kinds)]
    return tuple(KindOfHeads(heads, tuple(_suiting(program, launch, block, heads[0]))) for heads in of_kind)


def _suiting(program: Program, launch: Launch, block: tuple[int, int], head: int) -> list[Suiting]:
    own, moved = of_heads(program, range(head, head + 1), launch)
    there = launch._replace(heads=1, parameters={**launch.parameters, **moved})
    found: list[Suiting] = []
    for name, order in _orders_of_axes(program.space.extents):
        tiles = derived(own, there, block, order)[0].tiles()
        found.append(Suiting(name, int((tiles != Tile.EMPTY).sum()), int((tiles == Tile.FULL).sum())))
    return sorted(found, key=lambda each: each.visited)


def _orders_of_axes(extents: tuple[int, ...]) -> Iterator[tuple[str, TokenOrder | None]]:
    """Row-major tokens, and those with another axis innermost."""
    yield "row-major", None
    for innermost in range(len(extents) - 1):
        turned = (*(axis for axis in range(len(extents)) if axis != innermost), innermost)
        tokens = torch.as_tensor(axes(extents, turned)).to(torch.int32)
        yield f"axes {turned}", TokenOrder(f"axes {turned}", extents, tokens)
