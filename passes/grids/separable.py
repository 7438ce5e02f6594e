"""A mask on a row-major grid as a condition along each axis, where it joins such conditions by `and`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ...ir.expr import (
    K_LEN,
    OFFSET,
    Q_LEN,
    ZERO,
    Binary,
    Const,
    Expr,
    K,
    Kind,
    Lookup,
    Op,
    Q,
    Symbol,
    Var,
    conjuncts,
    fold,
    names,
    rebuilt,
    substitute,
    walk,
)
from ...ir.expr import conjunction as joined
from ...ir.grid import divisor, slices
from ...ir.program import Program, Space
from ...ir.space import TwoGrids
from ..program.abstraction import allows, powers_rewritten

if TYPE_CHECKING:
    from .axis_relation import Reach


@dataclass(frozen=True)
class GridForm:
    """Along each axis, outermost first, a condition over coordinates `q` and `k`.

    extents:  of the grid of what tiles `i` are made of, and of that of tiles `j`.
    offsets:  position of the first of each.
    mirrored: tiles `i` are of keys and tiles `j` of queries; conditions stay what they are.
    scalars:  what symbols in conditions stand for: numbers of a call that are not affine in its lengths and parameters.
    """

    conditions: tuple[Expr, ...]
    extents: tuple[tuple[Expr, ...], tuple[Expr, ...]]
    offsets: tuple[Expr, Expr] = (ZERO, ZERO)
    mirrored: bool = False
    scalars: Mapping[Expr, Expr] = field(default_factory=dict[Expr, Expr])

    @property
    def sides(self) -> tuple[tuple[Expr, ...], tuple[Expr, ...]]:
        """Extents of queries and of keys."""
        return (self.extents[1], self.extents[0]) if self.mirrored else self.extents

    @property
    def transposed(self) -> GridForm:
        lengths: dict[Expr, Expr] = {Q_LEN: K_LEN, K_LEN: Q_LEN}
        conditions = tuple(substitute(each, lengths) for each in self.conditions)
        first, second = (tuple(substitute(each, lengths) for each in side) for side in self.extents)
        scalars = {symbol: substitute(value, lengths) for symbol, value in self.scalars.items()}
        turned = replace(self, conditions=conditions, extents=(second, first), scalars=scalars)
        return replace(turned, offsets=self.offsets[::-1], mirrored=not self.mirrored)

    def ordered(self, of_i: Reach, of_j: Reach) -> tuple[Reach, Reach]:
        """Queries and keys."""
        return (of_j, of_i) if self.mirrored else (of_i, of_j)


def grid_form(program: Program, *, shifted: bool) -> GridForm | None:
    """The form of a program on a bound grid, or on two; None where its mask is no such conjunction, or not affine along an axis.

    shifted: query rows start at position `offset`, not 0.
    """
    stop = Binary(Op.ADD, Q_LEN, OFFSET) if shifted else Q_LEN
    laid = _on_axes(program, stop)
    return None if laid is None else _form(*laid, OFFSET if shifted else ZERO)


def written_grid_form(program: Program, *, shifted: bool) -> GridForm | None:
    """The form of a program over flat positions that reads them as `q // n` and `q % n` alone, and keys likewise."""
    if program.space.rank != 1 or program.space.grids is not None:
        return None
    mask = powers_rewritten(program.mask)
    rows = {side: {node.b for node in walk(mask) if isinstance(node, Binary) and _splits(node, side)} for side in (Q, K)}
    if any(len(each) != 1 for each in rows.values()):
        return None
    (of_query,), (of_key,) = rows.values()
    coordinates = {Q: Space(2).coordinates("q"), K: Space(2).coordinates("k")}
    places: dict[Expr, Expr] = {}
    for side, columns in ((Q, of_query), (K, of_key)):
        places |= {Binary(op, side, columns): at for op, at in zip((Op.FLOORDIV, Op.MOD), coordinates[side], strict=True)}
    stop = Binary(Op.ADD, Q_LEN, OFFSET) if shifted else Q_LEN
    sides = (_extents((None, of_query), stop), _extents((None, of_key), K_LEN))
    return _form(substitute(mask, places), sides, OFFSET if shifted else ZERO)


def _splits(node: Binary, side: Expr) -> bool:
    return node.a is side and node.op in (Op.FLOORDIV, Op.MOD) and isinstance(node.b, Const) and node.b.value > 1


def _form(mask: Expr, extents: _Extents, offset: Expr) -> GridForm | None:
    scalars: dict[Expr, Expr] = {}
    mask = _without_scalars(powers_rewritten(mask), scalars)
    coordinates = Space(len(extents[0])).coordinates
    axis_of = {variable.name: axis for side in "qk" for axis, variable in enumerate(coordinates(side))}
    along: list[list[Expr]] = [[] for _ in extents[0]]
    for part in conjuncts(mask):
        axes = {axis_of.get(name, -1) for name in names(part)}
        if len(axes) > 1 or -1 in axes or not all(allows(node) and not isinstance(node, Lookup) for node in walk(part)):
            return None
        along[min(axes, default=0)].append(part)
    conditions = tuple(_of_axis(joined(*parts), axis) for axis, parts in enumerate(along))
    return GridForm(conditions, extents, (offset, ZERO), scalars=scalars)


_Extents = tuple[tuple[Expr, ...], tuple[Expr, ...]]


def _on_axes(program: Program, stop: Expr) -> tuple[Expr, _Extents] | None:
    """The mask over coordinates, and the extents of both sides; None where positions are on no grid of two axes or more.

    stop: of positions of queries, exclusive.
    """
    space = program.space
    if space.rank > 1 and space.extents:
        extents = tuple(Const(extent) for extent in space.extents)
        return program.mask, (extents, extents)
    if space.grids is None or {grid.rank for grid in space.grids} != {max(2, space.grids[0].rank)}:
        return None
    query, key = space.grids
    sides = TwoGrids(query.rank, query=query.sizes(of_all_keys=False), key=key.sizes(of_all_keys=False))
    places: dict[Expr, Expr] = {at: place for side in (Q, K) for place, at in sides.places(side.name, side).items()}
    return substitute(program.mask, places), (_extents(sides.query, stop), _extents(sides.key, K_LEN))


def _extents(sizes: tuple[Expr | None, ...], stop: Expr) -> tuple[Expr, ...]:
    """At least 1 to see; the outermost from where positions stop, if it is not known."""
    outer, *inner = sizes
    return (slices(stop, inner) if outer is None else outer, *(divisor((size,)) for size in inner))


def _without_scalars(mask: Expr, found: dict[Expr, Expr]) -> Expr:
    """The mask with a symbol for every largest expression that reads no position and is not affine; what they are is added to `found`."""

    def visit(node: Expr, parts: tuple[Expr, ...]) -> Expr:
        made = rebuilt(node, parts)
        if made.kind is not Kind.INT or names(made) or all(allows(each) for each in walk(made)):
            return made
        whole = substitute(made, found)
        known = next((symbol for symbol, value in found.items() if value is whole), None)
        symbol = known or Symbol(f"scalar {len(found)}")
        found[symbol] = whole
        return symbol

    return fold(mask, visit)


def _of_axis(condition: Expr, axis: int) -> Expr:
    return substitute(condition, {Var(f"q{axis}"): Q, Var(f"k{axis}"): K})
