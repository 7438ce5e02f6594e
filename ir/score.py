"""Scores: what becomes of `scale * query . key` before the softmax, as a Python function of it and the positions.

>>> from lacuna.ir.functions import tanh
>>> @score
... def capped(s, *, cap):
...     return cap * tanh(s / cap)
>>> capped(cap=30.0).expr
cap * tanh(s / cap)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, overload

from .build import refusal
from .combine import joined_declarations, names_beside, on_grid, renamed
from .expr import Expr, Symbol, Table
from .given_grid import is_count
from .grid import Extent, Grid
from .parametric import Parametric, from_function
from .pattern import Pattern
from .program import Program

if TYPE_CHECKING:
    from .laid_out import Where
    from .sequence import Part

_POSITIONS = "sbhqk"


@dataclass(frozen=True, eq=False, repr=False)
class Score(Parametric):
    """A function of a score with parameters. `f.then(g)` is g of what f returns."""

    @property
    def expr(self) -> Expr:
        """A real expression over `s`, `b`, `h`, `q`, `k`, parameters and tables."""
        return self.program.score

    @property
    def parameters(self) -> tuple[Symbol, ...]:
        return self.program.parameters

    @property
    def tables(self) -> tuple[Table, ...]:
        return self.program.tables

    def on(self, *extents: Extent | Grid | Part, queries: Where | None = None, keys: Where | None = None) -> Score:
        """On a grid, on two, or on parts of a sequence, as `pattern.on`; scores outside of parts stay as they are.

        A score with the rank of its pattern takes its grids without this.
        """
        from .laid_out import laid_out, sides

        return laid_out(self, *sides(self.recipe.label, self.recipe.rank, extents, queries, keys))

    def then(self, after: object) -> Score:
        """`after` applied to what this one returns; parameters of `after` whose names are taken get a number."""
        if not isinstance(after, Score):
            raise refusal(f"`{self!r}` is followed by {after!r}, which is no score", "`@lacuna.score` above the function")
        if self.space.rank != after.space.rank:
            raise refusal(f"`{self!r}` and `{after!r}` have different ranks", "both with the same `rank=`")
        from .combined import Chained

        names = names_beside(self.arguments, after.arguments)
        arguments = {**self.arguments, **{names[name]: argument for name, argument in after.arguments.items()}}
        return Score(Chained(self.recipe, after.recipe, tuple(self.arguments), tuple(names.items())), arguments, self.space)


def combined(pattern: Pattern, score: Score | None) -> tuple[Program, dict[str, object]]:
    """One program of a pattern and a score, and what its parameters and tables are bound to.

    The score's names that the pattern has too get a number, unless both are the same argument.
    """
    pattern.require_ready()
    if score is None:
        return pattern.program, dict(pattern.bindings)
    mask, function = pattern.program, _on_the_grid_of(pattern, score)
    names = names_beside(pattern.arguments, score.arguments)
    second = renamed(function, names)
    parameters, tables = joined_declarations(mask, second)
    program = replace(mask, name=f"{mask.name}_{second.name}"[:60], score=second.score, parameters=parameters, tables=tables)
    values = {**pattern.bindings, **{names[name]: value for name, value in _values(score).items()}}
    return program, {entry.name: values[entry.name] for entry in (*parameters, *tables)}


def _on_the_grid_of(pattern: Pattern, score: Score) -> Program:
    if score.space.rank == 1 and score.space.met(pattern.space) is None:
        raise refusal(f"`{score!r}` and `{pattern!r}` are for other numbers of tokens", "both on the same spaces")
    if score.space.rank == pattern.space.rank:
        return score.recipe.trace(_values(score), pattern.space)
    if score.space.rank > 1:
        return _where_the_pattern_is(pattern, score)
    return on_grid(score.program, pattern.space)


def _where_the_pattern_is(pattern: Pattern, score: Score) -> Program:
    """The program of a score over coordinates, on the grids of a pattern that has flat positions."""
    from .laid_out import LaidOut

    recipe, rank = pattern.recipe, score.space.rank
    if not isinstance(recipe, LaidOut) or recipe.inner.rank != rank:
        fix = "a pattern with the same `rank=`, or `.on(...)` of the score too"
        raise refusal(f"`{score!r}` is on a grid of rank {rank}, `{pattern!r}` is not", fix)
    extents = {name: pattern.arguments[name].value for name in recipe.extent_names}
    return replace(recipe, inner=score.recipe).trace({**_values(score), **extents}, pattern.space)


def _values(score: Score) -> dict[str, object]:
    score.require_bound()
    return {name: argument.value for name, argument in score.arguments.items()}


@overload
def score(function: Callable[..., object], /) -> Score: ...
@overload
def score(*, rank: int = 1) -> Callable[[Callable[..., object]], Score]: ...
def score(function: Callable[..., object] | None = None, /, *, rank: int = 1) -> Score | Callable[[Callable[..., object]], Score]:
    """A score from a function of `s` and any of `b`, `h`, `q`, `k`, found by name; keyword-only parameters are the score's."""

    def decorate(function: Callable[..., object]) -> Score:
        made = from_function(Score, function, rank, _POSITIONS)
        assert isinstance(made, Score)
        return made

    if not is_count(rank) or rank == 0:
        raise ValueError(f"a score of rank {rank!r}\n  write `rank=1` for flat positions, `rank=2` for a plane")
    return decorate if function is None else decorate(function)
