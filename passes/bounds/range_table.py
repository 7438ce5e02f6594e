"""Extrema of a table over ranges of its indices, for many ranges at once. Truth values count as 0 and 1.

Every answer is sound: it holds each entry in the range, and maybe others. Where all indices are single it is the entry. Ranges of the
last axis under single indices are answered exactly, but for long ones of a large table of numbers, and so are rectangles of the last two
axes of a table of truth values, unless the table is a large plane: there a pyramid of 2 x 2 extrema is read, which costs two thirds of the
table's memory and is exact on aligned squares.
"""

# Numpy's arrays carry no element type here.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
from __future__ import annotations

from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np

Array = np.ndarray

LARGE = 1 << 20  # entries
LONG = 8  # the level whose squares, or ranges of 256 entries, are the longest that a large table is answered exactly on
WIDE_PLANE = 256  # rows and columns; a table with fewer rows has one per head or batch item


class Span(NamedTuple):
    """Inclusive bounds of an integer, or what a truth value can be (`low`: can be true, `high`: can be false)."""

    low: Array
    high: Array


class Reads(Protocol):
    """A table, or what is known of one."""

    def over(self, indices: tuple[Span, ...]) -> Span: ...


class Anywhere(NamedTuple):
    """A table of which only extrema are known."""

    extremes: Span

    def over(self, indices: tuple[Span, ...]) -> Span:
        """The same for all ranges."""
        shape = np.broadcast_shapes(*(each.low.shape for each in indices))
        return Span(np.broadcast_to(self.extremes.low, shape), np.broadcast_to(self.extremes.high, shape))


class RangeTable:
    """One table, with the structures that its ranges need, each made when it is first read."""

    def __init__(self, array: Array) -> None:
        self.array = np.asarray(array)

    @cached_property
    def extremes(self) -> tuple[int, int]:
        return int(self.array.min()), int(self.array.max())

    @cached_property
    def levels(self) -> list[tuple[Array, Array]]:
        """Level n holds the extrema of 2**n neighbours, as in a sparse table for range queries; of a large table there are few."""
        found = [(self.array, self.array)]
        width = 1
        while 2 * width <= self.array.shape[-1] and not (len(found) > LONG and self.array.size > LARGE):
            low, high = found[-1]
            found.append((np.minimum(low[..., :-width], low[..., width:]), np.maximum(high[..., :-width], high[..., width:])))
            width *= 2
        return found

    @cached_property
    def blocks(self) -> tuple[RangeTable, RangeTable]:
        """Least and largest of each run of 2**LONG entries."""
        edges = np.arange(0, self.array.shape[-1], 1 << LONG)
        return RangeTable(np.minimum.reduceat(self.array, edges, -1)), RangeTable(np.maximum.reduceat(self.array, edges, -1))

    @cached_property
    def counts(self) -> Array:
        """Counts of true entries before each place of the last axis."""
        padded = np.zeros((*self.array.shape[:-1], self.array.shape[-1] + 1), np.int32 if self.array.shape[-1] < 2**31 else np.int64)
        padded[..., 1:] = self.array.cumsum(-1, padded.dtype)
        return padded

    @cached_property
    def sums(self) -> Array:
        """Counts of true entries above and to the left, for the last two axes."""
        padded = np.zeros((*self.array.shape[:-2], self.array.shape[-2] + 1, self.array.shape[-1] + 1), np.int64)
        padded[..., 1:, 1:] = self.array.cumsum(-1, np.int64).cumsum(-2)
        return padded

    @cached_property
    def pyramid(self) -> list[tuple[Array, Array]]:
        """Level n holds the extrema of squares of 2**n x 2**n entries."""
        found = [(self.array, self.array)]
        while max(found[-1][0].shape[-2:]) > 1:
            low, high = found[-1]
            found.append((_quartered(low, np.minimum), _quartered(high, np.maximum)))
        return found

    def over(self, indices: tuple[Span, ...]) -> Span:
        """int64 extrema over the product of inclusive ranges, which are moved into the table."""
        shape = np.broadcast_shapes(*(each.low.shape for each in indices))
        sizes = self.array.shape
        low = [np.broadcast_to(np.clip(each.low, 0, size - 1), shape) for each, size in zip(indices, sizes, strict=True)]
        high = [np.broadcast_to(np.clip(each.high, 0, size - 1), shape) for each, size in zip(indices, sizes, strict=True)]
        single = [np.equal(a, b) for a, b in zip(low, high, strict=True)]
        if all(each.all() for each in single):
            entries = self.array[tuple(low)].astype(np.int64)
            return Span(entries, entries)
        bottom, top = (np.full(shape, extreme, np.int64) for extreme in self.extremes)
        plane = len(low) > 1 and (self._large_plane or (self.array.dtype == bool and not _all(single[:-1], shape).all()))
        here = _all(single[:-2] if plane else single[:-1], shape)
        if here.any():
            ranges = [Span(a[here], b[here]) for a, b in zip(low, high, strict=True)]
            bottom[here], top[here] = self._plane(ranges) if plane else self._last_axis(ranges)
        return Span(bottom, top)

    @property
    def _large_plane(self) -> bool:
        return self.array.size > LARGE and min(self.array.shape[-2:]) > WIDE_PLANE

    def _plane(self, ranges: list[Span]) -> Span:
        return self._squares(ranges) if self._large_plane else self._rectangles(ranges)

    def _last_axis(self, ranges: list[Span]) -> Span:
        lead, (first, last) = tuple(each.low for each in ranges[:-1]), ranges[-1]
        if self.array.dtype == bool:
            count = self.counts[(*lead, last + 1)] - self.counts[(*lead, first)]
            return Span((count == last - first + 1).astype(np.int64), (count > 0).astype(np.int64))
        level = _logarithm(last - first + 1)
        bottom, top = np.empty(level.shape, np.int64), np.empty(level.shape, np.int64)
        for n in np.unique(level):
            here = level == n
            part = [Span(each.low[here], each.high[here]) for each in ranges]
            bottom[here], top[here] = self._of_level(n, part) if n < len(self.levels) else self._of_blocks(part)
        return Span(bottom, top)

    def _of_level(self, n: int, ranges: list[Span]) -> Span:
        """Of ranges of the last axis of 2**n entries or more, and less than twice as many."""
        lead, (first, last) = tuple(each.low for each in ranges[:-1]), ranges[-1]
        (smallest, largest), left, right = self.levels[n], (*lead, first), (*lead, last - (1 << n) + 1)
        return Span(np.minimum(smallest[left], smallest[right]), np.maximum(largest[left], largest[right]))

    def _of_blocks(self, ranges: list[Span]) -> Span:
        """Of long ranges of the last axis, wider than they are by less than a block at either end."""
        indices = (*ranges[:-1], Span(*(end >> LONG for end in ranges[-1])))
        smallest, largest = self.blocks
        return Span(smallest.over(indices).low, largest.over(indices).high)

    def _rectangles(self, ranges: list[Span]) -> Span:
        lead = tuple(each.low for each in ranges[:-2])
        (r0, r1), (c0, c1) = ((each.low, each.high + 1) for each in ranges[-2:])
        count = self.sums[(*lead, r1, c1)] - self.sums[(*lead, r0, c1)] - self.sums[(*lead, r1, c0)] + self.sums[(*lead, r0, c0)]
        return Span((count == (r1 - r0) * (c1 - c0)).astype(np.int64), (count > 0).astype(np.int64))

    def _squares(self, ranges: list[Span]) -> Span:
        """Up to three squares along each axis cover a rectangle: their sides are half of its longer one, or more."""
        (r0, r1), (c0, c1) = ranges[-2:]
        level = _logarithm(np.maximum(r1 - r0, c1 - c0))
        bottom, top = np.empty(level.shape, np.int64), np.empty(level.shape, np.int64)
        for n in np.unique(level):
            here = level == n
            lead = tuple(each.low[here] for each in ranges[:-2])
            rows, columns = (_covering(first[here] >> n, last[here] >> n) for first, last in ((r0, r1), (c0, c1)))
            smallest, largest = self.pyramid[n]
            bottom[here] = np.minimum.reduce([smallest[(*lead, row, column)] for row in rows for column in columns])
            top[here] = np.maximum.reduce([largest[(*lead, row, column)] for row in rows for column in columns])
        return Span(bottom, top)


def _all(conditions: list[Array], shape: tuple[int, ...]) -> Array:
    return np.logical_and.reduce(conditions) if conditions else np.ones(shape, bool)


def _logarithm(count: Array) -> Array:
    """The largest n with 2**n <= count, 0 where count is 0."""
    return np.maximum(0, np.frexp(count.astype(np.float64))[1] - 1).astype(np.int64)


def _covering(first: Array, last: Array) -> list[Array]:
    """`first ... last`, three at most, as arrays of one length: the last is repeated."""
    return [np.minimum(first + step, last) for step in range(int((last - first).max()) + 1)]


def _quartered(array: Array, extreme: np.ufunc) -> Array:
    """Extrema of 2 x 2 entries of the last two axes; an odd last row or column stays. Rows first: those are contiguous."""
    for even, odd in ((np.s_[..., ::2, :], np.s_[..., 1::2, :]), (np.s_[..., ::2], np.s_[..., 1::2])):
        found, other = array[even].copy(), array[odd]
        inner = found[tuple(slice(size) for size in other.shape)]
        extreme(inner, other, out=inner)
        array = found
    return array
