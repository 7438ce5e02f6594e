"""Box orders: positions, programs over them, kernels that read tensors through them, and the choice among them."""

# Patterns are written without types, and torch's are partly unknown.
# ruff: noqa: ANN401
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import math
import os
from dataclasses import replace
from typing import Any

import brute_force
import lacuna
import numpy as np
import pytest
import torch
from bound_numbers import numbers_of, values_of
from hypothesis import given, settings
from hypothesis import strategies as st
from lacuna import patterns
from lacuna.ir.expr import TRUE, Binary, Const, Op, Q, Symbol
from lacuna.ir.order import Boxes, Order
from lacuna.passes.costs.box_counts_of_order import in_boxes
from lacuna.passes.costs.box_order import best_order, candidates, considered
from lacuna.passes.costs.tile_shape import Problem
from lacuna.passes.grids.residue_conditions import class_conditions
from lacuna.passes.grids.tile_axes import seen_along
from lacuna.passes.orders.permuted_program import boxed
from lacuna.passes.program.call_values import Launch
from lacuna.passes.program.evaluate import evaluate
from lacuna.passes.schedules.derive import derive
from lacuna.passes.schedules.grid_schedule import by_axis
from lacuna.passes.schedules.prepare import prepare
from lacuna.passes.schedules.tile_classes import tiles

pytestmark = pytest.mark.usefixtures("compiled_quickly")

PROVE = os.environ.get("LACUNA_TEST_PROFILE") == "prove"
attention: Any = lacuna.attention


@st.composite
def some_boxes(draw: st.DrawFn) -> Boxes:
    """Boxes that fill their grid, and some that hang over it."""
    axes = draw(st.integers(1, 4))
    numbers = st.lists(st.integers(1, 4), min_size=axes, max_size=axes)
    box, apart, count = draw(numbers), draw(numbers), draw(numbers)
    whole = tuple(a * b * c for a, b, c in zip(box, apart, count, strict=True))
    less = [draw(st.integers(0, a * b - 1)) for a, b in zip(box, apart, strict=True)] if draw(st.booleans()) else [0] * axes
    extents = tuple(max(1, each - cut) for each, cut in zip(whole, less, strict=True))
    return Boxes(extents, tuple(box), tuple(min(a, extent) for a, extent in zip(apart, extents, strict=True)))


def tokens_of(boxes: Boxes) -> np.ndarray:
    """i64[positions]: the token at each position, -1 where there is none."""
    position = np.arange(boxes.positions)
    valid = np.broadcast_to(evaluate(boxes.valid(Q), {Q: position}), position.shape)
    return np.where(valid, evaluate(boxes.token(Q), {Q: position}), -1)


@settings(max_examples=500 if PROVE else 40)
@given(some_boxes())
def test_every_token_has_one_position_and_a_run_of_positions_is_a_box(boxes: Boxes) -> None:
    token = tokens_of(boxes)
    assert sorted(token[token >= 0]) == list(range(math.prod(boxes.extents)))
    places = np.stack(np.unravel_index(np.maximum(token, 0), boxes.extents))
    for axis, part in enumerate(boxes.coordinates(Q)):
        at = np.broadcast_to(evaluate(part, {Q: np.arange(boxes.positions)}), (boxes.positions,))
        assert (at == places[axis])[token >= 0].all()
        at = at.reshape(-1, boxes.tokens)
        steps = boxes.dilation[axis] * (boxes.box[axis] - 1)
        assert (at.max(axis=1) - at.min(axis=1) == steps).all()
        assert (at % boxes.dilation[axis] == at[:, :1] % boxes.dilation[axis]).all()


def test_all_positions_are_tokens_where_edges_and_dilation_divide_every_extent() -> None:
    assert Boxes((64, 30), (8, 5), (2, 3)).valid(Q) is TRUE
    padded = Boxes((13, 30), (4, 5), (1, 3))
    assert str(padded.valid(Q)) == str(Binary(Op.LT, padded.coordinates(Q)[0], Const(13)))
    assert (padded.positions, math.prod(padded.extents)) == (16 * 30, 13 * 30)


def over(dense: np.ndarray, order: Any) -> tuple[np.ndarray, np.ndarray]:
    """bool[positions, positions] of what is seen, and bool[positions] of the queries that are tokens."""
    rows, keys = tokens_of(order.rows), tokens_of(order.keys)
    return dense[rows][:, keys] & (rows >= 0)[:, None] & (keys >= 0), rows >= 0


def classes(seen: np.ndarray, rows: np.ndarray, edges: tuple[int, int]) -> np.ndarray:
    """Tile classes by their definition: what is no query does not keep a tile from being full."""
    found = np.zeros((len(seen) // edges[0], seen.shape[1] // edges[1]), np.uint8)
    for i, j in np.ndindex(found.shape):
        tile = seen[i * edges[0] : (i + 1) * edges[0], j * edges[1] : (j + 1) * edges[1]]
        there = rows[i * edges[0] : (i + 1) * edges[0]]
        found[i, j] = 2 if tile.any() and tile[there].all() else int(tile.any())
    return found


@st.composite
def problems(draw: st.DrawFn) -> tuple[Any, Any]:
    rows = draw(some_boxes().filter(lambda boxes: 2 <= len(boxes.extents) <= 3 and math.prod(boxes.extents) <= 300))
    edges = tuple(draw(st.integers(1, 4)) for _ in rows.extents)
    apart = tuple(draw(st.integers(1, min(3, extent))) for extent in rows.extents)
    keys = Boxes(rows.extents, edges, apart)
    dilation = tuple(draw(st.integers(1, min(3, extent))) for extent in rows.extents)
    window = tuple(draw(st.integers(1, extent // each)) for extent, each in zip(rows.extents, dilation, strict=True))
    causal = tuple(draw(st.booleans()) for _ in rows.extents)
    return patterns.gna(rows.extents, window, 1, dilation, causal), Order(rows, keys)


@settings(max_examples=200 if PROVE else 6)
@given(problems())
def test_a_boxed_program_sees_the_same_tokens_and_its_schedule_is_exact(problem: tuple[Any, Any]) -> None:
    pattern, order = problem
    expected, _ = over(lacuna.dense(pattern, math.prod(order.rows.extents))[0, 0].numpy(), order)
    launch = Launch(*expected.shape, parameters=numbers_of(pattern))
    found = derive(boxed(pattern.program, order), 8, 8, launch, budget=30_000)
    assert found.schedule.exact
    assert (tiles(found.schedule, launch, found.arrays) == brute_force.classes(expected, 8, 8)).all()


@st.composite
def neighborhoods(draw: st.DrawFn) -> tuple[Any, Any]:
    """Generalized neighborhoods of any extents, in boxes of their residue classes."""
    axes = draw(st.integers(2, 3))
    numbers = st.lists(st.sampled_from([1, 2, 3, 4] if axes == 2 else [1, 2, 3]), min_size=axes, max_size=axes)
    apart, rows, keys = (tuple(draw(numbers)) for _ in range(3))
    most = 14 if axes == 2 else 7
    extents = tuple(draw(st.integers(each, max(each, most))) for each in apart)
    window = tuple(draw(st.integers(1, extent // d)) for extent, d in zip(extents, apart, strict=True))
    stride = tuple(draw(st.integers(1, wide)) for wide in window)
    pattern = patterns.gna(extents, window, stride, apart, tuple(draw(st.booleans()) for _ in extents))
    return pattern, Order(Boxes(extents, rows, apart), Boxes(extents, keys, apart))


@settings(max_examples=1000 if PROVE else 25)
@given(neighborhoods())
def test_a_schedule_made_axis_by_axis_is_exact_forward_and_backward(problem: tuple[Any, Any]) -> None:
    pattern, order = problem
    seen, rows = over(lacuna.dense(pattern, math.prod(order.rows.extents))[0, 0].numpy(), order)
    for backward in (False, True):
        launch = Launch(*seen.shape, parameters=numbers_of(pattern))
        prepared = prepare(boxed(pattern.program, order), launch, shifted=False)
        found = by_axis(prepared, boxed(pattern.program, order), order, launch, backward=backward)
        assert found is not None
        assert found.exact
        edges = (order.keys.tokens, order.rows.tokens) if backward else (order.rows.tokens, order.keys.tokens)
        expected = classes(seen.T, tokens_of(order.keys) >= 0, edges) if backward else classes(seen, rows, edges)
        seen_as = Launch(*(seen.T if backward else seen).shape, parameters=numbers_of(pattern))
        assert (tiles(found, seen_as, {}) == expected).all()
        for pieces, tile in ((found.full_loops, 2), (found.partial_loops, 1)):
            visited = tiles(replace(found, some=pieces, full=()), seen_as, {})
            assert ((visited == 1) == (expected == tile)).all()


@lacuna.pattern(rank=2)
def unlike_classes(q: Any, k: Any) -> Any:
    """Tokens an even number apart along the first axis, but odd rows see farther."""
    return (k[0] % 2 == q[0] % 2) & (abs(k[0] - q[0]) <= 8 + 4 * (q[0] % 2)) & (abs(k[1] - q[1]) <= 2)


def test_residue_classes_that_differ_are_not_taken_one_after_the_other() -> None:
    assert class_conditions(unlike_classes.on(64, 64).program, Boxes((64, 64), (8, 8), (2, 1)), {}) is None
    order = order_of(unlike_classes.on(64, 64))
    assert order is None or order.rows.dilation == (1, 1)


@pytest.mark.parametrize("family", ["forward", "backward"])
def test_a_dilated_grid_is_built_without_refinement(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which takes seconds there, at every first call of a process."""
    from lacuna.passes.schedules import derive as derivation
    from lacuna.runtime.cpp.variants import target_here
    from lacuna.runtime.kernels.plan_of import planned
    from lacuna.runtime.kernels.variant import Variant

    monkeypatch.setattr(derivation, "classified", None)
    pattern = patterns.gna((64, 64), 13, 1, 2)
    order = order_of(pattern)
    assert order is not None
    variant = Variant(boxed(pattern.program, order), target_here(), "f32", (8, 8), (64, 64), False, family=family, order=order)
    assert planned(variant, Launch(4096, 4096, parameters=numbers_of(pattern))).schedule.route == "axes"


CASES = [
    ((16, 32), (5, 5), 1, 1, (False, False)),
    ((64, 32), (13, 9), 1, (4, 2), (False, True)),
    ((48, 32), (9, 8), 3, 1, (False, False)),
    ((8, 16, 16), (3, 5, 6), 1, (1, 2, 1), (True, False, False)),
    ((13, 13), 5, 1, 1, False),
    ((7, 50), (5, 9), (1, 4), 1, False),
    ((23, 31), (5, 6), 1, (2, 3), (True, False)),  # classes of unequal size
    ((5, 11, 13), (3, 5, 6), 1, (1, 2, 1), False),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64] if PROVE else [torch.float32], ids=str)
@pytest.mark.parametrize(("extents", "window", "stride", "dilation", "causal"), CASES if PROVE else CASES[2:3], ids=str)
def test_kernels_read_and_write_tensors_through_an_order(
    extents: Any, window: Any, stride: Any, dilation: Any, causal: Any, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lacuna.runtime.calls import prepared_calls
    from lacuna.runtime.cpp import token_orders as token_order

    pattern = patterns.gna(extents, window, stride, dilation, causal)
    boxes = list(candidates(seen_along(pattern.program, dict(values_of(pattern))) or ()))[1]
    torch.manual_seed(0)
    tokens = math.prod(extents)
    query, key, value = (torch.randn(2, tokens, heads, 24 + 8 * n).to(dtype) for n, heads in ((0, 4), (0, 2), (1, 2)))
    results: list[list[torch.Tensor]] = []
    for order in (None, Order(boxes, boxes)):
        monkeypatch.setattr(token_order, "order_of", lambda *_, order=order: order)  # pyright: ignore[reportUnknownLambdaType]
        prepared_calls.forget_prepared()
        given = [each.clone().requires_grad_() for each in (query, key, value)]
        backend = "eager" if order is None and not PROVE else "cpp"  # rather than compile what other tests compile
        out, lse = attention(*given, pattern, layout="blhd", backend=backend, return_lse=True)
        loss = (out.float() * torch.linspace(-1, 1, out.shape[-1])).sum() + lse.sum()
        results.append([out, lse, *torch.autograd.grad(loss, given)])
    allowed = {torch.float32: 2e-5, torch.bfloat16: 4e-2, torch.float64: 1e-12}[dtype]
    for flat, ordered in zip(*results, strict=True):
        assert (flat - ordered).abs().max() <= allowed * max(1.0, float(flat.abs().max().detach()))


def guarded(shape: tuple[int, ...], dtype: torch.dtype, room: list[torch.Tensor]) -> torch.Tensor:
    """Between negative zeros, which change when 0 is added too: [batch, heads, tokens, ...] in a tensor with tokens before and after."""
    batch, heads, tokens, *rest = shape
    whole = torch.full((batch, heads, tokens + 2 * GUARD, *rest), -0.0, dtype=dtype)
    room.append(whole)
    return whole[:, :, GUARD:-GUARD]


GUARD = 64


def test_what_hangs_over_a_grid_is_neither_read_nor_written(monkeypatch: pytest.MonkeyPatch) -> None:
    from lacuna.runtime.calls import prepared_calls
    from lacuna.runtime.cpp import backward
    from lacuna.runtime.cpp import token_orders as token_order
    from lacuna.runtime.request.request import Request

    extents, room = (7, 50), []
    pattern = patterns.gna(extents, (5, 9), causal=(False, True))
    boxes = Boxes(extents, (8, 8), (1, 1))
    order = Order(boxes, boxes)
    monkeypatch.setattr(token_order, "order_of", lambda *_, order=order: order)  # pyright: ignore[reportUnknownLambdaType]
    prepared_calls.forget_prepared()

    def sums(like: torch.Tensor, dtype: torch.dtype, _: object) -> torch.Tensor:
        return guarded((*like.shape[:3], 48), dtype, room)

    def outputs(self: Request) -> tuple[torch.Tensor, torch.Tensor]:
        shape = (*self.query.shape[:3], self.value_dim)
        return guarded(shape, torch.float32, room), guarded(shape[:3], torch.float32, room)

    monkeypatch.setattr(Request, "new_outputs", outputs)
    monkeypatch.setattr(backward, "_sums", sums)
    operands = [guarded((1, 2, 350, 40), torch.float32, []) for _ in range(3)]
    given: list[torch.Tensor] = []
    for each in operands:
        assert each._base is not None
        each._base.fill_(torch.nan)
        each.normal_()
        given.append(each.requires_grad_())
    out = attention(*given, pattern, backend="cpp")
    found = torch.autograd.grad(out.sum(), given)
    assert len(room) >= 5
    for each in room:
        for beside in (each[:, :, :GUARD], each[:, :, -GUARD:]):
            assert (beside == 0).all()
            assert torch.signbit(beside).all()
    plain = [each.detach().contiguous().requires_grad_() for each in given]
    expected = attention(*plain, pattern, backend="eager")
    for ours, theirs in zip((out, *found), (expected, *torch.autograd.grad(expected.sum(), plain)), strict=True):
        assert torch.allclose(ours, theirs, atol=2e-5)


@lacuna.score(rank=2)
def infinite_past_the_grid(s: Any, q: Any, k: Any, *, rows: Any, bias: Any) -> Any:
    """Finite on seven rows, and not a number on the eighth."""
    return s + bias[q[1], k[1]] / (rows - q[0]) - lacuna.sqrt(1.0 * (rows - 1 - k[0]))


def test_a_score_past_the_end_of_a_grid_counts_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    from lacuna.runtime.calls import prepared_calls
    from lacuna.runtime.cpp import token_orders as token_order

    order = Order(Boxes((7, 50), (8, 8), (1, 1)), Boxes((7, 50), (8, 8), (1, 1)))
    monkeypatch.setattr(token_order, "order_of", lambda *_, order=order: order)  # pyright: ignore[reportUnknownLambdaType]
    prepared_calls.forget_prepared()
    bias = torch.randn(50, 50, requires_grad=True)  # some tiles are full, and some are not
    given = [torch.randn(1, 2, 350, 16, requires_grad=True) for _ in range(3)]
    pattern, score = patterns.gna((7, 50), (7, 30)), infinite_past_the_grid(rows=7.0, bias=bias).on(7, 50)
    found = [
        torch.autograd.grad((attention(*given, pattern, score=score, backend=backend) ** 2).sum(), [*given, bias])
        for backend in ("cpp", "eager")
    ]
    for ours, theirs in zip(*found, strict=True):
        assert torch.allclose(ours, theirs, atol=2e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16] if PROVE else [torch.bfloat16], ids=str)
def test_a_call_in_boxes_is_within_the_tolerance_of_the_oracle(dtype: torch.dtype) -> None:
    import reference

    torch.manual_seed(1)
    pattern = patterns.gna((64, 32), 13)
    query, key, value = (torch.randn(1, 2, 2048, 32).to(dtype) for _ in range(3))
    assert order_of(pattern) is not None
    out, lse = attention(query, key, value, pattern, backend="cpp", return_lse=True)
    mask = lacuna.dense(pattern, 2048)
    dense = (query, key, value, mask, 32**-0.5, None)
    exact_out, exact_lse = reference.attention(*dense)
    allowed = reference.tolerance(*dense)
    reference.assert_close(out, exact_out, allowed.out)
    reference.assert_close(lse, exact_lse, allowed.lse)


# -- the choice -------------------------------------------------------------------------------------------------------


def order_of(pattern: Any, extents: tuple[int, ...] | None = None) -> Any:
    return best_order(pattern.program, values_of(pattern), Problem(extents or pattern.program.space.extents, 128, 4, 16))


def test_windows_on_a_square_grid_get_square_boxes_and_dilation_its_residue_classes() -> None:
    assert order_of(patterns.gna((64, 64), 13)) == Order(Boxes((64, 64), (8, 8), (1, 1)), Boxes((64, 64), (8, 8), (1, 1)))
    dilated = order_of(patterns.gna((128, 128), 13, dilation=2))
    assert dilated is not None
    assert dilated.rows.dilation == (2, 2)


def test_boxes_hang_over_a_grid_of_odd_extents_where_they_pay_with_the_padding_counted() -> None:
    assert order_of(patterns.gna((61, 67), 13)) == Order(Boxes((61, 67), (8, 8), (1, 1)), Boxes((61, 67), (8, 8), (1, 1)))
    video = order_of(patterns.gna((15, 23, 29), (5, 9, 9)))
    assert video is not None
    assert video.rows.positions > 15 * 23 * 29
    dilated = order_of(patterns.gna((61, 67), 5, dilation=4))
    assert dilated is not None
    assert dilated.rows.dilation == (4, 4)


@pytest.mark.parametrize(
    ("extents", "window", "dilation"), [((20, 23), 5, 1), ((20, 23), (20, 11), 1), ((16, 32), 5, 1), ((21, 22), (10, 5), 2)], ids=str
)
def test_counts_of_an_order_are_those_of_its_schedule(extents: tuple[int, int], window: int | tuple[int, int], dilation: int) -> None:
    pattern = patterns.gna(extents, window, 1, dilation)
    dense = lacuna.dense(pattern, math.prod(extents))[0, 0].numpy()
    for each in considered(pattern.program, (), Problem(extents, 128, 4, 16)):
        if each.boxes is None:
            found = brute_force.classes(dense, 64, 64)
        else:
            seen, rows = over(dense, Order(each.boxes, each.boxes))
            found = classes(seen, rows, (64, 64))
        assert (each.visited, each.full) == (np.count_nonzero(found), np.count_nonzero(found == 2))
        assert each.useful == pytest.approx(dense.sum() / (each.visited * 4096))


def test_windows_of_whole_columns_get_columns() -> None:
    order = order_of(patterns.gna((64, 64), (64, 3)))
    assert order is not None
    assert order.rows.box == (64, 1)


@lacuna.pattern(rank=2)
def apart(q: Any, k: Any, *, step: Any, reach: Any) -> Any:
    return (k[0] % step == q[0] % step) & (k[1] % step == q[1] % step) & (abs(k[0] - q[0]) < reach) & (abs(k[1] - q[1]) < reach)


def test_dilation_by_a_parameter_is_taken_class_by_class_at_its_value() -> None:
    values = (Symbol("step"), 4), (Symbol("reach"), 24)
    order: Any = best_order(apart(step=4, reach=24).on(64, 64).program, values, Problem((64, 64), 128, 4, 16))
    assert order is not None
    assert order.rows.dilation == (4, 4)
    program = boxed(apart(step=4, reach=24).on(64, 64).program, order)
    for reach in (24, 9):  # which stays an argument of the kernel
        launch = Launch(4096, 4096, parameters={"step": 4, "reach": reach})
        found = by_axis(prepare(program, launch, shifted=False), program, order, launch)
        assert found is not None
        position = np.broadcast_to(evaluate(order.rows.token(Q), {Q: np.arange(4096)}), (4096,))
        y, x = np.divmod(position, 64)
        seen = [(abs(np.subtract.outer(at, at)) < reach) & (np.subtract.outer(at, at) % 4 == 0) for at in (y, x)]
        wanted = brute_force.classes(seen[0] & seen[1], 64, 64)
        assert (tiles(found, launch, {}) == wanted).all()


def test_dilation_costs_nothing_in_the_order_of_its_classes() -> None:
    plain, dilated = patterns.gna((64, 64), 13), patterns.gna((128, 128), 13, dilation=2)
    problem = Problem((64, 64), 128, 4, 16)
    times = [
        min(in_boxes(axes, boxes, problem)[:2] for boxes in candidates(axes))
        for each in (plain, dilated)
        if (axes := seen_along(each.program, dict(values_of(each))))
    ]
    assert times[1] == pytest.approx(times[0], rel=1e-9)


@lacuna.pattern(rank=2)
def raster(q: Any, k: Any) -> Any:
    return (k[0] < q[0]) | ((k[0] == q[0]) & (k[1] <= q[1]))


@lacuna.pattern(rank=2)
def per_head(q: Any, k: Any, h: Any) -> Any:
    return (k[0] == q[0]) & (abs(k[1] - q[1]) <= h)


@pytest.mark.parametrize(
    "pattern",
    [raster.on(64, 64), per_head.on(64, 64), patterns.gna((13, 13), 5), patterns.gna((64, 64), 64), patterns.gna((64, 64), (3, 64))],
    ids=["raster order", "per head", "as many tiles with padding", "dense", "whole rows"],
)
def test_row_major_order_stays_where_boxes_do_not_help(pattern: Any) -> None:
    assert order_of(pattern) is None


def test_a_choice_is_kept_in_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    from lacuna.passes.costs import box_order
    from lacuna.runtime.calls import prepared_calls
    from lacuna.runtime.cpp import token_orders as token_order

    query, key, value = (torch.randn(1, 1, 1024, 16) for _ in range(3))
    pattern = patterns.gna((32, 32), 9)
    first = attention(query, key, value, pattern, backend="cpp")
    prepared_calls.forget_prepared()
    token_order.forget_orders()
    monkeypatch.setattr(box_order, "considered", None)
    assert torch.equal(attention(query, key, value, pattern, backend="cpp"), first)


@lacuna.pattern(rank=2)
def near(q: Any, k: Any, *, reach: Any) -> Any:
    return abs(q[0] - k[0]) <= reach


@lacuna.score
def steeper(s: Any, *, by: Any) -> Any:
    return s * by


def test_an_integer_of_a_score_asks_for_no_other_order(monkeypatch: pytest.MonkeyPatch) -> None:
    from lacuna.runtime.cpp import token_orders as token_order

    asked: set[Any] = set()
    monkeypatch.setattr(token_order, "order_of", lambda request, family: asked.add(token_order._asked(request, family)[1]))  # pyright: ignore
    query = torch.randn(1, 1, 1024, 16)
    for by in (2, 3):
        attention(query, query, query, near(reach=4).on(32, 32), score=steeper(by=by), backend="cpp")
    assert [[(symbol.name, value) for symbol, value in values] for values in asked] == [[("reach", 4)]]


@pytest.mark.parametrize("options", [{}, {"q_offset": 64}, {"q_len": 1000}, {"kv_len": torch.tensor([1024], dtype=torch.int32)}], ids=str)
def test_parts_of_a_grid_are_met_row_by_row(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from lacuna.runtime.cpp import token_orders as token_order

    def refuse(*_: object) -> Any:
        raise AssertionError("an order was asked for")

    monkeypatch.setattr(token_order, "order_of", refuse)
    rows = 960 if "q_offset" in options else 1024
    query = torch.randn(1, 1, rows if options else 1000, 16)
    key, value = (torch.randn(1, 1, 1024 if options else 1000, 16) for _ in range(2))
    pattern = patterns.gna((32, 32), 9)
    out = attention(query, key, value, pattern, backend="cpp", **options)
    assert torch.allclose(out, attention(query, key, value, pattern, backend="eager", **options), atol=1e-5)


@pytest.mark.parametrize("backward", [False, True])
def test_tune_times_orders_and_keeps_the_fastest(backward: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from lacuna.runtime.cpp import token_orders as token_order
    from lacuna.runtime.tuning import orders as tuned_orders
    from lacuna.runtime.tuning import shapes as tuned_shapes

    monkeypatch.setattr(tuned_shapes.TunedShapes, "ranking", ())  # which other tests tune
    seconds = {"boxes of 16 x 4 queries and keys": 1.0}
    made: dict[Any, str] = {}
    run_of, ranking = tuned_orders.TunedOrders.run_of, tuned_orders.TunedOrders.ranking

    def few(self: Any) -> Any:
        return [each for each in ranking.__get__(self) if each is None or str(each) in seconds]

    if not PROVE:  # each of the others compiles a kernel or three
        monkeypatch.setattr(tuned_orders.TunedOrders, "ranking", property(few))

    def named(self: Any, tiles: Any) -> Any:
        run = run_of(self, tiles)
        run()
        made[run] = str(tiles)
        return run

    monkeypatch.setattr(tuned_orders.TunedOrders, "run_of", named)
    monkeypatch.setattr(tuned_orders.TunedOrders, "seconds", lambda _, run, repeats: seconds.get(made[run], 2.0) * repeats / repeats)  # pyright: ignore
    query, key, value = (torch.randn(1, 1, 1024, 16) for _ in range(3))
    found = lacuna.tune(query, key, value, patterns.gna((32, 32), 11), backward=backward, rounds=3).others[-1]
    assert str(found.chosen) == "boxes of 16 x 4 queries and keys"
    assert "order of tokens" in str(found)
    assert "row-major" in str(found)
    token_order.forget_orders()
    from lacuna.runtime.calls import prepared_calls

    prepared_calls.forget_prepared()
    out = attention(query, key, value, patterns.gna((32, 32), 11), backend="cpp")
    assert torch.allclose(out, attention(query, key, value, patterns.gna((32, 32), 11), backend="eager"), atol=1e-5)
    if not backward:
        assert [str(each) for each in token_order._chosen.values()] == [str(found.chosen)]  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize("numbers", [(8, 8, 1), (8, 4, 1, 1), (64, 1, 3, 1), (0, 8, 1, 1), (16, 16, 1, 1)], ids=str)
def test_a_kept_order_that_no_kernel_has_is_not_taken(numbers: tuple[int, ...]) -> None:
    from lacuna.runtime.cpp.token_orders import possible

    program = patterns.gna((64, 32), 9).program
    assert possible((0,), program)
    assert possible((8, 8, 2, 2), program)
    assert not possible(numbers, program)
