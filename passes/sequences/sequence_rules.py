"""What each part of a sequence sees of each other one: everything, nothing, or what a condition along each axis says."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from ...ir.expr import FALSE, TRUE, Const, Symbol
from ...ir.order import Boxes
from ...ir.program import Program, Space
from ..grids.residue_conditions import class_conditions
from ..grids.tile_axes import LONGEST_AXIS, Seen, conditions_along, dilation_of, seen
from ..program.canonicalise import simplified, with_values
from .parts import Extents, laid_out, on_coordinates, parts_of


class Rule(NamedTuple):
    """What the queries of a part see of the keys of another, both on one grid: what each axis sees. program: on that grid, of numbers."""

    program: Program
    axes: tuple[Seen, ...]

    @property
    def tokens(self) -> int:
        """Of the grid."""
        return math.prod(map(len, self.axes))


@dataclass(frozen=True, eq=False)
class Rules:
    """Of a sequence, by the numbers of the part of queries and of that of keys.

    True is everything, False nothing; None is not known here, as where a table says how many tokens of a text count: all tiles are taken to
    be met then, and none to be full.
    """

    parts: tuple[Extents, ...]
    of: Mapping[tuple[int, int], Rule | bool | None]

    @property
    def grids(self) -> tuple[Extents, ...]:
        """Of the parts with axes, those that are alike once."""
        return tuple(dict.fromkeys(each for each in self.parts if len(each) > 1))

    def on(self, extents: Extents) -> Iterator[Rule]:
        """The rules that go along the axes of a grid."""
        return (rule for (part, _), rule in self.of.items() if isinstance(rule, Rule) and self.parts[part] == extents)

    def dilation(self, extents: Extents) -> Extents:
        """Of boxes on a grid: of the first rule there, where the residue classes of every rule are alike."""
        rules = list(self.on(extents))
        for rule in rules[:1]:
            dilation = tuple(min(len(each), dilation_of(each)) for each in rule.axes)
            if all(class_conditions(each.program, Boxes(extents, dilation, dilation), {}) is not None for each in rules):
                return dilation
        return (1,) * len(extents)

    @property
    def live(self) -> int:
        """Attended pairs, with those that are not known to be."""
        return sum(self._live(pair, rule) for pair, rule in self.of.items())

    def _live(self, pair: tuple[int, int], rule: Rule | bool | None) -> int:
        if isinstance(rule, Rule):
            return math.prod(int(each.sum()) for each in rule.axes)
        return 0 if rule is False else math.prod(math.prod(self.parts[part]) for part in pair)


def rules_of(program: Program, values: Mapping[Symbol, int]) -> Rules | None:
    """None where the program is no sequence of parts with axes that a rule goes along, or a rule of two grids is anything else.

    values: of the symbols that the mask reads.
    """
    extents = parts_of(program)
    if extents is None:
        return None
    bound = with_values(program, {symbol: Const(value) for symbol, value in values.items()})
    found: dict[tuple[int, int], Rule | bool | None] = {}
    parts = laid_out(extents)
    for a, query in enumerate(parts):
        for b, key in enumerate(parts):
            mask = simplified(on_coordinates(bound.mask, query, key))
            rule = mask is TRUE if mask in (TRUE, FALSE) else _rule(replace(bound, mask=mask), query.extents, key.extents)
            if rule is None and min(len(query.extents), len(key.extents)) > 1:
                return None
            found[a, b] = rule
    along_axes = any(isinstance(rule, Rule) and len(rule.axes) > 1 for rule in found.values())
    return Rules(extents, found) if along_axes else None


def _rule(program: Program, query: Extents, key: Extents) -> Rule | None:
    if query != key or max(query) > LONGEST_AXIS:
        return None
    program = replace(program, space=Space(len(query), query))
    conditions = conditions_along(program, {})
    if conditions is None:
        return None
    return Rule(program, tuple(seen(program, axis, each, query[axis], {}) for axis, each in enumerate(conditions)))
