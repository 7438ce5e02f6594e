"""Patterns: which pairs (q, k) are attended, as a Python function of the two positions.

>>> @pattern
... def sliding(q, k, *, window):
...     return (k <= q) & (q - k < window)
>>> print(sliding(window=256).program.mask)
k <= q and q - k < window
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NoReturn, TypeAlias, cast, overload

from .binding import Argument, plain, require_bindable
from .build import refusal
from .combine import free_name, names_beside
from .expr import Op, Var
from .given_grid import is_count
from .grid import Extent, Grid
from .parametric import Parametric, from_function
from .program import Space
from .trace import is_tensor

if TYPE_CHECKING:
    from .laid_out import Where
    from .sequence import Part

_POSITIONS = "qkbh"
_Slice: TypeAlias = "slice[int | None, int | None, int | None]"


@dataclass(frozen=True, eq=False, repr=False)
class Pattern(Parametric):
    """A mask with parameters. `p & r`, `p | r`, `p ^ r`, `~p`, `p - r` combine; `p[q0:q1, k0:k1]` and `p.shift(q=, k=)` move."""

    def on(self, *extents: Extent | Grid | Part, queries: Where | None = None, keys: Where | None = None) -> Pattern:
        """On a row-major grid, given by its extents, outermost first, or as `lacuna.grid(...)`; or on a part of a `lacuna.sequence`.

        queries, keys: where they are on two grids, or different parts. Outside of parts nothing is attended.

        Raises:
            TypeError: another rank than that of the pattern, one side without the other.
            ValueError: an extent is not positive.
        """
        from .laid_out import laid_out, sides  # a start with a pattern of flat positions does without

        query, key = sides(self.recipe.label, self.recipe.rank, extents, queries, keys)
        if query == key and query.grid.fixed and not query.is_part:
            return replace(self, space=Space(self.recipe.rank, query.grid.fixed))
        return laid_out(self, query, key)

    def require_ready(self) -> None:
        """TypeError that names what is missing: a parameter, or the extents of the grid."""
        self.require_bound()
        if self.space.rank > 1 and not self.space.extents:
            raise refusal(f"`{self!r}` is used before its grid is bound", f"`{self!r}.on({', '.join(['...'] * self.space.rank)})`")

    def __and__(self, other: object) -> Pattern:
        return _joined(Op.AND, self, other)

    def __or__(self, other: object) -> Pattern:
        return _joined(Op.OR, self, other)

    def __xor__(self, other: object) -> Pattern:
        return _joined(Op.XOR, self, other)

    def __sub__(self, other: object) -> Pattern:
        return _joined(Op.AND, self, ~other if isinstance(other, Pattern) else other)

    def _reflected(self, other: object) -> NoReturn:
        raise _no_pattern(self, other)

    __rand__ = __ror__ = __rxor__ = __rsub__ = _reflected
    __array_ufunc__ = None  # numpy arrays leave operators to us

    def __invert__(self) -> Pattern:
        from .combined import Inverted  # a start with a pattern that is one function does without

        recipe = self.recipe
        return replace(self, recipe=recipe.inner if isinstance(recipe, Inverted) else Inverted(recipe))

    def __bool__(self) -> bool:
        raise refusal(f"`{self!r}` has no truth value", "`&`, `|`, `~` instead of `and`, `or`, `not`")

    def shift(self, *, q: int | tuple[int, ...] = 0, k: int | tuple[int, ...] = 0) -> Pattern:
        """The pattern read at (q + a, k + b): query row 0 becomes its row `a`. On a grid a tuple, one shift per axis."""
        variables = [variable for side in "qk" for variable in self.space.coordinates(side)]
        shifts = [*self._per_axis("q", q), *self._per_axis("k", k)]
        return self._moved([(variable, shift, None) for variable, shift in zip(variables, shifts, strict=True) if shift], "shift")

    def _per_axis(self, side: str, shift: int | tuple[int, ...]) -> tuple[int, ...]:
        shifts = shift if isinstance(shift, tuple) else (shift,) if self.space.rank == 1 or shift else (0,) * self.space.rank
        if len(shifts) != self.space.rank:
            raise refusal(f"`shift({side}={shift})` of a pattern of rank {self.space.rank}", f"{self.space.rank} integers, one per axis")
        return shifts

    def __getitem__(self, index: object) -> Pattern:
        """The rows and columns of a slice, counted from 0 again. Nothing outside it is attended."""
        if self.space.rank > 1:
            raise NotImplementedError(f"a slice of `{self!r}`, which is on a grid\n  write `.shift(q=(...), k=(...))`")
        rows, columns = _slices(index)
        moves = [(Var(side), each.start or 0, each.stop) for side, each in (("q", rows), ("k", columns))]
        return self._moved([move for move in moves if move[1] or move[2] is not None], "start")

    def _moved(self, moves: list[tuple[Var, int, int | None]], word: str) -> Pattern:
        if not moves:
            return self
        from .combined import Moved

        arguments = dict(self.arguments)
        named: list[tuple[Var, str | None, str | None]] = []

        def add(name: str, value: int) -> str:
            name = free_name(name, arguments)
            require_bindable(self.recipe.label, name, value)
            arguments[name] = Argument(plain(value))
            return name

        for variable, start, stop in moves:
            prefix = variable.name[0] if self.space.rank == 1 else f"{variable.name[0]}_{variable.name[1:]}"
            start_name = add(f"{prefix}_{word}", start) if start else None
            named.append((variable, start_name, None if stop is None else add(f"{prefix}_stop", stop)))
        space = self.space if self.space.rank > 1 else Space()  # a slice has other lengths than the whole
        return replace(self, recipe=Moved(self.recipe, tuple(named)), arguments=arguments, space=space)


def _slices(index: object) -> tuple[_Slice, _Slice]:
    """The two slices of `p[rows, columns]`; ranges with steps and negative ends are refused."""
    parts = cast(tuple[object, ...], index if isinstance(index, tuple) else (index, slice(None)))
    if len(parts) != 2 or not all(isinstance(part, slice) for part in parts):
        raise refusal(f"a pattern is sliced with {index!r}", "`p[q0:q1, k0:k1]`")
    rows, columns = cast("tuple[_Slice, _Slice]", parts)
    for part in (rows, columns):
        if part.step not in (None, 1):
            raise refusal(f"a pattern is sliced with a step of {part.step}", "a pattern of `step * q`, or slices without a step")
        if not all(is_count(end) for end in (part.start, part.stop) if end is not None):
            raise refusal(f"a pattern is sliced from {part.start} to {part.stop}", "ends counted from the front")
    return rows, columns


def _no_pattern(pattern: Pattern, other: object) -> TypeError:
    if is_tensor(other):
        shape = ", ".join(str(size) for size in other.shape)
        fix = "`lacuna.interop.dense_mask.from_dense(mask)`, which is one"
        return refusal(f"`{pattern!r}` is combined with a tensor {other.dtype}[{shape}], which is no pattern", fix)
    module, name = str(getattr(other, "__module__", "")), getattr(other, "__name__", "")
    if module.startswith("lacuna.patterns."):
        return refusal(f"`{pattern!r}` is combined with the function `{name}` of the catalogue, which was not called", f"`{name}(...)`")
    return refusal(f"`{pattern!r}` is combined with {other!r:.60}, which is no pattern", "`@lacuna.pattern` above the function")


def _joined(op: Op, left: Pattern, right: object) -> Pattern:
    if not isinstance(right, Pattern):
        raise _no_pattern(left, right)
    from .combined import Joined

    space = _common_space(left, right)
    names = names_beside(left.arguments, right.arguments)
    arguments = {**left.arguments, **{names[name]: argument for name, argument in right.arguments.items()}}
    return Pattern(Joined(left.recipe, right.recipe, tuple(left.arguments), tuple(names.items()), op), arguments, space)


def _common_space(left: Pattern, right: Pattern) -> Space:
    """The grid of whichever side has one."""
    space = left.space.met(right.space)
    if space is None:
        raise refusal(f"`{left!r}` and `{right!r}` are on different grids", "both on one grid, `.on(rows, columns)`")
    return space


@overload
def pattern(function: Callable[..., object], /) -> Pattern: ...
@overload
def pattern(*, rank: int = 1) -> Callable[[Callable[..., object]], Pattern]: ...
def pattern(function: Callable[..., object] | None = None, /, *, rank: int = 1) -> Pattern | Callable[[Callable[..., object]], Pattern]:
    """A pattern from a function of `q`, `k` and optionally `b`, `h`, found by name; keyword-only parameters are the pattern's.

    rank: 1 for flat positions; otherwise `q` and `k` are tuples of that many coordinates, outermost first.
    """

    def decorate(function: Callable[..., object]) -> Pattern:
        made = from_function(Pattern, function, rank, _POSITIONS)
        assert isinstance(made, Pattern)
        return made

    if not is_count(rank) or rank == 0:
        raise ValueError(f"a pattern of rank {rank!r}\n  write `rank=1` for flat positions, `rank=2` for a plane")
    return decorate if function is None else decorate(function)
