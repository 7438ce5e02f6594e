"""Tiles that interval arithmetic leaves open, told by evaluating the mask at pairs of them: a few first, then all.

A true pair and a false one make a tile PARTIAL, and most partial tiles show both at once. Of those that do not, cells of 16 x 16 pairs are
bounded, and only the cells that stay open are looked at pair by pair. Memory is bounded; what the work does not reach stays untold.
"""

# Numpy's arrays carry no element type here.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from ...ir.expr import B, H
from .boxes import MOST_BOXES, Boxes, Evaluation
from .pairs import PairMask
from .range_table import Array
from .work import Work

SAMPLES = (4, 8, 16)  # rows, and as many keys, of a tile that are looked at one round after the other
CELL = 16
MOST_VALUES = 1 << 20  # of all nodes of a mask at once: they stay in the cache
IRRATIONAL = (0.6180339887498949, 0.4142135623730951)  # fractions that spread rows and keys, each by a pattern of its own


class Told(NamedTuple):
    """What is known of each tile: a true pair is in it; a false one is; and whether that is all there is to know."""

    has_true: Array
    has_false: Array
    sure: Array


def mixed(tiles: int) -> Told:
    """Of tiles that are known to hold true and false pairs."""
    yes = np.ones(tiles, bool)
    return Told(yes, yes, yes)


class Probe:
    """The mask at pairs of one (b, h), whose integers `evaluation` has found to fit 64 bits."""

    def __init__(self, evaluation: Evaluation, place: tuple[int, int], work: Work) -> None:
        self.evaluation, self.place, self.work = evaluation, place, work
        launch = evaluation.launch
        self.mask = PairMask(evaluation.mask, {**launch.environment(), B: place[0], H: place[1]}, launch.tables)
        self.bounds_tell = True  # until they leave all but a few cells open
        self.chunk = max(1, MOST_VALUES // evaluation.operations)

    def of(self, boxes: Iterable[Boxes]) -> Told:
        """What can be told of tiles, some at a time."""
        parts = [self._of(each) for each in boxes]
        nothing = np.zeros(0, bool)
        return Told(*(np.concatenate([nothing, *each]) for each in zip(*parts, strict=True))) if parts else Told(nothing, nothing, nothing)

    def _of(self, tiles: Boxes) -> Told:
        has_true, has_false = np.zeros(len(tiles), bool), np.zeros(len(tiles), bool)
        for count in SAMPLES:
            at = np.flatnonzero(~(has_true & has_false))
            self._sample(tiles, at, count, (has_true, has_false))
        sure = has_true & has_false
        at = np.flatnonzero(~sure)
        sure[at] = self._exhaust(tiles[at], at, (has_true, has_false))
        return Told(has_true, has_false, sure | (has_true & has_false))

    # -- a few pairs

    def _sample(self, tiles: Boxes, at: Array, count: int, known: tuple[Array, Array]) -> None:
        """Look at `count` x `count` pairs of the tiles at `at` and write down which values there are."""
        step = max(1, self.chunk // (count * count))
        for start in range(0, len(at), step):
            here = at[start : start + step]
            if not self.work.allows_pairs(len(here) * count * count, self.mask.operations):
                return
            boxes = tiles[here]
            held = self.mask.at(_spread(boxes.q0, boxes.q1, count, 0), _spread(boxes.k0, boxes.k1, count, 1))
            known[0][here] |= held.any((1, 2))
            known[1][here] |= ~held.all((1, 2))

    # -- all pairs

    def _exhaust(self, tiles: Boxes, owners: Array, known: tuple[Array, Array]) -> Array:
        """bool[tiles]: everything was looked at that had to be. owners: where the values of each tile are written down."""
        done = np.ones(len(tiles), bool)
        cells_of_one = int((-(-tiles.pairs // CELL)).max(initial=1))
        for start in range(0, len(tiles), max(1, MOST_BOXES // cells_of_one)):
            some = np.arange(start, min(start + max(1, MOST_BOXES // cells_of_one), len(tiles)))
            cells, source = tiles[some].in_cells(CELL)
            owner = owners[some[source]]
            for here in self._open_cells(cells, owner, known):
                if not self._look(cells[here], owner[here], known):
                    done[some[source[here]]] = False
        return done

    def _open_cells(self, cells: Boxes, owner: Array, known: tuple[Array, Array]) -> Iterator[Array]:
        """Positions of the cells whose pairs have to be looked at, some at a time, after writing down what the others hold."""
        for start in range(0, len(cells), MOST_BOXES):
            here = np.arange(start, min(start + MOST_BOXES, len(cells)))
            here = here[~(known[0] & known[1])[owner[here]]]
            if self.bounds_tell and self.work.allows_rectangles(len(here), self.evaluation.operations):
                here = self._bounded(cells, here, owner, known)
            step = max(1, self.chunk // (CELL * CELL))
            for at in range(0, len(here), step):
                some = here[at : at + step]
                yield some[~(known[0] & known[1])[owner[some]]]

    def _bounded(self, cells: Boxes, here: Array, owner: Array, known: tuple[Array, Array]) -> Array:
        """Those of the cells at `here` that stay open, after writing down what the others hold."""
        can_true, can_false = self.evaluation.of(cells[here], *self.place)
        known[0][owner[here[~can_false]]] = True
        known[1][owner[here[~can_true]]] = True
        still = here[can_true & can_false]
        self.bounds_tell = len(still) <= len(here) - len(here) // 16
        return still

    def _look(self, cells: Boxes, owner: Array, known: tuple[Array, Array]) -> bool:
        if not self.work.allows_pairs(len(cells) * CELL * CELL, self.mask.operations):
            return False
        q, k = (np.minimum(first[:, None] + np.arange(CELL), last[:, None]) for first, last in ((cells.q0, cells.q1), (cells.k0, cells.k1)))
        held = self.mask.at(q, k)
        known[0][owner[held.any((1, 2))]] = True
        known[1][owner[~held.all((1, 2))]] = True
        return True


def _spread(first: Array, last: Array, count: int, which: int) -> Array:
    """`count` positions of each inclusive range, both ends among them, no two rounds and no two sides alike."""
    size = last - first + 1
    middle = (np.arange(1, count - 1) * IRRATIONAL[which] + count * IRRATIONAL[1 - which]) % 1.0
    inner = first[:, None] + (size[:, None] * middle).astype(np.int64)
    return np.concatenate([first[:, None], inner, last[:, None]], 1)
