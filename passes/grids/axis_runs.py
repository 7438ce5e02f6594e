"""One axis of a grid cut into tiles: which are met and which are full, counted for every edge of a tile of keys at once.

A group of queries sees runs of keys. How many tiles of an edge a run meets, and how many it fills, is a difference of two quotients.
"""

# Numpy's arrays carry no element type here.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ...ir.expr import Expr, K, Q, Symbol, substitute
from ...ir.program import Program
from ..bounds.boxes import Boxes, Evaluation
from ..program.call_values import Launch
from .tile_axes import LONGEST_AXIS, Seen, dilation_of, seen

Array = np.ndarray


class Runs(NamedTuple):
    """Runs of keys, none of which touch, those of one group of queries after those of another: i64[runs], stop exclusive."""

    group: Array
    start: Array
    stop: Array

    def met(self, edges: Array) -> Array:
        """Pairs of a group and a tile of keys that hold some of its keys, for tiles of each edge: i64[edges]."""
        first, last = self.start[:, None] // edges, (self.stop[:, None] - 1) // edges
        shared = (first[1:] == last[:-1]) & (self.group[1:] == self.group[:-1])[:, None]
        return (last - first + 1).sum(0) - shared.sum(0)

    def filled(self, edges: Array) -> Array:
        """Pairs of a group and a tile of keys that lies in one of its runs, for tiles of each edge: i64[edges]."""
        return (self.stop[:, None] // edges + -self.start[:, None] // edges).clip(0).sum(0)

    def widths(self, groups: int) -> Array:
        """Keys of each group."""
        return np.bincount(self.group, self.stop - self.start, groups).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Line:
    """Tokens in a row that see each other.

    rows: start and stop of the one run that each query sees, where neighbours see runs that touch; seen: every pair, where they do not.
    """

    length: int
    rows: tuple[Array, Array] | None
    seen: Seen | None = None

    @staticmethod
    def of(pairs: Seen) -> Line:
        counts, first = pairs.sum(1), pairs.argmax(1)
        rows = first, len(pairs) - pairs[:, ::-1].argmax(1)
        one = bool((counts > 0).all()) and bool((rows[1] - rows[0] == counts).all())
        return Line(len(pairs), rows) if one and touching(*rows) else Line(len(pairs), None, pairs)

    @cached_property
    def live(self) -> int:
        """Pairs that see each other."""
        if self.rows is not None:
            return int((self.rows[1] - self.rows[0]).sum())
        assert self.seen is not None
        return int(np.count_nonzero(self.seen))

    def groups(self, edge: int) -> int:
        return -(-self.length // edge)

    def some(self, edge: int) -> Runs:
        """Keys that a query of each group of `edge` sees."""
        return self._joined(edge, np.minimum, np.maximum, np.logical_or)

    def every(self, edge: int) -> Runs:
        """Keys that all queries of each group see; the last group may have fewer than `edge`."""
        return self._joined(edge, np.maximum, np.minimum, np.logical_and)

    def _joined(self, edge: int, start: np.ufunc, stop: np.ufunc, join: np.ufunc) -> Runs:
        at = np.arange(0, self.length, edge)
        if self.rows is None:
            assert self.seen is not None
            return runs_of(join.reduceat(self.seen, at, axis=0))
        first, last = start.reduceat(self.rows[0], at), stop.reduceat(self.rows[1], at)
        there = last > first
        return Runs(np.flatnonzero(there), first[there], last[there])


def touching(start: Array, stop: Array) -> bool:
    """Whether the runs of neighbours touch, so that those of a group are one run together."""
    return bool(((start[1:] <= stop[:-1]) & (start[:-1] <= stop[1:])).all())


def runs_of(seen: Seen) -> Runs:
    """Of each row of bool[groups, keys]."""
    edges = np.diff(np.pad(seen, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    (group, start), stop = np.nonzero(edges == 1), np.nonzero(edges == -1)[1]
    return Runs(group, start, stop)


@dataclass(frozen=True, eq=False)
class Axis:
    """flat: all tokens of it. classes: those that are a multiple of `dilation` apart, and how many classes see the same."""

    flat: Line
    dilation: int
    classes: tuple[tuple[Line, int], ...]

    @property
    def extent(self) -> int:
        return self.flat.length

    @property
    def longest(self) -> int:
        """Tokens of the largest class."""
        return max(line.length for line, _ in self.classes)

    def groups(self, edge: int) -> int:
        """Groups of `edge` queries, the last of each class padded."""
        return sum(count * line.groups(edge) for line, count in self.classes)

    def total(self, count: Callable[[Line], Array]) -> Array:
        """Of all classes."""
        return sum((times * count(line) for line, times in self.classes), np.zeros((), np.int64))

    @staticmethod
    def of(pairs: Seen) -> Axis:
        apart = dilation_of(pairs)
        return Axis.in_classes(Line.of(pairs), apart, [Line.of(pairs[at::apart, at::apart]) for at in range(min(apart, len(pairs)))])

    @staticmethod
    def in_classes(flat: Line, dilation: int, lines: list[Line]) -> Axis:
        if dilation == 1:
            return Axis(flat, 1, ((flat, 1),))
        alike: dict[tuple[bytes, ...], tuple[Line, int]] = {}
        for line in lines:
            key = (str(line.length).encode(), *(each.tobytes() for each in line.rows or (line.seen,) if each is not None))
            alike[key] = line, alike.get(key, (line, 0))[1] + 1
        return Axis(flat, dilation, tuple(alike.values()))


def axis_of(program: Program, axis: int, condition: Expr, extent: int, values: Mapping[Symbol, int]) -> Axis | None:
    """One axis of a program under its condition; None where it is longer than LONGEST_AXIS and a query sees more than one run of keys."""
    if extent <= LONGEST_AXIS:
        return Axis.of(seen(program, axis, condition, extent, values))
    query, key = (program.space.coordinates(side)[axis] for side in "qk")
    launch = Launch(extent, extent, parameters={symbol.name: value for symbol, value in values.items()})
    line = _long_line(Evaluation(substitute(condition, {query: Q, key: K}), launch), extent)
    return line and Axis.in_classes(line, 1, [])


def _long_line(evaluation: Evaluation, extent: int) -> Line | None:
    """Runs of an axis whose pairs are too many to look at: rectangles are halved until they are seen, or not, throughout."""
    zero = np.zeros(1, np.int64)
    stack = [Boxes(zero, zero + extent - 1, zero, zero + extent - 1)]
    start, stop, count = np.full(extent, extent), np.zeros(extent, np.int64), np.zeros(extent, np.int64)
    while stack:
        boxes = stack.pop()
        can_true, can_false = evaluation.of(boxes, 0, 0)
        sure = boxes[can_true & ~can_false]
        height, width = sure.q1 - sure.q0 + 1, sure.k1 - sure.k0 + 1
        rows = np.repeat(sure.q0 + height - height.cumsum(), height) + np.arange(height.sum())
        np.minimum.at(start, rows, np.repeat(sure.k0, height))
        np.maximum.at(stop, rows, np.repeat(sure.k1 + 1, height))
        np.add.at(count, rows, np.repeat(width, height))
        undecided = boxes[can_true & can_false]
        if len(undecided):
            stack.extend(undecided.halved(1, 1)[0].chunks())
        if evaluation.boxes > MOST_RECTANGLES:
            return None
    one = bool((count == stop - start).all())
    return Line(extent, (start, stop)) if one and touching(start, stop) else None


MOST_RECTANGLES = 2**22  # before an axis is given up
