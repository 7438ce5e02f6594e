"""Tile classes at concrete lengths within a stated amount of work: by tables along diagonals and sides, a quadtree, and a probe of pairs.

What reads one number is evaluated once (`tabulate`); whole tiles are told by interval arithmetic (`quadtree`); what that leaves open is
looked at (`probe`). Nothing passes the budget of `work`: a tile that could not be told in it is PARTIAL, and counted.
"""

# Numpy's arrays carry no element type here.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ...ir.expr import names
from ...ir.program import Program
from ...ir.schedule import Tile
from ..program.call_values import Launch
from ..program.tabulate import tabulated
from .boxes import MOST_BOXES, Boxes, Evaluation
from .probe import Probe, mixed
from .quadtree import Tiles, whole_tiles
from .range_table import Array
from .widths import require_64_bits
from .work import Work


@dataclass(frozen=True)
class Refinement:
    """Lists of partial and full key tiles per (b, h, query tile), and what finding them cost.

    arrays: `partial_start`, `full_start` i32[batch, heads, q_tiles + 1] and `partial_tile`, `full_tile` i32[entries]; an extent is 1
            where the mask does not read `b` or `h`.
    points: pairs at which the mask was evaluated.   boxes: rectangles.   untold: tiles that are PARTIAL because the work ended.
    """

    arrays: dict[str, Array]
    points: int
    boxes: int
    untold: int


def refined(program: Program, block: tuple[int, int], launch: Launch, together: int = 1, work: Work | None = None) -> Refinement:
    """Every tile's class as defined in `ir.schedule`, at the lengths and values of `launch`, exactly but for those untold.

    together: heads that share tiles; lists of head `h` are those of the heads from `h` on.

    Raises:
        TooManyTiles: they are more than can be listed.
        TooWide, MeaninglessShift: an integer may leave 64 bits, or a shift may be by a negative number.
    """
    require_64_bits(program, launch)
    work = Work() if work is None else work
    q_tiles, k_tiles = -(-launch.q_len // block[0]), -(-launch.k_len // block[1])
    batch, heads = extents(program, launch)
    lists, untold = {"partial": _Lists(), "full": _Lists()}, 0
    for b in range(batch):
        alone: list[dict[str, Tiles]] = []
        for h in range(heads):
            work.begin(batch * heads - b * heads - h)
            classes, missed = _classes(program, block, launch, (b, h), work)
            alone.append(classes)
            untold += missed
        for h in range(heads):
            for name, (rows, columns) in shared(alone[h : h + together], k_tiles).items():
                lists[name].append(rows, columns, q_tiles)
    arrays: dict[str, Array] = {}
    for name, each in lists.items():
        arrays[f"{name}_start"], arrays[f"{name}_tile"] = each.arrays((batch, heads, q_tiles + 1))
    assert k_tiles < 2**31
    return Refinement(arrays, work.points, work.boxes, untold)


def extents(program: Program, launch: Launch) -> tuple[int, int]:
    """Batch items and heads whose lists differ."""
    read = names(program.mask)
    return launch.batch if "b" in read else 1, launch.heads if "h" in read else 1


def _classes(program: Program, block: tuple[int, int], launch: Launch, place: tuple[int, int], work: Work) -> tuple[dict[str, Tiles], int]:
    """Partial and full tiles of one (b, h), and how many of the partial ones are untold."""
    if min(launch.q_len, launch.k_len) <= 0:
        nothing = np.zeros(0, np.int32)
        return {"partial": (nothing, nothing), "full": (nothing, nothing)}, 0
    table = tabulated(program.mask, launch, place)
    evaluation = Evaluation(table.mask, launch._replace(tables={**launch.tables, **table.tables}))
    found = whole_tiles(evaluation, block, place, work)
    if table.told and found.finished:
        told = mixed(len(found.open[0]))
    else:
        told = Probe(evaluation, place, work).of(_boxes(found.open, block, launch))
    some, filled = told.has_true | ~told.sure, told.sure & ~told.has_false
    rows, columns = (np.concatenate([full, opened[some]]) for full, opened in zip(found.full, found.open, strict=True))
    filled = np.concatenate([np.ones(len(found.full[0]), bool), filled[some]])
    filled &= (columns.astype(np.int64) + 1) * block[1] <= launch.k_len
    return {"partial": (rows[~filled], columns[~filled]), "full": (rows[filled], columns[filled])}, int((~told.sure).sum())


def _boxes(tiles: Tiles, block: tuple[int, int], launch: Launch) -> Iterator[Boxes]:
    """The pairs of tiles, some tiles at a time."""
    for at in range(0, len(tiles[0]), MOST_BOXES):
        (q0, q1), (k0, k1) = (
            (edge * each.astype(np.int64), np.minimum(edge * (each.astype(np.int64) + 1), length) - 1)
            for each, edge, length in zip((side[at : at + MOST_BOXES] for side in tiles), block, (launch.q_len, launch.k_len), strict=True)
        )
        yield Boxes(q0, q1, k0, k1)


def shared(of_heads: list[dict[str, Tiles]], k_tiles: int) -> dict[str, Tiles]:
    """Tiles of heads together: visited where any head does, full where every head says so."""
    if len(of_heads) == 1:
        return of_heads[0]
    numbers = [{name: rows.astype(np.int64) * k_tiles + columns for name, (rows, columns) in each.items()} for each in of_heads]
    some = np.unique(np.concatenate([numbers_of for each in numbers for numbers_of in each.values()]))
    full, counts = np.unique(np.concatenate([each["full"] for each in numbers]), return_counts=True)
    full = full[counts == len(of_heads)]
    partial = np.setdiff1d(some, full, assume_unique=True)
    return {name: (each // max(k_tiles, 1), each % max(k_tiles, 1)) for name, each in (("partial", partial), ("full", full))}


def refinement_of(classes: Array) -> Refinement:
    """Lists of tiles that are told already, of every batch item and head. classes: uint8[q_tiles, k_tiles] of `ir.schedule.Tile`."""
    arrays: dict[str, Array] = {}
    for name, tile in (("partial", Tile.PARTIAL), ("full", Tile.FULL)):
        lists = _Lists()
        rows, columns = np.nonzero(classes == tile)
        lists.append(rows, columns, len(classes))
        arrays[f"{name}_start"], arrays[f"{name}_tile"] = lists.arrays((1, 1, len(classes) + 1))
    return Refinement(arrays, 0, 0, 0)


class _Lists:
    """Rows of key tiles, gathered one (b, h) after the other."""

    def __init__(self) -> None:
        self.starts: list[Array] = []
        self.tiles: list[Array] = []
        self.total = 0

    def append(self, rows: Array, columns: Array, q_tiles: int) -> None:
        order = np.lexsort((columns, rows))
        counts = np.bincount(rows, minlength=q_tiles)
        self.starts.append(self.total + np.concatenate([[0], counts.cumsum()]))
        self.tiles.append(columns[order])
        self.total += len(columns)

    def arrays(self, shape: tuple[int, int, int]) -> tuple[Array, Array]:
        starts = np.concatenate(self.starts) if self.starts else np.zeros(0)
        tiles = np.concatenate(self.tiles) if self.tiles else np.zeros(0)
        return starts.reshape(shape).astype(np.int32), tiles.astype(np.int32)
