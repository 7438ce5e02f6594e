"""Orders of tokens that a caller gives: what they are, calls in them, their tiles, and what is refused."""

# torch's annotations are partly unknown, and patterns are written without types.
# ruff: noqa: ANN401
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import math
import os
from typing import Any

import lacuna
import numpy as np
import pytest
import torch
from bound_numbers import numbers_of
from hypothesis import given, settings
from hypothesis import strategies as st
from lacuna import orders, patterns
from lacuna.ir.order import Given, Order
from lacuna.ir.order_text import TOKENS, parted, show_order
from lacuna.ir.program import InvalidProgram
from lacuna.passes.orders.permuted_program import boxed, unboxed
from lacuna.passes.program.call_values import Launch
from lacuna.passes.schedules.derive import derive
from lacuna.passes.schedules.tile_classes import tiles
from lacuna.runtime.launches.term_arrays import term_arrays

pytestmark = pytest.mark.usefixtures("compiled_quickly")

PROVE = os.environ.get("LACUNA_TEST_PROFILE") == "prove"
attention: Any = lacuna.attention
EXTENTS = (12, 13)
TOKENS_OF_GRID = math.prod(EXTENTS)


# -- permutations -----------------------------------------------------------------------------------------------------


@settings(max_examples=200 if PROVE else 30)
@given(st.data())
def test_every_order_has_each_token_once(data: st.DataObject) -> None:
    extents = tuple(data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=4)))
    box = tuple(data.draw(st.integers(1, 4)) for _ in extents)
    turned = data.draw(st.permutations(range(len(extents))))
    edges = tuple(min(edge, extent) for edge, extent in zip(box, extents, strict=True))
    for each in (
        orders.hilbert(extents),
        orders.morton(extents),
        orders.hilbert(extents, box),
        orders.boxes(extents, edges),
        orders.boxes(extents, (1,) * len(extents), edges),
        orders.shells(extents, [extent // 2 for extent in extents]),
        orders.axes(extents, turned),
    ):
        assert each.tokens.dtype is torch.int32
        assert sorted(each.tokens.tolist()) == list(range(math.prod(extents)))


@pytest.mark.parametrize("extents", [(16, 16), (8, 8, 8), (4, 4, 4, 4)], ids=str)
def test_the_hilbert_curve_takes_one_step_at_a_time_and_fills_one_cube_after_the_other(extents: tuple[int, ...]) -> None:
    places = np.stack(np.unravel_index(orders.hilbert(extents).tokens.numpy(), extents))
    assert (np.abs(np.diff(places, axis=1)).sum(axis=0) == 1).all()
    cubes = places.reshape(len(extents), -1, 2 ** len(extents)) // 2
    assert (cubes == cubes[:, :, :1]).all()


def test_orders_of_small_grids() -> None:
    assert orders.morton((4, 4)).tokens.tolist() == [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15]
    assert orders.shells((3, 3)).tokens.tolist() == [0, 1, 3, 2, 4, 6, 5, 7, 8]
    assert orders.shells((3, 3), (1, 1)).tokens.tolist() == [4, 1, 3, 5, 7, 0, 2, 6, 8]
    assert orders.axes((2, 3), (1, 0)).tokens.tolist() == [0, 3, 1, 4, 2, 5]
    assert orders.boxes((3, 4), (2, 2)).tokens.tolist() == [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 10, 11]
    assert orders.boxes((2, 4), (2, 2), (1, 2)).tokens.tolist() == [0, 2, 4, 6, 1, 3, 5, 7]
    assert orders.morton((4, 3), (2, 2)).tokens.tolist() == [0, 1, 3, 4, 2, 5, 6, 7, 9, 10, 8, 11]
    assert orders.row_major((2, 2)).tokens.tolist() == [0, 1, 2, 3]


def test_an_order_of_positions_of_another_order() -> None:
    columns = orders.axes((2, 3), (1, 0))
    backwards = orders.permutation(torch.arange(5, -1, -1))
    assert columns.then(backwards).tokens.tolist() == [5, 2, 4, 1, 3, 0]
    assert str(columns.then(backwards)) == "axes (1, 0), then permutation of 2 x 3 tokens"


def test_a_permutation_is_copied() -> None:
    tokens = torch.arange(4)
    order = orders.permutation(tokens)
    tokens.zero_()
    assert order.tokens.tolist() == [0, 1, 2, 3]


# -- tiles ------------------------------------------------------------------------------------------------------------


@settings(max_examples=300 if PROVE else 15)
@given(st.data())
def test_tiles_of_any_permutation_hold_every_pair_and_full_ones_nothing_else(data: st.DataObject) -> None:
    extents = tuple(data.draw(st.lists(st.integers(3, 8), min_size=2, max_size=3)))
    window = tuple(data.draw(st.integers(1, extent)) for extent in extents)
    stride = tuple(data.draw(st.integers(1, wide)) for wide in window)
    pattern = patterns.gna(extents, window, stride, 1, tuple(data.draw(st.booleans()) for _ in extents))
    curve = data.draw(st.sampled_from([orders.hilbert, orders.morton, orders.shells]))
    tokens = curve(extents).tokens.numpy() if data.draw(st.booleans()) else np.array(data.draw(st.permutations(range(math.prod(extents)))))
    side = Given(extents, TOKENS)
    order = Order(side, side)
    program = boxed(pattern.program, order)
    assert unboxed(program, order) == pattern.program
    launch = Launch(len(tokens), len(tokens), parameters=numbers_of(pattern), tables={TOKENS.name: tokens})
    found = derive(program, 8, 8, launch)
    assert found.schedule.route == "symbolic"
    classes = tiles(found.schedule, launch, {**launch.tables, **term_arrays(found.schedule, launch)})
    seen = lacuna.dense(pattern, len(tokens))[0, 0].numpy()[tokens][:, tokens]
    for i, j in np.ndindex(classes.shape):
        tile = seen[8 * i : 8 * i + 8, 8 * j : 8 * j + 8]
        assert classes[i, j] or not tile.any()
        assert classes[i, j] != 2 or (tile.all() and tile.shape[1] == 8)


def test_tiles_along_the_hilbert_curve_are_those_that_hold_a_pair() -> None:
    found = lacuna.schedule(patterns.gna((64, 64), 13), 4096, block=(64, 64), order=orders.hilbert((64, 64)))
    tokens = orders.hilbert((64, 64)).tokens.numpy()
    seen = lacuna.dense(patterns.gna((64, 64), 13), 4096)[0, 0].numpy()[tokens][:, tokens]
    assert (found.tiles() > 0).sum() == seen.reshape(64, 64, 64, 64).any(axis=(1, 3)).sum() == 484


def test_a_schedule_in_boxes_is_exact() -> None:
    found = lacuna.schedule(patterns.gna((20, 23), 5), 460, block=(64, 64), order=orders.boxes((20, 23), (8, 8)))
    assert found.exact
    assert found.route == "axes"
    assert found.tiles().shape == (9, 9)


def test_an_explanation_counts_the_tiles_of_the_order_that_is_asked_for() -> None:
    told = lacuna.explain(patterns.gna((64, 64), 13), 4096, block=(64, 64), order=orders.morton((64, 64)))
    assert told.classes[1:] == (484, 0)
    assert "token order: morton of 64 x 64 tokens" in str(told)
    plain = str(lacuna.explain(patterns.gna((64, 64), 13), 4096, block=(64, 64)))
    assert "boxes of 8 x 8" in plain
    for counts in ("     484       0", "     832       0"):  # boxes, and rows
        assert counts in plain


# -- calls ------------------------------------------------------------------------------------------------------------


def results(pattern: Any, operands: list[torch.Tensor], **options: Any) -> list[torch.Tensor]:
    given = [each.clone().requires_grad_() for each in operands]
    out, lse = attention(*given, pattern, return_lse=True, **options)
    loss = (out * torch.linspace(-1, 1, out.shape[-1])).sum() + lse.sum()
    return [each.detach() for each in (out, lse, *torch.autograd.grad(loss, given))]


def assert_same(found: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours - theirs).abs().max() <= 2e-5 * max(1.0, float(theirs.abs().max()))


def test_one_kernel_serves_every_table_forward_and_backward() -> None:
    from lacuna.runtime.kernels import kernel_of

    torch.manual_seed(0)
    pattern = patterns.gna(EXTENTS, (5, 4), causal=(True, False))
    operands = [torch.randn(2, heads, TOKENS_OF_GRID, 24) for heads in (4, 2, 2)]
    expected = results(pattern, operands, backend="eager")
    kernel_of.forget_kernels()
    for order in (
        orders.hilbert(EXTENTS),
        orders.shells(EXTENTS, (6, 6)),
        orders.axes(EXTENTS, (1, 0)),
        orders.boxes(EXTENTS, (4, 4)),
        orders.permutation(torch.randperm(TOKENS_OF_GRID), EXTENTS),
    ):
        assert_same(results(pattern, operands, order=order, backend="cpp"), expected)
    assert len(kernel_of._kernels) == 2  # pyright: ignore[reportPrivateUsage]


def test_flat_positions_of_every_length_are_put_in_order_by_one_kernel() -> None:
    from lacuna.runtime.kernels import kernel_of

    kernel_of.forget_kernels()
    for length in (10, 200):
        torch.manual_seed(0)
        operands = [torch.randn(1, 2, length, 16) for _ in range(3)]
        order = orders.permutation(torch.randperm(length))
        assert_same(results(patterns.causal(), operands, order=order, backend="cpp"), results(patterns.causal(), operands, backend="eager"))
    assert len(kernel_of._kernels) == 2  # pyright: ignore[reportPrivateUsage]


def test_flat_positions_are_put_in_the_order_of_a_grid() -> None:
    operands = [torch.randn(1, 1, 300, 16) for _ in range(3)]
    expected = attention(*operands, patterns.causal(), backend="eager")
    for order in (orders.hilbert((10, 30)), orders.boxes((10, 30), (8, 8))):
        assert torch.allclose(attention(*operands, patterns.causal(), order=order, backend="cpp"), expected, atol=1e-5)


def test_boxes_that_are_asked_for_are_taken() -> None:
    from lacuna.runtime.kernels import kernel_of

    kernel_of.forget_kernels()
    operands = [torch.randn(1, 1, 1024, 16) for _ in range(3)]
    pattern = patterns.gna((32, 32), 9)
    found = attention(*operands, pattern, order=orders.boxes((32, 32), (4, 16)), backend="cpp")
    assert [str(variant.order) for variant, _ in kernel_of._kernels] == ["boxes of 4 x 16 queries and keys"]  # pyright: ignore[reportPrivateUsage]
    assert torch.allclose(found, attention(*operands, pattern, backend="eager"), atol=1e-5)
    assert torch.allclose(attention(*operands, pattern, order=orders.hilbert((32, 32)), backend="eager"), found, atol=1e-5)


@pytest.mark.parametrize("target", ["cpp", "triton"])
def test_a_kernel_over_the_positions_of_an_order_is_compiled_without_a_call(target: str) -> None:
    pattern = patterns.gna((16, 16), 5)
    tables = lacuna.compile(pattern, target=target, head_dim=16, order=orders.hilbert((16, 16)))
    assert "tokens_in_order" in tables.tables
    assert lacuna.compile(pattern, target=target, head_dim=16, order=orders.morton((16, 16))).key == tables.key
    boxes = lacuna.compile(pattern, target=target, head_dim=16, order=orders.boxes((16, 16), (4, 16)))
    assert str(boxes.variant.order) == "boxes of 4 x 16 queries and keys"
    assert (boxes.schedule.block_q, boxes.schedule.block_k, boxes.schedule.route) == (64, 64, "axes")
    with pytest.raises(ValueError, match="`order` is one of 4 x 4 tokens, and the pattern has 16 x 16"):
        lacuna.compile(pattern, target=target, order=orders.hilbert((4, 4)))
    with pytest.raises(TypeError, match="`order` is a list"):
        lacuna.compile(pattern, target=target, order=[None])  # pyright: ignore[reportArgumentType]


def test_a_call_takes_the_kernel_that_was_compiled_for_its_order() -> None:
    from lacuna.runtime.kernels import kernel_of

    kernel_of.forget_kernels()
    pattern, order = patterns.gna((16, 16), 5), orders.hilbert((16, 16))
    made = lacuna.compile(pattern, head_dim=16, order=order)
    attention(*(torch.randn(1, 1, 256, 16) for _ in range(3)), pattern, order=order, backend="cpp")
    assert [kernel.key for kernel in kernel_of._kernels.values()] == [made.key]  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize("order", [orders.hilbert((16, 16)), orders.boxes((16, 16), (8, 8))], ids=str)
def test_transforms_of_torch_take_calls_in_order(order: orders.TokenOrder) -> None:
    @lacuna.pattern(rank=2)
    def each_its_own(q: Any, k: Any, b: Any) -> Any:
        return abs(q[0] - k[0]) + abs(q[1] - k[1]) <= b + 2

    pattern = each_its_own.on(16, 16)

    def call(x: torch.Tensor) -> torch.Tensor:
        return attention(x, x, x, pattern, order=order, backend="eager")

    inputs = torch.randn(3, 2, 1, 256, 16)
    torch.testing.assert_close(torch.func.vmap(call)(inputs), torch.stack([call(each) for each in inputs]))
    torch.testing.assert_close(torch.compile(call, backend="eager", fullgraph=True)(inputs[0]), call(inputs[0]))


# -- graphs -----------------------------------------------------------------------------------------------------------


@lacuna.pattern
def linked(q: Any, k: Any, *, edges: Any) -> Any:
    return edges[q, k]


def scattered(tokens: int) -> torch.Tensor:
    """bool[tokens, tokens]: neighbours of points that are in no order."""
    points = torch.rand(tokens, 2, generator=torch.Generator().manual_seed(1))
    return torch.cdist(points, points) < 0.1


def test_reverse_cuthill_mckee_saves_tiles_of_a_graph() -> None:
    edges = scattered(400)
    order = orders.reverse_cuthill_mckee(edges)
    before, after = (table.numpy() for table in (edges, edges[order.tokens][:, order.tokens]))
    counted = []
    for table in (before, after):
        whole = np.zeros((448, 448), bool)
        whole[:400, :400] = table
        counted.append(int(whole.reshape(7, 64, 7, 64).any(axis=(1, 3)).sum()))
    assert order.tiles == tuple(counted)
    assert counted[1] < 0.6 * counted[0] == 0.6 * 49
    assert str(order) == f"reverse Cuthill-McKee of 400 tokens: {counted[1]} tiles of 64 x 64, 49 before"
    operands = [torch.randn(1, 2, 400, 16) for _ in range(3)]
    pattern = linked(edges=edges)
    assert_same(results(pattern, operands, order=order, backend="cpp"), results(pattern, operands, backend="eager"))


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
def test_a_graph_may_come_in_any_form() -> None:
    edges = scattered(100)
    expected = orders.reverse_cuthill_mckee(edges).tokens

    class Matrix:  # as scipy.sparse has it
        def tocoo(self) -> Any:
            self.row, self.col = edges.numpy().nonzero()
            self.data, self.shape = np.ones(len(self.row)), (100, 100)
            return self

    for form in (edges.float().to_sparse_csr(), edges.float().to_sparse(), edges.numpy(), Matrix(), edges.nonzero().T):
        assert torch.equal(orders.reverse_cuthill_mckee(form, 100).tokens, expected)
    alone = orders.reverse_cuthill_mckee(torch.tensor([[3], [1]]), 6)
    assert sorted(alone.tokens[:2].tolist()) == [1, 3]
    assert alone.tokens[2:].tolist() == [0, 2, 4, 5]


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: orders.permutation(torch.tensor([0, 0, 2])), ValueError, "it does not hold each of 0 to 2 once"),
        (lambda: orders.permutation(torch.tensor([0.0, 1.0])), TypeError, "`tokens` is of torch.float32.\n  write `tokens.int()`"),
        (
            lambda: orders.permutation(torch.zeros(2, 2).int()),
            TypeError,
            "of shape (2, 2) and layout torch.strided, no permutation",
        ),
        (lambda: orders.permutation([1, 0]), TypeError, "`tokens` is a list, no permutation"),  # pyright: ignore[reportArgumentType]
        (lambda: orders.permutation(torch.arange(4), (2, 3)), ValueError, "`tokens` holds 4 tokens, and the grid (2, 3) 6"),
        (lambda: orders.hilbert(()), ValueError, "`extents` is ()"),
        (lambda: orders.morton((4, 4), (2,)), ValueError, "`box` is (2,), on 2 axes"),
        (lambda: orders.shells((4, 4), (0,)), ValueError, "`centre` is (0,), on 2 axes"),
        (lambda: orders.axes((4, 4), (0, 0)), ValueError, "each of 0 to 1 once"),
        (lambda: orders.boxes((4, 4), (8, 2)), ValueError, "there are no boxes of (8, 2) tokens, (1, 1) apart, on (4, 4)"),
        (lambda: orders.hilbert((2, 2)).then(orders.hilbert((3, 3))), ValueError, "an order of 4 tokens and one of 9 do not join"),
        (lambda: orders.reverse_cuthill_mckee("edges"), TypeError, "`graph` is a str, no graph"),
        (lambda: orders.reverse_cuthill_mckee(torch.ones(2, 3).bool()), ValueError, "`graph` has shape (2, 3)"),
        (lambda: orders.reverse_cuthill_mckee(torch.ones(3, 3).int()), ValueError, "a tensor of integers of shape (3, 3)"),
        (lambda: orders.reverse_cuthill_mckee(torch.tensor([[0], [5]]), 4), ValueError, "edges between tokens 0 and 5, and there are 4"),
        (lambda: orders.reverse_cuthill_mckee(torch.zeros(0, 0).bool()), ValueError, "`graph` is one of no tokens"),
        (lambda: orders.permutation(torch.arange(0)), ValueError, "`tokens` holds no tokens: it is empty"),
        (lambda: orders.permutation(torch.arange(4, device="meta")), ValueError, "it is on the meta device"),
        (lambda: orders.hilbert((2.5, 4)), TypeError, "`extents` is (2.5, 4)"),  # pyright: ignore[reportArgumentType]
        (lambda: orders.boxes((4, 4), (2, 2.0)), TypeError, "`box` is (2, 2.0)"),  # pyright: ignore[reportArgumentType]
        (lambda: orders.shells((4, 4), "ab"), TypeError, "`centre` is 'ab'"),  # pyright: ignore[reportArgumentType]
    ],
    ids=range(21),
)
def test_what_is_no_order_says_what_to_write(make: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as raised:
        make()
    assert text in str(raised.value)
    assert "\n  write " in str(raised.value)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"order": torch.arange(16)}, "`order` is a Tensor.\n  write `lacuna.orders.permutation(tensor)`"),
        ({"order": orders.hilbert((4, 5))}, "`order` is one of 4 x 5 tokens, and the call has 4 x 4"),
        (
            {"order": orders.permutation(torch.randperm(16))},
            "`order` is one of 16 tokens, and the call has 4 x 4.\n  write an order with the extents of the pattern; "
            "of a permutation, `permutation(tokens, extents=(4, 4))`",
        ),
        ({"order": orders.hilbert((2, 8))}, "`order` is one of 2 x 8 tokens, and the call has 4 x 4"),
        ({"order": orders.hilbert((4, 4)), "q_len": 12}, "`order` is for calls whose queries and keys are the same tokens, all of them"),
    ],
    ids=["no order", "other length", "a line", "other grid", "lengths"],
)
def test_an_order_that_does_not_fit_a_call_is_refused(options: dict[str, Any], text: str) -> None:
    operands = [torch.randn(1, 1, 16, 16) for _ in range(3)]
    with pytest.raises((TypeError, ValueError)) as raised:
        attention(*operands, patterns.gna((4, 4), 3), **options)
    assert text in str(raised.value)


def test_a_table_that_is_no_permutation_is_refused_where_a_graph_was_given_another() -> None:
    order = orders.hilbert((4, 4))
    order.tokens.zero_()
    operands = [torch.randn(1, 1, 16, 16) for _ in range(3)]
    with pytest.raises(ValueError, match="`order` is no permutation"):
        attention(*operands, patterns.gna((4, 4), 3), order=order)


@pytest.mark.parametrize("order", [orders.hilbert((4, 5)), orders.boxes((13, 20), (8, 8), (1, 2))], ids=str)
def test_orders_are_text_after_a_program(order: orders.TokenOrder) -> None:
    program = str(patterns.gna((4, 5), 3).program)
    assert parted(program + order.text) == (program, order.order)
    assert parted(program) == (program, None)
    assert show_order(order.order) == order.text


@pytest.mark.parametrize("text", ["given()", "boxes(4 x 4)", "boxes(4 x 4, 9 x 1, 1 x 1)", "sorted(4)", "given(4), given(4)"])
def test_other_text_after_a_program_is_refused(text: str) -> None:
    with pytest.raises(InvalidProgram, match="is no order"):
        parted(f"program @p(q < Lq, k < Lk) {{\n}}\norder = {text}")
