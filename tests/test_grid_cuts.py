"""Which boxes a GPU gets for a grid, how the choice is kept, and that prepared calls, tuning and bundles go by it."""

# Patterns are written without types, torch's are partly unknown, and tests may look inside.
# ruff: noqa: ANN401
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportPrivateUsage=false
from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import brute_force
import claimed_gpu
import lacuna
import numpy as np
import pytest
import torch
from bound_numbers import values_of, with_numbers
from claimed_gpu import Simulated
from lacuna import patterns
from lacuna.ir.configuration import Configuration, Cut
from lacuna.ir.expr import Q
from lacuna.ir.order import Boxes, Order
from lacuna.ir.target import Target
from lacuna.passes.costs import gpu_orders
from lacuna.passes.costs.gpu_orders import considered
from lacuna.passes.costs.gpu_resources import Problem
from lacuna.passes.orders.permuted_program import boxed
from lacuna.passes.program.call_values import Launch
from lacuna.passes.program.evaluate import evaluate
from lacuna.passes.schedules.grid_schedule import by_axis
from lacuna.passes.schedules.prepare import prepare
from lacuna.runtime.calls.claimed import claimed
from lacuna.runtime.calls.prepared_calls import forget_prepared
from lacuna.runtime.choices import cuts
from lacuna.runtime.choices.cuts import cut, cut_of_numbers, numbers_of, possible
from lacuna.runtime.kernels.shelves import Tiling
from lacuna.runtime.kernels.variant import Variant
from lacuna.runtime.triton import backend as triton_backend

attention: Any = lacuna.attention
HOPPER = Problem("sm_90", "bf16", (128, 128))


@lacuna.pattern(rank=2)
def near(q: Any, k: Any, *, reach: Any) -> Any:
    return (abs(q[0] - k[0]) <= reach) & (abs(q[1] - k[1]) <= reach)


# -- counts -----------------------------------------------------------------------------------------------------------


def considered_of(pattern: Any) -> Any:
    return considered(pattern.program, values_of(pattern), HOPPER)


@pytest.mark.parametrize(
    ("extents", "window", "stride", "dilation"),
    [((12, 20), (5, 7), 1, 1), ((9, 14), (3, 4), 2, (1, 2)), ((6, 7, 8), (3, 3, 5), 1, 1)],
    ids=str,
)
def test_tiles_of_every_cut_are_those_that_brute_force_counts(extents: Any, window: Any, stride: Any, dilation: Any) -> None:
    pattern = patterns.gna(extents, window, stride, dilation)
    dense = lacuna.dense(pattern, math.prod(extents))[0, 0].numpy()
    small = tuple(Configuration(q, k, 4, 2) for q, k in ((16, 16), (16, 32), (32, 16)))
    found = considered(pattern.program, values_of(pattern), HOPPER, 1, small)
    assert sum(each.cut.order is not None for each in found) == len(small)
    for each in found:
        queries, keys = each.cut.configuration.block
        order = each.cut.order
        seen, rows, columns = dense, queries, keys
        if order is not None:
            places = [tokens_of(side) for side in order]
            assert (order.rows.positions % queries, order.keys.positions % keys) == (0, 0)
            seen, rows, columns = in_tiles(dense, places), queries, keys
        classes = classes_of(seen, rows, columns)
        assert (each.visited, each.full) == (int((classes > 0).sum()), int((classes == 2).sum())), str(each.cut)
        assert each.useful == pytest.approx(dense.sum() / (each.visited * queries * keys))


def tokens_of(side: Any) -> np.ndarray:
    """The token at each position; -1 where there is none."""
    position = np.arange(side.positions)
    token, valid = (np.broadcast_to(evaluate(part, {Q: position}), position.shape) for part in (side.token(Q), side.valid(Q)))
    return np.where(valid, token, -1)


def in_tiles(dense: np.ndarray, places: list[np.ndarray]) -> np.ndarray:
    """uint8[positions, positions]: 1 where seen; 2 where there is no query, which hinders no tile from being full."""
    rows, keys = places
    seen = (dense[rows][:, keys] & (keys >= 0)).astype(np.uint8)
    seen[rows < 0] = 2
    return seen


def classes_of(seen: np.ndarray, rows: int, columns: int) -> np.ndarray:
    if seen.dtype == bool:
        return brute_force.classes(seen, rows, columns)
    tiled = seen.reshape(len(seen) // rows, rows, -1, columns)
    some, every = (tiled == 1).any((1, 3)), (tiled > 0).all((1, 3))
    return some.astype(int) + (some & every)


def test_perfectly_sparse_problems_get_boxes_that_visit_attended_pairs_only() -> None:
    found = considered_of(patterns.gna((30, 48, 80), (18, 24, 24), (16, 8, 8)))[0]
    assert found.useful == 1.0
    assert found.full == found.visited


def test_video_windows_get_boxes_of_queries_and_of_keys() -> None:
    best = considered_of(patterns.gna((30, 48, 80), (18, 24, 24)))
    assert best[0].cut.order is not None
    assert best[0].useful > 0.6 > 2 * next(each.useful for each in best if each.cut.order is None) - 0.01
    assert best[0].time < 0.5


@lacuna.pattern(rank=2)
def raster(q: Any, k: Any) -> Any:
    return (k[0] < q[0]) | ((k[0] == q[0]) & (k[1] <= q[1]))


def test_row_major_tiles_stay_where_the_mask_is_no_product_of_axes_and_where_boxes_gain_too_little(monkeypatch: pytest.MonkeyPatch) -> None:
    assert considered(raster.on(64, 64).program, (), HOPPER) == ()
    monkeypatch.setattr(gpu_orders, "LEAST_GAIN", 100.0)
    found = considered_of(patterns.gna((64, 64), 11))
    assert found[0].cut.order is None
    assert found[1].time < found[0].time == 1


@pytest.mark.parametrize(
    ("window", "stride", "kinds"), [((8, 8), (8, 8), (1, 0)), ((3, 3), (1, 1), (0, 1)), ((24, 24), (1, 1), (1, 1))], ids=str
)
def test_kernels_have_no_loop_for_tiles_that_there_are_none_of(window: Any, stride: Any, kinds: tuple[int, int]) -> None:
    """Blocks of 8 x 8 are full tiles only; of windows of 3 x 3 every tile is partial."""
    extents = (32, 32)
    side = Boxes(extents, (4, 4), (1, 1))
    program = boxed(with_numbers(patterns.gna(extents, window, stride)), Order(side, side))
    launch = Launch(1024, 1024)
    for backward in (False, True):
        found = by_axis(prepare(program, launch, shifted=False), program, Order(side, side), launch, backward=backward)
        assert found is not None
        assert (len(found.full_loops), len(found.partial_loops)) == kinds


# -- as calls get them ------------------------------------------------------------------------------------------------


@pytest.fixture
def uncompiled() -> Iterator[None]:
    forget()
    with claimed_gpu.uncompiled():
        yield
    forget()


def forget() -> None:
    forget_prepared()
    cuts.forget_cuts()


def tensors(tokens: int, dtype: torch.dtype = torch.bfloat16) -> list[torch.Tensor]:
    torch.manual_seed(1)
    return [torch.randn(1, 1, tokens, 16).to(dtype).requires_grad_() for _ in range(3)]


@pytest.mark.usefixtures("uncompiled")
def test_prepared_calls_in_boxes_give_the_same_bits_and_what_the_definition_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """On sm_90 in bfloat16, where boxes of keys come through descriptors."""
    extents, given = (8, 9), tensors(72)
    pattern = patterns.gna(extents, (3, 5))
    small = (Configuration(16, 16, 4, 2),)
    ranked = gpu_orders.considered

    def ranked_of_small(*asked: Any) -> Any:
        return ranked(*asked[:4], small)

    monkeypatch.setattr(gpu_orders, "considered", ranked_of_small)
    monkeypatch.setattr(gpu_orders, "LEAST_GAIN", 0.0)  # boxes, whatever they gain
    results: list[list[torch.Tensor]] = []
    with claimed("sm_90", Simulated()) as driver:
        for _ in range(2):
            out, lse = attention(*given, pattern, backend="triton", return_lse=True)
            results.append([out, lse, *torch.autograd.grad(out.float().sum() + lse.sum(), given)])
            monkeypatch.setattr(triton_backend, "run", Mock(side_effect=AssertionError("not prepared")))
        assert len(driver.launches) == 6
        assert "make_tensor_descriptor" in triton_text("forward")
    assert {known.family for known, found in cuts._chosen.items() if found and found.order} == {"forward", "backward", "backward_queries"}
    assert all(map(torch.equal, *results))
    out, lse = attention(*given, pattern, backend="eager", return_lse=True)
    for mine, exact in zip(results[0], [out, lse, *torch.autograd.grad(out.float().sum() + lse.sum(), given)], strict=True):
        torch.testing.assert_close(mine.float(), exact.float(), atol=0.03, rtol=0.03)


def triton_text(family: str) -> str:
    from lacuna.runtime.kernels import kernel_of

    known = [each for each in kernel_of._kernels.values() if each.variant.target.name == "sm_90" and each.variant.family == family]
    return next(each.source for each in known if each.variant.order is not None)


def variant(program: Any, together: int = 1) -> Variant:
    return Variant(program, Target("triton", "sm_90"), "bf16", (16, 16), (0, 0), False, together=together)


def request_of(pattern: Any, tokens: int) -> Any:
    from lacuna.runtime.request.request import UNIFORM, Request

    query = torch.empty(1, 1, tokens, 16, dtype=torch.bfloat16)
    return Request(query, query, query, pattern.program, dict(pattern.bindings), 1.0, 1, tokens, tokens, 0, UNIFORM, "bhld")


def test_a_choice_is_kept_for_the_values_of_the_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    forget()
    grids = [near(reach=reach).on(64, 64) for reach in (3, 20)]
    made = [cut(variant(grid.program), request_of(grid, 4096))[1] for grid in grids]
    assert len(cuts._chosen) == 2
    forget()
    monkeypatch.setattr(gpu_orders, "considered", None)  # a new process asks the cache
    assert [cut(variant(grid.program), request_of(grid, 4096))[1] for grid in grids] == made
    assert all(each.order is not None and each.block == (each.order.rows.tokens, each.order.keys.tokens) for each in made)  # pyright: ignore
    forget()


def test_numbers_of_a_cut_say_it_and_what_no_kernel_has_is_refused() -> None:
    program = patterns.gna((64, 48), 9).program
    found = Cut(Configuration(64, 32, 4, 3, 0), Order(Boxes((64, 48), (8, 8), (1, 2)), Boxes((64, 48), (4, 8), (1, 2))))
    numbers = numbers_of(found)
    assert cut_of_numbers(numbers, program) == found
    assert possible(numbers, program)
    assert possible((0,), program)
    for wrong in (numbers[:-1], (64, 64, *numbers[2:]), (60, *numbers[1:]), (*numbers[:5], 0, *numbers[6:]), (*numbers[:-1], 100)):
        assert not possible(wrong, program), wrong


def test_kernels_of_a_bundle_are_taken_as_they_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bundles hold row-major kernels of grids for GPUs; calls take them so, and nothing is compiled for boxes."""
    forget()
    grid = near(reach=5).on(64, 64)
    asked = variant(grid.program, together=2), request_of(grid, 4096)
    order = Order(Boxes((64, 64), (8, 4), (1, 1)), Boxes((64, 64), (4, 4), (1, 1)))
    tilings = {None: Tiling((64, 32), 1, 4, 3), order: Tiling((32, 16), 2, 8, 2)}
    for offered, wanted in (((None,), None), ((None, order), order)):
        for name in ("cuts.orders_found", "cuts.tiling_found", "configurations.tiling_found"):
            answer = (lambda *_, offered=offered: offered) if "orders" in name else (lambda of, _: tilings[of.order])  # pyright: ignore
            monkeypatch.setattr(f"lacuna.runtime.choices.{name}", answer)
        cuts.forget_cuts()
        request, taken = cut(*asked)
        assert (request.order, taken.order) == (wanted, wanted)
        assert (taken.block, taken.warps) == ((tilings[wanted].block), tilings[wanted].warps)
    forget()


def test_what_is_no_whole_grid_is_not_cut() -> None:
    grid = near(reach=5).on(64, 64)
    whole = request_of(grid, 4096)
    for part in (whole._replace(offset=1), whole._replace(q_len=4000), whole._replace(k_len=9)):
        assert not cuts.is_cut(variant(grid.program), part)
    assert cuts.is_cut(variant(grid.program), whole)


@pytest.mark.parametrize("order", [lacuna.orders.hilbert((8, 9)), lacuna.orders.boxes((8, 9), (8, 8))], ids=str)
def test_an_order_that_a_caller_asks_for_changes_no_result(order: Any) -> None:
    given, pattern = tensors(72, torch.float32), patterns.gna((8, 9), (3, 5))
    results: list[list[torch.Tensor]] = []
    for options in ({"backend": "triton", "order": order}, {"backend": "eager"}):
        out = attention(*given, pattern, **options)
        results.append([out, *torch.autograd.grad(out.sum(), given)])
    for mine, exact in zip(*results, strict=True):
        torch.testing.assert_close(mine, exact, atol=2e-5, rtol=1e-4)


# -- shown and tuned --------------------------------------------------------------------------------------------------


def test_an_explanation_shows_cuts_with_their_counts() -> None:
    told = lacuna.explain(patterns.gna((64, 64), 13), 4096)
    assert told.cuts[0].cut.order is not None
    assert f"{told.cuts[0].cut}" in str(told)
    assert f"{told.cuts[0].visited} {told.cuts[0].full}" in str(told)
    assert lacuna.explain(patterns.causal(), 64).cuts == ()


@pytest.mark.usefixtures("uncompiled")
def test_tune_times_boxes_beside_row_major_tiles_and_keeps_the_fastest(monkeypatch: pytest.MonkeyPatch) -> None:
    from lacuna.runtime.tuning import tune as tuning

    pattern, (query, key, value) = patterns.gna((16, 16), 5), (each.detach() for each in tensors(256))
    offered: list[Any] = []

    def measured(runs: dict[Any, Any], rounds: int, tuned: Any) -> tuple[tuning.Measured, ...]:
        offered.extend(runs)
        return tuple(tuning.Measured(tiles, 1.0, 0.5 if tiles.order is None and at else 1.0) for at, tiles in enumerate(runs))

    monkeypatch.setattr(tuning, "_measured", measured)
    with claimed("sm_90", Simulated()):
        first = lacuna.tune(query, key, value, pattern)
        assert isinstance(first.chosen, Cut)
        assert first.chosen.order is None
        assert "row-major" in str(first)
        assert "boxes of" in str(first)
        cuts.forget_cuts()  # as a new process would find it
        found = cut(variant(pattern.program), request_of(pattern, 256))[1]
    assert (found.order, found.block) == (None, first.chosen.configuration.block)
    assert offered[0].order is not None
