"""The simulator: its counts are those of dense masks in the order of the tiles, its bounds are the published ones."""

# Patterns are written without types, and torch's are partly unknown.
# ruff: noqa: ANN401
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownParameterType=false
from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import lacuna
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lacuna import patterns
from lacuna.passes.costs.box_pair_counts import Counter, Grid, Tiling, row_major
from lacuna.passes.costs.sparse_windows import Neighborhood, fitting, neighborhood_axis, perfectly_sparse, runs
from lacuna.passes.costs.tile_costs import TileCost, tile_costs
from lacuna.passes.grids import axis_runs
from lacuna.runtime.views.simulate import grid_of

PROVE = os.environ.get("LACUNA_TEST_PROFILE") == "prove"
VIDEO, VIDEO_WINDOW = (30, 48, 80), (18, 24, 24)
PUBLISHED = [
    ((32768,), (2048,), (256,), 16.0),
    ((256, 256), (80, 80), (16, 16), 10.24),
    (VIDEO, VIDEO_WINDOW, (16, 8, 8), 11.11),
]
"""Extents, window, the stride with which NATTEN's table calls the problem block-sparse, and L / window."""

simulate: Any = lacuna.simulate


# -- brute force ------------------------------------------------------------------------------------------------------


def dense(pattern: Any, length: int | None = None) -> np.ndarray:
    return lacuna.dense(pattern, grid_of(pattern, length).tokens)[0, 0].numpy()


def tile_of_tokens(extents: tuple[int, ...], box: tuple[int, ...], dilation: tuple[int, ...]) -> np.ndarray:
    """A number for the box of each row-major token."""
    found = []
    for token in product(*(range(extent) for extent in extents)):
        found.append(tuple((at % apart, at // apart // edge) for at, edge, apart in zip(token, box, dilation, strict=True)))
    names = {each: at for at, each in enumerate(sorted(set(found)))}
    return np.array([names[each] for each in found])


def counted(mask: np.ndarray, rows: np.ndarray, columns: np.ndarray, keys: int) -> tuple[int, int]:
    """Tiles with an attended pair, and those of `keys` keys with no other."""
    live = np.zeros((rows.max() + 1, columns.max() + 1), int)
    np.add.at(live, (rows[:, None], columns[None, :]), mask)
    whole = np.bincount(columns) == keys
    full = live == np.bincount(rows)[:, None] * np.bincount(columns)[None, :]
    return int((live > 0).sum()), int((full & whole).sum())


def brute_force(mask: np.ndarray, grid: Grid, tiling: Tiling) -> tuple[int, int]:
    extents, dilation = tuple(axis.extent for axis in grid.axes), tuple(axis.dilation for axis in grid.axes)
    if tiling.queries is None:
        at = np.arange(len(mask))
        return counted(mask, at // tiling.tile[0], at // tiling.tile[1], tiling.tile[1])
    rows = tile_of_tokens(extents, tiling.queries, dilation)
    if tiling.keys is not None:
        return counted(mask, rows, tile_of_tokens(extents, tiling.keys, dilation), tiling.tile[1])
    visited = full = 0
    for box in range(rows.max() + 1):
        here = mask[rows == box]
        seen = int(here.any(0).sum())
        visited += -(-seen // tiling.tile[1])
        full += seen // tiling.tile[1] if np.array_equal(here.any(0), here.all(0)) else 0
    return visited, full


@st.composite
def neighborhoods(draw: st.DrawFn) -> Any:
    rank = draw(st.integers(1, 3))
    most = {1: 40, 2: 11, 3: 6}[rank]
    extents = tuple(draw(st.integers(1, most)) for _ in range(rank))
    dilation = tuple(draw(st.integers(1, max(1, min(3, extent // 2)))) for extent in extents)
    window = tuple(draw(st.integers(1, extent // apart)) for extent, apart in zip(extents, dilation, strict=True))
    stride = tuple(draw(st.integers(1, wide)) for wide in window)
    return patterns.gna(extents, window, stride, dilation, tuple(draw(st.booleans()) for _ in range(rank)))


OTHERS = [
    patterns.window((12, 9), (4, 3)),
    patterns.torus_window((12, 8), 4, 2),
    patterns.halo((8, 12), 4, 1),
    patterns.grid((8, 12), 4),
    patterns.conv_window((9, 10), 5),
    patterns.conv_window((9, 10), 3, 2),
    patterns.gna((9, 7), (5, 7)),
    patterns.gna((5, 3, 7), (3, 3, 7)),
    patterns.gna((6, 10), (6, 5), (1, 5)),
]


def check(pattern: Any, cost: TileCost, length: int | None = None) -> None:
    grid, mask = grid_of(pattern, length), dense(pattern, length)
    assert grid.live == np.count_nonzero(mask)
    counter = Counter(grid, [cost])
    for tiling in (*counter.aligned(cost), *counter.unaligned(cost), *row_major(grid, [cost])):
        visited, full = brute_force(mask, grid, tiling)
        assert tiling.visited == visited * cost.queries * cost.keys, tiling
        assert tiling.full == full / max(1, visited), tiling
        assert tiling.useful == pytest.approx(grid.live / tiling.visited)
        assert tiling.bound == pytest.approx(mask.size / tiling.visited)


SHAPES = st.sampled_from([(8, 4), (4, 8), (6, 6), (16, 2), (1, 5)])


@settings(max_examples=600 if PROVE else 25)
@given(neighborhoods(), SHAPES)
def test_counts_are_those_of_the_dense_mask_in_the_order_of_the_tiles(pattern: Any, shape: tuple[int, int]) -> None:
    check(pattern, TileCost(*shape, full=1.0, partial=1.3, gathered=1.4, row=0.5))


@pytest.mark.parametrize("pattern", OTHERS, ids=repr)
def test_counts_of_other_patterns_are_too(pattern: Any) -> None:
    for shape in ((8, 4), (5, 6)):
        check(pattern, TileCost(*shape, full=1.0, partial=1.1, gathered=1.2, row=0.5))


def every_box(extents: tuple[int, ...], tokens: int) -> Iterator[tuple[int, ...]]:
    yield from (box for box in product(*(range(1, extent + 1) for extent in extents)) if math.prod(box) <= tokens)


@settings(max_examples=60 if PROVE else 6)
@given(neighborhoods().filter(lambda pattern: pattern.space.rank > 1), st.sampled_from([(6, 4), (4, 5)]))
def test_no_box_that_was_left_out_is_better(pattern: Any, shape: tuple[int, int]) -> None:
    cost = TileCost(*shape, full=1.0, partial=1.3, gathered=1.4, row=0.5)
    grid, mask = grid_of(pattern), dense(pattern)
    extents, dilation = tuple(axis.extent for axis in grid.axes), tuple(axis.dilation for axis in grid.axes)
    longest = tuple(axis.longest for axis in grid.axes)
    sides = [[(box, tile_of_tokens(extents, box, dilation)) for box in every_box(longest, tokens)] for tokens in shape]
    tiles, times = math.inf, math.inf
    for (_, rows), (box, columns) in product(*sides):
        visited, full = counted(mask, rows, columns, shape[1] if math.prod(box) == shape[1] else -1)
        tiles = min(tiles, visited)
        times = min(times, full * cost.full + (visited - full) * cost.partial + (rows.max() + 1) * cost.row)
    found = Counter(grid, [cost]).aligned(cost)
    assert min(each.visited for each in found) == tiles * shape[0] * shape[1]
    assert min(each.time for each in found) == pytest.approx(times)


def test_long_axes_are_seen_as_short_ones_are(monkeypatch: pytest.MonkeyPatch) -> None:
    each = [patterns.gna(300, 41), patterns.gna(300, 40, 7), patterns.gna(300, 9, 2, causal=True), patterns.sliding_window(33)]
    short = [grid_of(pattern, 300).axes[0].flat for pattern in each]
    monkeypatch.setattr(axis_runs, "LONGEST_AXIS", 16)
    for pattern, line in zip(each, short, strict=True):
        found = grid_of(pattern, 300).axes[0].flat
        assert found.rows is not None
        assert line.rows is not None
        assert np.array_equal(found.rows, line.rows)


@lacuna.pattern
def jumping(q: Any, k: Any) -> Any:
    return k == q * 5 % 64


def test_a_long_axis_on_which_neighbours_see_runs_apart_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    check(jumping, TileCost(8, 4, full=1.0, partial=1.3, gathered=1.4, row=0.5), 64)
    monkeypatch.setattr(axis_runs, "LONGEST_AXIS", 16)
    with pytest.raises(ValueError, match=r"axis 0 of .* has 64 tokens, and some query on it sees more than one run of keys"):
        grid_of(jumping, 64)


# -- published figures ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("extents", "window", "stride", "ideal"), PUBLISHED, ids=str)
def test_published_bounds_are_the_tokens_over_the_window_and_strides_reach_them(
    extents: tuple[int, ...], window: tuple[int, ...], stride: tuple[int, ...], ideal: float
) -> None:
    plain, strided = (simulate(patterns.gna(extents, window, step)) for step in (1, stride))
    assert plain.ideal == pytest.approx(ideal, abs=0.01)
    assert all(each.bound <= plain.ideal for each in plain.tilings)
    assert {each.order for each in plain.tilings} == {"boxes", "unaligned boxes", "row-major"}
    assert max(each.useful for each in plain.tilings) < 1
    assert strided.chosen.useful == strided.chosen.full == 1.0
    assert strided.chosen.bound == pytest.approx(ideal, abs=0.01)


def test_boxes_of_128_queries_reach_the_known_shares_at_the_video_problem() -> None:
    found = simulate(patterns.gna(VIDEO, VIDEO_WINDOW), padded=False)
    best = {
        order: max(each.useful for each in found.tilings if each.tile == (128, 64) and each.order == order)
        for order in ("boxes", "unaligned boxes", "row-major")
    }
    assert best["boxes"] == pytest.approx(0.6168, abs=1e-4)
    assert best["unaligned boxes"] == pytest.approx(0.7074, abs=1e-4)
    assert best["row-major"] < 0.3
    padded = simulate(patterns.gna(VIDEO, VIDEO_WINDOW))
    assert max(each.useful for each in padded.tilings if each.tile == (128, 64)) == pytest.approx(0.7222, abs=1e-4)


@pytest.mark.parametrize("device", ["h200", "a100", "mi300x", "cpu"])
def test_the_chosen_tiling_is_within_two_percent_of_the_least_time_and_the_simplest_of_those(device: str) -> None:
    found = simulate(patterns.gna((64, 64), 13), device=device, dtype="f32" if device == "cpu" else "bf16", head_dim=64)
    least = min(each.time for each in found.tilings)
    near = [each.order for each in found.tilings if each.time <= 1.02 * least]
    assert found.chosen.time <= 1.02 * least
    assert found.chosen.order == next(order for order in ("row-major", "boxes", "unaligned boxes") if order in near)


def test_a_mask_that_fills_its_tiles_is_left_in_row_major_order() -> None:
    assert simulate(patterns.gna((64, 64), 64)).chosen.order == "row-major"


# -- perfectly tile-sparse --------------------------------------------------------------------------------------------


@settings(max_examples=1000 if PROVE else 30)
@given(st.integers(1, 40 if PROVE else 14), st.data())
def test_edges_that_are_said_to_fit_are_exactly_those_with_no_partial_tile(size: int, data: st.DataObject) -> None:
    window = data.draw(st.integers(1, size))
    stride = data.draw(st.integers(1, window))
    causal = data.draw(st.booleans())
    start, stop = runs(size, window, stride, causal)
    at = np.arange(size)
    mask = (start[:, None] <= at) & (at < stop[:, None])
    assert np.array_equal(mask, dense(patterns.gna(size, window, stride, causal=causal)))
    queries, keys = fitting(size, window, stride, causal)
    for q, k in product(range(1, size + 1), repeat=2):
        visited, full = counted(mask, at // q, at // k, k)
        perfect = visited == full and size % q == 0
        assert perfect == (queries % q == 0 == keys % k), (q, k)


NEAR = [((30, 48, 80), (18, 24, 24)), ((64, 64), (13, 13)), ((4096,), (200,)), ((32, 48), (12, 12))]


@pytest.mark.parametrize(("extents", "window"), NEAR, ids=str)
def test_neighborhoods_that_are_said_to_be_perfect_are(extents: tuple[int, ...], window: tuple[int, ...]) -> None:
    found = simulate(patterns.gna(extents, window)).sparse
    assert found
    assert list(found) == sorted(found, key=lambda each: each.change)
    for each in found[:: 1 if PROVE else 3]:
        again = simulate(patterns.gna(extents, each.window, each.stride), padded=False)
        same = [tiling for tiling in again.tilings if tiling.tile == each.tile and tiling.order == "boxes"]
        assert max(tiling.useful for tiling in same) == 1.0
        assert again.ideal == pytest.approx(each.bound)
        assert min(tiling.time for tiling in same) == pytest.approx(each.time)


def test_dilated_neighborhoods_are_perfect_in_their_classes() -> None:
    found = simulate(patterns.gna((64, 64), 16, dilation=2)).sparse
    assert found
    strided = simulate(patterns.gna((64, 64), found[0].window, found[0].stride, dilation=2))
    assert max(each.useful for each in strided.tilings) == 1.0


def test_a_neighborhood_that_is_perfect_already_comes_first_and_unchanged() -> None:
    first = simulate(patterns.gna(VIDEO, VIDEO_WINDOW, (16, 8, 8))).sparse[0]
    assert (first.window, first.stride, first.change) == (VIDEO_WINDOW, (16, 8, 8), 0.0)


def test_causal_axes_have_no_perfect_neighbours() -> None:
    near = Neighborhood((64, 64), (16, 16), (1, 1), (1, 1), (True, True))
    assert perfectly_sparse(near, tile_costs("h200", "bf16", 128, (64, 64))) == ()
    assert neighborhood_axis(8, 3, 4, 1, False) is None


@lacuna.pattern(rank=2)
def impostor(q: Any, k: Any, *, window: Any, stride: Any, dilation: Any, causal: Any) -> Any:
    return (abs(q[0] - k[0]) < window[0]) & (abs(q[1] - k[1]) < window[1])


def test_only_neighborhoods_are_given_neighbours() -> None:
    other = impostor(window=(8, 8), stride=(1, 1), dilation=(1, 1), causal=(False, False)).on(32, 32)
    assert simulate(other).sparse == ()
    assert simulate(patterns.window((32, 32), 8)).sparse == ()
    assert simulate(patterns.neighborhood(8, length=(32, 32))).sparse


# -- as a whole -------------------------------------------------------------------------------------------------------


def test_a_simulation_is_a_table_json_and_a_chart(tmp_path: Path) -> None:
    found = simulate(patterns.gna((32, 64), (9, 9)), device="a100")
    text = str(found)
    assert text.count("chosen") == 1
    assert "32 x 64, a100, bf16" in text
    assert "perfectly tile-sparse" in text
    assert all(f"{q} x {k}" in text for (q, k), _ in found.masked)
    assert json.loads(json.dumps(dataclasses.asdict(found)))["chosen"]["useful"] == found.chosen.useful
    for name in ("chart.png", "chart.svg"):
        found.plot(tmp_path / name)
        assert (tmp_path / name).stat().st_size > 1000
    with pytest.raises(ValueError, match=r"cannot be written to `chart.pdf`.\n  write a name that ends in .png or .svg"):
        found.plot(tmp_path / "chart.pdf")


@lacuna.pattern(rank=2)
def raster(q: Any, k: Any) -> Any:
    return (k[0] < q[0]) | ((k[0] == q[0]) & (k[1] <= q[1]))


@pytest.mark.parametrize(
    ("pattern", "options", "kind", "message"),
    [
        (raster.on(8, 8), {}, NotImplementedError, "is no conjunction of conditions along one axis each.*\n  write `lacuna.explain"),
        (patterns.gna(64, 5), {"device": "h2000"}, ValueError, "`device` is 'h2000', which is not known.\n  write one of a10, a100"),
        (patterns.gna(64, 5), {"dtype": "int8"}, ValueError, "`dtype` is 'int8', which is not known.\n  write one of f16"),
        (patterns.gna(64, 5), {"head_dim": 0}, ValueError, "`head_dim` is 0.\n  write a number from 1 to 256"),
        (patterns.causal(), {}, ValueError, "how many tokens .* is None.\n  write `length=4096`"),
        (
            patterns.gna(8192, 5, dilation=2),
            {},
            ValueError,
            "axis 0 of .* has 8192 tokens, .* more than one run .*\n  write an extent",
        ),
        (raster.recipe, {}, TypeError, "`pattern` is a FromFunction.*\n  write"),
    ],
    ids=["raster order", "device", "dtype", "head dimension", "length", "long dilated axis", "recipe"],
)
def test_what_cannot_be_simulated_is_refused_by_name(pattern: Any, options: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        simulate(pattern, **options)
