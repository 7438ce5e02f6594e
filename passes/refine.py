"""Tile classes at concrete lengths, exactly: interval arithmetic on a quadtree that splits only what is undecided.

The work follows the boundary of the mask, not its area, and no pair is looked at unless every rectangle that holds it was undecided.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..ir.expr import B, Expr, H, K, Q, names, tables
from ..ir.program import Program
from .intervals import Span, span, spans
from .launch import Launch
from .range_table import Array, RangeTable

MOST_BOXES = 1 << 18  # per evaluation, so that memory stays bounded


@dataclass(frozen=True)
class Refinement:
    """Lists of partial and full key tiles per (b, h, query tile), and what finding them cost.

    arrays: `partial_start`, `full_start` i32[batch, heads, q_tiles + 1] and `partial_tile`, `full_tile` i32[entries]; an extent is 1
            where the mask does not read `b` or `h`.
    points: single pairs at which the mask was evaluated.   boxes: rectangles.
    """

    arrays: dict[str, Array]
    per_batch: bool
    per_head: bool
    points: int
    boxes: int


@dataclass(frozen=True)
class Boxes:
    """Inclusive rectangles [q0, q1] x [k0, k1], and the tile each belongs to where that is one."""

    q0: Array
    q1: Array
    k0: Array
    k1: Array

    def __len__(self) -> int:
        return len(self.q0)

    def __getitem__(self, keep: Array) -> Boxes:
        return Boxes(self.q0[keep], self.q1[keep], self.k0[keep], self.k1[keep])

    @staticmethod
    def joined(parts: list[Boxes]) -> Boxes:
        return Boxes(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("q0", "q1", "k0", "k1")))

    def chunks(self) -> Iterator[Boxes]:
        for at in range(0, len(self), MOST_BOXES):
            yield self[np.arange(at, min(at + MOST_BOXES, len(self)))]

    def halved(self, unit_q: int, unit_k: int) -> tuple[Boxes, Array]:
        """Each box cut in up to four at multiples of the units, and which box each part came from."""
        middle_q = self.q0 + unit_q * -(-((self.q1 - self.q0) // unit_q + 1) // 2)
        middle_k = self.k0 + unit_k * -(-((self.k1 - self.k0) // unit_k + 1) // 2)
        parts: list[Boxes] = []
        source: list[Array] = []
        for q0, q1 in ((self.q0, np.minimum(self.q1, middle_q - 1)), (middle_q, self.q1)):
            for k0, k1 in ((self.k0, np.minimum(self.k1, middle_k - 1)), (middle_k, self.k1)):
                keep = (q0 <= q1) & (k0 <= k1)
                parts.append(Boxes(q0[keep], q1[keep], k0[keep], k1[keep]))
                source.append(np.flatnonzero(keep))
        return Boxes.joined(parts), np.concatenate(source)


class Evaluation:
    """The mask over boxes for one (b, h), counting."""

    def __init__(self, mask: Expr, launch: Launch) -> None:
        self.mask = mask
        self.launch = launch
        self.tables = {table.name: RangeTable(launch.tables[table.name]) for table in tables(mask)}
        self.symbols = {symbol: span(int(value)) for symbol, value in launch.environment().items() if isinstance(value, int)}
        self.points = self.boxes = 0

    def of(self, boxes: Boxes, b: int, h: int) -> tuple[Array, Array]:
        """(can be true, can be false) of each box."""
        self.boxes += len(boxes)
        self.points += int(((boxes.q0 == boxes.q1) & (boxes.k0 == boxes.k1)).sum())
        where = {Q: Span(boxes.q0, boxes.q1), K: Span(boxes.k0, boxes.k1), B: span(b), H: span(h)}
        found = spans(self.mask, {**self.symbols, **where}, self.tables)
        return np.broadcast_to(found.low, len(boxes)), np.broadcast_to(found.high, len(boxes))


def refined(program: Program, block_q: int, block_k: int, launch: Launch, together: int = 1) -> Refinement:
    """Every tile's class, exactly as defined in `ir.schedule`, at the lengths and values of `launch`.

    together: heads that share tiles; lists of head `h` are those of the heads from `h` on.
    """
    per_batch, per_head = "b" in names(program.mask), "h" in names(program.mask)
    evaluation = Evaluation(program.mask, launch)
    q_tiles, k_tiles = -(-launch.q_len // block_q), -(-launch.k_len // block_k)
    lists = {"partial": Lists(), "full": Lists()}
    shape = (launch.batch if per_batch else 1, launch.heads if per_head else 1)
    for b in range(shape[0]):
        alone = [_Tiles(evaluation, (block_q, block_k), (b, h)).classes() for h in range(shape[1])]
        for h in range(shape[1]):
            for name, (rows, columns) in shared(alone[h : h + together], k_tiles).items():
                lists[name].append(rows, columns, q_tiles)
    arrays: dict[str, Array] = {}
    for name, each in lists.items():
        arrays[f"{name}_start"], arrays[f"{name}_tile"] = each.arrays((*shape, q_tiles + 1))
    assert k_tiles < 2**31
    return Refinement(arrays, per_batch, per_head, evaluation.points, evaluation.boxes)


def shared(of_heads: list[dict[str, tuple[Array, Array]]], k_tiles: int) -> dict[str, tuple[Array, Array]]:
    """Tiles of heads together: visited where any head does, full where every head says so."""
    if len(of_heads) == 1:
        return of_heads[0]
    numbers = [{name: rows * k_tiles + columns for name, (rows, columns) in each.items()} for each in of_heads]
    some = np.unique(np.concatenate([numbers_of for each in numbers for numbers_of in each.values()]))
    full, counts = np.unique(np.concatenate([each["full"] for each in numbers]), return_counts=True)
    full = full[counts == len(of_heads)]
    partial = np.setdiff1d(some, full, assume_unique=True)
    return {name: (each // max(k_tiles, 1), each % max(k_tiles, 1)) for name, each in (("partial", partial), ("full", full))}


class Lists:
    """Rows of key tiles, gathered one (b, h) after the other."""

    def __init__(self) -> None:
        self.starts: list[Array] = []
        self.tiles: list[Array] = []
        self.total = 0

    def append(self, rows: Array, columns: Array, q_tiles: int) -> None:
        order = np.lexsort((columns, rows))
        counts = np.bincount(rows, minlength=q_tiles)
        self.starts.append(self.total + np.concatenate([[0], counts.cumsum()]))
        self.tiles.append(columns[order])
        self.total += len(columns)

    def arrays(self, shape: tuple[int, int, int]) -> tuple[Array, Array]:
        starts = np.concatenate(self.starts) if self.starts else np.zeros(0)
        tiles = np.concatenate(self.tiles) if self.tiles else np.zeros(0)
        return starts.reshape(shape).astype(np.int32), tiles.astype(np.int32)


class _Tiles:
    """The quadtree of one (b, h): first whole tiles, then inside the tiles that stay undecided."""

    def __init__(self, evaluation: Evaluation, block: tuple[int, int], at: tuple[int, int]) -> None:
        self.evaluation, self.block, self.at = evaluation, block, at
        self.lengths = (evaluation.launch.q_len, evaluation.launch.k_len)

    def classes(self) -> dict[str, tuple[Array, Array]]:
        """(rows, columns) of partial and of full tiles."""
        certain, undecided = self._whole_tiles()
        some, filled = self._inside(undecided)
        rows, columns = undecided.q0 // self.block[0], undecided.k0 // self.block[1]
        rows, columns = np.concatenate([certain[0], rows[some]]), np.concatenate([certain[1], columns[some]])
        filled = np.concatenate([np.ones(len(certain[0]), bool), filled[some]])
        filled &= (columns + 1) * self.block[1] <= self.lengths[1]
        return {"partial": (rows[~filled], columns[~filled]), "full": (rows[filled], columns[filled])}

    def _whole_tiles(self) -> tuple[tuple[Array, Array], Boxes]:
        """Tiles (rows, columns) that are true throughout, and single tiles that could not be decided whole."""
        block_q, block_k = self.block
        zero = np.zeros(1, np.int64)
        stack = [Boxes(zero, zero + self.lengths[0] - 1, zero, zero + self.lengths[1] - 1)] if min(self.lengths) > 0 else []
        rows: list[Array] = [np.zeros(0, np.int64)]
        columns: list[Array] = [np.zeros(0, np.int64)]
        undecided: list[Boxes] = [Boxes(*(np.zeros(0, np.int64) for _ in range(4)))]
        while stack:
            boxes = stack.pop()
            can_true, can_false = self.evaluation.of(boxes, *self.at)
            for box in zip(*(side[can_true & ~can_false] for side in (boxes.q0, boxes.q1, boxes.k0, boxes.k1)), strict=True):
                q0, q1, k0, k1 = (int(side) for side in box)
                i: Array = np.arange(q0 // block_q, q1 // block_q + 1)
                j: Array = np.arange(k0 // block_k, k1 // block_k + 1)
                rows.append(np.repeat(i, len(j)))
                columns.append(np.tile(j, len(i)))
            open_boxes = boxes[can_true & can_false]
            single = (open_boxes.q1 - open_boxes.q0 < block_q) & (open_boxes.k1 - open_boxes.k0 < block_k)
            undecided.append(open_boxes[single])
            if not single.all():
                stack.extend(open_boxes[~single].halved(block_q, block_k)[0].chunks())
        return (np.concatenate(rows), np.concatenate(columns)), Boxes.joined(undecided)

    def _inside(self, tiles: Boxes) -> tuple[Array, Array]:
        """For each undecided tile: holds a true pair; holds no false pair. A tile known to hold both is not split further."""
        has_true, has_false = np.zeros(len(tiles), bool), np.zeros(len(tiles), bool)
        owners = np.arange(len(tiles))
        stack = [(tiles, owners)] if len(tiles) else []
        while stack:
            boxes, owners = stack.pop()
            keep = ~(has_true[owners] & has_false[owners])
            parts, source = boxes[keep].halved(1, 1)
            owners = owners[keep][source]
            for at in range(0, len(parts), MOST_BOXES):
                here = np.arange(at, min(at + MOST_BOXES, len(parts)))
                can_true, can_false = self.evaluation.of(parts[here], *self.at)
                has_true[owners[here][~can_false]] = True
                has_false[owners[here][~can_true]] = True
                still = here[can_true & can_false]
                if len(still):
                    stack.append((parts[still], owners[still]))
        return has_true, ~has_false
