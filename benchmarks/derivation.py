"""How long schedules of neighborhoods take to derive: `python benchmarks/derivation.py [--repeats N] [--blocks 64 64]`.

Milliseconds of this process on a processor, cold caches, median of a few with the largest. Plain neighborhoods, then the slowest of all
strides and dilations up to 6; tiles of row-major tokens or boxes; extents as numbers, or as symbols of the schedule. Lists of tiles of a
video behind a text whose length only a call knows. Loading the libraries that a derivation needs is timed apart, in a process of its own.
"""

# Patterns are written without annotations.
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
from __future__ import annotations

import argparse
import functools
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import lacuna
from lacuna import patterns
from lacuna.ir.expr import Expr, K, Q, Symbol
from lacuna.ir.order import Boxes, Order
from lacuna.ir.pattern import Pattern
from lacuna.ir.schedule import Schedule
from lacuna.ir.trace import Traced
from lacuna.passes.costs import box_order
from lacuna.passes.grids.row_major_strips import axis_relations, strips
from lacuna.passes.grids.separable import GridForm
from lacuna.passes.orders.permuted_program import boxed
from lacuna.passes.program import binding
from lacuna.passes.program.call_values import Launch
from lacuna.passes.schedules.derive import derive
from lacuna.passes.schedules.grid_schedule import by_axis
from lacuna.passes.schedules.known_parts import in_known_parts
from lacuna.passes.schedules.prepare import prepare
from lacuna.patterns.gna import seen
from lacuna.runtime.compilers.cpu import processor_name
from lacuna.runtime.request.materialise import parameters

MOST = 6  # strides and dilations
PLAIN_LIMIT, LIMIT = 20.0, 150.0
IMPORTS = "import time; at = time.perf_counter(); import lacuna.passes.schedules.derive; print(time.perf_counter() - at)"


@dataclass(frozen=True)
class Grid:
    """Extents, windows, and edges of boxes of 64 tokens where they divide the extents."""

    extents: tuple[int, ...]
    window: tuple[int, ...]
    box: tuple[int, ...] | None = None

    def __str__(self) -> str:
        return f"{' x '.join(map(str, self.extents))}, window {' x '.join(map(str, self.window))}"


GRIDS = (
    Grid((4096,), (129,)),
    Grid((64, 64), (13, 13), (8, 8)),
    Grid((61, 67), (13, 13)),
    Grid((16, 32, 32), (5, 9, 9), (4, 4, 4)),
    Grid((15, 31, 33), (5, 9, 9)),
    Grid((30, 48, 80), (18, 24, 24), (2, 4, 8)),
)
SMALL = (
    Grid((384,), (9,)),
    Grid((96, 96), (9, 9), (8, 8)),
    Grid((61, 67), (9, 9)),
    Grid((24, 48, 48), (3, 7, 7), (4, 4, 4)),
    Grid((23, 43, 45), (3, 7, 7)),
)
Tile = tuple[int, int]


def launch_of(pattern: Pattern, tokens: int) -> Launch:
    return Launch(tokens, tokens, parameters=parameters(pattern.program, pattern.bindings))


def row_major(grid: Grid, stride: int, dilation: int, block: Tile) -> Schedule:
    pattern = patterns.gna(grid.extents, grid.window, stride, dilation)
    tokens = math.prod(grid.extents)
    return derive(pattern.program, *block, launch_of(pattern, tokens)).schedule


def in_boxes(grid: Grid, stride: int, dilation: int, block: Tile) -> Schedule | None:
    """block: not read, a tile is a box."""
    assert grid.box is not None
    boxes = Boxes(grid.extents, grid.box, (dilation,) * len(grid.extents))
    order = Order(boxes, boxes)
    pattern = patterns.gna(grid.extents, grid.window, stride, dilation)
    program, launch = boxed(pattern.program, order), launch_of(pattern, boxes.positions)
    return by_axis(prepare(program, launch, shifted=False), program, order, launch)


def symbolic(grid: Grid, stride: int, dilation: int, block: Tile) -> object:
    """Row-major tiles with extents that are symbols."""
    extents = tuple(Symbol(f"n{axis}") for axis in range(len(grid.extents)))
    along: list[Expr] = []
    for extent, wide in zip(extents, grid.window, strict=True):
        condition: Any = seen(Traced(Q), Traced(K), Traced(extent), wide, stride, dilation, False)
        along.append(condition.expr)
    form = GridForm(tuple(along), (extents, extents))
    return strips(form, axis_relations(form), block)


def milliseconds(derived: Callable[[], object], repeats: int) -> list[float]:
    times: list[float] = []
    for _ in range(repeats):
        for forgotten in (binding.symbols_needed, box_order.considered):
            forgotten.cache_clear()
        start = time.process_time()
        found = derived()
        times.append(1e3 * (time.process_time() - start))
        assert found is not None
    return times


def ways(grid: Grid) -> Iterator[tuple[str, Callable[[Grid, int, int, Tile], object]]]:
    yield "row-major", row_major
    if len(grid.extents) > 1:
        yield "row-major, symbols", symbolic
    if grid.box is not None:
        yield "boxes", in_boxes


def fits(grid: Grid, stride: int, dilation: int) -> bool:
    return all(stride <= wide and wide * dilation <= extent for extent, wide in zip(grid.extents, grid.window, strict=True))


def divides(grid: Grid, dilation: int) -> bool:
    """Whether boxes of that dilation do not hang over the grid."""
    return grid.box is not None and all(extent % (edge * dilation) == 0 for extent, edge in zip(grid.extents, grid.box, strict=True))


def plain(repeats: int, block: Tile) -> None:
    print(f"plain neighborhoods, tiles of {block[0]} x {block[1]}: median (largest) milliseconds; {PLAIN_LIMIT:.0f} is asked of 3-D")
    for grid in GRIDS:
        for name, way in ways(grid):
            times = milliseconds(functools.partial(way, grid, 1, 1, block), repeats)
            print(f"  {grid!s:36} {name:20} {statistics.median(times):7.1f} ({max(times):.1f})", flush=True)


def every(repeats: int, block: Tile) -> None:
    print(f"strides and dilations up to {MOST}: median of all, and the slowest; {LIMIT:.0f} is asked")
    for grid in SMALL:
        for name, way in ways(grid):
            found: dict[tuple[int, int], float] = {}
            for stride, dilation in product(range(1, MOST + 1), repeat=2):
                if fits(grid, stride, dilation) and (way is not in_boxes or divides(grid, dilation)):
                    times = milliseconds(functools.partial(way, grid, stride, dilation, block), repeats)
                    found[stride, dilation] = statistics.median(times)
            slowest = max(found, key=found.__getitem__)
            told = f"{statistics.median(found.values()):7.1f}, {found[slowest]:7.1f} at stride {slowest[0]}, dilation {slowest[1]}"
            print(f"  {grid!s:36} {name:20} {len(found):3} problems {told}", flush=True)


def texts(repeats: int, block: Tile) -> None:
    """Videos behind a text whose length only a call knows."""
    print(f"lists of tiles of {block[0]} x {block[1]} for a new length of text beside a video: median (largest) milliseconds")
    for grid in (Grid((12, 24, 40), (3, 5, 5)), Grid((30, 48, 80), (18, 24, 24))):
        whole = lacuna.sequence(text=None, video=lacuna.grid(*grid.extents))
        joint = patterns.causal().on(whole["text"]) | patterns.gna(grid.extents, grid.window).on(whole["video"])
        launches = [launch_of(joint, text + math.prod(grid.extents)) for text in (77, 226, 512)]
        times = [
            milliseconds(functools.partial(in_known_parts, joint.program, block, each), 1)[0] for each in launches for _ in range(repeats)
        ]
        print(f"  {grid!s:57} {statistics.median(times):7.1f} ({max(times):.1f})", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--blocks", type=int, nargs=2, default=(64, 64))
    given = parser.parse_args()
    loading = [float(subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True).stdout) for _ in range(3)]
    print(processor_name())
    print(f"loading the set library and the passes, once in a process: {1e3 * statistics.median(loading):.0f} milliseconds")
    row_major(GRIDS[1], 1, 1, (64, 64))  # loads them here
    block = (given.blocks[0], given.blocks[1])
    plain(given.repeats, block)
    texts(given.repeats, block)
    every(max(1, given.repeats // 2), block)


if __name__ == "__main__":
    main()
