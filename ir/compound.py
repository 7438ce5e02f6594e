"""Recipes made of others, worked through with lists: hundreds may be joined, whatever Python's limit of recursion is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar, cast

from .program import Program, Space
from .recipe import Recipe

T = TypeVar("T")


class Wanted(NamedTuple):
    """A recipe to be traced. ready: what it is made of has been."""

    recipe: Recipe
    values: Mapping[str, object]
    space: Space
    ready: bool = False


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Compound:
    """A recipe made of `parts`.

    rank, name: found from those of the parts when it is made.      hashed: once it was asked for.
    """

    rank: int = field(init=False, default=1)
    name: str = field(init=False, default="")
    hashed: int | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rank", max(part.rank for part in self.parts))
        object.__setattr__(self, "name", self.named(*(part.name for part in self.parts))[:60])

    @property
    def parts(self) -> tuple[Recipe, ...]:
        raise NotImplementedError

    @property
    def form(self) -> tuple[object, ...]:
        """What it is beside its parts. Hashable."""
        raise NotImplementedError

    def named(self, *names: str) -> str:
        """The name of the whole from those of its parts."""
        raise NotImplementedError

    def labelled(self, *labels: str) -> str:
        raise NotImplementedError

    def asked(self, values: Mapping[str, object], space: Space) -> tuple[Wanted, ...]:
        """What of each part is traced where the whole is, on `space`."""
        raise NotImplementedError

    def made(self, programs: tuple[Program, ...], values: Mapping[str, object], space: Space) -> Program:
        """The program of the whole from those of its parts."""
        raise NotImplementedError

    @property
    def state(self) -> tuple[object, ...]:
        leaves = {id(each): each for each in _written(self) if not isinstance(each, tuple)}
        return tuple(cast(Recipe, each).state for each in leaves.values())

    @property
    def label(self) -> str:
        return _folded(self, lambda recipe, labels: recipe.labelled(*labels) if isinstance(recipe, Compound) else recipe.label)

    def trace(self, values: Mapping[str, object], space: Space) -> Program:
        found: list[Program] = []
        stack = [Wanted(self, values, space)]
        while stack:
            wanted = stack.pop()
            recipe = wanted.recipe
            if not isinstance(recipe, Compound):
                found.append(recipe.trace(wanted.values, wanted.space))
            elif not wanted.ready:
                stack += (wanted._replace(ready=True), *reversed(recipe.asked(wanted.values, wanted.space)))
            else:
                programs = tuple(found[-len(recipe.parts) :])
                del found[-len(recipe.parts) :]
                found.append(recipe.made(programs, wanted.values, wanted.space))
        return found[0]

    def __hash__(self) -> int:
        if self.hashed is None:
            object.__setattr__(self, "hashed", hash(tuple(_written(self))))
        return cast(int, self.hashed)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Compound):
            return NotImplemented
        return self is other or (hash(self) == hash(other) and _written(self) == _written(other))

    def __repr__(self) -> str:
        return self.label


def _folded(root: Recipe, visit: Callable[[Recipe, tuple[T, ...]], T]) -> T:
    """`visit(recipe, values of its parts)`, bottom-up, once for each recipe."""
    values: dict[int, T] = {}
    stack = [(root, False)]
    while stack:
        recipe, ready = stack.pop()
        parts = recipe.parts if isinstance(recipe, Compound) else ()
        if ready or not parts:
            values[id(recipe)] = visit(recipe, tuple([values[id(part)] for part in parts]))
        elif id(recipe) not in values:
            stack.append((recipe, True))
            stack.extend([(part, False) for part in parts])
    return values[id(root)]


def _written(root: Recipe) -> list[object]:
    """Two recipes are equal where these are: the forms of those made of others, and the others themselves, each before its parts."""
    found: list[object] = []
    stack = [root]
    while stack:
        recipe = stack.pop()
        if isinstance(recipe, Compound):
            found.append((type(recipe), recipe.form))
            stack += reversed(recipe.parts)
        else:
            found.append(recipe)
    return found
