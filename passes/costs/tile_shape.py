"""Which tile shape a C++ kernel takes: the one whose predicted time is least, from exact counts on a pattern that stands for others.

The shape has to be known before a kernel is looked for, must be the same in every process, and must not change with a window or a table:
so what is counted is not the mask of the call but a box of keys around each query, on the grid of the program, for few, typical and
many keys per row. Nothing is timed here and nothing heavy is loaded; `lacuna.tune` measures the real problem.

The constants were fitted to CPU times of one core of an AMD EPYC (Zen 5, AVX-512): float32, D 16 to 256, dense, windows, neighborhoods on
eleven grids, 200 kernels, medians of 9 to 40 interleaved rounds. Predicted ratios are 6 % off (root mean square); of the shapes measured,
the chosen one is 1 % slower than the best on average. What they say: on lines of thousands of tokens 64 x 64 is the best of
{32, 64, 128} x {32, 64, 128} or within 7 % of it, in every dtype and dimension; on grids a key tile that holds whole rows of the grid
saves up to a third, since unaligned ones meet more keys than they need; 17 to 32 rows of queries take 0.5 to 0.86 of the time in a tile
of 32. What one shape for all keys per row costs: on 32 x 32, key tiles of 32 gain 9 to 13 % with windows of 5 and 13 and lose 11 % with 21.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from ...ir.expr import Binary, Const, Op, names, walk
from ...ir.program import Program
from ...ir.target import CHUNK, SHORT_ROWS

LINE = 2048  # tokens that stand for any longer line
KEYS_PER_ROW = (25, 169, 961)
SAMPLES = 4  # tiles of rows that are counted
MOST_BYTES = 2**19  # of what a tile touches: half of the L2 of the machine that the constants come from
ALIGNED = (24, 128)  # tokens of a key tile that holds whole rows of a grid, inclusive


@dataclass(frozen=True, slots=True)
class Shape:
    """Edges of a tile in tokens: of the side that fills the vector lanes (queries; keys in a backward kernel), and of the other."""

    lanes: int
    lines: int


STANDARD, SHORT = Shape(64, 64), Shape(32, 64)
LINES, LANES = (32, 64, 128), (32, 64, 128)
LEAST_GAIN = 1.1  # of another shape than STANDARD: below that the model cannot tell


@dataclass(frozen=True, slots=True)
class Problem:
    """What a shape is chosen for.

    extents: of the grid, outermost first; one number is a line.
    width:   dimensions of keys and values together; real_bytes: of a number that is computed in; lanes: of them in a vector register.
    """

    extents: tuple[int, ...]
    width: int
    real_bytes: int
    lanes: int


@dataclass(frozen=True, slots=True)
class Work:
    """What a kernel does, in numbers per thousand rows of lanes.

    tiles:  visited. lines: keys in them, each of which is read once per tile.
    masked: pairs of partial tiles, at each of which the mask is evaluated.
    whole:  pairs computed a tile at a time. chunked: pairs computed CHUNK lanes at a time.
    rows:   rows of tiles, whether they exist or not.
    """

    tiles: float
    lines: float
    masked: float
    whole: float
    chunked: float
    rows: float


@dataclass(frozen=True, slots=True)
class Costs:
    """Nanoseconds, of which only the ratios matter, where a vector holds 16 numbers.

    tile: visiting one. line: reading a key, per dimension. mask: of a pair. row: of a row of lanes, per dimension.
    whole, chunked: of a pair, per dimension. weight: of a pair, whatever the dimensions.
    narrow: factor where lanes are too few for four vectors, and so for all registers. wide: where they are more than 64, and leave L1.
    """

    tile: float
    line: float
    mask: float
    row: float
    whole: float
    chunked: float
    weight: float
    narrow: float
    wide: float

    def predicted(self, work: Work, shape: Shape, problem: Problem) -> float:
        """Nanoseconds of a thousand rows."""
        per_dimension = self.row * work.rows + self.whole * work.whole + self.chunked * work.chunked
        in_vectors = self.mask * work.masked + self.weight * (work.whole + work.chunked) + problem.width * per_dimension
        factor = self.narrow if shape.lanes < 4 * problem.lanes else self.wide if shape.lanes > STANDARD.lanes else 1.0
        return factor * (self.tile * work.tiles + problem.width * self.line * work.lines + 16 / problem.lanes * in_vectors)


COSTS = Costs(tile=121.0, line=0.080, mask=0.0143, row=0.602, whole=0.00379, chunked=0.00649, weight=0.630, narrow=1.15, wide=1.2)


# -- choosing ---------------------------------------------------------------------------------------------------------


def tile_shape(problem: Problem, rows: int) -> Shape:
    """The shape for calls of `rows` query rows. There are two buckets, up to SHORT_ROWS and more: at most two kernels for all lengths.

    On a line the model has never found another shape than STANDARD that is better by LEAST_GAIN, so it is not asked; a test asks it.
    """
    if rows <= SHORT_ROWS:
        return SHORT
    return STANDARD if len(problem.extents) == 1 else ranked(problem, (64,) if problem.lanes > 8 else (32, 64))[0]


@functools.lru_cache(maxsize=256)
def ranked(problem: Problem, lanes: tuple[int, ...] = LANES) -> tuple[Shape, ...]:
    """Every candidate, the best first: by predicted time, relative to STANDARD and averaged over KEYS_PER_ROW."""
    slower = {shape: _relative(problem, shape) for shape in candidates(problem, lanes)}
    best = sorted(slower, key=lambda shape: (slower[shape], shape.lanes, shape.lines))
    if slower[best[0]] * LEAST_GAIN > 1.0:
        best = [STANDARD, *(shape for shape in best if shape != STANDARD)]
    return tuple(best)


def candidates(problem: Problem, lanes: tuple[int, ...] = LANES) -> tuple[Shape, ...]:
    """Powers of two, and tiles of keys that hold whole rows of a grid, as far as their operands fit the cache. Lines are even."""
    shapes = [Shape(across, lines) for across in lanes for lines in sorted({*LINES, *_aligned(problem.extents)})]
    return tuple(shape for shape in shapes if shape == STANDARD or touched_bytes(problem, shape) <= MOST_BYTES)


def _aligned(extents: tuple[int, ...]) -> set[int]:
    """Multiples and simple fractions of a row of the grid; nothing on a line."""
    if len(extents) == 1:
        return set()
    inner, (lo, hi) = extents[-1], ALIGNED
    found = {inner * n for n in range(1, hi // inner + 1)} | {inner // n for n in (2, 3, 4) if inner % n == 0}
    return {lines for lines in found if lo <= lines <= hi and lines % 2 == 0}


def touched_bytes(problem: Problem, shape: Shape) -> int:
    """What a tile reads and writes: queries and output, keys and values, scores, the mask."""
    pairs = shape.lanes * shape.lines
    return problem.real_bytes * ((shape.lanes + shape.lines) * problem.width + pairs) + 4 * pairs


def _relative(problem: Problem, shape: Shape) -> float:
    """Predicted time over that of STANDARD."""
    sides = {max(1, round(keys ** (1 / len(problem.extents)))) for keys in KEYS_PER_ROW}
    ratios = [predicted_time(problem, shape, side) / predicted_time(problem, STANDARD, side) for side in sorted(sides)]
    return sum(ratios) / len(ratios)


@functools.lru_cache(maxsize=1024)
def predicted_time(problem: Problem, shape: Shape, side: int) -> float:
    """Nanoseconds for a thousand rows that each see a box of `side` keys along every axis."""
    return COSTS.predicted(work_of(problem.extents, side, shape), shape, problem)


@functools.lru_cache(maxsize=1024)
def extents_of(program: Program) -> tuple[int, ...]:
    """The grid of a program: its own, or the one that a mask over flat positions writes as `q // n` and `q % n`; else a line."""
    if program.space.extents:
        return program.space.extents
    found = {Op.FLOORDIV: set[tuple[str, int]](), Op.MOD: set[tuple[str, int]]()}
    for node in walk(program.mask):
        match node:
            case Binary(Op.FLOORDIV | Op.MOD as op, position, Const(int(size))) if ALIGNED[0] // 4 < size < LINE:
                found[op] |= {(name, size) for name in ("q", "k") if name in names(position)}
            case _:
                pass
    both = found[Op.FLOORDIV] & found[Op.MOD]
    rows = sorted(size for name, size in both if name == "q" and ("k", size) in both)
    return (-(-LINE // rows[0]), rows[0]) if rows else (LINE,)


# -- counting ---------------------------------------------------------------------------------------------------------


def work_of(extents: tuple[int, ...], side: int, shape: Shape) -> Work:
    """What it takes to serve rows that each see a box of up to `side` keys along every axis of a grid, moved to lie inside it.

    extents: of the grid, outermost first; one number is a line.
    """
    tokens = math.prod(extents)
    tiles = -(-tokens // shape.lanes)
    sampled = np.unique(np.linspace(0, tiles - 1, min(tiles, SAMPLES)).astype(np.int64))
    counted = np.sum([_work_of_tile(extents, side, shape, int(i)) for i in sampled], axis=0)
    rows = np.minimum(shape.lanes, tokens - sampled * shape.lanes).sum()
    return Work(*(float(part) for part in counted * (1000 / rows)))


def _work_of_tile(extents: tuple[int, ...], side: int, shape: Shape, i: int) -> tuple[int, ...]:
    """The fields of `Work`, of one tile of rows."""
    tokens = math.prod(extents)
    row = np.arange(i * shape.lanes, min((i + 1) * shape.lanes, tokens))
    start, stop = _runs(extents, side, row)
    tile, first, last = _cut(start, stop, shape.lines)
    base, chunks = int(tile.min()), shape.lanes // CHUNK
    count = int(tile.max()) - base + 1
    chunk = np.broadcast_to((row - row[0])[:, None, None] // CHUNK, tile.shape)
    at = ((tile - base) * chunks + chunk).ravel()
    inside = last > first
    low, high = np.full(count * chunks, shape.lines), np.zeros(count * chunks, np.int64)
    np.minimum.at(low, at[inside.ravel()], first[inside])
    np.maximum.at(high, at[inside.ravel()], last[inside])
    live = np.bincount(at, (last - first).clip(0).ravel(), count * chunks).reshape(count, chunks).sum(1)
    lines = np.minimum(shape.lines, tokens - (base + np.arange(count)) * shape.lines)
    run = (high - low).clip(0).reshape(count, chunks).sum(1)
    seen, full = live > 0, (live == lines * len(row)) & (lines == shape.lines)
    at_once = full | (8 * run > 7 * lines * chunks)
    return (
        int(seen.sum()),
        int(lines[seen].sum()),
        int(lines[seen & ~full].sum()) * shape.lanes,
        int(lines[seen & at_once].sum()) * shape.lanes,
        int(run[seen & ~at_once].sum()) * CHUNK,
        shape.lanes,
    )


def _runs(extents: tuple[int, ...], side: int, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each row the runs of keys that it sees, each inside one line of the grid: i64[rows, runs], stop exclusive."""
    start = np.zeros((len(row), 1), np.int64)
    stride = math.prod(extents)
    for axis, extent in enumerate(extents):
        stride //= extent
        width = min(side, extent)
        lowest = ((row // stride) % extent - width // 2).clip(0, extent - width)
        if axis == len(extents) - 1:
            start = start + lowest[:, None]
            return start, start + width
        start = (start[:, :, None] + (lowest[:, None, None] + np.arange(width)) * stride).reshape(len(row), -1)
    raise ValueError("a grid has at least one axis")


def _cut(start: np.ndarray, stop: np.ndarray, block: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Runs cut at multiples of `block`: the tile of each part and its ends inside that tile; i64[rows, runs, parts], some of them empty."""
    parts = int(((stop - 1) // block - start // block).max()) + 1
    tile = np.minimum((start // block)[:, :, None] + np.arange(parts), ((stop - 1) // block)[:, :, None])
    later = np.arange(parts) > ((stop - 1) // block - start // block)[:, :, None]
    first = np.maximum(start[:, :, None] - tile * block, 0)
    last = np.minimum(stop[:, :, None] - tile * block, block)
    return tile, first, np.where(later, first, last)
