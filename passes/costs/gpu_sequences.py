"""A sequence that kernels of a GPU cut into boxes of its grids beside runs of its lines: tiles of every pair, counted part by part."""

# Numpy's arrays carry no element type here.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from ...ir.expr import Symbol
from ...ir.order import Boxes, Parts
from ...ir.program import Program
from ..grids.axis_runs import Array
from ..sequences.parts import Extents
from ..sequences.sequence_rules import Rule, Rules, rules_of
from .box_counts_of_order import boxes_of
from .boxes_held import held
from .gpu_grids import Along, Sides, tiles_of
from .sequence_counts import row_major_tiles

MOST_SHAPES = 4  # of boxes on each grid, where there are several


@dataclass(frozen=True, eq=False)
class SequenceOfGrids:
    """As `gpu_grids.Cuttable`."""

    rules: Rules

    @staticmethod
    def of(program: Program, values: Mapping[Symbol, int]) -> SequenceOfGrids | None:
        """None where it is no sequence, or a rule is no product of axes."""
        rules = rules_of(program, values)
        return None if rules is None else SequenceOfGrids(rules)

    @property
    def tokens(self) -> int:
        return sum(map(math.prod, self.rules.parts))

    @property
    def live(self) -> int:
        return self.rules.live

    def row_major(self, tiles: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        return row_major_tiles(self.rules, tiles)

    def boxes(self, tokens: int) -> Sides:
        """Of every grid; where there are several, of each those that meet the fewest boxes like them."""
        shapes = {extents: boxes_of(extents, tokens, self.rules.dilation(extents)) for extents in self.rules.grids}
        if len(shapes) > 1:
            shapes = {extents: self._best(extents, offered) for extents, offered in shapes.items()}
        return [self._parts(dict(zip(shapes, chosen, strict=True)), tokens) for chosen in product(*shapes.values())]

    def _best(self, extents: Extents, offered: Sequence[Boxes]) -> list[Boxes]:
        def met(boxes: Boxes) -> int:
            return sum(
                int(tiles_of(self.along[pair], [boxes], [boxes])[0][0, 0]) for pair in self.along if self.rules.parts[pair[0]] == extents
            )

        return sorted(offered, key=met)[:MOST_SHAPES]

    def _parts(self, chosen: Mapping[Extents, Boxes], tokens: int) -> Parts:
        return Parts(tuple(chosen[each] if len(each) > 1 else Boxes(each, (tokens,), (1,)) for each in self.rules.parts))

    @functools.cached_property
    def along(self) -> dict[tuple[int, int], list[Along]]:
        """Of the rules that go along axes."""
        found: dict[tuple[int, int], list[Along]] = {}
        for pair, rule in self.rules.of.items():
            if isinstance(rule, Rule):
                extents = self.rules.parts[pair[0]]
                dilation = self.rules.dilation(extents) if len(extents) > 1 else (1,)
                found[pair] = [Along.of(seen, apart) for seen, apart in zip(rule.axes, dilation, strict=True)]
        return found

    def tiles(self, queries: Sides, keys: Sides) -> tuple[Array, Array]:
        visited, full = (np.zeros((len(queries), len(keys)), np.int64) for _ in range(2))
        for pair, rule in self.rules.of.items():
            rows, columns = (
                [side.boxes[part] for side in sides if isinstance(side, Parts)] for part, sides in zip(pair, (queries, keys), strict=True)
            )
            if isinstance(rule, Rule):
                met, filled = tiles_of(self.along[pair], rows, columns)
            else:
                met, filled = _everything(rows, columns)
            if rule is not False:
                visited, full = visited + met, full + (0 if rule is None else filled)
        return visited, full


def _everything(rows: Sequence[Boxes], columns: Sequence[Boxes]) -> tuple[Array, Array]:
    """Where all tokens of one part see all of another."""
    begun = np.array([held(boxes).begun for boxes in rows])[:, None]
    keys = np.array([held(boxes) for boxes in columns])
    return begun * keys[:, 0], begun * keys[:, 1]
