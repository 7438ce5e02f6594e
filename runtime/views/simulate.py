"""How fast a pattern on a grid can be: every cut into tiles counted exactly, with predicted times, without a GPU and without running it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ...ir.advice import advice
from ...ir.expr import K_LEN, OFFSET, Q_LEN, Symbol
from ...ir.pattern import Pattern
from ...ir.program import Program

if TYPE_CHECKING:
    from ...passes.costs.box_pair_counts import Grid, Tiling
    from ...passes.costs.sparse_windows import Neighborhood, Sparse

CLOSE = 1.02  # times that the model cannot tell apart
SIMPLER = ("row-major", "boxes", "unaligned boxes")
DTYPES = ("f16", "bf16", "f32", "f64")
LARGEST_HEAD = 256
MOST_AXES = 4


@dataclass(frozen=True)
class Simulation:
    """What is to be expected of a pattern on a device. Printing it gives the table; all counts are exact, all times predicted.

    extents:  of the grid. attended: pairs of one (b, h). ideal: the bound of the speed-up, all pairs over attended ones.
    unit:     of times, which are those of all rows of one (b, h) on one multiprocessor or core. dense: time of attention without a mask.
    tilings:  of every shape of tiles and every order, the cut with the least time and the one with the fewest visited pairs.
    chosen:   the simplest of the tilings whose time is within 2 % of the least one.
    masked:   for every shape of tiles, the time of a partial tile over that of a full one.
    sparse:   neighborhoods near this one that tiles fit perfectly; empty for other patterns.
    """

    pattern: str
    extents: tuple[int, ...]
    device: str
    dtype: str
    head_dim: int
    attended: int
    ideal: float
    unit: str
    dense: float
    tilings: tuple[Tiling, ...]
    chosen: Tiling
    masked: tuple[tuple[tuple[int, int], float], ...]
    sparse: tuple[Sparse, ...]

    def __str__(self) -> str:
        return "\n".join((*self._head(), "", *_aligned(HEADER, self._rows()), *self._near()))

    def plot(self, path: str | Path) -> None:
        """Write a chart, .png or .svg: for every shape of tiles and order the bound and the predicted speed-up, beside the ideal one.

        Raises:
            ValueError: `path` ends in something else.
        """
        from .simulate_plot import draw

        grid = " x ".join(map(str, self.extents))
        draw(self.tilings, self.dense, self.ideal, f"{grid} tokens, {self.device}, {self.dtype}", Path(path))

    def _head(self) -> Iterator[str]:
        grid = " x ".join(map(str, self.extents))
        yield f"{self.pattern} on {grid}, {self.device}, {self.dtype}, head dimension {self.head_dim}"
        yield f"attended pairs {self.attended}, ideal speed-up {self.ideal:.2f}"
        ratios = ", ".join(f"{ratio:.2f} ({q} x {k})" for (q, k), ratio in self.masked)
        yield f"a partial tile takes the time of a full one times {ratios}"
        yield f"useful, full and bound are counted; the predicted speed-up is over dense attention; time in millions of {self.unit}"

    def _rows(self) -> Iterator[tuple[str, ...]]:
        for each in self.tilings:
            boxes = ["-" if edges is None else " x ".join(map(str, edges)) for edges in (each.queries, each.keys)]
            counts = f"{each.useful:.2f}", f"{each.full:.2f}", f"{each.bound:.2f}"
            times = f"{self.dense / each.time:.2f}", f"{each.time / 1e6:.1f}"
            yield (f"{each.tile[0]} x {each.tile[1]}", each.order, *boxes, *counts, *times, "chosen" if each == self.chosen else "")

    def _near(self) -> Iterator[str]:
        if not self.sparse:
            return
        yield from ("", "perfectly tile-sparse: every visited pair is attended", "")
        for each in self.sparse:
            figures = f"{each.bound:.2f}", f"{self.dense / each.time:.2f}"
            queries, keys = " x ".join(map(str, each.queries)), " x ".join(map(str, each.keys))
            yield f"window {each.window}, stride {each.stride}: boxes {queries} and {keys}, bound {figures[0]}, predicted {figures[1]}"


HEADER = ("tile", "order", "boxes of queries", "of keys", "useful", "full", "bound", "predicted", "time", "")
TEXTS = 4  # columns of them, then figures


def _aligned(header: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> Iterator[str]:
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        padded = [text.ljust(width) if at < TEXTS else text.rjust(width) for at, (text, width) in enumerate(zip(line, widths, strict=True))]
        yield "  ".join(padded).rstrip()


def simulate(
    pattern: Pattern,
    *,
    device: str = "h200",
    head_dim: int = 128,
    dtype: str = "bf16",
    length: int | None = None,
    padded: bool = True,
) -> Simulation:
    """Count every cut of a pattern into tiles of a device's kernels, and predict the time of each.

    pattern:  on a grid of one to four axes, a condition for each axis, joined by `&`; `patterns.gna` in all its forms.
    device:   `h200`, `a100`, `mi300x`, `cpu` and others: what is not known is answered with those that are.
    length:   tokens, for a pattern of flat positions that does not know how many there are.
    padded:   whether boxes may have fewer tokens than their tile.

    Raises:
        ValueError: a device, dtype or number that there is none of; an axis too long for what it sees.
        NotImplementedError: the mask is no conjunction of conditions along one axis each.
    """
    from ...passes.costs.box_pair_counts import Counter, row_major
    from ...passes.costs.tile_costs import CPU, tile_costs

    _require(device, dtype, head_dim)
    grid = grid_of(pattern, length, padded)
    extents = tuple(axis.extent for axis in grid.axes)
    costs = tile_costs(device, dtype, head_dim, extents)
    counter = Counter(grid, costs)
    plain = row_major(grid, costs)
    tilings = tuple(
        each for cost, last in zip(costs, plain, strict=True) for each in (*counter.aligned(cost), *counter.unaligned(cost), last)
    )
    near = _neighborhood(pattern, grid)
    return Simulation(
        pattern=repr(pattern),
        extents=extents,
        device=device,
        dtype=dtype,
        head_dim=head_dim,
        attended=grid.live,
        ideal=grid.tokens**2 / max(1, grid.live),
        unit="nanoseconds" if device == CPU else "clocks",
        dense=min(cost.dense(grid.tokens) for cost in costs),
        tilings=tilings,
        chosen=_chosen(tilings),
        masked=tuple(((cost.queries, cost.keys), cost.partial / cost.full) for cost in costs),
        sparse=() if near is None else _sparse(near, costs),
    )


def _chosen(tilings: tuple[Tiling, ...]) -> Tiling:
    least = min(each.time for each in tilings)
    return min((each for each in tilings if each.time <= CLOSE * least), key=lambda each: (SIMPLER.index(each.order), each.time))


def _sparse(near: Neighborhood, costs: tuple[object, ...]) -> tuple[Sparse, ...]:
    from ...passes.costs.sparse_windows import perfectly_sparse
    from ...passes.costs.tile_costs import TileCost

    return perfectly_sparse(near, cast("tuple[TileCost, ...]", costs))


# -- what was given ---------------------------------------------------------------------------------------------------


def _require(device: str, dtype: str, head_dim: int) -> None:
    from ...passes.costs.tile_costs import DEVICES

    for name, value, known in (("device", device, tuple(DEVICES)), ("dtype", dtype, DTYPES)):
        if value not in known:
            raise ValueError(advice(f"`{name}` is {value!r}, which is not known", f"one of {', '.join(known)}"))
    if not 1 <= head_dim <= LARGEST_HEAD:
        raise ValueError(advice(f"`head_dim` is {head_dim}", f"a number from 1 to {LARGEST_HEAD}"))


def grid_of(pattern: Pattern, length: int | None = None, padded: bool = True) -> Grid:
    """The axes of a pattern, by what its program says. Raises: as `simulate`."""
    from ...passes.costs.box_pair_counts import Grid
    from ...passes.grids.axis_runs import axis_of
    from ...passes.grids.tile_axes import LONGEST_AXIS, conditions_along

    program, extents = _placed(pattern, length)
    values = _values(pattern, extents)
    conditions = conditions_along(program, values)
    if conditions is None:
        raise NotImplementedError(
            advice(
                f"the mask of `{pattern!r}` is no conjunction of conditions along one axis each, the same for all heads, without tables",
                "`lacuna.explain(pattern, tokens)`, which counts tiles of any mask in row-major order",
            )
        )
    axes = tuple(axis_of(program, axis, each, extents[axis], values) for axis, each in enumerate(conditions))
    if None in axes:
        at = axes.index(None)
        raise ValueError(
            advice(
                f"axis {at} of `{pattern!r}` has {extents[at]} tokens, and some query on it sees more than one run of keys, "
                "or a run that does not touch its neighbour's",
                f"an extent of at most {LONGEST_AXIS}, or `lacuna.explain(pattern, tokens)`",
            )
        )
    return Grid(tuple(axis for axis in axes if axis is not None), padded)


def _placed(pattern: Pattern, length: int | None) -> tuple[Program, tuple[int, ...]]:
    """The program of a pattern and the tokens along each axis."""
    program = _program(pattern)
    extents = program.space.extents
    if len(extents) > MOST_AXES:
        raise NotImplementedError(advice(f"`{pattern!r}` is on {len(extents)} axes", f"a pattern on at most {MOST_AXES}"))
    if program.space.grids is not None:
        raise NotImplementedError(advice(f"`{pattern!r}` is on two grids, or on one that a call tells", "one grid, `.on(30, 48, 80)`"))
    if extents:
        return program, extents
    known = _arguments(pattern)
    length = length or (known["extents"][0] if known else None)
    if length is None or length < 1:
        raise ValueError(advice(f"how many tokens `{pattern!r}` is looked at with is {length}", "`length=4096`"))
    return program, (length,)


def _program(pattern: Pattern) -> Program:
    if isinstance(pattern, Pattern):  # pyright: ignore[reportUnnecessaryIsInstance]  (whatever a user passed)
        pattern.require_ready()
        return pattern.program
    from ..request.merged_program import resolved  # which has the message, and loads torch

    return resolved(pattern, None)[0]


def _values(pattern: Pattern, extents: tuple[int, ...]) -> Mapping[Symbol, int]:
    tokens = math.prod(extents)
    bound = {Symbol(name): value for name, value in pattern.bindings.items() if isinstance(value, int)}
    return {**bound, Q_LEN: tokens, K_LEN: tokens, OFFSET: 0}


# -- neighborhoods ----------------------------------------------------------------------------------------------------


def _neighborhood(pattern: Pattern, grid: Grid) -> Neighborhood | None:
    """The window, stride, dilation and causal flags that a pattern binds, where it is the neighborhood that these mean."""
    import numpy as np

    from ...passes.costs.sparse_windows import Neighborhood

    found = _arguments(pattern)
    if found is None:
        return None
    extents, window, stride, dilation, causal = (found[name] for name in NAMES)
    near = Neighborhood(extents, window, stride, dilation, tuple(map(bool, causal)))
    meant = near.axes()
    if meant is None or near.extents != tuple(axis.extent for axis in grid.axes):
        return None
    for one, other in zip(meant, grid.axes, strict=True):
        if one.dilation != other.dilation or len(one.classes) != len(other.classes):
            return None
        for (line, _), (seen, _) in zip(one.classes, other.classes, strict=True):
            if line.rows is None or seen.rows is None or not all(np.array_equal(a, b) for a, b in zip(line.rows, seen.rows, strict=True)):
                return None
    return near


def _arguments(pattern: Pattern) -> dict[str, tuple[int, ...]] | None:
    """The arguments that `patterns.gna` binds, by name, one of each for every axis."""
    values = {name: argument.value for name, argument in pattern.arguments.items()}
    extents = pattern.space.extents or (cast(int, values.pop("length", 0)),)  # of one axis there is no grid
    windows = tuple(cast(int, values.pop(f"window_{axis}", 0)) for axis in range(len(extents)))
    values.pop("fixed", None)
    tuples = {name: cast("tuple[int, ...]", value) for name, value in values.items() if isinstance(value, tuple)}
    if set(values) != set(NAMES[2:]) or [len(each) for each in tuples.values()] != [len(extents)] * len(values):
        return None  # a neighborhood that is the rule of a part leaves its arguments, and is on other axes
    return {NAMES[0]: extents, NAMES[1]: windows, **tuples}


NAMES = ("extents", "window", "stride", "dilation", "causal")
