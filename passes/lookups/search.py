"""Look for a pair that reads outside of a table, at the values of one call: intervals on boxes, the undecided ones cut in two.

The work follows the boundary of the condition. It ends with every box decided, or at a budget.
"""

# Numpy's arrays carry no element type here.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ...ir.expr import Expr, Var
from ..bounds.intervals import spans
from ..bounds.range_table import Array, RangeTable, Span

BUDGET = 1 << 20  # boxes
ENOUGH = 1 << 16  # once a pair is found, for how far others reach
AT_ONCE = 1 << 15


@dataclass(frozen=True)
class Region:
    """Boxes to look in, one for each batch item, and what is fixed there.

    axes:   inclusive ends of what differs from pair to pair, i64[items] each.
    fixed:  of every symbol and of `b`, i64[items] or a number.
    tables: those that the condition may read.
    """

    axes: Mapping[Expr, Span]
    fixed: Mapping[Expr, Span]
    tables: Mapping[str, RangeTable]
    items: int


@dataclass
class Search:
    """What was found so far.

    example: values of the variables where the condition holds.   low, high: ends of the index wherever it does, as far as was looked.
    decided: no box is left that the condition may hold in; False where the budget ended, or single pairs could not be decided.
    """

    example: dict[str, int] = field(default_factory=dict[str, int])
    low: int = 0
    high: int = 0
    decided: bool = True

    @property
    def settled(self) -> bool:
        """Whether the condition is seen to hold nowhere."""
        return self.decided and not self.example


class _Boxes(NamedTuple):
    """low, high: i64[axes, boxes], inclusive.   item: the batch item of each."""

    low: Array
    high: Array
    item: Array

    def __getitem__(self, keep: Array) -> _Boxes:  # pyright: ignore[reportIncompatibleMethodOverride]  (of all three at once)
        return _Boxes(self.low[:, keep], self.high[:, keep], self.item[keep])

    def halved(self) -> _Boxes:
        """Each box cut in two along its longest axis."""
        boxes = np.arange(self.item.size)
        axis = np.argmax(self.high - self.low, axis=0)
        middle = (self.low[axis, boxes] + self.high[axis, boxes]) // 2
        first, second = self.high.copy(), self.low.copy()
        first[axis, boxes], second[axis, boxes] = middle, middle + 1
        return _Boxes(np.hstack((self.low, second)), np.hstack((first, self.high)), np.tile(self.item, 2))


def searched(condition: Expr, index: Expr, region: Region) -> Search:
    """Where in `region` the condition holds, and what `index` is there."""
    found, axes = Search(), tuple(region.axes)
    corners = ([np.broadcast_to(end, (region.items,)) for end in ends] for ends in zip(*region.axes.values(), strict=True))
    low, high = corners if axes else (np.zeros((0, region.items), np.int64),) * 2
    stack = [_Boxes(np.array(low), np.array(high), np.arange(region.items))]
    left = BUDGET
    while stack:
        boxes = stack.pop()
        if boxes.item.size > AT_ONCE:
            stack += [_Boxes(*parts) for parts in zip(*(np.array_split(each, 2, axis=-1) for each in boxes), strict=True)]
            continue
        left -= boxes.item.size
        if left < 0:
            found.decided = False
            break
        known = left > BUDGET - ENOUGH or not found.example
        undecided = _looked(boxes, (condition, index, region), found)
        if undecided.item.size and known:
            stack.append(undecided.halved())
    return found


def _looked(boxes: _Boxes, asked: tuple[Expr, Expr, Region], found: Search) -> _Boxes:
    """Note what is certain, and give back boxes of several pairs that are not."""
    condition, index, region = asked
    environment = _environment(boxes, region)
    truth = spans(condition, environment, region.tables)
    can, cannot = (np.broadcast_to(side, boxes.item.shape).astype(bool) for side in truth)
    sure, single = can & ~cannot, (boxes.low == boxes.high).all(axis=0)
    if sure.any():
        reach = spans(index, environment, region.tables)
        _note(boxes[sure], [np.broadcast_to(end, sure.shape)[sure] for end in reach], region, found)
    if (can & cannot & single).any():
        found.decided = False
    return boxes[can & cannot & ~single]


def _environment(boxes: _Boxes, region: Region) -> dict[Expr, Span]:
    fixed = {name: Span(*(end[boxes.item] if np.ndim(end) else end for end in ends)) for name, ends in region.fixed.items()}
    return {**fixed, **{name: Span(boxes.low[at], boxes.high[at]) for at, name in enumerate(region.axes)}}


def _note(boxes: _Boxes, reach: list[Array], region: Region, found: Search) -> None:
    low, high = int(reach[0].min()), int(reach[1].max())
    if found.example:
        found.low, found.high = min(found.low, low), max(found.high, high)
        return
    found.low, found.high = low, high
    found.example = {name.name: int(boxes.low[at, 0]) for at, name in enumerate(region.axes) if isinstance(name, Var)}
    item = int(boxes.item[0])
    found.example |= {
        name.name: int(np.broadcast_to(low, (region.items,))[item]) for name, (low, _) in region.fixed.items() if isinstance(name, Var)
    }
