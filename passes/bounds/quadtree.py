"""Whole tiles told by interval arithmetic: from the whole score matrix down, splitting only what is undecided.

The work follows the boundary of the mask, not its area, and no tile is looked at unless every rectangle that holds it was undecided.
"""

# Numpy's arrays carry no element type here.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .boxes import Boxes, Evaluation
from .range_table import Array
from .work import Work

Tiles = tuple[Array, Array]
"""Rows and columns of tiles, i32 each."""


class WholeTiles(NamedTuple):
    """Where the quadtree of one (b, h) ended: (rows, columns) of tiles.

    full: true throughout.   open: they may be anything.   finished: each of those was bounded alone.
    """

    full: Tiles
    open: Tiles
    finished: bool


def whole_tiles(evaluation: Evaluation, block: tuple[int, int], place: tuple[int, int], work: Work) -> WholeTiles:
    """Split the score matrix of `place` = (b, h), which is not empty, down to tiles. Where the work ends, all tiles of the rest are open.

    Raises:
        TooManyTiles: there are more tiles to be listed than `work` has left.
    """
    full, undecided = [_tiles(_nothing(), block, work)], [_tiles(_nothing(), block, work)]
    finished, stack = True, [_everything((evaluation.launch.q_len, evaluation.launch.k_len))]
    while stack:
        boxes = stack.pop()
        if not work.allows_rectangles(len(boxes), evaluation.operations):
            undecided.append(_tiles(boxes, block, work))
            finished = False
            continue
        can_true, can_false = evaluation.of(boxes, *place)
        full.append(_tiles(boxes[can_true & ~can_false], block, work))
        still = boxes[can_true & can_false]
        single = (still.q1 - still.q0 < block[0]) & (still.k1 - still.k0 < block[1])
        undecided.append(_tiles(still[single], block, work))
        if not single.all():
            stack.extend(still[~single].halved(*block)[0].chunks())
    return WholeTiles(_joined(full), _joined(undecided), finished)


def _joined(parts: list[Tiles]) -> Tiles:
    rows, columns = zip(*parts, strict=True)
    return np.concatenate(rows), np.concatenate(columns)


def _everything(lengths: tuple[int, int]) -> Boxes:
    zero = np.zeros(1, np.int64)
    return Boxes(zero, zero + lengths[0] - 1, zero, zero + lengths[1] - 1)


def _nothing() -> Boxes:
    return Boxes(*(np.zeros(0, np.int64) for _ in range(4)))


def _tiles(boxes: Boxes, block: tuple[int, int], work: Work) -> Tiles:
    """Every tile in `boxes`, which begin at tiles."""
    i, j = boxes.q0 // block[0], boxes.k0 // block[1]
    across = boxes.k1 // block[1] - j + 1
    counts = (boxes.q1 // block[0] - i + 1) * across
    work.list_tiles(int(counts.sum()))
    if (counts == 1).all():
        return i.astype(np.int32), j.astype(np.int32)
    source = np.repeat(np.arange(len(boxes)), counts)
    nth = np.arange(len(source)) - np.repeat(counts.cumsum() - counts, counts)
    return (i[source] + nth // across[source]).astype(np.int32), (j[source] + nth % across[source]).astype(np.int32)
