"""Neighborhoods on grids, for `gpu.py`: right in boxes, and how much of their bound they reach over the best dense attention.

NATTEN's published problems, 24 heads of dimension 128: FLUX, 256 x 256 with windows of 80 x 80, and HunyuanVideo, 30 x 48 x 80 with windows
of 18 x 24 x 24; each also with the stride that makes it perfectly tile-sparse.
"""

# torch's annotations are partial, and those of tests are not looked for.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false, reportMissingImports=false
from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lacuna
import torch
from forms import request_of
from gpu_calls import beside_eager
from gpu_timings import BOTH, FORWARD, Bench, Result, Run, Step, dense_peers
from lacuna import patterns
from lacuna.ir.expr import Symbol
from lacuna.ir.pattern import Pattern
from lacuna.passes.grids.tile_axes import seen_along
from lacuna.runtime.choices import cuts
from lacuna.runtime.choices.positions import values_of_mask
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
attention: Any = lacuna.attention
Attend = Callable[[list[Tensor]], Any]


@dataclass(frozen=True)
class Grid:
    """A neighborhood; a stride of 1 where it has none. heads, dim: of bfloat16 tensors."""

    name: str
    extents: tuple[int, ...]
    window: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...] = ()
    heads: int = 24
    dim: int = 128

    @property
    def pattern(self) -> Pattern:
        return patterns.gna(self.extents, self.window, self.stride, self.dilation or 1)

    @property
    def tokens(self) -> int:
        return math.prod(self.extents)

    @property
    def attended(self) -> int:
        """Pairs of one head."""
        axes = seen_along(
            self.pattern.program, {Symbol(name): value for name, value in self.pattern.bindings.items() if isinstance(value, int)}
        )
        assert axes is not None
        return math.prod(int(seen.sum()) for seen in axes)

    def tensors(self, device: str) -> list[Tensor]:
        size = (1, self.heads, self.tokens, self.dim)
        return [torch.randn(size, device=device, dtype=torch.bfloat16).requires_grad_() for _ in range(3)]

    def __str__(self) -> str:
        stride = "" if set(self.stride) == {1} else f" stride {_edges(self.stride)}"
        return f"{self.name} {_edges(self.extents)} window {_edges(self.window)}{stride}"


def _edges(numbers: tuple[int, ...]) -> str:
    return "x".join(map(str, numbers))


PUBLISHED = (
    Grid("HunyuanVideo", (30, 48, 80), (18, 24, 24), (16, 8, 8)),
    Grid("HunyuanVideo", (30, 48, 80), (18, 24, 24), (1, 1, 1)),
    Grid("FLUX", (256, 256), (80, 80), (16, 16)),
    Grid("FLUX", (256, 256), (80, 80), (1, 1)),
)
SMALL = (Grid("small", (16, 16), (3, 3), (1, 1), heads=1, dim=16),)
CHECKED = (
    Grid("checked", (16, 24, 32), (5, 9, 9), (1, 1, 1), heads=2, dim=64),
    Grid("checked", (64, 60), (13, 8), (1, 1), (2, 3), heads=2, dim=128),
    Grid("checked", (61, 67), (13, 13), (1, 1), heads=2, dim=80),
)


# -- right ------------------------------------------------------------------------------------------------------------


def grid_checks(bench: Bench, *, first: bool) -> Iterator[Step]:
    """Random neighborhoods in random boxes against float64, and a few in the boxes that calls get against the eager backend."""
    seeds = range(2) if bench.dry else range(12) if first else range(12, 60)
    yield Step(f"correct: boxes {seeds.start}..{seeds.stop - 1}", functools.partial(_checked, bench.device, seeds))
    if first:
        for grid in SMALL if bench.dry else CHECKED:
            yield Step(f"correct: {grid}", functools.partial(_as_chosen, bench.device, grid))


def _checked(device: str, seeds: range) -> Result:
    import test_triton_orders

    wrong: list[str] = []
    for seed in seeds:
        for backward in (False, True):
            try:
                with torch.device(device):
                    test_triton_orders.check(seed, backward=backward)
            except Exception as error:  # what went wrong is the result
                wrong.append(f"{seed}{' backward' if backward else ''}: {type(error).__name__}: {error}"[:400])
    return {"problems": 2 * len(seeds), "wrong": wrong}


def _as_chosen(device: str, grid: Grid) -> Result:
    return {**beside_eager(grid.tensors(device), grid.pattern), "cuts": in_use(grid)}


def in_use(grid: Grid) -> dict[str, str]:
    """The cuts that calls of a grid got in this process, by family."""
    mask = grid.pattern.program.mask
    return {known.family: str(found) for known, found in cuts.chosen_here() if known.program.mask is mask}


# -- timing -----------------------------------------------------------------------------------------------------------


def grids(bench: Bench) -> Iterator[Step]:
    for grid in SMALL if bench.dry else PUBLISHED:
        for direction in (FORWARD, BOTH):
            yield Step(f"grid: {grid} {direction}", functools.partial(_timed, bench, grid, direction))
        yield Step(f"cuts: {grid}", functools.partial(_cuts_timed, bench, grid))


def _timed(bench: Bench, grid: Grid, direction: str) -> Result:
    """Ours beside each dense attention: its time over ours, as the share of the bound that it is; the least share is that of the best."""
    leaves = grid.tensors(bench.device)
    rise = torch.randn_like(leaves[0])

    def once(call: Attend) -> Run:
        if direction == BOTH:
            return lambda: torch.autograd.grad(call(leaves), leaves, rise)
        detached = [leaf.detach() for leaf in leaves]
        return lambda: call(detached)

    def ours_dense(tensors: list[Tensor]) -> Tensor:
        return attention(*tensors, backend="triton")

    def in_boxes(tensors: list[Tensor]) -> Tensor:
        return attention(*tensors, grid.pattern, backend="triton")

    ours = once(in_boxes)
    bound = grid.tokens**2 / grid.attended
    found: Result = {"bound": bound}
    speedups: dict[str, float] = {}
    for name, peer in (("ours, dense", ours_dense), *dense_peers(bench)):
        try:
            found["ms"], ratio = bench.beside(ours, once(peer))
        except Exception as error:  # a peer that cannot do it is a result too
            found[name] = f"{type(error).__name__}: {error}"[:200]
            continue
        found[name], speedups[name] = ratio, ratio[0]
    best = min(speedups, key=lambda name: speedups[name])
    operations = (4 if direction == FORWARD else 14) * grid.dim * grid.heads * grid.attended
    found |= {"best dense": best, "speedup": speedups[best], "of the bound": speedups[best] / bound}
    return found | {"tflops": 1e-9 * operations / found["ms"], "cuts": in_use(grid)}


def _cuts_timed(bench: Bench, grid: Grid) -> Result:
    """The forward pass in the best cuts that the model ranks, one of each tile: milliseconds, time predicted over row-major."""
    from lacuna.runtime.tuning.cuts import TunedCuts

    query, key, value = (each.detach() for each in grid.tensors(bench.device))
    request = request_of((query, key, value), grid.pattern, None)
    tuned = TunedCuts(request, "forward")
    ranked = cuts.considered(tuned.variant, values_of_mask(request))
    by_tile = {each.cut.configuration.block: each for each in reversed(ranked)}
    found: Result = {}
    for each in sorted(by_tile.values(), key=lambda each: each.time)[: 1 if bench.dry else 5]:
        run = tuned.run_of(each.cut)
        found[str(each.cut)] = {"ms": bench.milliseconds(run, bench.count(run)), "predicted": each.time, "useful": each.useful}
    return found
