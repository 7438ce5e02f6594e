"""Orders of tokens per query head: views of heads, masks of some heads, and calls that are what the definition says."""

# Patterns are written without types, and torch's are partly unknown.
# ruff: noqa: ANN401
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownLambdaType=false
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lacuna
import pytest
import reference
import torch
from conftest import PROFILE
from hypothesis import given
from hypothesis import strategies as st
from lacuna import orders, patterns
from lacuna.ir.head_orders import HeadOrders, head_views
from lacuna.ir.order import Boxes, Given, Order, Parts
from lacuna.ir.order_text import parted, show_order, show_side, side_of, tokens_table
from lacuna.ir.program import InvalidProgram
from lacuna.passes.program.call_values import Launch
from lacuna.passes.program.head_program import of_heads, read_by_conditions
from lacuna.runtime.calls.call import Call
from lacuna.runtime.kernels import kernel_of
from lacuna.runtime.parts.views_of_request import parts, places

pytestmark = pytest.mark.usefixtures("compiled_quickly")

attention: Callable[..., Any] = lacuna.attention
EXTENTS, TOKENS, DIM = (4, 5, 6), 120, 16
SMALL = (3, 3, 4)  # one tile, for Triton's interpreter
FRAMES_INNERMOST = orders.axes(EXTENTS, (1, 2, 0))
HILBERT = orders.hilbert(EXTENTS)


@lacuna.pattern(rank=3)
def video(q: Any, k: Any, h: Any, *, temporal: Any) -> Any:
    """Heads that look along frames, and heads that look around in their own."""
    near = (abs(q[1] - k[1]) <= 1) & (abs(q[2] - k[2]) <= 1)
    return lacuna.where(temporal[h], near, abs(q[0] - k[0]) <= 1)


@lacuna.score
def sloped(s: Any, h: Any, q: Any, k: Any, *, slopes: Any) -> Any:
    return s + slopes[h] * abs(q - k)


def sees(temporal: list[bool], extents: tuple[int, ...] = EXTENTS) -> torch.Tensor:
    """bool[1, heads, tokens, tokens]: what `video` sees."""
    at = torch.cartesian_prod(*(torch.arange(extent) for extent in extents))
    apart = (at[:, None] - at[None]).abs()
    near, soon = apart[..., 1:].amax(-1) <= 1, apart[..., 0] <= 1
    return torch.stack([near if each else soon for each in temporal])[None]


# -- views of heads ---------------------------------------------------------------------------------------------------


@given(st.data())
def test_views_hold_every_head_once_with_its_own_key_head_and_never_share_a_place(data: st.DataObject) -> None:
    group, kv_heads = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 5))
    of_head = tuple(data.draw(st.lists(st.integers(0, 2), min_size=group * kv_heads, max_size=group * kv_heads)))
    found = head_views(of_head, kv_heads)
    met = [head for view in found for head in view.heads]
    assert sorted(met) == list(range(len(of_head)))
    written = [(view.place, head) for view in found for head in view.kv_heads]
    assert len(set(written)) == len(written)
    for view in found:
        assert len({of_head[head] for head in view.heads}) == 1
        together = len(view.heads) // len(view.kv_heads)
        assert [head // group for head in view.heads] == [view.kv_heads[number // together] for number in range(len(view.heads))]


@pytest.mark.parametrize(
    ("of_head", "kv_heads", "expected"),
    [
        ((0, 0, 0, 0, 1, 1, 1, 1), 8, [range(4), range(4, 8)]),
        ((0, 1, 0, 1, 0, 1), 6, [range(0, 6, 2), range(1, 6, 2)]),
        ((0, 1, 0, 1, 0, 1), 3, [range(0, 6, 2), range(1, 6, 2)]),
        ((0, 0, 0, 1, 1, 1), 3, [range(2), range(2, 3), range(3, 5), range(5, 6)]),
        ((0, 0, 0, 0, 0, 0), 2, [range(6)]),
        ((0, 1, 1, 0, 1, 1, 0, 1, 1), 9, [range(0, 9, 3), range(1, 9, 3), range(2, 9, 3)]),
    ],
    ids=str,
)
def test_heads_that_share_an_order_are_as_few_views_as_strides_allow(of_head: Any, kv_heads: int, expected: list[range]) -> None:
    assert [view.heads for view in head_views(of_head, kv_heads)] == expected


# -- programs of some heads -------------------------------------------------------------------------------------------


def test_a_program_of_heads_of_one_kind_holds_their_mask_alone() -> None:
    pattern = video(temporal=torch.tensor([True, False, True, False]))
    program = pattern.on(*EXTENTS).program
    assert [table.name for table in read_by_conditions(program)] == ["temporal"]
    launch = Launch(TOKENS, TOKENS, heads=4, tables={"temporal": torch.tensor([True, False, True, False]).numpy()})
    near, moved = of_heads(program, range(0, 4, 2), launch)
    assert str(near.mask) == "abs(q1 - k1) <= 1 and abs(q2 - k2) <= 1"
    assert str(of_heads(program, range(1, 4, 2), launch)[0].mask) == "abs(q0 - k0) <= 1"
    assert (near.tables, moved) == ((), {})
    both, moved = of_heads(program, range(1, 3), launch)
    assert str(both.mask).startswith("where(temporal[first_head + h], ")
    assert moved == {"first_head": 1}


def test_the_first_head_has_a_name_that_the_program_does_not_use() -> None:
    @lacuna.pattern
    def own(q: Any, k: Any, h: Any, *, first_head: Any) -> Any:
        return q - k < first_head[h]

    program, moved = of_heads(own(first_head=torch.arange(4)).program, range(1, 4, 2), Launch(8, 8))
    assert "first_head[first_head_ + 2 * h]" in str(program.mask)
    assert moved == {"first_head_": 1}


# -- calls ------------------------------------------------------------------------------------------------------------


CASES = {
    "shared keys": (6, 2, [HILBERT, None, FRAMES_INNERMOST, HILBERT, FRAMES_INNERMOST, FRAMES_INNERMOST], [True, False, *[True] * 4]),
    "some heads": (3, 3, {range(1, 3): FRAMES_INNERMOST}, [False, True, True]),
    "one order": (4, 2, [HILBERT] * 4, [True] * 4),
    "any order": (4, 4, [None] * 4, [True, False] * 2),
}


def loss_of(out: torch.Tensor, lse: torch.Tensor) -> torch.Tensor:
    return (out * torch.linspace(-1, 1, DIM)).sum() + (lse * torch.linspace(1, 2, lse.shape[-1])).sum()


def results(operands: list[torch.Tensor], pattern: Any, layout: str = "bhld", **options: Any) -> list[torch.Tensor]:
    """Output, log-sum-exp and gradients of query, key, value and slopes, heads first."""
    *qkv, slopes = [each.clone().requires_grad_() for each in operands]
    laid_out = qkv if layout == "bhld" else [each.transpose(1, 2).contiguous() for each in qkv]
    out, lse = attention(*laid_out, pattern, score=sloped(slopes=slopes), layout=layout, return_lse=True, **options)
    out = out if layout == "bhld" else out.transpose(1, 2)
    return [each.detach() for each in (out, lse, *torch.autograd.grad(loss_of(out, lse), [*qkv, slopes]))]


def dense(operands: list[torch.Tensor], mask: torch.Tensor) -> list[torch.Tensor]:
    """The same by the definition, float64."""
    query, key, value, slopes = [each.double().requires_grad_() for each in operands]
    at = torch.arange(query.shape[2])
    apart = (at[:, None] - at).abs().double()
    out, lse = reference.attention(query, key, value, mask, score=lambda scores: scores + slopes[:, None, None] * apart)
    return [each.detach() for each in (out, lse, *torch.autograd.grad(loss_of(out, lse), (query, key, value, slopes)))]


def assert_exact(found: list[torch.Tensor], exact: list[torch.Tensor]) -> None:
    for ours, theirs in zip(found, exact, strict=True):
        assert (ours - theirs).abs().max() <= 2e-5 * max(1.0, float(theirs.abs().max()))


def operands_of(heads: int, kv_heads: int, tokens: int) -> list[torch.Tensor]:
    """Query, key, value and slopes."""
    torch.manual_seed(0)
    batch = 1 if tokens < TOKENS else 2
    return [*(torch.randn(batch, count, tokens, DIM) for count in (heads, kv_heads, kv_heads)), torch.linspace(-0.05, 0.05, heads)]


def check(name: str, **options: Any) -> list[torch.Tensor]:
    heads, kv_heads, order, temporal = CASES[name]
    operands = operands_of(heads, kv_heads, TOKENS)
    pattern = video(temporal=torch.tensor(temporal)).on(*EXTENTS)
    found = results(operands, pattern, order=order, **options)
    assert_exact(found, dense(operands, sees(temporal)))
    return found


@pytest.mark.parametrize("name", CASES)
def test_heads_in_orders_of_their_own_are_as_the_definition_says_forward_and_backward(name: str) -> None:
    plain, again, tokens_first = check(name, backend="cpp"), check(name, backend="cpp"), check(name, backend="cpp", layout="blhd")
    for each in (again, tokens_first):
        assert all(torch.equal(one, other) for one, other in zip(plain, each, strict=True))


def test_heads_in_orders_of_their_own_are_as_the_definition_says_on_triton() -> None:
    """Two heads of a key head in one order, one in another: their sums over keys are added up."""
    operands, temporal = operands_of(3, 1, 36), [True] * 3
    columns, curve = orders.axes(SMALL, (1, 2, 0)), orders.hilbert(SMALL)
    given = (operands, video(temporal=torch.tensor(temporal)).on(*SMALL))
    found, again = (results(*given, order=[columns, curve, columns], backend="triton") for _ in range(2))
    assert_exact(found, dense(operands, sees(temporal, SMALL)))
    assert all(torch.equal(one, other) for one, other in zip(found, again, strict=True))


def test_the_eager_backend_takes_tokens_as_they_lie_whatever_is_asked_of_each_head() -> None:
    check("some heads", backend="eager")


def test_heads_of_a_kind_share_a_kernel_wherever_they_are() -> None:
    kernel_of.forget_kernels()
    operands = [torch.randn(1, 6, TOKENS, DIM) for _ in range(3)]
    for temporal in ([True, False] * 3, [False] * 3 + [True] * 3):
        order = [FRAMES_INNERMOST if each else HILBERT for each in temporal]
        attention(*operands, video(temporal=torch.tensor(temporal)).on(*EXTENTS), order=order, backend="cpp")
    masks = sorted(str(variant.program.mask) for variant, _ in kernel_of._kernels)  # pyright: ignore[reportPrivateUsage]
    assert len(masks) == 2
    assert not any("temporal" in mask or "h" in mask.replace("where", "") for mask in masks)


def test_heads_that_are_left_to_kernels_are_taken_kind_by_kind() -> None:
    kernel_of.forget_kernels()
    operands = [torch.randn(1, 4, 1024, DIM) for _ in range(3)]

    @lacuna.pattern(rank=2)
    def wide_or_tall(q: Any, k: Any, h: Any) -> Any:
        down, along = abs(q[0] - k[0]), abs(q[1] - k[1])
        return lacuna.where(h < 2, (down <= 2) & (along <= 2), (down <= 4) & (along <= 1))

    found = attention(*operands, wide_or_tall.on(32, 32), order=[None] * 4, backend="cpp")
    taken = [variant.order for variant, _ in kernel_of._kernels]  # pyright: ignore[reportPrivateUsage]
    assert len(taken) == 2
    assert all(order is not None and isinstance(order.rows, Boxes) for order in taken)
    reference.assert_close(found, reference.attention(*operands, lacuna.dense(wide_or_tall.on(32, 32), 1024, heads=4))[0], 1e-5)  # pyright: ignore[reportCallIssue]


def test_a_window_per_head_is_read_from_the_table_of_all_heads() -> None:
    @lacuna.pattern
    def window(q: Any, k: Any, h: Any, *, reach: Any) -> Any:
        return abs(q - k) < reach[h]

    torch.manual_seed(0)
    reach = torch.tensor([3, 50, 9, 120], dtype=torch.int32)
    operands = query, key, value = [torch.randn(1, heads, TOKENS, DIM) for heads in (4, 2, 2)]
    order = orders.permutation(torch.randperm(TOKENS))
    found = attention(*operands, window(reach=reach), order=[order, None, None, order], backend="cpp")
    apart = (torch.arange(TOKENS)[:, None] - torch.arange(TOKENS)).abs()
    reference.assert_close(found, reference.attention(query, key, value, apart[None, None] < reach[:, None, None])[0], 1e-5)


def request_of(order: Any, heads: tuple[int, int] = (4, 2)) -> Any:
    given = orders_asked(order, heads[0])
    query, key = torch.randn(1, heads[0], TOKENS, DIM), torch.randn(1, heads[1], TOKENS, DIM)
    text = str(patterns.gna(EXTENTS, 3).program) + given.text
    return Call(query, key, key, list(given.tables), [], None, None, 0, [3] * len(EXTENTS), [], text, None, "bhld", "").request()


def orders_asked(order: Any, heads: int) -> Any:
    from lacuna.runtime.request.head_orders import asked

    return asked(order, heads)


def test_launches_of_heads_are_views_of_the_memory_of_the_call() -> None:
    request = request_of([HILBERT, None, FRAMES_INNERMOST, HILBERT])
    found = parts(request)
    assert places(found) == 2  # head 2, and heads 0 and 3 of which the latter has the same key head
    for whole, views in ((request.query, [each.request.query for each in found]), (request.key, [each.request.key for each in found])):
        assert {view.untyped_storage().data_ptr() for view in views} == {whole.untyped_storage().data_ptr()}
    assert [each.request.query.shape[1] for each in found] == [2, 1, 1]
    tables = [each.request.bindings["tokens_in_order"] if each.request.asked else None for each in found]
    assert all(mine is own for mine, own in zip(tables, (HILBERT.tokens, None, FRAMES_INNERMOST.tokens), strict=True))


def test_transforms_of_torch_take_calls_with_an_order_for_each_head() -> None:
    pattern = video(temporal=torch.tensor([False, True])).on(*EXTENTS)

    def call(x: torch.Tensor) -> torch.Tensor:
        return attention(x, x, x, pattern, order=[HILBERT, FRAMES_INNERMOST], backend="eager")

    inputs = torch.randn(2, 2, 2, TOKENS, DIM)
    torch.testing.assert_close(torch.func.vmap(call)(inputs), torch.stack([call(each) for each in inputs]))
    if PROFILE == "prove":  # ten seconds
        torch.testing.assert_close(torch.compile(call, backend="eager", fullgraph=True)(inputs[0]), call(inputs[0]))
        for order in ({1: HILBERT}, orders.of_heads({range(2): FRAMES_INNERMOST}, 2)):
            found = torch.compile(
                lambda x, order=order: attention(x, x, x, pattern, order=order, backend="eager"), backend="eager", fullgraph=True
            )
            torch.testing.assert_close(found(inputs[0]), call(inputs[0]))


def test_orders_of_heads_are_made_once_for_many_calls() -> None:
    made = orders.of_heads({range(1, 3): HILBERT}, 4)
    assert made.orders == (None, HILBERT, HILBERT, None)
    assert str(made) == "0: any, 1: hilbert, 2: hilbert, 3: any"
    operands = [torch.randn(1, 4, TOKENS, DIM) for _ in range(3)]
    calls = [attention(*operands, patterns.gna(EXTENTS, 3), order=each, backend="eager") for each in (made, None)]
    assert torch.equal(*calls)
    with pytest.raises(TypeError, match=r"`heads` is '2'\.\n  write how many query heads there are"):
        orders.of_heads({0: HILBERT}, "2")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="`orders` are not one for each of 4 heads"):
        orders.of_heads([HILBERT], 4)


def test_calls_without_heads_take_an_order_for_none() -> None:
    operands = [torch.randn(1, 0, TOKENS, DIM) for _ in range(3)]
    assert attention(*operands, patterns.gna(EXTENTS, 3), order={}).shape == (1, 0, TOKENS, DIM)


# -- looked at --------------------------------------------------------------------------------------------------------


def test_schedules_of_heads_have_the_tiles_of_each_in_its_order() -> None:
    pattern = video(temporal=torch.tensor([False, True] * 2)).on(*EXTENTS)
    order = [None, FRAMES_INNERMOST] * 2
    found = lacuna.schedule(pattern, TOKENS, block=(16, 16), heads=4, order=order)
    seen = lacuna.dense(pattern, TOKENS, heads=4)[0]
    for head in range(4):
        tokens = torch.arange(TOKENS) if order[head] is None else FRAMES_INNERMOST.tokens
        padded = torch.zeros(128, 128, dtype=torch.bool)
        padded[:TOKENS, :TOKENS] = seen[head][tokens.long()][:, tokens.long()]
        meets = padded.view(8, 16, 8, 16).any(3).any(1).numpy()
        assert (found.tiles(h=head)[meets] > 0).all()
        assert (found.tiles(h=head) > 0).sum() < 1.3 * meets.sum()
    assert "heads 1, 3 in axes (1, 2, 0) of 4 x 5 x 6 tokens" in str(found)
    with pytest.raises(ValueError, match="there is no head 4"):
        found.tiles(h=4)
    with pytest.raises(ValueError, match="`order` has 2 orders, and there are 4 `heads`"):
        lacuna.schedule(pattern, TOKENS, heads=4, order=[None, HILBERT])


def test_an_explanation_lists_orders_of_axes_for_heads_of_different_kinds() -> None:
    pattern = video(temporal=torch.tensor([False, True, False])).on(*EXTENTS)
    told = lacuna.explain(pattern, TOKENS, block=(16, 16), heads=3)
    assert [kind.heads for kind in told.kinds] == [(0, 2), (1,)]
    assert [kind.orders[0].name for kind in told.kinds] == ["row-major", "axes (1, 2, 0)"]
    best, row_major = told.kinds[1].orders[0], next(each for each in told.kinds[1].orders if each.name == "row-major")
    assert best.visited < row_major.visited == (lacuna.schedule(pattern, TOKENS, block=(16, 16), heads=3).tiles(h=1) > 0).sum()
    assert f"  heads 1: axes (1, 2, 0) {best.visited} {best.full}; " in str(told)
    asked = lacuna.explain(pattern, TOKENS, block=(16, 16), heads=3, order={1: FRAMES_INNERMOST})
    assert asked.classes[1] + asked.classes[2] == 2 * told.kinds[0].orders[0].visited + best.visited
    assert str(asked).count("predicted speed-up") == 2
    assert not lacuna.explain(patterns.gna(EXTENTS, 3), TOKENS, heads=3).kinds


# -- text, and what is refused ----------------------------------------------------------------------------------------


def test_orders_of_heads_are_text_after_a_program() -> None:
    program, boxes = str(patterns.gna((8, 8), 3).program), Boxes((8, 8), (8, 8), (1, 1))
    first, second = (Given((8, 8), tokens_table(number)) for number in range(2))
    asked = HeadOrders((0, 1, 2, 0, 3), (Order(first, first), Order(boxes, boxes), None, Order(second, second)))
    assert show_order(asked) == "\norder = heads(0 1 2 0 3): given(8 x 8); boxes(8 x 8, 8 x 8, 1 x 1); any; given(8 x 8)"
    assert parted(program + show_order(asked)) == (program, asked)


def test_boxes_of_the_parts_of_a_sequence_are_text_too() -> None:
    side = Parts((Boxes((7,), (64,), (1,)), Boxes((64, 64), (8, 8), (1, 1))))
    assert show_side(side) == "boxes(7, 64, 1) beside boxes(64 x 64, 8 x 8, 1 x 1)"
    assert side_of(show_side(side)) == side
    for wrong in ("boxes(7, 64, 1) beside boxes(64 x 64, 8 x 4, 1 x 1)", "boxes(7, 64, 1) beside given(4)", "boxes(7, 0, 1)"):
        assert side_of(wrong) is None


@pytest.mark.parametrize("text", ["heads(): any", "heads(0 2): any; any", "heads(0): any; any", "heads(0): sorted(4)", "heads(0 1): any"])
def test_other_text_of_orders_of_heads_is_refused(text: str) -> None:
    with pytest.raises(InvalidProgram, match="is no order"):
        parted(f"program @p(q < Lq, k < Lk) {{\n}}\norder = {text}")


@pytest.mark.parametrize(
    ("order", "error", "text"),
    [
        ([HILBERT] * 3, ValueError, "`order` has 3 orders, and the query has 4 heads.\n  write one order for each query head"),
        ([HILBERT] * 5, ValueError, "`order` has 5 orders, and the query has 4 heads"),
        ([], ValueError, "`order` is an empty sequence.\n  write one order for each query head"),
        ([None, None, orders.hilbert((4, 5, 7)), None], ValueError, "`order` is one of 4 x 5 x 7 tokens, and the call has 4 x 5 x 6"),
        ([None, "rows", None, None], TypeError, "`order[1]` is a str.\n  write one of `lacuna.orders`"),
        ([torch.arange(TOKENS)] * 4, TypeError, "`order[0]` is a Tensor.\n  write `lacuna.orders.permutation(tensor)`"),
        ({4: HILBERT}, ValueError, "`order` has an order for head 4, and the query has 4 heads.\n  write heads from 0 on"),
        ({0: 3}, TypeError, "`order[0]` is a int"),
        ({"ab": HILBERT}, TypeError, "`order` has an order for 'ab', which is no head.\n  write heads from 0 on"),
        ({1: HILBERT, range(2): None}, TypeError, "`order` has two orders for head 1.\n  write heads from 0 on, each once"),
        ("rows", TypeError, "`order` is a str"),
        ({}, ValueError, "`order` is a mapping that names no head.\n  write heads from 0 on"),
        ({(): HILBERT}, ValueError, "`order` is a mapping that names no head"),
        ({True: HILBERT}, TypeError, "`order` has an order for True, which is no head"),
    ],
    ids=range(14),
)
def test_what_is_no_order_for_each_head_says_what_to_write(order: Any, error: type[Exception], text: str) -> None:
    operands = [torch.randn(1, 4, TOKENS, DIM) for _ in range(3)]
    with pytest.raises(error) as raised:
        attention(*operands, patterns.gna(EXTENTS, 3), order=order)
    assert text in str(raised.value)
