"""Radial attention rounded to blocks: which blocks of a video's tokens are kept, counted frame pair by frame pair."""

# Numpy's arrays carry no element type here.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Array = np.ndarray
Width = Callable[[int], int | None]
"""How far two tokens of frames at a distance may be apart to see each other; None where the frames do not see each other at all."""


@dataclass(frozen=True)
class Frames:
    """A video of `count` frames of `tokens` tokens, in blocks of `block` tokens of the whole.

    every: keep each block that holds a pair. Else by the authors' rule: among the columns of a block that hold a pair, more than 60 % hold
           one in more than a third of its rows; and a frame reaches no further than as many blocks as its tokens would fill.
    """

    count: int
    tokens: int
    block: int
    every: bool

    def kept(self, width: Width, *, sink: bool) -> Array:
        """bool[blocks, blocks], those that hold tokens; a last block that is not whole is seen by and sees everything, but for `every`."""
        blocks = -(-self.count * self.tokens // self.block)
        found = np.zeros((blocks, blocks), bool)
        for row in range(self.count):
            for col in range(self.count):
                reach = self.tokens if sink and col == 0 else width(abs(row - col))
                if reach is not None:
                    self._add(found, (row, col), reach)
        whole = blocks if self.every else self.count * self.tokens // self.block
        found[whole:] = found[:, whole:] = True
        return found

    def _add(self, found: Array, frames: tuple[int, int], reach: int) -> None:
        first, starts = zip(*(divmod(frame * self.tokens, self.block) for frame in frames), strict=True)
        pair = self._pair(*starts, reach)
        rows, cols = (slice(at, min(at + size, len(found))) for at, size in zip(first, pair.shape, strict=True))
        found[rows, cols] |= pair[: rows.stop - rows.start, : cols.stop - cols.start]

    @functools.cache  # noqa: B019 (frozen, and gone with the call that made it)
    def _pair(self, row: int, col: int, reach: int) -> Array:
        """bool[blocks, blocks] from the ones in which two frames start, `row` and `col` tokens into them."""
        tiles = [-(-(start + self.tokens) // self.block) for start in (row, col)]
        edges = np.arange(tiles[0] + 1) * self.block - row
        at = np.arange(self.tokens)
        low, high = np.maximum(at - reach, 0), np.minimum(at + reach + 1, self.tokens)
        seen = np.minimum(edges[1:, None], high) - np.maximum(edges[:-1, None], low)  # rows of a block that see each column
        place = (at + col) // self.block
        some, dense = (np.stack([each[:, place == n].sum(1) for n in range(tiles[1])], 1) for each in (seen > 0, 3 * seen > self.block))
        if self.every:
            return some > 0
        most = -(-self.tokens // self.block)
        return (10 * dense > 6 * some)[:most, :most]
