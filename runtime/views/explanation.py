"""An account of how the schedule of a pattern is found: program, passes, exact sparsity, orders considered, loops, predicted speed-up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

import numpy as np

from ...ir.pattern import Pattern
from ...ir.program import Program
from ...ir.schedule import Tile
from ...passes.program.call_values import Launch
from ..cache.stand_in import reason_of_stand_in
from ..choices.positions import grids_of
from ..launches.term_arrays import term_arrays
from ..request.head_orders import ByHead, OrderGiven, OrdersOfHeads, asked
from ..request.merged_program import resolved
from .derived import derived, launch_of
from .lengths_given import block_given
from .tile_schedule import TileSchedule

if TYPE_CHECKING:
    from ...passes.costs.box_order import Considered
    from ...passes.costs.gpu_orders import Considered as ConsideredCut
    from ..request.token_order import TokenOrder
    from .by_head import HeadsInOrder, KindOfHeads

LONGEST_LINE = 160
MOST_ORDERS = 4
PARTIAL_COST = 1.15  # a partial tile beside a full one, measured on the C++ kernels

Counts = tuple[int, int, int]
"""Empty, partial and full tiles."""


@dataclass(frozen=True)
class Explanation:
    """What a pattern becomes. Printing it gives the account as text.

    live_pairs: attended pairs of one (b, h), an estimate unless they are counted. speedup: predicted, over visiting every tile.
    residues:   classes that kernels take as problems of their own and the tiles of all of them; None where they take the pattern whole.
    orders:     of tokens that C++ kernels may take, the chosen one first, for float32 of 64 dimensions; empty where there is no choice.
    cuts:       into boxes, or runs of tokens, that Triton kernels for sm_90 may have, the chosen one first, for bfloat16 of 128 dimensions.
    order:      that was asked for, whose positions fill the tiles.
    kinds:      of heads, where conditions on `h` tell some from others on a grid, and the tiles of each in orders of its axes.
    """

    program: Program
    schedule: TileSchedule
    steps: tuple[tuple[str, str, float], ...]
    classes: Counts
    live_pairs: int
    residues: tuple[int, Counts] | None = None
    orders: tuple[Considered, ...] = ()
    cuts: tuple[ConsideredCut, ...] = ()
    order: TokenOrder | None = None
    kinds: tuple[KindOfHeads, ...] = ()
    counted: bool = True

    @property
    def pairs(self) -> int:  # of tokens, attended or not
        return self.schedule.launch.q_len * self.schedule.launch.k_len if self.order is None else len(self.order.tokens) ** 2

    @property
    def density(self) -> float:
        return self.live_pairs / self.pairs

    @property
    def speedup(self) -> float:
        return sum(self.classes) / _cost(self.classes if self.residues is None else self.residues[1])

    @property
    def _bounds(self) -> tuple[str, str]:
        """What is said of counts of visited and of full tiles, where a rule between two parts is taken to be met throughout."""
        from ...passes.sequences.sequence_rules import rules_of

        rules = rules_of(self.program, dict(self.schedule.launch.integers)) if self.program.space.rank == 1 else None
        return ("visited at most", "full at least") if rules is not None and None in rules.of.values() else ("visited", "full")

    def __str__(self) -> str:
        return "\n".join((*self._passes(), "", *self._tiles(), "", *self._loops()))

    def _passes(self) -> list[str]:
        lines = [str(self.program), "", "passes"]
        for name, difference, seconds in self.steps:
            lines.append(f"  {name:16} {1e3 * seconds:6.2f} ms  {'' if difference else '(nothing to do)'}")
            lines += [f"    {line}" for line in difference.splitlines()]
        return lines

    def _tiles(self) -> list[str]:
        found = self.schedule.schedule
        empty, partial, full = self.classes
        told = ", ".join(word for word, holds in (("exact", found.exact), ("closed form", found.closed_form)) if holds)
        return [
            f"tiles of {found.block_q} x {found.block_k}: {empty} empty, {partial} partial, {full} full",
            f"found: {found.route}, {told or 'a cover that may hold more than it must'}",
            f"pairs: {'' if self.counted else 'about '}{self.live_pairs} of {self.pairs}, density {self.density:.4f}",
            f"predicted speed-up over every tile: {self.speedup:.1f}x",
            *([] if self.order is None else [f"token order: {self.order}, as it was asked for"]),
            *self._residues(),
            *self._orders(),
            *self._cuts(),
            *self._kinds(),
            *self._by_ends(),
            *(f"fell back: {reason}" for reason in found.counters.fallbacks),
            *(f"fell back: {reason}" for reason in [reason_of_stand_in()] if reason),
            *found.counters.looked_at,
        ]

    def _by_ends(self) -> list[str]:
        read = sorted(str(term.expr) for term in self.schedule.schedule.terms)
        return [f"in a tile known by its least and greatest value: {', '.join(read)}"] if read else []

    def _residues(self) -> list[str]:
        if self.residues is None:
            return []
        modulus, (empty, partial, full) = self.residues
        return [
            f"token order: {modulus} residue classes, each a problem of its own on tokens {modulus} apart",
            f"tiles of the classes: {empty} empty, {partial} partial, {full} full",
        ]

    def _orders(self) -> list[str]:
        if not self.orders:
            return []
        taken = "the first is taken" if self.order is None else "beside the one asked for"
        tiles = f"{' and '.join(self._bounds)} tiles"
        lines = [f"token orders of C++ kernels, {taken}: {tiles}, predicted time, attended pairs over pairs met"]
        for each in self.orders[:MOST_ORDERS]:
            name = "row-major" if each.boxes is None else f"boxes of {each.boxes}"
            lines.append(f"  {name:32} {each.visited:8} {each.full:7}  {each.time:5.2f}  {each.useful:5.2f}")
        return lines

    def _cuts(self) -> list[str]:
        if not self.cuts:
            return []
        tiles = f"{' and '.join(self._bounds)} tiles"
        lines = [f"cuts of Triton kernels for sm_90, the first is taken: predicted time, useful pairs, {tiles}"]
        shown = {each.cut.order: each for each in reversed(self.cuts)}  # the best configuration of each order
        for each in sorted(shown.values(), key=self.cuts.index)[:MOST_ORDERS]:
            lines.append(f"  {each.cut!s:64}  {each.time:5.2f}  {each.useful:5.2f}  {each.visited} {each.full}")
        return lines

    def _kinds(self) -> list[str]:
        lines = ["heads of different kinds, for `order={head: ...}`: visited and full tiles of a head"] if self.kinds else []
        for kind in self.kinds:
            told = "; ".join(f"{each.name} {each.visited} {each.full}" for each in kind.orders)
            lines.append(f"  heads {_short(', '.join(map(str, kind.heads)))}: {told}")
        return lines

    def _loops(self) -> list[str]:
        found = self.schedule.schedule
        lines = ["loops over key tiles j of query tile i"]
        for kind, pieces in (("full", found.full_loops), ("partial", found.partial_loops)):
            for piece in pieces:
                step = f", step {piece.step}" if piece.step > 1 else ""
                where = f" where {piece.where}" if str(piece.where) != "true" else ""
                listed = f" through {piece.through.name}" if piece.through else ""
                lines.append(f"  {kind:8} {_short(f'{piece.start} <= j < {piece.stop}{step}{listed}{where}')}")
        return lines


@dataclass(frozen=True)
class ExplanationOfHeads:
    """Of each view of heads that share an order of their own."""

    each: tuple[tuple[HeadsInOrder, Explanation], ...]

    @property
    def classes(self) -> Counts:
        """Tiles of all heads, those of a view as many as its first one has."""
        empty, partial, full = (sum(len(view.heads) * told.classes[at] for view, told in self.each) for at in range(3))
        return empty, partial, full

    def __str__(self) -> str:
        return "\n\n".join(f"{view}\n\n{told}" for view, told in self.each)


def _cost(counts: Counts) -> float:
    """In full tiles."""
    return max(1e-9, PARTIAL_COST * counts[1] + counts[2])


def _counts(found: TileSchedule) -> Counts:
    """Tiles of head 0 of batch item 0 by class."""
    empty, partial, full = np.bincount(found.tiles().ravel(), minlength=len(Tile)).tolist()
    return empty, partial, full


def _of_residues(program: Program, launch: Launch, block: tuple[int, int]) -> tuple[int, Counts] | None:
    from ...passes.program.residues import residues
    from ...passes.schedules.derive import derive

    found = residues(program, launch)
    if found is None or not found.pay(launch.q_len, launch.k_len):
        return None
    total, tiles = np.zeros(len(Tile), np.int64), None
    for row, key, parameters in found.classes(launch.q_len, launch.k_len, launch.offset):
        rows, keys = (len(range(first, length, found.modulus)) for first, length in ((row, launch.q_len), (key, launch.k_len)))
        inner = launch._replace(q_len=rows, k_len=keys, offset=0, parameters={**launch.parameters, **parameters})
        if tiles is None or tiles.schedule.route != "symbolic":  # which serves every class
            tiles = derive(found.program, *block, inner)
        arrays = {**tiles.arrays, **term_arrays(tiles.schedule, inner)}
        total += _counts(TileSchedule(tiles.schedule, inner, arrays))
    empty, partial, full = total.tolist()
    return found.modulus, (empty, partial, full)


def _orders(program: Program, launch: Launch) -> tuple[Considered, ...]:
    if not _has_choice(program, launch):
        return ()
    from ...passes.costs.box_order import considered
    from ...passes.costs.tile_shape import Problem, extents_of

    return considered(program, launch.integers, Problem(extents_of(program), 128, 4, 16))


def _has_choice(program: Program, launch: Launch) -> bool:
    """Whether queries and keys are the tokens of a grid, or of a sequence with grids in it."""
    return launch.q_len == launch.k_len and bool(grids_of(program))


def _cuts(program: Program, launch: Launch) -> tuple[ConsideredCut, ...]:
    if not _has_choice(program, launch):
        return ()
    from ...passes.costs.gpu_orders import considered
    from ...passes.costs.gpu_resources import Problem

    return considered(program, launch.integers, Problem("sm_90", "bf16", (128, 128)))


def _short(text: str) -> str:
    """`text`, cut where nobody would read on."""
    return text if len(text) <= LONGEST_LINE else f"{text[:LONGEST_LINE]} ... ({len(text)} characters: print the schedule to see them)"


@overload
def explain(
    pattern: Pattern | None,
    q_len: int | None = None,
    kv_len: int | None = None,
    *,
    block: tuple[int, int] = (128, 64),
    heads: int = 1,
    batch: int = 1,
    order: TokenOrder | None = None,
) -> Explanation: ...
@overload
def explain(
    pattern: Pattern | None,
    q_len: int | None = None,
    kv_len: int | None = None,
    *,
    block: tuple[int, int] = (128, 64),
    heads: int = 1,
    batch: int = 1,
    order: OrdersOfHeads | Sequence[TokenOrder | None] | ByHead,
) -> ExplanationOfHeads: ...
def explain(
    pattern: Pattern | None,
    q_len: int | None = None,
    kv_len: int | None = None,
    *,
    block: tuple[int, int] = (128, 64),
    heads: int = 1,
    batch: int = 1,
    order: OrderGiven = None,
) -> Explanation | ExplanationOfHeads:
    """How the tiles of a pattern are found: program, passes, loops, exact sparsity, predicted speed-up. Of head 0 of batch item 0.

    The rest is as in `schedule`; with an order for each head, the first head of each view of heads that share one is explained.
    """
    block = block_given(block)
    launch, program = launch_of(pattern, (q_len, kv_len), (batch, heads)), resolved(pattern, None)[0]
    given = None if order is None else asked(order, heads)
    if not isinstance(given, OrdersOfHeads):
        return _explained(program, launch, block, given)
    from .by_head import heads_in_order

    views = heads_in_order(program, launch, given)
    return ExplanationOfHeads(tuple((view, _explained(view.program, view.launch, block, view.order)) for view in views))


def _explained(program: Program, launch: Launch, block: tuple[int, int], order: TokenOrder | None) -> Explanation:
    from ...passes.schedules.count import counted_pairs
    from .by_head import orders_of_kinds

    (found, trace), live = derived(program, launch, block, order), counted_pairs(program, launch)
    return Explanation(
        program,
        found,
        tuple(trace.diffs()),
        _counts(found),
        live.pairs,
        None if order is not None else _of_residues(program, launch, block),
        _orders(program, launch),
        _cuts(program, launch),
        order,
        orders_of_kinds(program, launch, block),
        live.exact,
    )
