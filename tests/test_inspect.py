"""Schedules, explanations and pictures, as a user asks for them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import lacuna
import numpy as np
import pytest
import torch
from lacuna import patterns
from lacuna.runtime.views.plot import picture, pooled


def test_a_causal_window_as_a_picture(golden: Callable[[str, str], None]) -> None:
    golden("causal-window.tiles", lacuna.plot(patterns.sliding_window(25), 64, block=(8, 8)))


def test_the_schedule_counts_tiles() -> None:
    found = lacuna.schedule(patterns.causal(), 256, block=(64, 64))
    assert found.exact
    assert found.closed_form
    assert found.route == "symbolic"
    assert np.array_equal(found.tiles(), np.tril(np.full((4, 4), 2), -1) + np.eye(4))


def test_an_explanation_shows_the_token_orders_that_were_considered() -> None:
    told = lacuna.explain(patterns.gna((64, 64), 13), 4096)
    assert [str(each.boxes) for each in told.orders[:2]] == ["8 x 8", "None"]
    assert told.orders[0].time < told.orders[1].time == 1
    assert [(each.visited, each.full) for each in told.orders[:2]] == [(484, 0), (832, 0)]
    assert "  boxes of 8 x 8  " in str(told)
    assert lacuna.explain(patterns.causal(), 64).orders == ()


@lacuna.pattern(rank=2)
def disc(q: Any, k: Any) -> Any:  # noqa: ANN401
    return (q[0] - k[0]) ** 2 + (q[1] - k[1]) ** 2 < 9


@pytest.mark.parametrize(
    "pattern", [patterns.gna((7, 9), (3, 5), dilation=(2, 1)), patterns.gna((4, 5, 6), (3, 2, 4), stride=2), disc.on(8, 8)]
)
def test_pairs_of_a_grid_are_those_of_the_dense_mask(pattern: Any) -> None:  # noqa: ANN401
    tokens = math.prod(pattern.program.space.extents)
    assert lacuna.explain(pattern, tokens).live_pairs == int(lacuna.dense(pattern, tokens, tokens).sum())


def test_pairs_of_a_video_are_counted_along_its_axes() -> None:
    told = lacuna.explain(patterns.gna((30, 48, 80), (18, 24, 24)), 30 * 48 * 80)
    assert told.live_pairs == 30 * 18 * 48 * 24 * 80 * 24


def test_an_explanation_holds_exact_counts() -> None:
    told = lacuna.explain(patterns.sliding_window(10), 100, block=(16, 16))
    assert told.live_pairs == sum(min(q + 1, 10) for q in range(100))
    assert told.density == told.live_pairs / 10_000
    assert sum(told.classes) == 49
    text = str(told)
    for part in ("program @", "passes", "flatten-grid", "tiles of 16 x 16", "predicted speed-up", "partial  max(0"):
        assert part in text


def test_an_explanation_says_why_it_fell_back() -> None:
    @lacuna.pattern  # pyright: ignore
    def disc(q, k, *, radius):  # noqa: ANN001, ANN202  # pyright: ignore
        return (q - k) * (q - k) < radius * radius  # pyright: ignore

    told = lacuna.explain(disc(radius=7), 64, block=(16, 16))
    assert told.schedule.route == "refined"
    assert told.schedule.exact
    assert "joins q and k and is not affine" in str(told)


def test_large_maps_are_pooled() -> None:
    tiles = np.zeros((130, 130), np.uint8)
    tiles[:2, :2] = 2
    tiles[-1, -1] = 1
    assert pooled(tiles, 64).shape == (44, 44)
    lines = picture(tiles).splitlines()
    assert lines[0].startswith("/.")
    assert lines[-1].endswith("./")


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_pictures_are_written(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"map{suffix}"
    lacuna.plot(patterns.causal(), 512, path=path)
    assert path.stat().st_size > 1000


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a picture cannot be written to `map\.txt`"):
        lacuna.plot(patterns.causal(), 512, path=tmp_path / "map.txt")


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ({"q_len": 0}, "`q_len` is 0"),
        ({"q_len": 64.5}, "`q_len` is 64.5"),
        ({"kv_len": "64"}, "`kv_len` is '64'"),
        ({"heads": 0}, "`heads` is 0"),
        ({"batch": 1.5}, "`batch` is 1.5"),
        ({"block": (64, 0)}, "`block` is 0"),
        ({"block": (64.0, 64)}, "`block` is 64.0"),
    ],
)
def test_a_schedule_needs_positive_integers(numbers: dict[str, Any], text: str) -> None:
    for view in (lacuna.schedule, lacuna.explain):
        with pytest.raises(ValueError, match=f"{text}; a schedule has at least one tile\n  write a positive integer"):
            cast(Any, view)(patterns.causal(), **{"q_len": 64, **numbers})


@pytest.mark.parametrize("target", ["cpp", "triton"])
def test_kernels_can_be_compiled_before_the_first_call(target: str) -> None:
    kernel = lacuna.compile(patterns.sliding_window(9), target=target, head_dim=16)
    assert kernel.schedule.closed_form
    assert "window" in kernel.source
    assert len(kernel.key) == 64


def test_targets_and_dtypes_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ValueError, match="there is no target 'fortran'"):
        lacuna.compile(None, target="fortran")
    with pytest.raises(ValueError, match=r"there are no kernels for torch\.int32"):
        lacuna.compile(None, dtype=torch.int32)


def test_programs_are_dumped_after_each_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @lacuna.pattern  # pyright: ignore
    def dumped(q, k, *, gap):  # noqa: ANN001, ANN202  # pyright: ignore
        return ~(q - k < gap)  # pyright: ignore

    monkeypatch.setenv("LACUNA_DUMP", str(tmp_path))
    lacuna.compile(dumped(gap=3), head_dim=8)
    names = sorted(path.name for path in (tmp_path / "dumped").iterdir())
    assert names[0] == "00-input.lacuna"
    assert names[-1] == "05-simplify.lacuna"
    assert "mask = gap <= q - k" in (tmp_path / "dumped" / names[-1]).read_text()
