"""Sequences whose parts are in boxes: positions, schedules pair by pair of parts, kernels, and the choice of boxes."""

# Patterns are written without types, and torch's are partly unknown.
# ruff: noqa: ANN401
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import brute_force
import claimed_gpu
import lacuna
import numpy as np
import pytest
import torch
from bound_numbers import numbers_of, values_of
from claimed_gpu import Simulated
from hypothesis import given, settings
from hypothesis import strategies as st
from lacuna import patterns
from lacuna.ir.configuration import Configuration
from lacuna.ir.expr import Expr, K, Q
from lacuna.ir.order import Boxes, Order, Parts
from lacuna.ir.schedule import Schedule
from lacuna.passes.costs import gpu_orders
from lacuna.passes.costs import gpu_resources as resources
from lacuna.passes.costs.box_order import considered
from lacuna.passes.costs.tile_shape import Problem
from lacuna.passes.orders.permuted_program import boxed, unboxed
from lacuna.passes.program.call_values import Launch
from lacuna.passes.program.evaluate import evaluate
from lacuna.passes.schedules.derive import derive_prepared
from lacuna.passes.schedules.prepare import prepare
from lacuna.passes.schedules.sequence_schedule import scheduled
from lacuna.passes.schedules.tile_classes import tiles
from lacuna.passes.schedules.transpose import transposed_launch
from lacuna.passes.schedules.transposed_schedule import transposed_schedule
from lacuna.passes.sequences.parts import parts_of
from lacuna.runtime.calls import prepared_calls
from lacuna.runtime.calls.claimed import claimed
from lacuna.runtime.choices import cuts
from lacuna.runtime.cpp import token_orders

pytestmark = pytest.mark.usefixtures("compiled_quickly")

PROVE = os.environ.get("LACUNA_TEST_PROFILE") == "prove"
TOKENS = 8  # of a tile
attention: Any = lacuna.attention


@lacuna.pattern
def causal(q: Any, k: Any) -> Any:
    return k <= q


@lacuna.pattern
def near(q: Any, k: Any) -> Any:
    return abs(q - k) <= 3


@lacuna.pattern
def few(k: Any) -> Any:
    return k < 4


@lacuna.pattern(rank=2)
def diagonal(q: Any, k: Any) -> Any:
    """No product of axes."""
    return abs(q[0] - k[0]) + abs(q[1] - k[1]) <= 2


def some_boxes(draw: st.DrawFn, extents: tuple[int, ...], apart: tuple[int, ...]) -> Boxes:
    """Of TOKENS tokens."""
    found = [each for each in product(*[(1, 2, 4, 8)] * len(extents)) if math.prod(each) == TOKENS]
    fitting = [Boxes(extents, each, apart) for each in found if len(extents) == 1 or Boxes(extents, each, apart).fit]
    return draw(st.sampled_from(fitting))


Sequenced = tuple[Any, int, Order, set[str]]


@st.composite
def sequences(draw: st.DrawFn) -> Sequenced:
    """A pattern, its tokens, an order in boxes, and which rules are of other kinds: `diagonal`, `few`."""
    grids: dict[str, tuple[int, ...]] = {}
    for name in draw(st.sampled_from([("text", "video"), ("video", "text"), ("text", "video", "more"), ("video", "twin", "text")])):
        if name == "twin":
            grids[name] = grids["video"]
        else:
            grids[name] = (draw(st.integers(4, 6)), draw(st.integers(4, 6))) if name == "video" else (draw(st.integers(1, 18)),)
    apart = draw(st.sampled_from([(1, 1), (1, 1), (2, 1), (1, 2)]))
    boxes = {name: some_boxes(draw, extents, apart if len(extents) > 1 else (1,)) for name, extents in grids.items()}
    rules: dict[tuple[str, str], Any] = {}
    others = set[str]()
    for pair in product(grids, grids):
        lines = all(len(grids[name]) == 1 for name in pair)
        alike = pair == ("video", "video") or set(pair) == {"video", "twin"}
        widest = [extent // each for extent, each in zip(grids["video"], apart, strict=True)]
        near_by = patterns.gna(grids["video"], tuple(draw(st.integers(1, most)) for most in widest), 1, apart)
        choices = [True, True, False]
        choices += [causal, near] if lines else []
        choices += [near_by, near_by, near_by, diagonal] if alike else [few]
        rules[pair] = draw(st.sampled_from(choices))
        others |= {name for name, rule in (("diagonal", diagonal), ("few", few)) if rules[pair] is rule}
    sizes = {name: math.prod(extents) if len(extents) == 1 else extents for name, extents in grids.items()}
    side = Parts(tuple(boxes.values()))
    return patterns.segmented(sizes, rules), sum(map(math.prod, grids.values())), Order(side, side), others


def tokens_of(side: Parts) -> np.ndarray:
    """i64[positions]: the token at each position, -1 where there is none."""
    position = np.arange(side.positions)
    valid = np.broadcast_to(evaluate(side.valid(Q), {Q: position}), position.shape)
    return np.where(valid, np.broadcast_to(evaluate(side.token(Q), {Q: position}), position.shape), -1)


def over(seen: np.ndarray, order: Order) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """bool[positions, positions] of what is seen; bool[positions] of the queries and of the keys that are tokens."""
    assert isinstance(order.rows, Parts)
    assert isinstance(order.keys, Parts)
    rows, keys = tokens_of(order.rows), tokens_of(order.keys)
    return seen[rows][:, keys] & (rows >= 0)[:, None] & (keys >= 0), rows >= 0, keys >= 0


def tiles_of(seen: np.ndarray, rows: np.ndarray, edges: tuple[int, int]) -> np.ndarray:
    """Tile classes by their definition: what is no query does not keep a tile from being full."""
    found = np.zeros((len(seen) // edges[0], seen.shape[1] // edges[1]), np.uint8)
    for i, j in np.ndindex(found.shape):
        here = slice(i * edges[0], (i + 1) * edges[0])
        tile = seen[here, j * edges[1] : (j + 1) * edges[1]]
        found[i, j] = 2 if tile.any() and tile[rows[here]].all() else int(tile.any())
    return found


@settings(max_examples=600 if PROVE else 25)
@given(sequences())
def test_a_schedule_made_part_by_part_is_exact_where_it_says_so_and_never_wrong(problem: Sequenced) -> None:
    pattern, count, order, others = problem
    seen, rows, keys = over(lacuna.dense(pattern, count)[0, 0].numpy(), order)
    program = boxed(pattern.program, order)
    positions = np.arange(len(rows))
    environment: dict[Expr, Any] = {Q: positions[:, None], K: positions, **dict(values_of(pattern))}
    assert (np.broadcast_to(evaluate(program.mask, environment), seen.shape) == seen).all()
    launch = Launch(*seen.shape, parameters=numbers_of(pattern))
    for backward in (False, True):
        found = scheduled(prepare(program, launch, shifted=False), program, order, launch, backward=backward)
        assert found is not None
        assert found.closed_form
        assert found.exact or others
        pairs, there = (seen.T, keys) if backward else (seen, rows)
        expected, said = tiles_of(pairs, there, (TOKENS, TOKENS)), tiles(found, launch, {})
        assert (said == expected).all() if found.exact else ((said == expected) | (said == 1)).all()
        for pieces, tile in ((found.full_loops, 2), (found.partial_loops, 1)):
            visits = sum(tiles(replace(found, some=(piece,), full=()), launch, {}) for piece in pieces)
            assert (visits == (said == tile)).all()


@settings(max_examples=600 if PROVE else 25)
@given(sequences(), st.data())
def test_row_major_tiles_of_a_sequence_are_found_part_by_part_and_exact(problem: Sequenced, data: st.DataObject) -> None:
    pattern, count, _, others = problem
    if "diagonal" in others or parts_of(pattern.program) is None:
        return
    seen = lacuna.dense(pattern, count)[0, 0].numpy()
    block = data.draw(st.sampled_from([(8, 8), (5, 7), (16, 4), (1, 3), (64, 64)]))
    offset, keys = data.draw(st.sampled_from([0, 0, count // 3])), data.draw(st.sampled_from([count, count, 1 + count // 2]))
    launch = Launch(count - offset, keys, offset, parameters=numbers_of(pattern))
    prepared_here = prepare(pattern.program, launch, shifted=launch.moves)
    found = derive_prepared(prepared_here, block, launch).schedule
    assert (found.route, found.exact, found.closed_form) == ("axes", True, True)
    require_tiles(found, launch, seen[offset:, :keys], block)
    if not offset:
        backward = transposed_schedule(prepared_here, block, launch)
        assert (backward.route, backward.exact) == ("axes", True)
        require_tiles(backward, transposed_launch(launch), seen[:, :keys].T, (block[1], block[0]))


def require_tiles(found: Schedule, launch: Launch, seen: np.ndarray, block: tuple[int, int]) -> None:
    expected = brute_force.classes(seen, *block)
    assert (tiles(found, launch, {}) == expected).all()
    for pieces, tile in ((found.full_loops, 2), (found.partial_loops, 1)):
        visits = sum(tiles(replace(found, some=(piece,), full=()), launch, {}) for piece in pieces)
        assert (visits == (expected == tile)).all()


@lacuna.pattern
def counted(k: Any, b: Any, *, length: Any) -> Any:
    return k < length[b]


def test_text_with_a_length_of_its_own_in_each_batch_item_keeps_a_sequence_in_closed_form() -> None:
    shown = counted(length=torch.tensor([40, 9], dtype=torch.int32))
    whole = lacuna.sequence(text=70, video=lacuna.grid(4, 16, 16))
    rules: dict[Any, Any] = {("video", "video"): patterns.gna((4, 16, 16), (3, 5, 5)), ("text", "text"): shown, ("video", "text"): shown}
    pattern = patterns.segmented(whole, rules)
    found = lacuna.schedule(pattern, whole.tokens, block=(64, 64), batch=2)
    boxes = lacuna.orders.parts(whole, video=lacuna.orders.boxes((4, 16, 16), (1, 16, 4)))
    in_boxes = lacuna.schedule(pattern, whole.tokens, block=(64, 64), batch=2, order=boxes)
    assert (found.route, found.exact, found.closed_form) == ("axes", True, True)
    assert (in_boxes.route, in_boxes.exact, in_boxes.closed_form) == ("axes", True, True)
    explained = lacuna.explain(pattern, whole.tokens, batch=2)
    assert explained.orders[0].boxes is not None
    for b, length in enumerate((40, 9)):
        seen = by_definition(70, (4, 16, 16), (3, 5, 5)).numpy()
        seen[:, length:70] = False
        assert (found.tiles(b) == brute_force.classes(seen, 64, 64)).all()
        laid, rows, _ = over(seen, boxes.order)
        assert (in_boxes.tiles(b) == tiles_of(laid, rows, (64, 64))).all()
        assert b or explained.live_pairs == seen.sum()


def test_row_major_tiles_of_a_long_video_beside_text_take_no_lists() -> None:
    whole, pattern = video_beside_text(226, (30, 48, 80), (18, 24, 24))
    found = lacuna.schedule(pattern, whole.tokens, block=(64, 64))
    assert (found.route, found.exact, found.closed_form) == ("axes", True, True)


# -- the choice -------------------------------------------------------------------------------------------------------


def video_beside_text(text: int, video: tuple[int, ...], window: tuple[int, ...]) -> tuple[Any, Any]:
    whole = lacuna.sequence(text=text, video=lacuna.grid(*video))
    return whole, patterns.segmented(whole, {("video", "video"): patterns.gna(video, window)})


def by_definition(text: int, video: tuple[int, ...], window: tuple[int, ...]) -> torch.Tensor:
    """bool[tokens, tokens] of `video_beside_text`."""
    places = np.array(list(np.ndindex(video)))
    first = np.clip(places - np.array(window) // 2, 0, np.array(video) - window)
    near_by = ((first[:, None] <= places) & (places < first[:, None] + window)).all(-1)
    seen = np.ones((text + len(places),) * 2, bool)
    seen[text:, text:] = near_by
    return torch.from_numpy(seen)


def test_boxes_of_a_video_beside_text_are_taken_forward_and_backward_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    from lacuna.passes.costs import box_order

    shape = (22, (4, 16, 16), (3, 5, 5))
    whole, pattern = video_beside_text(*shape)
    torch.manual_seed(0)
    given = [torch.randn(1, 2, whole.tokens, 16, requires_grad=True) for _ in range(3)]
    token_orders.forget_orders()
    out = attention(*given, pattern, backend="cpp")
    found = torch.autograd.grad(out.square().sum(), given)
    taken = {variant.family: order for (variant, _), order in token_orders._chosen.items()}  # pyright: ignore[reportPrivateUsage]
    assert {family: str(order) for family, order in taken.items()} == dict.fromkeys(
        ("forward", "backward"), "boxes of 64 beside 1 x 16 x 4 queries and keys"
    )
    query, key, value = given
    scores = (query @ key.transpose(-1, -2) / 4).masked_fill(~by_definition(*shape), -math.inf)
    expected = scores.softmax(-1) @ value
    for ours, theirs in zip((out, *found), (expected, *torch.autograd.grad(expected.square().sum(), given)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    prepared_calls.forget_prepared()
    token_orders.forget_orders()
    monkeypatch.setattr(box_order, "considered", None)
    assert torch.equal(attention(*given, pattern, backend="cpp"), out)


@lacuna.score(rank=3)
def nearer(s: Any, q: Any, k: Any, *, bias: Any) -> Any:
    return s + bias[q[1] - k[1] + 8]


def test_what_hangs_over_the_parts_of_a_sequence_counts_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = lacuna.sequence(text=9, video=lacuna.grid(3, 9, 10), more=5)
    pattern = patterns.segmented(whole, {("video", "video"): patterns.gna((3, 9, 10), (2, 5, 4)), ("text", "text"): causal})
    side = Parts((Boxes((9,), (64,), (1,)), Boxes((3, 9, 10), (2, 4, 8), (1, 1, 1)), Boxes((5,), (64,), (1,))))
    monkeypatch.setattr(token_orders, "order_of", lambda *_: Order(side, side))  # pyright: ignore[reportUnknownLambdaType]
    prepared_calls.forget_prepared()
    bias = torch.randn(17, requires_grad=True)
    given = [torch.randn(2, heads, whole.tokens, 16, requires_grad=True) for heads in (4, 2, 2)]
    results: list[Any] = []
    for backend in ("cpp", "eager"):
        out = attention(*given, pattern, score=nearer(bias=bias).on(whole["video"]), backend=backend)
        results.append((out, *torch.autograd.grad(out.square().sum(), [*given, bias])))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


SHAPES: list[tuple[int, tuple[int, ...], tuple[int, ...]]] = [
    (226, (8, 16, 16), (3, 7, 7)),
    (70, (13, 17), (5, 9)),
    (9, (3, 9, 10), (1, 9, 5)),
]


@pytest.mark.parametrize(("text", "video", "window"), SHAPES, ids=str)
def test_counts_of_the_orders_of_a_sequence_are_those_of_its_tiles(text: int, video: tuple[int, ...], window: tuple[int, ...]) -> None:
    whole, pattern = video_beside_text(text, video, window)
    seen = by_definition(text, video, window).numpy()
    ranked = considered(pattern.program, values_of(pattern), Problem((whole.tokens,), 128, 4, 16))
    for each in ranked[:3] if ranked[0].boxes is None else (*ranked[:3], next(other for other in ranked if other.boxes is None)):
        if each.boxes is None:
            tokens, edge = whole.tokens, 64
            blocks = [[seen[i : i + edge, j : j + edge] for j in range(0, tokens, edge)] for i in range(0, tokens, edge)]
            visited = sum(bool(tile.any()) for row in blocks for tile in row)
            full = sum(bool(tile.all()) for row in blocks for tile in row[: tokens // edge])
        else:
            assert isinstance(each.boxes, Parts)
            laid, rows, _ = over(seen, Order(each.boxes, each.boxes))
            found = tiles_of(laid, rows, (64, 64))
            visited, full = int((found > 0).sum()), int((found == 2).sum())
        assert (each.visited, each.full) == (visited, full)
    explained = lacuna.explain(pattern, whole.tokens)
    assert [each.boxes for each in explained.orders] == [each.boxes for each in ranked]
    assert f"boxes of {next(each.boxes for each in ranked if each.boxes is not None)}" in str(explained)


SEVERAL: list[Any] = [
    patterns.segmented(
        {"text": 9, "video": (16, 13)}, {("video", "video"): patterns.gna((16, 13), (3, 5), 1, (2, 1)), ("text", "text"): causal}
    ),
    patterns.segmented(
        {"image": (13, 12), "text": 5, "other": (10, 16), "twin": (13, 12)},
        {
            ("image", "image"): patterns.gna((13, 12), 5),
            ("twin", "image"): patterns.gna((13, 12), 3),
            ("other", "other"): patterns.gna((10, 16), (3, 9)),
            ("other", "text"): False,
        },
    ),
]


@pytest.mark.parametrize("pattern", SEVERAL, ids=["dilated", "several grids"])
def test_boxes_of_several_grids_and_of_residue_classes_are_counted_exactly(pattern: Any) -> None:
    tokens = pattern.program.space.extents[0]
    seen = lacuna.dense(pattern, tokens)[0, 0].numpy()
    on_cpu = [each for each in considered(pattern.program, values_of(pattern), Problem((tokens,), 128, 4, 16)) if each.boxes is not None]
    on_gpu = [
        each
        for each in gpu_orders.considered(pattern.program, values_of(pattern), resources.Problem("sm_80", "bf16", (64, 64)))
        if each.cut.order
    ]
    sides = [(each, Order(each.boxes, each.boxes)) for each in on_cpu[:2] if isinstance(each.boxes, Parts)]
    for each, order in (*sides, *((each, each.cut.order) for each in on_gpu[:2])):
        assert order is not None
        laid, rows, _ = over(seen, order)
        assert isinstance(order.rows, Parts)
        assert isinstance(order.keys, Parts)
        found = tiles_of(laid, rows, (order.rows.tokens, order.keys.tokens))
        assert (each.visited, each.full) == (int((found > 0).sum()), int((found == 2).sum()))
    assert len(sides) == 2 == len(on_gpu[:2])


def test_parts_are_read_off_a_mask_however_it_was_written() -> None:
    whole, pattern = video_beside_text(7, (3, 4, 5), (1, 3, 3))
    assert parts_of(pattern.program) == ((7,), (3, 4, 5))
    video = patterns.gna((3, 4, 5), (1, 3, 3)).on(whole["video"])
    everything = patterns.segmented(whole, {("video", "video"): False})
    assert parts_of((video | everything).program) == ((7,), (3, 4, 5))
    twice = patterns.segmented({"a": (4, 6), "text": 3, "b": (5, 2)}, {("a", "a"): diagonal, ("b", "b"): diagonal})
    assert parts_of(twice.program) == ((4, 6), (3,), (5, 2))
    dilated = patterns.segmented({"text": 7, "video": (6, 4)}, {("video", "video"): patterns.gna((6, 4), (2, 4), 1, (2, 1))})
    assert parts_of(dilated.program) == ((7,), (6, 4))
    first = patterns.segmented({"video": (6, 4), "text": 7}, {("video", "video"): patterns.gna((6, 4), (2, 4)), ("text", "video"): few})
    assert parts_of(first.program) == ((6, 4), (7,))
    assert parts_of(patterns.gna((6, 4), (3, 3)).on(lacuna.sequence(video=lacuna.grid(6, 4), text=7)["video"]).program) == ((6, 4), (7,))
    for other in (causal.program, patterns.gna((8, 8), 3).program, patterns.segmented({"a": 8, "b": 9}, {("a", "b"): False}).program):
        assert parts_of(other) is None


def test_a_rule_that_is_no_product_of_axes_leaves_a_sequence_row_major() -> None:
    whole = lacuna.sequence(text=22, image=lacuna.grid(32, 32))
    pattern = patterns.segmented(whole, {("image", "image"): diagonal})
    assert considered(pattern.program, (), Problem((whole.tokens,), 128, 4, 16)) == ()
    assert lacuna.explain(pattern, whole.tokens).orders == ()


def test_kept_numbers_that_no_sequence_has_are_not_taken() -> None:
    from lacuna.runtime.cpp.token_orders import possible

    _, pattern = video_beside_text(22, (4, 16, 16), (3, 5, 5))
    good = (64, 1, 1, 16, 4, 1, 1, 1)
    assert possible(good, pattern.program)
    others = [(1, 1, 16, 8, 1, 1, 1), (2, 1, 16, 4, 1, 1, 1), (1, 16, 1, 4, 1, 0, 1)]
    for numbers in ((64, 1), (32, *good[1:]), *((64, *other) for other in others)):
        assert not possible(numbers, pattern.program)


def test_a_missing_kernel_of_a_sequence_is_asked_for_by_the_program_of_the_call() -> None:
    _, pattern = video_beside_text(22, (4, 16, 16), (3, 5, 5))
    side = Parts((Boxes((22,), (64,), (1,)), Boxes((4, 16, 16), (4, 4, 4), (1, 1, 1))))
    assert unboxed(boxed(pattern.program, Order(side, side)), Order(side, side)) == pattern.program


# -- on a GPU ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def uncompiled() -> Iterator[None]:
    """Claimed GPUs whose kernels the interpreter runs."""
    prepared_calls.forget_prepared()
    cuts.forget_cuts()
    with claimed_gpu.uncompiled():
        yield
    prepared_calls.forget_prepared()
    cuts.forget_cuts()


@pytest.mark.usefixtures("uncompiled")
def test_triton_kernels_cut_every_part_of_a_sequence_forward_and_backward(monkeypatch: pytest.MonkeyPatch) -> None:
    ranked = gpu_orders.considered
    small = (Configuration(16, 16, 4, 2),)
    monkeypatch.setattr(gpu_orders, "considered", lambda *asked: ranked(*asked[:4], small))  # pyright: ignore[reportUnknownLambdaType]
    monkeypatch.setattr(gpu_orders, "LEAST_GAIN", 0.0)  # boxes, whatever they gain
    whole, pattern = video_beside_text(9, (2, 3, 9), (1, 3, 5))
    bias = torch.randn(17, requires_grad=True)
    score = nearer(bias=bias).on(whole["video"])
    torch.manual_seed(0)
    given = [torch.randn(1, heads, whole.tokens, 16, requires_grad=True) for heads in (2, 1, 1)]
    with claimed("sm_90", Simulated()):
        out = attention(*given, pattern, score=score, backend="triton")
        found = torch.autograd.grad(out.square().sum(), [*given, bias])
    taken = {known.family: cut.order for known, cut in cuts.chosen_here() if cut is not None}
    assert taken.keys() == {"forward", "backward", "backward_queries"}
    for order in taken.values():
        assert order is not None
        assert all(isinstance(side, Parts) for side in order)
    expected = attention(*given, pattern, score=score, backend="eager")
    exact = torch.autograd.grad(expected.square().sum(), [*given, bias])
    for ours, theirs in zip((out, *found), (expected, *exact), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_cuts_of_a_sequence_are_counted_exactly_and_kept_as_numbers() -> None:
    whole, pattern = video_beside_text(226, (12, 16, 20), (5, 7, 7))
    seen = by_definition(226, (12, 16, 20), (5, 7, 7)).numpy()
    ranked = gpu_orders.considered(pattern.program, values_of(pattern), resources.Problem("sm_80", "bf16", (64, 64)))
    assert ranked[0].cut.order is not None
    for each in (ranked[0], next(other for other in ranked if other.cut.order is None)):
        block, order = each.cut.configuration.block, each.cut.order
        laid, rows = (seen, np.ones(len(seen), bool)) if order is None else over(seen, order)[:2]
        visited = full = 0
        for i in range(0, len(laid), block[0]):
            for j in range(0, laid.shape[1], block[1]):
                tile, there = laid[i : i + block[0], j : j + block[1]], rows[i : i + block[0]]
                visited += bool(tile.any())
                full += bool(tile.any() and tile[there].all() and tile.shape[1] == block[1])
        assert (each.visited, each.full) == (visited, full)
    numbers = cuts.numbers_of(ranked[0].cut)
    assert cuts.cut_of_numbers(numbers, pattern.program) == ranked[0].cut
    assert cuts.possible(numbers, pattern.program)
    for wrong in (numbers[:-1], (*numbers[:5], 2 * numbers[5], *numbers[6:]), (*numbers[:-1], 100)):
        assert not cuts.possible(wrong, pattern.program)
    told = lacuna.explain(pattern, whole.tokens)
    assert sum(each.cut.order is not None for each in told.cuts) == len(told.cuts) - 1
    assert f"{told.cuts[0].cut}" in str(told)
