"""What tiles of a device's kernels cost: full ones, partial ones, and a tile of queries, by the models that choose configurations.

Where the shapes come from: for a GPU what `gpu_configurations.offered` finds to fit it, for C++ what `tile_shape.candidates` lists.
"""

from __future__ import annotations

from typing import NamedTuple

from . import gpu_configurations
from .box_counts_of_order import COPY
from .gpu_configurations import LANES, clocks, offered
from .gpu_resources import BYTES, Problem
from .tile_shape import COSTS, Shape, Work, candidates
from .tile_shape import Problem as CppProblem
from .visited_tiles import Area

CPU = "cpu"
DEVICES = {
    "a10": "sm_86",
    "a100": "sm_80",
    "b200": "sm_100",
    CPU: "cpp",
    "h100": "sm_90",
    "h200": "sm_90",
    "l40s": "sm_89",
    "mi300x": "gfx942",
    "mi355x": "gfx950",
    "rtx3090": "sm_86",
    "rtx4090": "sm_89",
}
"""Targets of devices by name."""
PER_ADDRESS = 8.0  # simple operations of a coordinate of a key that is gathered: a quotient, a remainder, a product, a sum. An estimate
VECTOR_BYTES = 64  # of C++ kernels with AVX-512


class TileCost(NamedTuple):
    """queries, keys: tokens of a tile. full, partial: of a tile of that kind; gathered: of one whose keys are not where a box is.

    row: of a tile of queries. Clocks of one multiprocessor, or nanoseconds of one core.
    """

    queries: int
    keys: int
    full: float
    partial: float
    gathered: float
    row: float

    def dense(self, tokens: int) -> float:
        """Of all pairs of as many queries and keys."""
        rows, whole, rest = -(-tokens // self.queries), tokens // self.keys, tokens % self.keys > 0
        return rows * (self.row + whole * self.full + rest * self.partial)


def tile_costs(device: str, dtype: str, head_dim: int, extents: tuple[int, ...]) -> tuple[TileCost, ...]:
    """Of every shape of tiles that forward kernels of a device have, by tokens.

    device: one of DEVICES. dtype: f16, bf16, f32 or f64. A mask that keeps much of each pair in registers has smaller tiles than these.
    """
    problem = Problem(DEVICES[device], dtype, (head_dim, head_dim))
    found = _cpp(dtype, head_dim, extents) if device == CPU else _gpu(problem, len(extents))
    return tuple(sorted(found, key=lambda cost: (cost.queries, cost.keys)))


def _gpu(problem: Problem, axes: int) -> list[TileCost]:
    """Of each shape the warps and stages with the least time of a full and a partial tile together."""
    best: dict[tuple[int, int], TileCost] = {}
    for each in offered(problem):
        idle, full, partial = (clocks(problem, each, area) for area in (Area(0, 0), Area(1, 0), Area(0, 1)))
        addresses = each.block_k * axes * PER_ADDRESS / LANES
        cost = TileCost(*each.block, full - idle, partial - idle, partial - idle + addresses, idle * each.block_q / gpu_configurations.ROWS)
        if each.block not in best or cost.full + cost.partial < best[each.block].full + best[each.block].partial:
            best[each.block] = cost
    return list(best.values())


def _cpp(dtype: str, head_dim: int, extents: tuple[int, ...]) -> list[TileCost]:
    """As if no row or key of a partial tile were skipped: kernels do skip those that see nothing, so partial tiles cost less than this."""
    real = max(4, BYTES[dtype])
    problem = CppProblem(extents, 2 * head_dim, real, VECTOR_BYTES // real)
    return [_of_shape(shape, problem) for shape in candidates(problem)]


def _of_shape(shape: Shape, problem: CppProblem) -> TileCost:
    pairs, lines = shape.lanes * shape.lines, shape.lines
    copied = COPY * problem.width * lines
    works = Work(1, lines, 0, pairs, 0, 0), Work(1, lines, pairs, pairs, 0, 0), Work(0, 0, 0, 0, 0, shape.lanes)
    full, partial, row = (COSTS.predicted(work, shape, problem) for work in works)
    return TileCost(shape.lanes, shape.lines, full, partial, partial + copied, row)
