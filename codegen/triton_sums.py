"""Gradients of tables in Triton kernels: what is summed before it is written, and which entry it belongs to.

A program writes numbers that no other program writes, each with the number of its entry; they are added up afterwards, in their order.

    tiles   the look-up reads neither q nor k     one number for each tile of queries
    rows    ... q                                 one for each query row
    keys    ... k                                 one for each key and query head
    pairs   ... both                              one for each pair
"""

from __future__ import annotations

from dataclasses import dataclass

from ..ir.expr import Expr, Lookup, names
from ..ir.plan import Plan
from .print_triton import Names, bind
from .triton_arguments import KEYS, PAIRS, ROW_SUMS, TILES
from .triton_order import Met


@dataclass(frozen=True, slots=True)
class Sum:
    """The gradient of one look-up. by: derivative of the score by it."""

    number: int
    lookup: Lookup
    by: Expr
    over: str

    @property
    def arguments(self) -> tuple[str, ...]:
        """Declarations: where sums and entries are written, and strides."""
        n = self.number
        strides = {KEYS: (f'sum{n}_batch: "i64"', f'sum{n}_head: "i64"'), PAIRS: (f'sum{n}_row: "i64"',)}
        return f"sum{n}", f"entry{n}", *strides.get(self.over, ())

    @property
    def opening(self) -> tuple[str, ...]:
        extent = {TILES: "BLOCK_Q", ROW_SUMS: "BLOCK_Q", KEYS: "BLOCK_K"}
        return (f"total{self.number} = tl.full([{extent[self.over]}], 0.0, REAL)",) if self.over in extent else ()

    def adding(self, known: Names, met: Met) -> tuple[str, ...]:
        """What is done with a tile of `moved<n>`."""
        n = self.number
        if self.over != PAIRS:
            return (f"total{n} += tl.sum(moved{n}, 1)",)
        lines, entry = self._entry(known)
        tokens, mask = f"({met.tile} + beside)[None, :]", f"row_inside & ({met.there_across})"
        return (
            *lines,
            f"pair{n} = (tl.program_id(0).to(tl.int64) * BLOCK_Q + tl.arange(0, BLOCK_Q))[:, None] * sum{n}_row + {tokens}",
            f"tl.store(sum{n} + pair{n}, moved{n}, mask={mask})",
            f"tl.store(entry{n} + pair{n}, tl.broadcast_to({entry}, [BLOCK_Q, BLOCK_K]), mask={mask})",
        )

    def closing(self, known: Names) -> tuple[str, ...]:
        """What is written after the loops."""
        n = self.number
        if self.over == PAIRS:
            return ()
        lines, entry = self._entry(known)
        if self.over == TILES:
            place, total, mask = "(b * heads + h) * q_tiles + i", f"tl.sum(tl.where(counts, total{n}, 0.0), 0)", "True"
        elif self.over == ROW_SUMS:
            place, total, mask = "rows_at[:, None]", f"total{n}[:, None]", "row_inside"
        else:
            place = f"item_number * sum{n}_batch + head_number * sum{n}_head + tokens"
            total, mask = f"total{n}[:, None]", "(k < Lk) & is_token[:, None]"
        return (
            *lines,
            f"place{n} = {place}",
            *(f"tl.store({to}{n} + place{n}, {what}, mask={mask})" for to, what in (("sum", total), ("entry", entry))),
        )

    def _entry(self, known: Names) -> tuple[tuple[str, ...], str]:
        """Which entry of its table the look-up reads, counted row by row; held inside the table as reading is."""
        table = known.tables[self.lookup.table]
        bound = bind(self.lookup.indices, known, f"index{self.number}_")
        entry = ""
        for axis, text in enumerate(bound.texts):
            held = f"clamped({text}, {table}_size{axis})"
            entry = f"({entry}) * {table}_size{axis} + {held}" if entry else held
        return bound.lines, entry


def sums_of(plan: Plan, *, keys: bool) -> tuple[Sum, ...]:
    """The gradients that the kernel which owns tiles of keys sums, or the one that owns tiles of queries."""
    gradient = plan.gradient
    assert gradient is not None
    own = [(lookup, by, _over(lookup)) for lookup, by in gradient.by_lookup]
    return tuple(Sum(n, *each) for n, each in enumerate(each for each in own if (each[2] == KEYS) == keys))


def _over(lookup: Lookup) -> str:
    read = {name for index in lookup.indices for name in names(index)}
    if "k" in read:
        return PAIRS if "q" in read else KEYS
    return ROW_SUMS if "q" in read else TILES
