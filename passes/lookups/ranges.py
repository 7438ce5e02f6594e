"""Every table is read inside its extents wherever the value counts: what must be seen before a program runs, is drawn or is explained.

Three looks, each where the one before could not tell: intervals over all pairs; the condition that integer sets proved for every length,
at the values of this call; boxes of pairs, cut until they are decided. The last one also finds the pair that an error names.
"""

# Numpy's arrays carry no element type here.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from ...ir.expr import K_LEN, OFFSET, Q_LEN, ZERO, B, Binary, Expr, H, K, Kind, Lookup, Op, Q, Symbol, conjunction, names, tables, walk
from ...ir.program import Program
from ..bounds.intervals import Span, span, spans
from ..bounds.range_table import Array, RangeTable
from ..program.call_values import Launch
from ..program.flatten_grid import FlattenGrid
from .guards import Hazard, hazards, size_of
from .proof import HEADS, Proof, Proofs, ends_of, symbols_of
from .refusal import refusal
from .search import Region, Search, searched

Shapes = Mapping[str, tuple[int, ...]]


class OutOfRange(IndexError, ValueError):
    """A look-up reads outside its table where the value counts, or may do so."""


class Items(NamedTuple):
    """Batch items that have pairs. Positions and lengths, i64[items] each, in tokens.

    first, last: of the positions of queries, inclusive.
    """

    b: Array
    first: Array
    last: Array
    k_len: Array
    q_len: Array

    def __getitem__(self, keep: Array) -> Items:  # pyright: ignore[reportIncompatibleMethodOverride]  (of all at once)
        return Items(*(each[keep] for each in self))


def check_lookups(program: Program, launch: Launch, shapes: Shapes, proofs: Callable[[], Proofs]) -> None:
    """Prove that no look-up of mask or score whose value counts leaves its table, `q` being a position of `launch`: a row plus its offset.

    shapes: of every table but segments, which answer everywhere.
    proofs: of the hazards of `program`, asked for where intervals do not tell.

    Raises:
        OutOfRange: one does, or it could not be proved; names the look-up, how far it reaches, the table's extent and a pair.
    """
    reads = _reads(program)
    if not reads or launch.heads <= 0:
        return
    items = _items(program, launch)
    if not items.b.size:
        return
    checked = _Check(program, launch, shapes, items)
    left = frozenset((read.look, read.axis) for read in reads if not checked.inside(read))
    if left:
        for hazard, proof in zip(hazards(program), proofs(), strict=True):
            if (hazard.look, hazard.axis) in left:
                checked.settle(hazard, proof)


class _Read(NamedTuple):
    """A look-up along one axis.   at: its index over flat positions, where what rows that are part of a grid reach shows."""

    look: Lookup
    axis: int
    at: Expr


@functools.lru_cache(maxsize=256)
def _reads(program: Program) -> tuple[_Read, ...]:
    """Every look-up of mask and score, but for those of segments, which answer everywhere."""
    found = (node for node in walk(program.mask, program.score) if isinstance(node, Lookup) and not node.table.monotone)
    return tuple(_Read(look, axis, _flat(index, program)) for look in found for axis, index in enumerate(look.indices))


def _flat(index: Expr, program: Program) -> Expr:
    return index if program.space.rank == 1 else FlattenGrid()(Program(program.name, program.mask, index, space=program.space)).score


def _items(program: Program, launch: Launch) -> Items:
    """One item stands for all where they do not differ."""
    apart = launch.ragged or "b" in names(program.mask) | names(program.score)
    b = np.arange(launch.batch if apart else min(launch.batch, 1), dtype=np.int64)
    ragged = {Q_LEN: launch.q_len, K_LEN: launch.k_len, OFFSET: launch.offset, **launch.ragged}
    q_len, k_len, offset = (np.broadcast_to(np.asarray(ragged[name], np.int64), b.shape) for name in (Q_LEN, K_LEN, OFFSET))
    found = Items(b, offset, offset + q_len - 1, k_len, q_len)
    return found[(q_len > 0) & (k_len > 0)]


class _Check:
    """One program at the values of one call."""

    def __init__(self, program: Program, launch: Launch, shapes: Shapes, items: Items) -> None:
        self.program, self.launch, self.shapes, self.items = program, launch, shapes, items
        self._tables: dict[str, RangeTable] = {}

    def inside(self, read: _Read) -> bool:
        """Whether the index is inside for every pair, whatever the mask."""
        reach = spans(read.at, self.everywhere, self.tables(read.at))
        return bool((reach.low >= 0).all() and (reach.high < self.size(read)).all())

    @functools.cached_property
    def everywhere(self) -> dict[Expr, Span]:
        return {**self.fixed(self.items), **self.flat(self.items)}

    def settle(self, hazard: Hazard, proof: Proof | None) -> None:
        """Raise unless nothing that counts is outside."""
        items = self.items if proof is None else self.items[self.violated(proof)]
        if not items.b.size:
            return
        found = self.searched(hazard.nearby, hazard, items)
        if not found.settled and self.condition(hazard) is not hazard.nearby:
            found = self.searched(self.condition(hazard), hazard, items)
        if not found.settled:
            raise OutOfRange(refusal(hazard, self.size(hazard), found, self.reach(hazard)))

    def size(self, at: Hazard | _Read) -> int:
        return self.shapes[at.look.table.name][at.axis]

    def reach(self, hazard: Hazard) -> tuple[int, int]:
        """Ends of the index over all pairs."""
        found = spans(hazard.read_at, {**self.fixed(self.items), **self.axes(self.items)}, self.tables(hazard.read_at))
        return int(found.low.min()), int(found.high.max())

    # -- at which values

    def fixed(self, items: Items) -> dict[Expr, Span]:
        """Of every symbol and of `b`."""
        found: dict[Expr, Span] = {symbol: span(value) for symbol, value in self.launch.environment().items() if isinstance(value, int)}
        sizes = ((table, axis, size) for table in self.program.tables for axis, size in enumerate(self.shapes.get(table.name, ())))
        found |= {size_of(table, axis): span(size) for table, axis, size in sizes}
        return found | {B: span(items.b), Q_LEN: span(items.q_len), K_LEN: span(items.k_len), OFFSET: span(items.first)}

    def flat(self, items: Items) -> dict[Expr, Span]:
        heads = Span(np.asarray(0), np.asarray(self.launch.heads - 1))
        return {Q: Span(items.first, items.last), K: Span(np.zeros_like(items.k_len), items.k_len - 1), H: heads}

    def axes(self, items: Items) -> dict[Expr, Span]:
        """Of what differs from pair to pair; along inner axes of a grid everything."""
        space, found = self.program.space, self.flat(items)
        if space.rank == 1:
            return found
        inner = int(np.prod(space.extents[1:]))
        placed: dict[Expr, Span] = {H: found[H]}
        for side in (Q, K):
            first, *rest = space.coordinates(side.name)
            placed[first] = Span(found[side].low // inner, found[side].high // inner)
            placed |= {at: Span(np.asarray(0), np.asarray(size - 1)) for at, size in zip(rest, space.extents[1:], strict=True)}
        return placed

    def tables(self, *roots: Expr) -> dict[str, RangeTable]:
        return {table.name: self._table(table.name) for table in tables(*roots) if table.kind is not Kind.FLOAT}

    def _table(self, name: str) -> RangeTable:
        if name not in self._tables:
            array = self.launch.tables[name]
            self._tables[name] = RangeTable(array if array.size else np.zeros((1,) * array.ndim, array.dtype))
        return self._tables[name]

    # -- what was proved

    def violated(self, proof: Proof) -> Array:
        fixed, called = self.fixed(self.items), symbols_of(self.program)
        integers = {name: ends.low for name, ends in fixed.items() if isinstance(name, Symbol) and name.kind is Kind.INT}
        values: dict[Expr, Array] = {called.get(name, name): value for name, value in integers.items()}
        values |= {HEADS: np.asarray(self.launch.heads), B: self.items.b}
        read = set(walk(proof.where))
        for number, expr in enumerate(proof.opaque):
            if read & set(ends_of(number)):
                found = spans(expr, {**fixed, **self.axes(self.items)}, self.tables(expr))
                values |= dict(zip(ends_of(number), found, strict=True))
        return proof.violated(values)

    # -- where to look

    def condition(self, hazard: Hazard) -> Expr:
        if self._whole_rows():
            return hazard.condition
        placed = (_within(self.program.space.position(side.name), first, stop) for side, first, stop in SIDES)
        return conjunction(*hazard.guards, *placed, hazard.outside)

    def _whole_rows(self) -> bool:
        """Whether the boxes of `axes` hold no position that is not in the call."""
        if self.program.space.rank == 1:
            return True
        inner = int(np.prod(self.program.space.extents[1:]))
        ends = (self.items.first, self.items.last + 1, self.items.k_len)
        return not any((end % inner).any() for end in ends)

    def searched(self, condition: Expr, hazard: Hazard, items: Items) -> Search:
        read = names(condition) | names(hazard.read_at)
        axes = {at: Span(*np.broadcast_arrays(*ends)) for at, ends in self.axes(items).items() if getattr(at, "name", "") in read}
        region = Region(axes, self.fixed(items), self.tables(condition, hazard.read_at), items.b.size)
        return searched(condition, hazard.read_at, region)


SIDES = ((Q, OFFSET, Binary(Op.ADD, OFFSET, Q_LEN)), (K, ZERO, K_LEN))


def _within(at: Expr, first: Expr, stop: Expr) -> Expr:
    return conjunction(Binary(Op.LE, first, at), Binary(Op.LT, at, stop))
