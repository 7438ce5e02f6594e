"""The second noun: which tiles of the score matrix a kernel visits, and which of them need the mask.

A query tile `i` holds the rows `block_q * i ... block_q * (i + 1) - 1` that are below `Lq`; a key tile `j` likewise. On that grid

    some(i, j)  =  some (q, k) of the tile, both inside their lengths, is attended
    full(i, j)  =  the key tile lies inside `Lk`, and every (q, k) of the tile with q inside `Lq` is attended

Everything here is an expression over `i`, `j`, `b`, `h`, the program's symbols and tables, and the bounds of its opaque terms.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

from .expr import TRUE, Expr, Table, names
from .program import Program


class Tile(IntEnum):
    """The class of a tile. PARTIAL also means "could not tell"."""

    EMPTY = 0
    PARTIAL = 1
    FULL = 2


class Piece(NamedTuple):
    """Key tiles of query tile `i`: the `n` of `range(start, stop, step)` with `where`, mapped to `j`.

    start, stop: integer expressions without `j`; stop is exclusive; an empty range has stop <= start.
    where:       truth value over `i` and `j`, evaluated once per tile.
    through:     None: `j` is `n` itself. A rank-1 table: `j` is `through[n]`, and start and stop count its entries.
    """

    start: Expr
    stop: Expr
    step: int = 1
    where: Expr = TRUE
    through: Table | None = None


class Term(NamedTuple):
    """An opaque term: a one-sided expression known only by its minimum and maximum over each tile.

    expr:      integer expression of `q` (or of `k`, or of neither) and possibly `b`, `h`; for `diagonal` the table look-up at `q - k`.
    axis:      `q`, `k`, `diagonal`, or `h` where it differs among the heads that share a tile and reads neither `q` nor `k`.
    low, high: i64 tables [b, h, tile] of inclusive bounds over the tile and the heads from `h` on that share it; an extent is 1 where the
               term does not depend on `b`, on `h` or on a tile.
               A diagonal has one entry per multiple of gcd(block_q, block_k): of 0, -1, 1, -2, 2, ... of them, so that lengths decide none.
    """

    name: str
    expr: Expr
    axis: str
    low: Table
    high: Table


class Counters(NamedTuple):
    """What a derivation cost: pairs at which the mask was evaluated, rectangles it was bounded on, and why it fell back.

    untold: tiles that are PARTIAL because finding out more would have passed the budget of a refinement.
    """

    point_evaluations: int = 0
    boxes: int = 0
    fallbacks: tuple[str, ...] = ()
    untold: int = 0

    @property
    def looked_at(self) -> list[str]:
        """A line for each count that there is."""
        said = {
            f"evaluated: {self.point_evaluations} points": self.point_evaluations,
            f"bounded: {self.boxes} rectangles": self.boxes,
            f"partial since the budget of a refinement ended: {self.untold} tiles": self.untold,
        }
        return [line for line, count in said.items() if count]


@dataclass(frozen=True, slots=True)
class Schedule:
    """Tiles to visit, twice: as classes for people and tests, as loops for kernels.

    program:      canonical: positions placed, grid coordinates flattened.
    some, full:   unions of pieces that may overlap; `full` is contained in `some`.
    full_loops:   pieces whose tiles run without mask code.
    partial_loops: pieces whose tiles run with it. Together the loops visit each tile of `some` exactly once.
    exact:        `some` and `full` are the definitions above, not looser.
    closed_form:  no host array whose size depends on a length is needed.
    route:        how it was found: `symbolic`, `bound` (lengths and parameters fixed), `axes`, `refined`, `given`,
                  `cover` (the tiles of a wider mask, since there are too many to list).
    together:     query heads whose rows share a tile: `h` in pieces is the first of them, a tile is visited where any of them sees a pair
                  of it and full where all of them see all of it.
    """

    program: Program
    block_q: int
    block_k: int
    some: tuple[Piece, ...]
    full: tuple[Piece, ...]
    full_loops: tuple[Piece, ...]
    partial_loops: tuple[Piece, ...]
    terms: tuple[Term, ...] = ()
    exact: bool = True
    closed_form: bool = True
    route: str = "symbolic"
    order: str = "row-major"
    together: int = 1
    counters: Counters = field(default_factory=Counters, compare=False)

    @property
    def heads_differ(self) -> bool:
        """Whether the tiles of a query head depend on the head: then no two heads share a list of tiles."""
        pieces = (*self.full_loops, *self.partial_loops)
        return any("h" in names(expr) for piece in pieces for expr in (piece.start, piece.stop, piece.where))

    def __str__(self) -> str:
        from .text import show_schedule  # as in `Program`

        return show_schedule(self)
