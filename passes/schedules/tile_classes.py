"""Tile classes of a schedule at concrete lengths, as an array. What tests and pictures look at; kernels never do this."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from ...ir.expr import B, Expr, H, I, J
from ...ir.schedule import Piece, Schedule, Tile
from ..program.call_values import Launch
from ..program.evaluate import Read, Value, evaluate, reader
from ..program.exact_integers import widened

Array = np.ndarray
MOST_TILES = 1 << 20  # evaluated at once
FURTHEST = 1 << 60


def tile_counts(schedule: Schedule, launch: Launch) -> tuple[int, int]:
    """Number of query tiles and of key tiles."""
    return -(-launch.q_len // schedule.block_q), -(-launch.k_len // schedule.block_k)


def tiles(schedule: Schedule, launch: Launch, arrays: Mapping[str, Array], b: int = 0, h: int = 0) -> Array:
    """uint8[q_tiles, k_tiles]: 0 empty, 1 partial, 2 full.

    arrays: tables of the program and of the schedule (term bounds, lists) by name.
    """
    rows, columns = tile_counts(schedule, launch)
    found = np.zeros((rows, columns), np.uint8)
    environment: dict[Expr, object] = {**launch.environment(), B: b, H: h}
    read = reader({**launch.tables, **arrays})
    height = max(1, MOST_TILES // max(columns, 1))
    for at in range(0, rows, height):
        part = found[at : at + height]
        for pieces, tile in ((schedule.some, Tile.PARTIAL), (schedule.full, Tile.FULL)):
            for piece in pieces:
                _mark(part, piece, tile, ({**environment, I: np.arange(at, at + len(part))}, read))
    return found


def _mark(found: Array, piece: Piece, tile: Tile, at: tuple[dict[Expr, object], Read]) -> None:
    """Write `tile` wherever the rows of `found`, whose numbers are `i` in the environment, hold a tile of `piece`."""
    environment, read = at
    rows = np.asarray(environment[I])
    start, stop = (_on_the_line(evaluate(end, environment, read), rows.shape) for end in (piece.start, piece.stop))
    counts = -(-np.maximum(stop - start, 0) // piece.step)
    local = np.repeat(np.arange(len(rows)), counts)
    nth = np.arange(len(local)) - np.repeat(counts.cumsum() - counts, counts)
    counter = np.repeat(start, counts) + piece.step * nth
    column = counter if piece.through is None else np.asarray(read(piece.through, (counter,)), np.int64)
    kept = np.broadcast_to(evaluate(piece.where, {**environment, I: rows[local], J: column}, read), column.shape).astype(bool)
    found[local[kept], column[kept]] = tile


def _on_the_line(end: Value, shape: tuple[int, ...]) -> Array:
    """i64 of ends of ranges, those held back that lie further than any tile does: what begins or ends there holds the same tiles."""
    return np.broadcast_to(np.clip(widened(end), -FURTHEST, FURTHEST), shape).astype(np.int64)


def tile_row(schedule: Schedule, launch: Launch, arrays: Mapping[str, Array], at: tuple[int, int, int]) -> Array:
    """uint8[1, k_tiles] of query tile `at` = (b, h, i)."""
    visited = Visits(schedule, launch, arrays, at)
    row = np.where(visited.held(schedule.some), np.uint8(Tile.PARTIAL), np.uint8(Tile.EMPTY))
    return np.where(visited.held(schedule.full), np.uint8(Tile.FULL), row)[None, :].astype(np.uint8)


class Visits:
    """Which key tiles pieces name for one query tile."""

    def __init__(self, schedule: Schedule, launch: Launch, arrays: Mapping[str, Array], at: tuple[int, int, int]) -> None:
        b, h, i = at
        self.columns = tile_counts(schedule, launch)[1]
        self.environment: dict[Expr, object] = {**launch.environment(), B: b, H: h, I: i}
        self.read: Read = reader({**launch.tables, **arrays})

    def held(self, pieces: Iterable[Piece]) -> Array:
        """bool[k_tiles]: tiles in any of `pieces`."""
        held = np.zeros(self.columns, bool)
        for piece in pieces:
            held[self.listed(piece)] = True
        return held

    def listed(self, piece: Piece) -> Array:
        """Key tiles of one piece in the order a kernel visits them, as int64."""
        start, stop = (int(evaluate(end, self.environment, self.read)) for end in (piece.start, piece.stop))
        counter = np.arange(start, stop, piece.step, dtype=np.int64) if start < stop else np.zeros(0, np.int64)
        tile = counter if piece.through is None else np.asarray(self.read(piece.through, (counter,)), np.int64)
        kept = np.broadcast_to(evaluate(piece.where, {**self.environment, J: tile}, self.read), tile.shape)
        return tile[kept.astype(bool)]
