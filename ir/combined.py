"""Recipes made of others: two patterns under one operator, one inverted, one moved along the sequence; two scores in a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from .combine import joined_declarations, on_grid, renamed
from .expr import Binary, Expr, Op, S, Symbol, Var, negated, substitute
from .program import Program, Space
from .recipe import Recipe


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two recipes. `names` says what the right one's parameters are called in the whole."""

    left: Recipe
    right: Recipe
    left_names: tuple[str, ...]
    names: tuple[tuple[str, str], ...]

    @property
    def rank(self) -> int:
        return max(self.left.rank, self.right.rank)

    def traced(self, values: Mapping[str, object], space: Space) -> tuple[Program, Program]:
        """Both programs on one grid, no name of the right one meaning anything else in the left one."""
        left = _traced_on(self.left, {name: values[name] for name in self.left_names}, space)
        inner = _traced_on(self.right, {inner: values[outer] for inner, outer in self.names}, space)
        return left, renamed(inner, dict(self.names))


@dataclass(frozen=True, slots=True)
class Joined(_Pair):
    """Two patterns under one operator."""

    op: Op

    @property
    def name(self) -> str:
        return f"{self.left.name}_{self.op.value}_{self.right.name}"[:60]

    @property
    def label(self) -> str:
        return f"({self.left.label} {_SPELLING[self.op]} {self.right.label})"

    def trace(self, values: Mapping[str, object], space: Space) -> Program:
        left, right = self.traced(values, space)
        return Program(self.name, Binary(self.op, left.mask, right.mask), S, *joined_declarations(left, right), space)


_SPELLING = {Op.AND: "&", Op.OR: "|", Op.XOR: "^"}


def _traced_on(recipe: Recipe, values: Mapping[str, object], space: Space) -> Program:
    if recipe.rank == space.rank:
        return recipe.trace(values, space)
    return on_grid(recipe.trace(values, Space()), space)


@dataclass(frozen=True, slots=True)
class Inverted:
    """The pairs that a pattern leaves out."""

    inner: Recipe

    @property
    def name(self) -> str:
        return f"not_{self.inner.name}"[:60]

    @property
    def label(self) -> str:
        return f"~{self.inner.label}"

    @property
    def rank(self) -> int:
        return self.inner.rank

    def trace(self, values: Mapping[str, object], space: Space) -> Program:
        program = self.inner.trace(values, space)
        return replace(program, name=self.name, mask=negated(program.mask))


@dataclass(frozen=True, slots=True)
class Moved:
    """A pattern read at `variable + start`, and where there is a `stop` only below it.

    moves: (variable, name of the start or None, name of the stop or None).
    """

    inner: Recipe
    moves: tuple[tuple[Var, str | None, str | None], ...]

    @property
    def name(self) -> str:
        return f"{self.inner.name}_moved"[:60]

    @property
    def label(self) -> str:
        return f"{self.inner.label}.moved"

    @property
    def rank(self) -> int:
        return self.inner.rank

    def trace(self, values: Mapping[str, object], space: Space) -> Program:
        added = {name for _, start, stop in self.moves for name in (start, stop)}
        program = self.inner.trace({name: value for name, value in values.items() if name not in added}, space)
        starts = {variable: start for variable, start, _ in self.moves if start}
        places: dict[Expr, Expr] = {variable: Binary(Op.ADD, variable, Symbol(start)) for variable, start in starts.items()}
        moved = program.substituted(places)
        mask = moved.mask
        for variable, _, stop in self.moves:
            mask = Binary(Op.AND, mask, Binary(Op.LT, places.get(variable, variable), Symbol(stop))) if stop else mask
        parameters = (*moved.parameters, *(Symbol(name) for name in values if name in added))
        return replace(moved, name=self.name, mask=mask, parameters=parameters, space=space)  # a slice has other lengths than the whole


@dataclass(frozen=True, slots=True)
class Chained(_Pair):
    """One score after another, of one rank."""

    @property
    def name(self) -> str:
        return f"{self.left.name}_then_{self.right.name}"[:60]

    @property
    def label(self) -> str:
        return f"{self.left.label}.then({self.right.label})"

    def trace(self, values: Mapping[str, object], space: Space) -> Program:
        first, second = self.traced(values, space)
        parameters, tables = joined_declarations(first, second)
        whole = substitute(second.score, {S: first.score})
        return replace(first, name=self.name, score=whole, parameters=parameters, tables=tables)
