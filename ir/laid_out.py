"""Patterns and scores on spaces of their own: a grid for queries and one for keys, parts of a sequence, extents known at a call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from .binding import UNBOUND, Argument
from .build import refusal
from .expr import K_LEN, Q_LEN, TRUE, Expr, S, Select, conjunction, walk
from .given_grid import as_grid
from .grid import Extent, Grid
from .parametric import Parametric
from .program import Program, Space
from .recipe import Recipe
from .sequence import Part
from .space import TwoGrids
from .stretch import Stretch

P = TypeVar("P", bound=Parametric)
Where = int | Grid | Part | tuple[Extent, ...]


@dataclass(frozen=True, slots=True)
class Side:
    """The tokens that queries, or keys, are. total: of the whole sequence, None where only a call knows."""

    stretch: Stretch
    total: int | None

    @staticmethod
    def of(where: object) -> Side:
        """Raises: as `as_grid`."""
        if isinstance(where, Part):
            return Side(where.stretch, where.total)
        made = as_grid(where)
        return Side(Stretch(made), made.tokens)

    @property
    def grid(self) -> Grid:
        return self.stretch.grid

    @property
    def is_part(self) -> bool:
        """Whether there are other tokens in the sequence."""
        return not self.stretch.is_whole

    def __str__(self) -> str:
        if self.is_part:
            first, length = self.stretch.first, self.stretch.length
            return f"tokens {first} to {self.stretch.stop}" if self.stretch.stop else f"{length} tokens from {first}"
        return ", ".join(repr(extent) for extent in self.grid.extents)


@dataclass(frozen=True, slots=True)
class LaidOut:
    """A recipe on the tokens of two sides. Patterns see nothing outside them; scores stay as they are there."""

    inner: Recipe
    query: Side
    key: Side
    rank: int = 1

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def state(self) -> tuple[object, ...]:
        return self.inner.state

    @property
    def label(self) -> str:
        where = f"{self.query}" if self.query == self.key else f"queries=({self.query}), keys=({self.key})"
        return f"{self.inner.label}.on({where})"

    @property
    def extent_names(self) -> tuple[str, ...]:
        """Parameters that extents are."""
        return tuple(dict.fromkeys((*self.query.grid.names, *self.key.grid.names)))

    @property
    def space(self) -> Space:
        """What flat positions of the whole are."""
        if self.inner.rank == 1 or self.query.is_part or self.key.is_part:
            return Space.of_tokens(self.query.total, self.key.total)
        return Space(grids=(self.query.grid, self.key.grid))

    @property
    def grids(self) -> Space:
        """What the recipe takes positions for."""
        if self.inner.rank == 1:
            return Space()
        query = self.query.grid.sizes(of_all_keys=self.query == self.key)
        return TwoGrids(self.inner.rank, query=query, key=self.key.grid.sizes(of_all_keys=True))

    def trace(self, values: Mapping[str, object], space: Space) -> Program:
        """`space` is that of a whole which this is a part of; positions are flat there too."""
        grids = self.grids
        inner = self.inner.trace({name: value for name, value in values.items() if name not in self.extent_names}, grids)
        read = inner.substituted(self._places(grids))
        inside = conjunction(self.query.stretch.holds("q"), self.key.stretch.holds("k"))
        mask = conjunction(inside, read.mask)
        score = read.score if read.score is S or inside is TRUE else Select(inside, read.score, S)
        parameters = (*inner.parameters, *(symbol for symbol in grids.symbols if symbol not in inner.parameters))
        there = self.space.met(space) or space
        reads = {*walk(mask, score), *there.extent_symbols}  # tiles are cut along a grid whose extents the mask need not read
        declared = tuple(each for each in parameters if each in reads)
        return replace(read, mask=mask, score=score, parameters=declared, space=there)

    def _places(self, grids: Space) -> dict[Expr, Expr]:
        """What the variables of the recipe, and lengths of a part, are in the whole."""
        found: dict[Expr, Expr] = {}
        for name, length, side in (("q", Q_LEN, self.query), ("k", K_LEN, self.key)):
            found |= side.stretch.places(name, grids)
            if side.is_part:
                found[length] = side.stretch.length
        return found


def laid_out(meant: P, query: Side, key: Side) -> P:
    """A pattern or a score on the tokens of two sides.

    Raises:
        TypeError: an extent is named like a parameter.
    """
    recipe = LaidOut(meant.recipe, query, key)
    for name in recipe.extent_names:
        if name in meant.arguments:
            raise refusal(f"`{meant.recipe.label}` has a parameter `{name}`, and an extent of its grid is named so", "another name")
    extents = {name: Argument(UNBOUND, is_extent=True) for name in recipe.extent_names}
    return replace(meant, recipe=recipe, arguments={**meant.arguments, **extents}, space=recipe.space)


def sides(label: str, rank: int, positional: tuple[object, ...], queries: object, keys: object) -> tuple[Side, Side]:
    """What `.on(...)` was called with.

    Raises:
        TypeError: two ways at once, or one side without the other; another rank than that of the pattern.
        ValueError: an extent is not positive.
    """
    if positional and (queries is not None or keys is not None):
        raise refusal(f"`{label}.on` is told a grid and `queries=` or `keys=`", "`.on(64, 64)`, or `.on(queries=..., keys=...)`")
    if positional:
        queries = keys = positional[0] if len(positional) == 1 and isinstance(positional[0], Grid | Part) else positional
    if queries is None or keys is None:
        missing = "`queries=`" if queries is None else "`keys=`"
        raise refusal(f"`{label}.on` is not told {missing}", "`.on(64, 64)`, or `.on(queries=lacuna.grid(...), keys=lacuna.grid(...))`")
    found = Side.of(queries), Side.of(keys)
    for side in found:
        if rank == 1 and side.grid.rank > 1 and not side.is_part:
            raise refusal(f"`{label}` has flat positions and no grid", "`@lacuna.pattern(rank=2)` for coordinates")
        if rank > 1 and side.grid.rank != rank:
            wanted = ", ".join("..." for _ in range(rank))
            raise refusal(f"`{label}` is on a grid of rank {rank}, got {side.grid.rank} extents", f"`.on({wanted})`")
    return found
