"""Tiles of a sequence of parts, counted exactly, in boxes of each part and as tokens lie."""

# Numpy's arrays carry no element type here.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..grids.axis_runs import Array, Axis
from ..sequences.parts import Part, laid_out
from ..sequences.sequence_rules import Rule, Rules
from .row_major_counts import Interval, Rows, changes, overlaps


def row_major_tiles(rules: Rules, tiles: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Visited and full tiles of row-major tokens, for tiles of each size; those that hold tokens of two parts among them."""
    counter = _Counter.of(rules)
    return [counter.all_tiles(tile) for tile in tiles]


@dataclass(frozen=True, eq=False)
class _Counter:
    """rows: of the rules that go along axes."""

    rules: Rules
    parts: tuple[Part, ...]
    rows: dict[tuple[int, int], Rows]

    @staticmethod
    def of(rules: Rules) -> _Counter:
        rows = {pair: Rows([Axis.of(each).flat for each in rule.axes]) for pair, rule in rules.of.items() if isinstance(rule, Rule)}
        return _Counter(rules, laid_out(rules.parts), rows)

    @property
    def tokens(self) -> int:
        return sum(part.size for part in self.parts)

    def all_tiles(self, tile: tuple[int, int]) -> tuple[int, int]:
        found = [self.tiles(first, min(first + tile[0], self.tokens), tile[1]) for first in range(0, self.tokens, tile[0])]
        visited, full = (sum(each) for each in zip(*found, strict=True))
        return visited, full

    def tiles(self, first: int, stop: int, edge: int) -> tuple[int, int]:
        """Of the queries from `first` to `stop`."""
        count = -(-self.tokens // edge)
        met, covered, pieces = np.zeros(count + 1, np.int64), np.zeros(count, np.int64), 0
        for number, row, columns in self._rows(first, stop):
            pieces += 1
            for key, part in enumerate(self.parts):
                some, every = self._seen(number, key, row, columns)
                met += changes(_from(some, part.first), edge, count)
                covered += overlaps(_from(every, part.first), edge, count)
        return int(np.count_nonzero(met.cumsum()[:-1])), int(np.count_nonzero(covered == pieces * edge))

    def _rows(self, first: int, stop: int) -> Iterator[tuple[int, int, tuple[int, int]]]:
        """The rows of grids that queries lie in: number of the part, of the row in it, and the columns."""
        for number, part in enumerate(self.parts):
            low, high, width = max(first, part.first) - part.first, min(stop - part.first, part.size), part.extents[-1]
            for row in range(low // width, -(-high // width) if high > low else 0):
                yield number, row, (max(low - row * width, 0), min(high - row * width, width))

    def _seen(self, query: int, key: int, row: int, columns: tuple[int, int]) -> tuple[Interval, Interval]:
        """Runs of keys of a part that a query in a row sees, and those that all of them see."""
        if isinstance(self.rules.of[query, key], Rule):
            rows = self.rows[query, key]
            return rows.seen(row, columns, joined_by_all=False), rows.seen(row, columns, joined_by_all=True)
        known = self.rules.of[query, key]
        whole = np.zeros(1, np.int64), np.full(1, self.parts[key].size)
        nothing = np.zeros(0, np.int64), np.zeros(0, np.int64)
        return nothing if known is False else whole, whole if known else nothing


def _from(runs: Interval, first: int) -> tuple[Array, Array]:
    return runs[0] + first, runs[1] + first
