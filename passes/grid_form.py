"""A mask on a row-major grid as a condition along each axis, where it joins such conditions by `and`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..ir.expr import K_LEN, OFFSET, Q_LEN, ZERO, Const, Expr, K, Lookup, Q, Var, conjuncts, names, substitute, walk
from ..ir.expr import conjunction as joined
from ..ir.program import Program
from .opaque import allows, powers_rewritten

if TYPE_CHECKING:
    from .axis_relation import Reach


@dataclass(frozen=True)
class GridForm:
    """Along each axis, outermost first, a condition over coordinates `q` and `k`.

    extents:  of the grid of what tiles `i` are made of, and of that of tiles `j`.
    offsets:  position of the first of each.
    mirrored: tiles `i` are of keys and tiles `j` of queries; conditions stay what they are.
    """

    conditions: tuple[Expr, ...]
    extents: tuple[tuple[Expr, ...], tuple[Expr, ...]]
    offsets: tuple[Expr, Expr] = (ZERO, ZERO)
    mirrored: bool = False

    @property
    def sides(self) -> tuple[tuple[Expr, ...], tuple[Expr, ...]]:
        """Extents of queries and of keys."""
        return (self.extents[1], self.extents[0]) if self.mirrored else self.extents

    @property
    def transposed(self) -> GridForm:
        lengths: dict[Expr, Expr] = {Q_LEN: K_LEN, K_LEN: Q_LEN}
        conditions = tuple(substitute(each, lengths) for each in self.conditions)
        return replace(self, conditions=conditions, extents=self.extents[::-1], offsets=self.offsets[::-1], mirrored=not self.mirrored)

    def ordered(self, of_i: Reach, of_j: Reach) -> tuple[Reach, Reach]:
        """Queries and keys."""
        return (of_j, of_i) if self.mirrored else (of_i, of_j)


def grid_form(program: Program, *, shifted: bool) -> GridForm | None:
    """The form of a program on a bound grid; None where its mask is no such conjunction, or not affine along an axis.

    shifted: query rows start at position `offset`, not 0.
    """
    space = program.space
    if space.rank < 2 or not space.extents:
        return None
    axis_of = {variable.name: axis for side in "qk" for axis, variable in enumerate(space.coordinates(side))}
    along: list[list[Expr]] = [[] for _ in space.extents]
    for part in conjuncts(powers_rewritten(program.mask)):
        axes = {axis_of.get(name, -1) for name in names(part)}
        if len(axes) > 1 or -1 in axes or not all(allows(node) and not isinstance(node, Lookup) for node in walk(part)):
            return None
        along[min(axes, default=0)].append(part)
    conditions = tuple(_of_axis(joined(*parts), axis) for axis, parts in enumerate(along))
    extents = tuple(Const(extent) for extent in space.extents)
    return GridForm(conditions, (extents, extents), (OFFSET if shifted else ZERO, ZERO))


def _of_axis(condition: Expr, axis: int) -> Expr:
    return substitute(condition, {Var(f"q{axis}"): Q, Var(f"k{axis}"): K})
