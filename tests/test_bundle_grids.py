"""Patterns on grids in bundles: with their tokens in the boxes that a compiled call would take, else row by row."""

# ruff: noqa: ANN401 (masks are functions of anything that has operators)
# torch's annotations are partial.
# pyright: reportUnknownMemberType=false
from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import lacuna
import pytest
import torch
from conftest import PROFILE
from lacuna.ir.expr import Symbol
from lacuna.ir.order import Order
from lacuna.ir.text import show_program
from lacuna.passes.costs.box_order import best_order
from lacuna.passes.costs.tile_shape import Problem
from lacuna.passes.orders.permuted_program import unboxed
from lacuna.runtime.bundles.build import build
from lacuna.runtime.bundles.jobs import jobs_of
from lacuna.runtime.bundles.load import _opened as opened  # pyright: ignore[reportPrivateUsage]
from lacuna.runtime.bundles.load import forget_bundles
from lacuna.runtime.bundles.spec import KernelSpec
from lacuna.runtime.choices.positions import over_positions
from lacuna.runtime.cpp.variants import target_here
from lacuna.runtime.kernels import kernel_of
from lacuna.runtime.kernels import shelves as bundle_registry
from lacuna.runtime.kernels.shelves import Loaded, Sought, meaning_of, tiling_of
from lacuna.runtime.launches.launch_values import forget_launches
from quick_compiler import quick_compiler

PROVE = PROFILE == "prove"
D = 8


@lacuna.pattern(rank=2)
def near(q: Any, k: Any, *, r: Any) -> Any:
    return (abs(q[0] - k[0]) <= r) & (abs(q[1] - k[1]) <= r)


@lacuna.pattern(rank=2)
def close_by(q: Any, k: Any, *, r: Any) -> Any:
    return (abs(q[0] - k[0]) <= r) & (abs(q[1] - k[1]) <= r)


@lacuna.pattern(rank=3)
def cube(q: Any, k: Any, *, r: Any) -> Any:
    return (abs(q[0] - k[0]) <= r) & (abs(q[1] - k[1]) <= r) & (abs(q[2] - k[2]) <= r)


def sees(extents: tuple[int, ...], r: int) -> torch.Tensor:
    """bool[tokens, tokens]: what `near` and `cube` see."""
    at = torch.cartesian_prod(*(torch.arange(extent) for extent in extents))
    return (at[:, None] - at[None]).abs().amax(-1) <= r


class Made(NamedTuple):
    folder: Path
    entries: dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Made:
    both: tuple[str, ...] = ("forward", "backward")
    kind: dict[str, Any] = {"dtypes": ("f32",), "head_dims": (D,), "rows": ("long",), "ragged": False}
    specs = (
        KernelSpec(near(r=3).on(32, 32), passes=both, **kind),
        KernelSpec(cube(r=1).on(4, 16, 16), passes=both if PROVE else both[:1], **kind),
    )
    folder = tmp_path_factory.mktemp("grids")
    with quick_compiler(folder):
        made = build(specs, folder / "bundle", targets=["cpu"], processes=1)
    return Made(made.folder, {each["name"]: each for each in json.loads((made.folder / "manifest.json").read_text())["kernels"]})


@pytest.fixture(autouse=True)
def nothing_compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.setenv("LACUNA_JIT", "0")
    monkeypatch.setenv("LACUNA_CACHE_DIR", str(tmp_path / "cache"))
    forget_bundles()
    yield
    forget_bundles()


def served(pattern: Any, tokens: int, wanted: torch.Tensor, *, gradients: bool) -> list[tuple[str, Order | None]]:
    """Family and order of the kernels that a call takes, whose results are checked."""
    forget_launches()
    torch.manual_seed(1)
    query, key, value = tensors = [torch.randn(1, 2, tokens, D, requires_grad=gradients) for _ in range(3)]
    found = lacuna.attention(query, key, value, pattern, backend="cpp")
    plain = torch.softmax((query @ key.mT / D**0.5).masked_fill(~wanted, -torch.inf), -1) @ value
    assert isinstance(found, torch.Tensor)
    assert (found - plain).abs().max() < 1e-5
    if gradients:
        weights = torch.randn_like(plain)
        for mine, theirs in zip(*(torch.autograd.grad((out * weights).sum(), tensors) for out in (found, plain)), strict=True):
            assert (mine - theirs).abs().max() < 1e-4
    return [(variant.family, variant.order) for variant, _ in kernel_of._kernels]  # pyright: ignore[reportPrivateUsage]


def compiled_for(pattern: Any, **values: int) -> Order | None:
    """The order that the model takes for a call that is compiled."""
    program = pattern.program
    lanes = {"avx512bf16": 16, "avx512": 16, "avx2": 8}.get(target_here().name, 4)
    return best_order(
        program, tuple((Symbol(name), value) for name, value in values.items()), Problem(program.space.extents, 2 * D, 4, lanes)
    )


def test_a_plane_is_served_in_boxes_forward_and_backward(bundle: Made) -> None:
    lacuna.load(bundle.folder)
    pattern = near(r=3).on(32, 32)
    order = compiled_for(pattern, r=3)
    assert order is not None
    assert served(pattern, 1024, sees((32, 32), 3), gradients=True) == [("forward", order), ("backward", order)]


def test_a_box_of_three_axes_is_served(bundle: Made) -> None:
    lacuna.load(bundle.folder)
    pattern = cube(r=1).on(4, 16, 16)
    found = served(pattern, 1024, sees((4, 16, 16), 1), gradients=PROVE)
    assert found[0] == ("forward", compiled_for(pattern, r=1))


@pytest.mark.parametrize("r", [0, 1, 12, 40])
def test_other_distances_take_the_better_of_both_kernels(bundle: Made, r: int) -> None:
    lacuna.load(bundle.folder)
    ((_, order),) = served(near(r=r).on(32, 32), 1024, sees((32, 32), r), gradients=False)
    assert order in (None, compiled_for(near(r=3).on(32, 32), r=3))
    if r == 40:
        assert order is None  # everything is seen: boxes gain nothing


def test_a_part_of_a_grid_is_served_row_by_row(bundle: Made) -> None:
    lacuna.load(bundle.folder)
    query, key, value = (torch.randn(1, 1, rows, D) for rows in (900, 1024, 1024))
    found = lacuna.attention(query, key, value, near(r=3).on(32, 32), backend="cpp")
    plain = torch.softmax((query @ key.mT / D**0.5).masked_fill(~sees((32, 32), 3)[:900], -torch.inf), -1) @ value
    assert isinstance(found, torch.Tensor)
    assert (found - plain).abs().max() < 1e-5
    assert [variant.order for variant, _ in kernel_of._kernels] == [None]  # pyright: ignore[reportPrivateUsage]


def test_a_pattern_of_another_name_is_the_same_kernel(bundle: Made) -> None:
    lacuna.load(bundle.folder)
    assert [family for family, _ in served(close_by(r=3).on(32, 32), 1024, sees((32, 32), 3), gradients=False)] == ["forward"]


def test_without_its_kernel_in_boxes_a_bundle_serves_rows(bundle: Made) -> None:
    lacuna.load(bundle.folder)
    rows = [each for each in bundle_registry._loaded if each.grid is None]  # pyright: ignore[reportPrivateUsage]
    forget_bundles()
    for each in rows:
        bundle_registry.register(each)
    assert served(near(r=3).on(32, 32), 1024, sees((32, 32), 3), gradients=True) == [("forward", None), ("backward", None)]


def test_kernels_in_boxes_are_for_python(bundle: Made) -> None:
    boxed = [name for name, entry in bundle.entries.items() if "order" in entry]
    edges = bundle.entries[boxed[-1]]["order"]["rows"].split(", ")[1]
    assert f"near_f32_d8_forward_boxes_{edges.replace(' ', '')}" in boxed
    header = (bundle.folder / "include" / "lacuna.h").read_text()
    for name in boxed:
        if bundle.entries[name]["family"] == "forward":
            assert bundle.entries[name]["c"] is None
            assert f"lacuna_{name}" not in header
    assert "It takes the tokens of a whole grid in boxes: Python calls it" in header


def test_a_text_over_positions_is_not_taken_for_a_kernel_in_boxes(tmp_path: Path) -> None:
    """Someone may build the program that a kernel in boxes has: over tokens as they lie in memory it means something else."""
    spec = KernelSpec(near(r=3).on(32, 32), dtypes=("f32",), head_dims=(D,), passes=("forward",))
    (job,) = [each for each in jobs_of((spec,), (target_here(),)) if each.grid]
    variant = job.variant._replace(block=(64, 64))
    plain = variant._replace(order=None)
    bundle_registry.register(
        Loaded({}, tmp_path, "long", Sought(meaning_of(plain), plain.target, tiling_of(plain), shifted=False, bound=""), opened)
    )
    assert bundle_registry.found(plain, "") is not None
    assert bundle_registry.found(variant, "") is None


def test_the_build_line_of_a_call_in_boxes_names_the_grid_and_the_values_that_chose_them() -> None:
    query = torch.zeros(1, 1, 1024, D)
    with pytest.raises(RuntimeError, match="LACUNA_JIT=0 forbids building it") as raised:
        lacuna.attention(query, query, query, near(r=3).on(32, 32), backend="cpp")
    line = str(raised.value).splitlines()[1]
    assert "program @near(q < Lq, k < Lk; r: i64) on 32 x 32 {" in line
    assert " --set r=3 " in line
    assert "--order" not in line
    assert "//" not in line


def test_a_position_program_leads_back_to_the_grid() -> None:
    pattern = near(r=3).on(32, 32)
    order = compiled_for(pattern, r=3)
    assert order is not None
    over = over_positions(pattern.program, order)
    assert show_program(unboxed(over, order)) == show_program(pattern.program)
