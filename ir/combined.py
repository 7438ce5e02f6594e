"""Recipes made of others: two patterns under one operator, one inverted, one moved along the sequence; two scores in a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from .combine import joined_declarations, on_grid, renamed
from .compound import Compound, Wanted
from .expr import Binary, Expr, Op, S, Symbol, Var, negated, substitute
from .program import Program, Space
from .recipe import Recipe


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class _Pair(Compound):
    """Two recipes. `names` says what the right one's parameters are called in the whole."""

    left: Recipe
    right: Recipe
    left_names: tuple[str, ...]
    names: tuple[tuple[str, str], ...]

    @property
    def parts(self) -> tuple[Recipe, ...]:
        return self.left, self.right

    @property
    def form(self) -> tuple[object, ...]:
        return self.left_names, self.names

    def asked(self, values: Mapping[str, object], space: Space) -> tuple[Wanted, ...]:
        left = {name: values[name] for name in self.left_names}
        right = {inner: values[outer] for inner, outer in self.names}
        return _asked_on(self.left, left, space), _asked_on(self.right, right, space)

    def beside(self, programs: tuple[Program, ...], space: Space) -> tuple[Program, Program]:
        """Both programs on one grid, no name of the right one meaning anything else in the left one."""
        left, right = (_on(recipe, program, space) for recipe, program in zip(self.parts, programs, strict=True))
        return left, renamed(right, dict(self.names))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Joined(_Pair):
    """Two patterns under one operator."""

    op: Op

    @property
    def form(self) -> tuple[object, ...]:
        return self.op, self.left_names, self.names

    def named(self, *names: str) -> str:
        return f"_{self.op.value}_".join(names)

    def labelled(self, *labels: str) -> str:
        return f"({f' {_SPELLING[self.op]} '.join(labels)})"

    def made(self, programs: tuple[Program, ...], values: Mapping[str, object], space: Space) -> Program:
        left, right = self.beside(programs, space)
        return Program(self.name, Binary(self.op, left.mask, right.mask), S, *joined_declarations(left, right), space)


_SPELLING = {Op.AND: "&", Op.OR: "|", Op.XOR: "^"}


def _asked_on(recipe: Recipe, values: Mapping[str, object], space: Space) -> Wanted:
    return Wanted(recipe, values, space if recipe.rank == space.rank else Space())


def _on(recipe: Recipe, program: Program, space: Space) -> Program:
    return program if recipe.rank == space.rank else on_grid(program, space)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class _Changed(Compound):
    """One recipe, changed."""

    inner: Recipe

    @property
    def parts(self) -> tuple[Recipe, ...]:
        return (self.inner,)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Inverted(_Changed):
    """The pairs that a pattern leaves out."""

    @property
    def form(self) -> tuple[object, ...]:
        return ()

    def named(self, *names: str) -> str:
        return f"not_{names[0]}"

    def labelled(self, *labels: str) -> str:
        return f"~{labels[0]}"

    def asked(self, values: Mapping[str, object], space: Space) -> tuple[Wanted, ...]:
        return (Wanted(self.inner, values, space),)

    def made(self, programs: tuple[Program, ...], values: Mapping[str, object], space: Space) -> Program:
        return replace(programs[0], name=self.name, mask=negated(programs[0].mask))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Moved(_Changed):
    """A pattern read at `variable + start`, and where there is a `stop` only below it.

    moves: (variable, name of the start or None, name of the stop or None).
    """

    moves: tuple[tuple[Var, str | None, str | None], ...]

    @property
    def form(self) -> tuple[object, ...]:
        return self.moves

    def named(self, *names: str) -> str:
        return f"{names[0]}_moved"

    def labelled(self, *labels: str) -> str:
        return f"{labels[0]}.moved"

    @property
    def _added(self) -> set[str | None]:
        return {name for _, start, stop in self.moves for name in (start, stop)}

    def asked(self, values: Mapping[str, object], space: Space) -> tuple[Wanted, ...]:
        added = self._added
        return (Wanted(self.inner, {name: value for name, value in values.items() if name not in added}, space),)

    def made(self, programs: tuple[Program, ...], values: Mapping[str, object], space: Space) -> Program:
        starts = {variable: start for variable, start, _ in self.moves if start}
        places: dict[Expr, Expr] = {variable: Binary(Op.ADD, variable, Symbol(start)) for variable, start in starts.items()}
        moved = programs[0].substituted(places)
        mask = moved.mask
        for variable, _, stop in self.moves:
            mask = Binary(Op.AND, mask, Binary(Op.LT, places.get(variable, variable), Symbol(stop))) if stop else mask
        added = self._added
        parameters = (*moved.parameters, *(Symbol(name) for name in values if name in added))
        return replace(moved, name=self.name, mask=mask, parameters=parameters, space=space)  # a slice has other lengths than the whole


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Chained(_Pair):
    """One score after another, of one rank."""

    def named(self, *names: str) -> str:
        return "_then_".join(names)

    def labelled(self, *labels: str) -> str:
        return f"{labels[0]}.then({labels[1]})"

    def made(self, programs: tuple[Program, ...], values: Mapping[str, object], space: Space) -> Program:
        first, second = self.beside(programs, space)
        parameters, tables = joined_declarations(first, second)
        whole = substitute(second.score, {S: first.score})
        return replace(first, name=self.name, score=whole, parameters=parameters, tables=tables)
