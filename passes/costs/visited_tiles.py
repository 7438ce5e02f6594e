"""How many tiles a kernel meets: counted exactly, on a launch that stands for all whose rows see about as many keys.

What is chosen by these counts must not change with a window or a length inside one bucket, so they are not those of the call. Nothing
heavy is loaded: intervals decide rectangles of 16 x 16 tokens, and only what they leave open is looked at pair by pair.
"""

# Numpy's arrays carry no element type here.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np

from ...ir.expr import B, H, K, Kind, Q, tables
from ...ir.program import Program
from ..bounds.boxes import Boxes, Evaluation
from ..program.call_values import Launch
from ..program.evaluate import evaluate
from ..program.flatten_grid import FlattenGrid
from ..schedules.transpose import transposed, transposed_launch
from .key_buckets import CELL, FEW, MANY, SHORT, SOME, keys_per_row
from .tile_shape import Shape, extents_of, work_of

Array = np.ndarray

KEYS = {SHORT: 2048, FEW: 256, SOME: 1536, MANY: 8192}  # per row, that stand for a bucket
SLAB = 128  # tokens of the largest one
SLABS = 6  # rows of them that are counted
MOST_CELLS = 4096  # looked at pair by pair at a time


class Area(NamedTuple):
    """Tiles for 1024 rows: those that are full, and those that are partial."""

    full: float
    partial: float


# -- launches ---------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=256)
def standing(program: Program, bucket: str) -> Launch | None:
    """A launch whose rows see about as many keys as those of a bucket; None where the program has none, or reads tables."""
    flat, keys = FlattenGrid()(program), KEYS[bucket]
    if tables(flat.mask):
        return None
    launches = _launches(program, keys)
    missed = [abs(math.log2(max(keys_per_row(flat, launch), 1e-3) / keys)) for launch in launches]
    best = min(range(len(launches)), key=lambda at: round(2 * missed[at]))
    return launches[best] if missed[best] <= 2 else None


def _launches(program: Program, keys: int) -> list[Launch]:
    """Lengths, and one value for every integer parameter; the longest first, which a window of some width does not fill."""
    extents = program.space.extents or _written(program)
    lengths = [math.prod(extents)] if extents else [4 * keys, 2 * keys, keys]
    integers = [symbol.name for symbol in program.parameters if symbol.kind is not Kind.FLOAT]
    reals: dict[str, int | float] = {symbol.name: 1.0 for symbol in program.parameters if symbol.kind is Kind.FLOAT}
    values = [2**n for n in range(max(lengths).bit_length() + 1)] if integers else [0]
    return [Launch(n, n, parameters={**reals, **dict.fromkeys(integers, value)}) for n in lengths for value in values if value <= n]


def _written(program: Program) -> tuple[int, ...]:
    """The grid that a mask over flat positions writes; a line has none."""
    found = extents_of(program)
    return found if len(found) > 1 else ()


# -- tiles ------------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1024)
def area_of(program: Program, bucket: str, block: tuple[int, int], turned: bool) -> Area:
    """Tiles that 1024 rows meet.

    block: edges of tiles of rows and of what they run over, multiples of CELL that divide SLAB.
    turned: rows are keys, as in the backward pass for keys and values.
    """
    launch = standing(program, bucket)
    if launch is None:
        return _area_of_box(program, bucket, block)
    some, full, rows = cells_of(program, bucket, turned)
    return _area(some, full, rows, (block[0] // CELL, block[1] // CELL))


def _area(some: Array, full: Array, rows: int, edges: tuple[int, int]) -> Area:
    """Of cells, bool[slabs, cells, cells], joined to tiles of `edges` cells."""
    slabs, across, along = some.shape
    width = -(-along // edges[1])
    room = ((0, 0), (0, 0), (0, width * edges[1] - along))
    shape = (slabs, across // edges[0], edges[0], width, edges[1])
    seen = np.pad(some, room).reshape(shape).any((2, 4))
    filled = np.pad(full, room).reshape(shape).all((2, 4)) & seen
    unit = 1024 / rows
    return Area(unit * float(filled.sum()), unit * float((seen & ~filled).sum()))


def _area_of_box(program: Program, bucket: str, block: tuple[int, int]) -> Area:
    """As if every row saw a box of keys around it."""
    extents = extents_of(program)
    length = math.prod(extents)
    if len(extents) == 1:
        extents, length = (max(length, 2 * KEYS[bucket]),), max(length, 2 * KEYS[bucket])
    side = max(1, round(min(KEYS[bucket], length) ** (1 / len(extents))))
    work = work_of(extents, side, Shape(*block))
    partial = work.masked / (block[0] * block[1])
    return Area(1.024 * (work.tiles - partial), 1.024 * partial)


# -- cells ------------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=64)
def cells_of(program: Program, bucket: str, turned: bool) -> tuple[Array, Array, int]:
    """bool[slabs, SLAB / CELL, cells of keys] twice: a pair is attended; all are and the keys exist. And how many rows there are.

    Rows that do not exist attend nothing and hinder no tile from being full.
    """
    launch = standing(program, bucket)
    assert launch is not None
    program = FlattenGrid()(program)
    if turned:
        program, launch = transposed(program), transposed_launch(launch)
    slabs = -(-launch.q_len // SLAB)
    at = np.unique(np.linspace(0, slabs - 1, min(slabs, SLABS)).astype(np.int64))
    across, along = SLAB // CELL, -(-launch.k_len // CELL)
    first_row: Array = np.broadcast_to((at[:, None] * SLAB + np.arange(across) * CELL)[:, :, None], (len(at), across, along)).ravel()
    first_key: Array = np.broadcast_to(np.arange(along) * CELL, (len(at), across, along)).ravel()
    there = first_row < launch.q_len
    boxes = Boxes(first_row, np.minimum(first_row + CELL, launch.q_len) - 1, first_key, np.minimum(first_key + CELL, launch.k_len) - 1)
    some, full = np.zeros(len(there), bool), np.ones(len(there), bool)
    some[there], full[there] = _classes(program, launch, boxes[there])
    full[there & (first_key + CELL > launch.k_len)] = False
    rows = int(np.minimum(SLAB, launch.q_len - at * SLAB).sum())
    shape = (len(at), across, along)
    return some.reshape(shape), full.reshape(shape), rows


def _classes(program: Program, launch: Launch, boxes: Boxes) -> tuple[Array, Array]:
    """Of each box: a pair is attended; all are."""
    can_true, can_false = (each.copy() for each in Evaluation(program.mask, launch).of(boxes, 0, 0))
    undecided = np.flatnonzero(can_true & can_false)
    symbols = dict(launch.environment())
    for start in range(0, len(undecided), MOST_CELLS):
        here = undecided[start : start + MOST_CELLS]
        q = np.minimum(boxes.q0[here, None] + np.arange(CELL), boxes.q1[here, None])[:, :, None]
        k = np.minimum(boxes.k0[here, None] + np.arange(CELL), boxes.k1[here, None])[:, None, :]
        held = np.broadcast_to(evaluate(program.mask, {**symbols, Q: q, K: k, B: 0, H: 0}), (len(here), CELL, CELL))
        can_true[here], can_false[here] = held.any((1, 2)), ~held.all((1, 2))
    return can_true, can_true & ~can_false
