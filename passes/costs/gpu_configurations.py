"""Which configurations of a Triton kernel are offered, and in which order: those that fit, by predicted time.

Times are clocks of one multiprocessor for a thousand rows, from the counts of `visited_tiles` and the rates of `gpu_limits`. Nothing in
them was measured on a GPU; `lacuna.tune` measures the real problem.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

from ...ir.configuration import Configuration
from ...ir.program import Program
from .gpu_resources import BYTES, MOST_DECODED, Problem, fits, grouped, held, most_registers, owned, pair_values, resources, square
from .key_buckets import RAGGED
from .visited_tiles import Area, area_of

EDGES = (16, 32, 64, 128)
ROWS = 1024  # that times are of
FEWEST_PAIRS = 256  # of a tile of single products
STEP = 70.0  # clocks of a loop's turn that nothing hides
LANES = 128  # simple operations a clock
PER_PAIR = 6.0  # simple operations of the softmax
PER_MASK = 8.0  # of a mask, at each pair of a partial tile
PER_ROW = 40.0  # of a tile: its largest score, its sum
READ = 128.0  # bytes a clock of shared memory
HINDRANCE = 0.3  # of the time of units that are not the busiest: how much they are in its way
PRODUCTS = {"forward": (1, 1), "decode": (1, 1), "backward_queries": (2, 1), "backward": (2, 2)}
"""Matrix products of a tile along the dimensions of keys, and of values."""


class Candidate(NamedTuple):
    """A configuration and the clocks that a thousand rows are predicted to take."""

    configuration: Configuration
    clocks: float


# -- which ones -------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1024)
def offered(problem: Problem) -> tuple[Configuration, ...]:
    """Every configuration that runs on the target and is not predicted to spill; where all are, the one with the fewest registers."""
    everything = tuple(_grid(problem))
    found = tuple(each for each in everything if fits(problem, each))
    return found or (min(everything, key=lambda each: resources(problem, each).wanted),)


def _grid(problem: Problem) -> Iterator[Configuration]:
    queries = (16,) if problem.family == "decode" else EDGES
    for block_q, block_k, warps, stages in product(queries, EDGES, (4, 8, 16), (2, 3)):
        rows, met = (block_k, block_q) if problem.family == "backward" else (block_q, block_k)
        rows = MOST_DECODED if problem.family == "decode" else rows
        if _in_halves(problem, rows, met, warps) if problem.half else _in_singles(rows, met, warps, stages):
            yield Configuration(block_q, block_k, warps, stages, bound_of(problem, warps))


def _in_halves(problem: Problem, rows: int, met: int, warps: int) -> bool:
    """Matrix instructions want rows, sixteen for each warp or half as many where sums are long, and tiles that are not too narrow."""
    longest = max(problem.dims)
    least = 32 if longest > 128 or problem.family != "forward" else 64
    narrowest = 16 if problem.extra or problem.family != "forward" else 32
    widest = narrowest if problem.family == "backward" and problem.limits.wave > 32 else max(64, rows)  # wider ones spill on gfx942
    room = 8 if longest > 64 and rows > 32 else max(4, rows // 16)
    return rows >= least and narrowest <= met <= widest and warps <= min(8, room) and rows <= 32 * warps


def _in_singles(rows: int, met: int, warps: int, stages: int) -> bool:
    """A thread has a pair at least; stages change nothing of products of single numbers, and wide tiles nothing of what is read."""
    return stages == 2 and met <= rows and rows * met >= FEWEST_PAIRS * max(1, warps // 8)


def bound_of(problem: Problem, warps: int) -> int:
    """Registers that a thread may take; 0: as many as the compiler likes.

    With no bound it may spill to let one more program in, which it was seen to do to kernels of float32.
    """
    return 0 if problem.half or problem.limits.wave > 32 else most_registers(problem.limits, warps)


# -- in which order ---------------------------------------------------------------------------------------------------


def ranked(program: Program, problem: Problem, bucket: str) -> tuple[Configuration, ...]:
    """What is offered, the fastest first."""
    ragged, bucket = bucket.endswith(RAGGED), bucket.removesuffix(RAGGED)
    problem = problem._replace(extra=pair_values(program, ragged=ragged))
    turned = problem.family == "backward"
    found: list[Candidate] = []
    for each in offered(problem):
        area = area_of(program, bucket, each.block[::-1] if turned else each.block, turned)
        found.append(Candidate(each, clocks(problem, each, area)))
    return tuple(each.configuration for each in sorted(found, key=lambda each: (each.clocks, each.configuration)))


def clocks(problem: Problem, configuration: Configuration, area: Area) -> float:
    """Predicted clocks of one multiprocessor for ROWS rows that meet the tiles of `area`."""
    rows, _ = owned(problem, configuration)
    limits, held_at_once = problem.limits, max(1, resources(problem, configuration).programs)
    streams = held_at_once * max(1, configuration.warps // 4)
    once = (2 * limits.latency + rows * sum(problem.dims) * BYTES[problem.dtype] / limits.bytes_per_clock) / held_at_once
    full, partial = (_of_tile(problem, configuration, streams, masked) for masked in (False, True))
    return area.full * full + area.partial * partial + ROWS / rows * once


def _of_tile(problem: Problem, configuration: Configuration, streams: int, masked: bool) -> float:
    """Clocks of a tile where `streams` of them are under way: the busiest unit, or all of them in a row."""
    limits, pairs = problem.limits, configuration.block_q * configuration.block_k
    head, value = (held(dim, problem.target) for dim in problem.dims)
    along_head, along_value = PRODUCTS[problem.family]
    rate = {"f32": limits.single, "f64": limits.double}.get(problem.dtype, limits.half)
    if not problem.half:
        rate /= 1 + 1 / square(problem, configuration)  # operands are read once for a row of a square
    products = 2 * pairs * (along_head * head + along_value * value) / rate
    simple = PER_PAIR + problem.extra + (PER_MASK if masked else 0.0)
    rows, met = owned(problem, configuration)
    vectors = pairs * (1 / limits.exponentials + simple / LANES) + rows * (value + PER_ROW) / LANES
    moved = met * (head + value) * BYTES[problem.dtype]
    in_a_row = products + vectors + STEP + _waited(problem, configuration, products + vectors)
    units = (products, vectors, moved / limits.bytes_per_clock, moved * _readers(problem, configuration) / READ, in_a_row / streams)
    return (1 - HINDRANCE) * max(units) + HINDRANCE * sum(units)


def _waited(problem: Problem, configuration: Configuration, busy: float) -> float:
    """Clocks until the next tile is there, when it was asked for as many tiles ago as there are stages beyond the first."""
    ahead = (configuration.stages - 1) * busy if problem.limits.asynchronous else 0.0
    return max(0.0, problem.limits.latency - ahead)


def _readers(problem: Problem, configuration: Configuration) -> int:
    """How often keys and values are read from shared memory: by every group of rows that is multiplied at once."""
    rows, _ = owned(problem, configuration)
    if grouped(problem, configuration):
        return max(1, min(configuration.warps // 4, rows // 64))
    return max(1, min(configuration.warps, rows // 16))
