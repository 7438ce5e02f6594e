"""Rectangles of pairs, many at once, and what a mask can be on each."""

# Numpy's arrays carry no element type here.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ...ir.expr import B, Expr, H, K, Lookup, Q, operands, tables, walk
from ..program.call_values import Launch
from .intervals import Span, span, spans
from .range_table import Array, RangeTable

LOOKUP = 6  # operations that the extrema of a table over a range count for
MOST_BOXES = 1 << 18  # per evaluation, so that memory stays bounded


@dataclass(frozen=True)
class Boxes:
    """Inclusive rectangles [q0, q1] x [k0, k1]."""

    q0: Array
    q1: Array
    k0: Array
    k1: Array

    def __len__(self) -> int:
        return len(self.q0)

    def __getitem__(self, keep: Array) -> Boxes:
        return Boxes(self.q0[keep], self.q1[keep], self.k0[keep], self.k1[keep])

    @property
    def pairs(self) -> Array:
        return (self.q1 - self.q0 + 1) * (self.k1 - self.k0 + 1)

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

    def in_cells(self, edge: int) -> tuple[Boxes, Array]:
        """Each box cut into cells of `edge` x `edge`, and which box each cell came from; the first cells of all boxes come first."""
        down, across = ((last - first) // edge + 1 for first, last in ((self.q0, self.q1), (self.k0, self.k1)))
        counts = down * across
        source = np.repeat(np.arange(len(self)), counts)
        nth = np.arange(len(source)) - np.repeat(counts.cumsum() - counts, counts)
        order = np.argsort(nth, kind="stable")
        source, nth = source[order], nth[order]
        q0, k0 = self.q0[source] + edge * (nth // across[source]), self.k0[source] + edge * (nth % across[source])
        return Boxes(q0, np.minimum(q0 + edge - 1, self.q1[source]), k0, np.minimum(k0 + edge - 1, self.k1[source])), source


class Evaluation:
    """The mask over boxes, counting those that are one pair and all of them.

    operations: what one box takes, with which work is measured.
    """

    def __init__(self, mask: Expr, launch: Launch) -> None:
        self.mask = mask
        self.launch = launch
        self.tables = {table.name: RangeTable(launch.tables[table.name]) for table in tables(mask)}
        self.symbols = {symbol: span(int(value)) for symbol, value in launch.environment().items() if isinstance(value, int)}
        self.operations = sum(LOOKUP if isinstance(node, Lookup) else bool(operands(node)) for node in walk(mask)) or 1
        self.points = self.boxes = 0

    def of(self, boxes: Boxes, b: int, h: int) -> tuple[Array, Array]:
        """(can be true, can be false) of each box."""
        self.boxes += len(boxes)
        self.points += int(((boxes.q0 == boxes.q1) & (boxes.k0 == boxes.k1)).sum())
        where = {Q: Span(boxes.q0, boxes.q1), K: Span(boxes.k0, boxes.k1), B: span(b), H: span(h)}
        found = spans(self.mask, {**self.symbols, **where}, self.tables)
        return np.broadcast_to(found.low, len(boxes)), np.broadcast_to(found.high, len(boxes))
