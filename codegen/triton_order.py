"""Token orders in Triton kernels: rows and columns of a tile are positions, what is loaded and stored are tokens.

Of a box, the token at a position is a sum: what the tile adds, computed once for all of it, and what the place in the tile adds, computed
before the loops. An order that is no such sum says the token of each position anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from ..ir.expr import TRUE, Expr, I, J, K, Q, Var, substitute
from ..ir.order import Boxes, Given, Parts
from ..ir.plan import Plan
from .print_triton import Names, bind
from .tile_digits import STEP, Tiled, split
from .triton_kernel import Loop

STEPS, PLACES = Var("steps"), Var("places")  # of the tiles of a loop, one for each token
VARYING = ("s", "j", STEP.name)  # what changes from tile to tile, beside the position


class Side(NamedTuple):
    """Positions of queries or of keys, in tiles of `edge`. order: None where positions are tokens."""

    position: Expr
    edge: int
    order: Boxes | Parts | Given | None

    @property
    def told(self) -> tuple[Expr, Expr]:
        """The token at a position, and whether there is one."""
        return (self.position, TRUE) if self.order is None else (self.order.token(self.position), self.order.valid(self.position))


def owned_lines(side: Side, called: tuple[str, str], names: Names) -> str:
    """Lines that say `row_tokens`, and of which rows there `is_token`. called: what the kernel calls its positions and its tile."""
    position, tile = called
    if side.order is None:
        return f"row_tokens = {position}\nis_token = {ALL.format(position)}"
    tiled = Tiled(side.position, I, side.edge, ROW_STEP)
    here = {I: Var(tile), side.position: Var(position)}
    token, valid = (substitute(tiled.within(each), here) for each in side.told)
    bound = bind([token], names, "placed")
    lines = [f"{ROW_STEP.name} = {position} & {side.edge - 1}", *bound.lines, f"row_tokens = {bound.texts[0]}"]
    return "\n".join([*lines, *_truth("is_token", valid, names, ALL.format(position))])


@dataclass(frozen=True, slots=True)
class Met:
    """The tokens of the tiles that a loop meets.

    beside:  lines before the loops, where `steps` are: `beside`, what the place in a tile adds to a token.
    select:  lines of a loop, where `j` is known.
    tile:    Triton integer: what the tile adds, or, of each position, what it adds there; across, down: along columns and rows of a tile.
    there_across, there_down: Triton truth values: which positions have a token that exists; `start`, `k` (or `q`) and its length are known.
    """

    beside: str
    select: tuple[str, ...]
    tile: str
    across: str
    down: str
    there_across: str
    there_down: str


def met(side: Side, inside: tuple[str, str], names: Names) -> Met:
    """inside: Triton truth values: which positions are below their length, along the columns and the rows of a tile."""
    if side.order is None:
        return Met("beside = steps", (), "start", "start", "start", *inside)
    tiled = Tiled(side.position, J, side.edge, STEPS)
    token, valid = map(tiled.within, side.told)
    there = ("there[None, :]", "there[:, None]") if valid is not TRUE else inside
    parts = split(token, tiled)
    if parts is not None:
        beside, first = bind([parts.step], names, "beside"), bind([parts.tile], names, "first")
        before = "\n".join([*beside.lines, f"beside = {beside.texts[0]}"])
        lines = (*first.lines, f"first = ({first.texts[0]}).to(tl.int64)", *_met_truth(side, valid, names))
        return Met(before, lines, "first", "first", "first", *there)
    bound = bind([substitute(token, {side.position: PLACES})], names, "first")
    lines = (PLACED.format(side.edge), *bound.lines, f"first = ({bound.texts[0]}).to(tl.int64)", *_met_truth(side, valid, names))
    return Met("beside = tl.full(steps.shape, 0, tl.int64)", lines, "first", "first[None, :]", "first[:, None]", *there)


ROW_STEP = Var("row_step")
ALL = "tl.full({}.shape, True, tl.int1)"
PLACED = "places = j.to(tl.int64) * {} + steps"


def _met_truth(side: Side, valid: Expr, names: Names) -> tuple[str, ...]:
    if valid is TRUE:
        return ()
    return PLACED.format(side.edge), *_truth("there", substitute(valid, {side.position: PLACES}), names, "")


def _truth(name: str, valid: Expr, names: Names, always: str) -> tuple[str, ...]:
    if valid is TRUE:
        return (f"{name} = {always}",)
    bound = bind([valid], names, name)
    return (*bound.lines, f"{name} = {bound.texts[0]}")


@dataclass(frozen=True, slots=True)
class Tokens:
    """Which tokens a plan's kernel loads and stores. turned: the kernel owns tiles of keys and meets those of queries."""

    plan: Plan
    names: Names
    turned: bool = False

    def _side(self, *, keys: bool) -> Side:
        order = self.plan.order
        edge = self.plan.block_k if keys != self.turned else self.plan.block_q  # a schedule that is turned has keys first
        return Side(K if keys else Q, edge, None if order is None else order.keys if keys else order.rows)

    def owned(self, position: str, tile: str) -> str:
        return owned_lines(self._side(keys=self.turned), (position, tile), self.names)

    @property
    def met(self) -> Met:
        length = "Lq" if self.turned else "Lk"
        variable = "q" if self.turned else "k"
        return met(self._side(keys=not self.turned), (f"{variable} < {length}", f"(start + steps)[:, None] < {length}"), self.names)

    def by_tile(self, *exprs: Expr) -> tuple[Expr, ...]:
        """Expressions over positions, with what is met read off the number of its tile and `step`."""
        side = self._side(keys=not self.turned)
        return exprs if side.order is None else tuple(map(Tiled(side.position, J, side.edge).within, exprs))

    @property
    def varying(self) -> tuple[str, ...]:
        return ("q" if self.turned else "k", *VARYING)

    @property
    def bindings(self) -> tuple[str, ...]:
        """Lines before the loops that `by_tile` asks for."""
        return () if self.plan.order is None else ("step = steps[None, :].to(INDEX)",)


def placed(loops: Sequence[Loop], lines: Sequence[str]) -> tuple[Loop, ...]:
    """Loops that also know which tokens they meet."""
    return tuple(replace(each, select="\n".join([each.select, *lines])) for each in loops)
