"""Bundles of kernels in an order of tokens: the one that a GPU would choose for a grid, and those that calls ask for, head by head."""

# ruff: noqa: ANN401 (masks are functions of anything that has operators)
# torch's annotations are partial.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import claimed_gpu
import lacuna
import pytest
import reference
import torch
from conftest import PROFILE
from lacuna import orders, patterns
from lacuna.runtime.bundles.build import build
from lacuna.runtime.bundles.jobs import jobs_of
from lacuna.runtime.bundles.load import forget_bundles
from lacuna.runtime.bundles.spec import KernelSpec, target_named
from lacuna.runtime.calls.claimed import claimed
from lacuna.runtime.calls.prepared_calls import forget_prepared
from lacuna.runtime.choices import cuts
from lacuna.runtime.gpu.recording import Recording
from lacuna.runtime.kernels import kernel_of
from lacuna.runtime.kernels import shelves as bundle_registry
from lacuna.runtime.kernels.shelves import meaning_of
from lacuna.runtime.launches.launch_values import forget_launches
from quick_compiler import quick_compiler

PROVE = PROFILE == "prove"
EXTENTS, TOKENS, DIM = (4, 5, 6), 120, 8
attention: Callable[..., Any] = lacuna.attention
BOTH: tuple[str, ...] = ("forward", "backward")


@pytest.fixture(autouse=True)
def no_bundles() -> Iterator[None]:
    forget_bundles()
    forget_prepared()
    yield
    forget_bundles()
    forget_prepared()


@pytest.fixture
def nothing_compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LACUNA_JIT", "0")
    monkeypatch.setenv("LACUNA_CACHE_DIR", str(tmp_path / "cache"))


# -- chosen -----------------------------------------------------------------------------------------------------------


GRID = patterns.gna((32, 32), 9)


def families_of(pattern: Any, heads: tuple[int, int], tokens: int, *, grad: bool = True, **options: Any) -> dict[str, Any]:
    """What the kernels of a call on a GPU compute, by family."""
    forget_launches()
    with claimed("sm_90", Recording()):
        query, key, value = (
            torch.zeros(1, each, tokens, 16, dtype=torch.bfloat16).requires_grad_(grad) for each in (heads[0], heads[1], heads[1])
        )
        out = attention(query, key, value, pattern, backend="triton", **options)
        if grad:
            out.sum().backward()
    return {variant.family: meaning_of(variant) for variant, _ in kernel_of._kernels}  # pyright: ignore[reportPrivateUsage]


def test_a_grid_is_served_in_boxes_on_a_gpu_that_compiles_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    spec = KernelSpec(GRID, passes=BOTH if PROVE else BOTH[:1], head_dims=(16,), rows=("long",), ragged=False)
    build(spec, tmp_path / "bundle", targets=["sm_90"], processes=1)
    with claimed_gpu.uncompiled():
        chosen = families_of(GRID, (2, 2), 1024, grad=PROVE)
    assert len(chosen) == (3 if PROVE else 1)
    assert all(meaning.order is not None for meaning in chosen.values())
    header = (tmp_path / "bundle" / "include" / "lacuna_cuda.h").read_text()
    assert "lacuna_gna_2_bf16_d16_forward_load" in header
    assert "boxes" not in header  # C does not check that a call has a whole grid
    forget_prepared()
    monkeypatch.setenv("LACUNA_JIT", "0")
    monkeypatch.setenv("LACUNA_CACHE_DIR", str(tmp_path / "cache"))
    with claimed("sm_90", Recording()):
        lacuna.load(tmp_path / "bundle")
    for heads in ((2, 2), (4, 2)):  # heads that share keys have the same kernels
        assert families_of(GRID, heads, 1024, grad=PROVE) == chosen


@pytest.mark.parametrize("target", ["sm_80", "sm_90", "gfx942"])
def test_a_bundle_for_a_gpu_holds_a_grid_in_the_boxes_that_each_pass_would_choose(target: str) -> None:
    jobs = jobs_of((KernelSpec(GRID, head_dims=(64,), rows=("long",)),), (target_named(target),))
    for job in jobs:
        if job.grid:
            best = cuts.predicted(job.variant._replace(program=GRID.program, order=None), job.launch.integers)
            assert best is not None
            assert (job.variant.order, job.variant.block) == (best.order, best.configuration.block)
    assert sorted(job.variant.family for job in jobs if job.grid) == ["backward", "backward_queries", "forward"]
    assert {job.variant.family for job in jobs if not job.grid} == {"backward", "backward_queries", "forward"}


# -- asked for --------------------------------------------------------------------------------------------------------


@lacuna.pattern(rank=3)
def video(q: Any, k: Any, h: Any, *, temporal: Any) -> Any:
    near = (abs(q[1] - k[1]) <= 1) & (abs(q[2] - k[2]) <= 1)
    return lacuna.where(temporal[h], near, abs(q[0] - k[0]) <= 1)


@lacuna.pattern(rank=2)
def near(q: Any, k: Any) -> Any:
    return abs(q[0] - k[0]) <= 1


TEMPORAL = torch.tensor([False, True, True, False])
FRAMES_INNERMOST = orders.axes(EXTENTS, (1, 2, 0))
OF_HEADS = [None, FRAMES_INNERMOST, FRAMES_INNERMOST, None]
VIDEO = video(temporal=TEMPORAL).on(*EXTENTS)


def sees() -> torch.Tensor:
    """bool[1, heads, tokens, tokens]"""
    at = torch.cartesian_prod(*(torch.arange(extent) for extent in EXTENTS))
    apart = (at[:, None] - at[None]).abs()
    return torch.stack([apart[..., 1:].amax(-1) <= 1 if each else apart[..., 0] <= 1 for each in TEMPORAL.tolist()])[None]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Kernels for heads in orders of their own, and of flat positions in any order."""
    folder = tmp_path_factory.mktemp("orders")
    kind: dict[str, Any] = {"dtypes": ("f32",), "head_dims": (DIM,), "rows": ("long",), "ragged": False}
    specs = (
        KernelSpec(VIDEO, passes=BOTH if PROVE else BOTH[:1], order=OF_HEADS, heads=4, kv_heads=2, **kind),
        KernelSpec(patterns.causal(), passes=BOTH[:1], order=orders.hilbert((2, 3)), **kind),
        KernelSpec(patterns.gna((16, 16), 5), passes=BOTH, order=orders.boxes((16, 16), (4, 16)), **kind),
    )
    with quick_compiler(folder):
        build(specs, folder / "bundle", targets=["cpu"], processes=1)
    return folder / "bundle"


@pytest.mark.usefixtures("nothing_compiled")
def test_heads_in_orders_of_their_own_are_served_from_a_bundle(bundle: Path) -> None:
    lacuna.load(bundle)
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, heads, TOKENS, DIM) for heads in (4, 2, 2))
    exact = reference.attention(query, key, value, sees())[0]
    for table in (FRAMES_INNERMOST, orders.permutation(torch.randperm(TOKENS), EXTENTS)):  # tables are arguments
        order = [None if each is None else table for each in OF_HEADS]
        reference.assert_close(attention(query, key, value, VIDEO, order=order, backend="cpp"), exact, 1e-5)
    with pytest.raises(RuntimeError, match="no loaded bundle holds this kernel"):
        attention(query, key, value, VIDEO, order=orders.hilbert(EXTENTS), backend="cpp")


def test_kernels_in_the_order_of_a_table_are_for_python(bundle: Path) -> None:
    header = (bundle / "include" / "lacuna.h").read_text()
    assert header.count("It takes all tokens of a call in the order of a table: Python calls it where a call asks for one.") >= 2
    assert "forward_ordered(" not in header


@pytest.mark.usefixtures("nothing_compiled")
def test_flat_positions_of_every_length_are_served_in_any_order_from_a_bundle(bundle: Path) -> None:
    lacuna.load(bundle)
    for length in (10, 150):
        query, key, value = (torch.randn(1, 2, length, DIM) for _ in range(3))
        exact = reference.attention(query, key, value, torch.ones(length, length).tril().bool())[0]
        order = orders.permutation(torch.randperm(length))
        reference.assert_close(attention(query, key, value, patterns.causal(), order=order, backend="cpp"), exact, 1e-5)


@pytest.mark.usefixtures("nothing_compiled")
def test_boxes_that_are_asked_for_are_served_from_a_bundle_forward_and_backward(bundle: Path) -> None:
    lacuna.load(bundle)
    forget_launches()
    torch.manual_seed(0)
    tensors = query, key, value = [torch.randn(1, 1, 256, DIM).requires_grad_() for _ in range(3)]
    pattern, order = patterns.gna((16, 16), 5), orders.boxes((16, 16), (4, 16))
    rise = torch.randn(1, 1, 256, DIM)
    found = attention(query, key, value, pattern, order=order, backend="cpp")
    exact = reference.attention(query, key, value, lacuna.dense(pattern, 256))[0]
    for ours, theirs in zip(*(torch.autograd.grad((out * rise).sum(), tensors) for out in (found, exact)), strict=True):
        reference.assert_close(ours, theirs, 1e-5)
    used = [(variant.family, str(variant.order)) for variant, _ in kernel_of._kernels]  # pyright: ignore[reportPrivateUsage]
    assert used == [(family, "boxes of 4 x 16 queries and keys") for family in BOTH]
    assert not bundle_registry._orders  # pyright: ignore[reportPrivateUsage]  (calls that ask for none do not choose among these)


@pytest.mark.usefixtures("nothing_compiled")
@pytest.mark.parametrize(
    ("pattern", "order", "text", "option"),
    [
        (patterns.causal(), orders.permutation(torch.randperm(64)), "@_causal(q < Lq, k < Lk) { mask = k <= q score = s", "row-major"),
        (near.on(8, 8), orders.hilbert((8, 8)), "@near(q < Lq, k < Lk) on 8 x 8 { mask = abs(q0 - k0) <= 1 score = s", "row-major"),
        (near.on(8, 8), orders.boxes((8, 8), (8, 8)), "@near(q < Lq, k < Lk) on 8 x 8 {", "'boxes 8x8 apart 1x1'"),
    ],
    ids=["line", "grid", "boxes"],
)
def test_the_build_line_of_a_call_names_the_order_that_it_asks_for(pattern: Any, order: Any, text: str, option: str) -> None:
    query = torch.zeros(1, 1, 64, DIM)
    with pytest.raises(RuntimeError, match="LACUNA_JIT=0 forbids building it") as raised:
        attention(query, query, query, pattern, order=order, backend="cpp")
    line = str(raised.value).splitlines()[1]
    assert text in line
    assert f" --order {option} " in line


@pytest.mark.parametrize("kv_heads", [4, 2])
def test_a_bundle_for_a_gpu_holds_what_calls_with_an_order_for_each_head_look_for(kv_heads: int) -> None:
    pytest.importorskip("triton")
    spec = KernelSpec(VIDEO, head_dims=(16,), rows=("long",), ragged=False, order=OF_HEADS, heads=4, kv_heads=kv_heads)
    held = {meaning_of(job.variant) for job in jobs_of((spec,), (target_named("sm_90"),))}
    with claimed_gpu.uncompiled():
        families_of(VIDEO, (4, kv_heads), TOKENS, order=OF_HEADS)
    asked = {meaning_of(variant) for variant, _ in kernel_of._kernels}  # pyright: ignore[reportPrivateUsage]
    assert {meaning.family for meaning in asked} == {"forward", "backward_queries", "backward"}
    assert {meaning.order is None for meaning in asked} == {True, False}
    assert asked <= held


@pytest.mark.parametrize(
    ("fields", "error", "text"),
    [
        ({"order": OF_HEADS}, ValueError, "`order` has 4 orders, and there are 1 `heads`.\n  write `heads=4`, or one order for each head"),
        ({"order": {4: FRAMES_INNERMOST}, "heads": 4}, ValueError, "`order` has an order for head 4, and the query has 4 heads"),
        ({"order": "hilbert"}, TypeError, "`order` is a str.\n  write one of `lacuna.orders`"),
        ({"heads": 4, "kv_heads": 3}, ValueError, "4 query heads cannot share 3 key heads evenly"),
    ],
    ids=["number", "head", "kind", "key heads"],
)
def test_orders_that_a_specification_cannot_have_say_what_to_write(fields: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error) as raised:
        KernelSpec(VIDEO, **fields)
    assert text in str(raised.value)


def test_an_order_of_another_grid_is_refused_where_a_bundle_is_built(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`order` is one of 5 x 4 x 6 tokens, and the pattern has 4 x 5 x 6"):
        build(KernelSpec(VIDEO, order=orders.hilbert((5, 4, 6))), tmp_path / "bundle", targets=["cpu"])
