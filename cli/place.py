"""What `--on` says: the grid that a pattern is put on, or one of queries and one of keys."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..ir.grid import Extent
from ..ir.pattern import Pattern
from .answers import Misuse

FORMS = "`--on 64x64`, `--on ?,rows,cols` or `--on queries=16x16,keys=8x8`"
_SIDES = re.compile(r"(queries|keys)=(.*?)(?:[\s,;]+(?=queries=|keys=)|$)")


@dataclass(frozen=True)
class Place:
    """Extents of queries and of keys, outermost first; keys are None where both are on one grid.

    An extent is a number, `?` for as many as a call has, or the name of a parameter.
    """

    queries: tuple[Extent, ...]
    keys: tuple[Extent, ...] | None = None

    @staticmethod
    def of(text: str) -> Place:
        """Raises Misuse: the text is no grid, or one for one side alone."""
        if "=" not in text:
            return Place(_extents(text, text))
        sides = {name: _extents(extents, text) for name, extents in _SIDES.findall(text)}
        if set(sides) != {"queries", "keys"} or _SIDES.sub("", text).strip():
            raise _no_place(text)
        return Place(sides["queries"], sides["keys"])

    @property
    def names(self) -> frozenset[str]:
        """Extents that are parameters."""
        return frozenset(each for each in (*self.queries, *(self.keys or ())) if isinstance(each, str))

    def holding(self, pattern: Pattern, values: Mapping[str, object]) -> Pattern:
        """The pattern there. values: of `names`; those that are missing stay unbound."""
        placed = pattern.on(*self.queries) if self.keys is None else pattern.on(queries=self.queries, keys=self.keys)
        return placed(**values) if values else placed


def _extents(text: str, whole: str) -> tuple[Extent, ...]:
    """`x` parts numbers and `?`; names hold letters, and commas part them."""
    parts = [part.strip() for part in (text.split(",") if "," in text else re.split(r"(?<=[0-9?])\s*x\s*(?=[0-9?])", text.strip()))]
    return tuple(_extent(part, whole) for part in parts)


def _extent(part: str, whole: str) -> Extent:
    if part == "?":
        return None
    if re.fullmatch("[0-9]{1,10}", part) and 0 < int(part) < 2**31:
        return int(part)
    if part.isidentifier():
        return part
    raise _no_place(whole)


def _no_place(text: str) -> Misuse:
    return Misuse(f"`--on {text:.60}` is no grid: extents are positive integers, names, or `?` outermost", FORMS)
