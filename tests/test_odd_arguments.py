"""Arguments that nobody thought of: the catalogue works on them as its definitions say, or names them and says what to write."""

# ruff: noqa: ANN401 (masks are functions of anything that has operators)
# Arguments that types forbid are what this is about.
# pyright: reportArgumentType=false
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false, reportUnknownMemberType=false
from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import lacuna
import numpy as np
import pytest
import torch
from lacuna import patterns
from torch import Tensor

Call = tuple[Callable[..., Any], dict[str, object], int]

CALLS: dict[str, Call] = {
    "a_shape": (patterns.a_shape, {"init": 1, "local": 3}, 12),
    "block_causal": (patterns.block_causal, {"block": 4}, 12),
    "block_local": (patterns.block_local, {"block": 4}, 12),
    "block_local_prefix": (patterns.block_local_prefix, {"length": 12, "block": 4, "prefix": 0}, 12),
    "chunked": (patterns.chunked, {"chunk": 4}, 12),
    "composite_modality": (patterns.composite_modality, {"visual": 3}, 12),
    "conv_window": (patterns.conv_window, {"extents": (3, 4), "kernel": 3, "dilation": 1, "roll": 0}, 12),
    "dilated_neighborhood": (patterns.dilated_neighborhood, {"window": 3, "dilation": 2, "causal": False, "length": 12}, 12),
    "dilated_window": (patterns.dilated_window, {"window": 3, "dilation": 2}, 12),
    "disc_local": (patterns.disc_local, {"extents": (3, 4), "radius": 2, "text": 2, "pool": None}, 14),
    "documents": (patterns.documents, {"document": torch.arange(12) // 4, "causal": True}, 12),
    "elastic_sink_local": (patterns.elastic_sink_local, {"local": torch.tensor([1, 2]), "sink": 1, "block": 4}, 12),
    "gna": (patterns.gna, {"extents": (3, 4), "window": 3, "stride": 1, "dilation": 1, "causal": False}, 12),
    "grid": (patterns.grid, {"extents": (4, 3), "keys": (2, 3)}, 12),
    "halo": (patterns.halo, {"extents": (3, 4), "block": 2, "halo": 1}, 12),
    "hierarchical": (patterns.hierarchical_local_guided, {"text": 2, "high": (4, 4), "low": (2, 2), "radius": 1, "window": 2}, 22),
    "inward_window": (patterns.inward_window, {"extents": (1, 3, 4), "half": 1, "branches": False}, 12),
    "item_local": (patterns.item_local, {"codes": 4}, 12),
    "long_short_distance": (patterns.long_short_distance, {"extents": (4, 8), "group": 2, "interval": 2, "pad_type": 0}, 32),
    "long_short_heads": (patterns.long_short_heads, {"short_heads": 1, "window": 3}, 12),
    "modality_mutual": (patterns.modality_mutual, {"image": (1, 4), "question": (4, 6)}, 12),
    "neighborhood": (patterns.neighborhood, {"window": 3, "stride": 1, "dilation": 1, "causal": False, "length": (3, 4)}, 12),
    "neighboring_ar": (patterns.neighboring_ar, {"extents": (3, 4), "prefix": 2}, 14),
    "overlapping_cross": (patterns.overlapping_cross, {"extents": (4, 4), "window": 2, "overlap": 1.0}, 16),
    "patch_local": (patterns.patch_local, {"words": 4}, 12),
    "prefix_lm": (patterns.prefix_lm, {"prefix": 3}, 12),
    "radial": (patterns.radial, {"frames": 3, "tokens": 4, "block": 2, "decay": 1.0, "sink": False, "text": 2, "rounding": None}, 14),
    "s2_local_stride": (patterns.s2_local_stride, {"heads": 2, "block": 2, "kv_heads": None, "step": None, "homo_head": False}, 12),
    "segmented": (
        patterns.segmented,
        {"segments": {"a": 2, "b": (3, 4)}, "rules": {("a", "b"): False}, "queries": None, "default": True},
        14,
    ),
    "shifted_sparse": (patterns.shifted_sparse_s2attn, {"length": 12, "heads": 2, "groups": 3, "wrap": False, "sinks": 1}, 12),
    "sink_window": (patterns.sink_window, {"sinks": 1, "window": 3}, 12),
    "sliding_window": (patterns.sliding_window, {"window": 3}, 12),
    "strided": (patterns.strided, {"stride": 3}, 12),
    "torus_window": (patterns.torus_window, {"extents": (4, 4), "window": 2, "shift": 1}, 16),
    "window": (patterns.window, {"extents": (4, 4), "window": 2, "shift": 1}, 16),
}


def odd_values() -> list[object]:
    ids = torch.tensor([3, 2])
    numbers: list[object] = [0, -1, None, True, 1.5, "3", np.int64(3), np.float32(2), 3 + 0j, 2**40, 2**70, float("nan"), float("inf")]
    tensors: list[object] = [ids[0], ids, ids[:1], ids[:0], ids.float(), ids > 2, ids.expand(2, 2), np.array(3), np.array([3, 2])]
    tuples: list[object] = [[3, 2], (3, 2), (3,), [3], (), [], ((1, 2), (3, 4)), (ids, ids + 2), (None, 2)]
    grids: list[object] = [lacuna.grid(4, 4), lacuna.grid(12), lacuna.grid(None, 4), lacuna.grid(None, "cols"), lacuna.sequence(a=2, b=10)]
    others: list[object] = [ids.to_sparse(), lacuna.segments(torch.tensor([0, 6, 12])), {}, slice(3), range(3), object()]
    return [*numbers, *tensors, *tuples, *grids, *others]


def problems(count: int) -> Iterator[tuple[str, str, object]]:
    every = [(name, parameter, odd) for name, (_, given, _) in CALLS.items() for parameter in given for odd in odd_values()]
    yield from random.Random(11).sample(every, min(count, len(every)))


def test_odd_arguments_work_or_are_named(prove: bool) -> None:
    """Nothing from inside reaches a user: every refusal has the second line that says what to write."""
    worked, unclear = 0, list[tuple[object, ...]]()
    for name, parameter, odd in problems(100_000 if prove else 250):
        function, given, tokens = CALLS[name]
        try:
            made = function(**{**given, parameter: odd})
            made = made(**dict.fromkeys(made.unbound, 4))
            mask = lacuna.dense(made, tokens, batch=2, heads=2)
            query = torch.randn(2, 2, tokens, 4)
            out = lacuna.attention(query, query, query, made, backend="eager")
            tiles = np.stack([[lacuna.schedule(made, tokens, block=(1, 1), batch=2, heads=2).tiles(b, h) for h in (0, 1)] for b in (0, 1)])
        except (ValueError, TypeError, NotImplementedError, IndexError) as error:
            unclear += [(name, parameter, odd, error)] if "\n  " not in str(error) else []
            continue
        wanted = torch.nn.functional.scaled_dot_product_attention(query, query, query, attn_mask=mask).nan_to_num(0)
        torch.testing.assert_close(out, wanted)
        assert ((tiles > 0) == mask.numpy()).all(), (name, parameter, odd)
        worked += 1
    assert not unclear
    assert worked > (150 if prove else 10)


# -- spans of every batch item ----------------------------------------------------------------------------------------

SPANS: dict[str, Callable[[Any, Any], Any]] = {
    "sliding_window": lambda a, _: patterns.sliding_window(a),
    "two-sided": lambda a, b: patterns.sliding_window((a, b)),
    "dilated_window": patterns.dilated_window,
    "sink_window": patterns.sink_window,
    "a_shape": patterns.a_shape,
    "prefix_lm": lambda a, _: patterns.prefix_lm(a),
    "block_local": lambda a, _: patterns.block_local(a),
    "block_causal": lambda a, _: patterns.block_causal(a),
    "chunked": lambda a, _: patterns.chunked(a),
    "strided": lambda a, _: patterns.strided(a),
    "item_local": lambda a, _: patterns.item_local(a),
    "patch_local": lambda a, _: patterns.patch_local(a),
    "long_short_heads": lambda a, _: patterns.long_short_heads(1, a),
    "composite_modality": lambda a, _: patterns.composite_modality(a),
    "shifted_sparse": lambda a, _: patterns.shifted_sparse_s2attn(12, 2, sinks=a),
    "modality_mutual": lambda a, b: patterns.modality_mutual((a, a + 3), (b, b + 2)),
}


@pytest.mark.parametrize("name", SPANS)
def test_a_tensor_of_spans_gives_each_batch_item_its_own(name: str) -> None:
    """Item by item the mask is that of the number; so are tiles, output and gradients."""
    first, second = torch.tensor([3, 1, 5]), torch.tensor([2, 6, 1])
    whole = SPANS[name](first, second)
    alone = [SPANS[name](int(a), int(b)) for a, b in zip(first, second, strict=True)]
    wanted = torch.cat([lacuna.dense(each, 12, heads=2) for each in alone])
    assert torch.equal(lacuna.dense(whole, 12, batch=3, heads=2), wanted)
    schedule = lacuna.schedule(whole, 12, block=(1, 1), batch=3, heads=2)
    assert all(((schedule.tiles(b, h) > 0) == wanted[b, h].numpy()).all() for b in range(3) for h in range(2))
    query = torch.randn(3, 2, 12, 4, dtype=torch.float64, requires_grad=True)
    out = lacuna.attention(query, query.detach(), query.detach(), whole, backend="eager")
    dense = torch.nn.functional.scaled_dot_product_attention(query, query.detach(), query.detach(), attn_mask=wanted).nan_to_num(0)
    torch.testing.assert_close(out, dense)


def test_pairs_of_ends_come_in_one_tensor() -> None:
    image, question = torch.tensor([[1, 4], [0, 0]]), torch.tensor([[4, 6], [2, 3]])
    found = lacuna.dense(patterns.modality_mutual(image, question), 7, batch=2)
    alone = [patterns.modality_mutual((1, 4), [4, 6]), patterns.causal()]
    assert torch.equal(found, torch.cat([lacuna.dense(each, 7) for each in alone]))


@pytest.mark.usefixtures("compiled_quickly")
@pytest.mark.parametrize("backend", ["cpp", "eager"])
def test_spans_that_change_in_place_are_seen(backend: str) -> None:
    window = torch.tensor([2, 4])
    pattern = patterns.sliding_window(window)
    query = torch.randn(2, 1, 40, 8)
    before = lacuna.attention(query, query, query, pattern, backend=backend)
    window.add_(3)
    after = lacuna.attention(query, query, query, pattern, backend=backend)
    wanted = lacuna.attention(query[:1], query[:1], query[:1], patterns.sliding_window(5), backend=backend)
    torch.testing.assert_close(after[:1], wanted)
    assert not torch.equal(before, after)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: patterns.sliding_window(torch.tensor([1.5])), r"`window` is torch.float32\[1\]\n  write an integer, or an integer"),
        (lambda: patterns.sliding_window(torch.ones(2, 2).int()), r"`window` is torch.int32\[2, 2\]\n  write an integer, or an integer"),
        (lambda: patterns.prefix_lm([1, 2]), r"`prefix` is \[1, 2\], which is no integer\n  write one, or `torch.tensor\(\[...\]\)`"),
        (lambda: patterns.modality_mutual(4, (4, 6)), r"`image` is 4, which is no range of tokens\n  write \(start, stop\)"),
        (lambda: patterns.disc_local((4, 4), torch.tensor([2])), r"`radius` is a tensor, and it is one number for the whole call\n"),
        (lambda: patterns.gna((2**40, 8), 3), "one to 4 positive integers"),
        (lambda: patterns.halo((8, 8), 2**40, 1), "`block` has 41 bits\n  write an integer of at most 2147483647"),
        (lambda: patterns.grid(lacuna.grid(None, 8), 2), r"`extents` is \? x 8, and these windows need every extent\n  write numbers"),
        (lambda: patterns.radial(4, 8, decay=float("nan")), "`decay` is nan, which leaves no width\n  write a positive number"),
        (lambda: patterns.documents(torch.arange(4), causal=1), "`causal` is 1, which is no truth value\n  write True or False"),
        (lambda: patterns.overlapping_cross((8, 8), 4, "half"), "`overlap` is 'half', which is no ratio\n  write a number"),
        (lambda: patterns.hierarchical_local_guided(1, (4,), (2, 2)), r"`high` is \(4,\)\n  write `\(rows, columns\)` of the image"),
        (lambda: patterns.long_short_distance(9, 2, pad_type=2), "`pad_type` is 2\n  write 0 for padding at the end"),
    ],
)  # fmt: skip
def test_what_is_no_number_of_tokens_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: patterns.segmented(3, {}), "`segments` is 3, no mapping\n  write a `lacuna.sequence`"),
        (lambda: patterns.segmented({"a": 2}, None), "`rules` is None, no mapping\n  write"),
        (lambda: patterns.segmented({"a": 2}, {}, queries="a"), r"`queries` is 'a'\n  write names of segments, `\('a',\)`"),
        (
            lambda: patterns.documents(torch.arange(3).to_sparse()),
            "a torch.sparse_coo tensor, which has no entry for every index\n  write `doc",
        ),
    ],
)
def test_what_is_no_mapping_and_no_table_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        call()


# -- grids, rules and divisors ----------------------------------------------------------------------------------------


def test_windows_lie_on_grids_whose_extents_a_call_tells() -> None:
    at = torch.arange(45)
    rows, cols = at // 9, at % 9

    def same(key: Tensor) -> Tensor:
        return key[:, None] == key[None]

    near = [(rows[:, None] - rows[None]).abs() < 2, (cols[:, None] - cols[None]).abs() < 2]
    shells = rows + cols
    cases = [
        (lambda grid: patterns.window(grid, 2, 1), same((rows + 1) // 2) & same((cols + 1) // 2)),
        (lambda grid: patterns.torus_window(grid, 2, 1), same((rows - 1) % 5 // 2) & same((cols - 1) % 9 // 2)),
        (lambda grid: patterns.halo(grid, 1, 1), near[0] & near[1]),
        (patterns.neighboring_ar, shells[None] <= shells[:, None]),
    ]
    for make, wanted in cases:
        pattern = make(lacuna.grid(None, "cols"))(cols=9)
        assert torch.equal(lacuna.dense(pattern, 45)[0, 0], wanted), pattern
        assert ((lacuna.schedule(pattern, 45, block=(1, 1)).tiles() > 0) == wanted.numpy()).all(), pattern


@pytest.mark.usefixtures("compiled_quickly")
@pytest.mark.parametrize("backend", ["cpp", "eager"])
def test_extents_that_the_mask_does_not_read_have_values(backend: str) -> None:
    """Tiles are cut along axes that the mask says nothing of."""

    @lacuna.pattern(rank=3)
    def outer(q: Any, k: Any) -> Any:
        return q[0] >= k[0]

    @lacuna.pattern(rank=3)
    def inner(q: Any, k: Any) -> Any:
        return q[2] > k[2]

    at = torch.arange(72)
    for pattern, of in ((outer, at // 12), (inner, at % 4)):
        meant = pattern.on(lacuna.grid(None, "mid", "cols"))(mid=3, cols=4)
        wanted = of[:, None] >= of[None] if pattern is outer else of[:, None] > of[None]
        query = torch.randn(1, 1, 72, 8)
        out = lacuna.attention(query, query, query, meant, backend=backend)
        dense = torch.nn.functional.scaled_dot_product_attention(query, query, query, attn_mask=wanted).nan_to_num(0)
        torch.testing.assert_close(out, dense)
        assert ((lacuna.schedule(meant, 72, block=(1, 1)).tiles() > 0) == wanted.numpy()).all()
        assert "mid" in str(lacuna.explain(meant, 72))
        either = lacuna.schedule(meant | patterns.causal(), 72, block=(1, 1)).tiles() > 0
        assert (either == (wanted | torch.ones(72, 72).tril().bool()).numpy()).all()


def _holds(condition: int, a: int, b: int, size: int) -> bool:
    return [a <= b, a > b, abs(a - b) <= 1, a == b, a < 0, a <= size // 2 and a > size // 2, b >= size, True][condition]


def _condition(condition: int, a: Any, b: Any, size: int) -> Any:
    if condition == 5:
        return (a <= size // 2) & (a > size // 2)
    return [a <= b, a > b, abs(a - b) <= 1, a == b, a < 0, None, b >= size, a == a][condition]


def test_rules_that_are_never_true_along_an_axis_have_no_tiles(prove: bool) -> None:
    """Any two conditions, one along each axis: on a grid, and on that grid in a sequence beside text."""
    draw = random.Random(3)
    for _ in range(300 if prove else 25):
        rows, cols, text = draw.randint(1, 5), draw.randint(1, 5), draw.randint(1, 6)
        first, second = draw.randrange(8), draw.randrange(8)

        made = _bound(first, second, rows, cols)
        places = [divmod(at, cols) for at in range(rows * cols)]
        grid = np.array([[_holds(first, q[0], k[0], rows) and _holds(second, q[1], k[1], cols) for k in places] for q in places])
        block = (draw.choice([1, 2, 4]), draw.choice([1, 2, 4]))
        whole = lacuna.sequence(video=lacuna.grid(rows, cols), text=text)
        joint = patterns.segmented(whole, {("video", "video"): made})
        beside = np.ones((rows * cols + text,) * 2, bool)
        beside[: rows * cols, : rows * cols] = grid
        for pattern, wanted in ((made.on(rows, cols), grid), (joint, beside)):
            tiles = lacuna.schedule(pattern, len(wanted), block=block).tiles()
            for i, j in np.ndindex(tiles.shape):
                held = wanted[i * block[0] : (i + 1) * block[0], j * block[1] : (j + 1) * block[1]]
                assert (tiles[i, j] > 0) == held.any(), (first, second, rows, cols, text, block)


def _bound(first: int, second: int, rows: int, cols: int) -> Any:
    @lacuna.pattern(rank=2)
    def rule(q: Any, k: Any) -> Any:
        return _condition(first, q[0], k[0], rows) & _condition(second, q[1], k[1], cols)

    return rule


@pytest.mark.usefixtures("compiled_quickly")
@pytest.mark.parametrize("backend", ["cpp", "eager"])
def test_a_divisor_that_is_bound_to_0_gives_0(backend: str) -> None:
    @lacuna.pattern
    def parted(q: Any, k: Any, *, d: int, e: int) -> Any:
        return (q // d <= k // e) & (k % d == q % e) & (k <= q)

    at = np.arange(40)

    def quotient(by: int) -> np.ndarray:
        return at // by if by else at * 0

    def rest(by: int) -> np.ndarray:
        return at % by if by else at * 0

    query: Any = torch.randn(1, 1, 40, 8, requires_grad=True)
    for d, e in ((0, 0), (0, 3), (4, 0), (5, 2)) if backend == "eager" else ((0, 3),):
        wanted = (quotient(d)[:, None] <= quotient(e)[None]) & (rest(d)[None] == rest(e)[:, None]) & (at[None] <= at[:, None])
        pattern = parted(d=d, e=e)
        assert torch.equal(lacuna.dense(pattern, 40)[0, 0], torch.from_numpy(wanted))
        tiles = lacuna.schedule(pattern, 40, block=(1, 1)).tiles()
        assert ((tiles > 0) == wanted).all()
        out: Any = lacuna.attention(query, query, query, pattern, backend=backend)
        dense = torch.nn.functional.scaled_dot_product_attention(query, query, query, attn_mask=torch.from_numpy(wanted)).nan_to_num(0)
        torch.testing.assert_close(out, dense)
        torch.testing.assert_close(torch.autograd.grad(out.sum(), query)[0], torch.autograd.grad(dense.sum(), query)[0])


def test_a_convolution_along_a_sequence_is_centred_and_rolls() -> None:
    for length, kernel, dilation, roll in ((9, 3, 1, 0), (9, 5, 2, 0), (8, 3, 1, 3), (7, 3, 2, -2), (1, 3, 1, 1)):
        found = lacuna.dense(patterns.conv_window(length, kernel, dilation, roll=roll), length)[0, 0]
        for q, k in np.ndindex(length, length):
            apart = q - (k - roll) % length
            assert bool(found[q, k]) == (abs(apart) <= kernel // 2 * dilation and apart % dilation == 0)
        assert torch.equal(found, lacuna.dense(patterns.conv_window((length,), (kernel,), dilation, roll=roll), length)[0, 0])


def test_padding_on_both_sides_moves_the_groups() -> None:
    """By half of what an axis lacks to a multiple of G I, rounded down, as `torch.nn.functional.pad` with both ends would."""
    for extents, group, interval in (((9, 13), 3, 2), ((5,), 2, 2), ((10, 7), 4, 1)):
        found = lacuna.dense(patterns.long_short_distance(extents, group, interval, pad_type=1), int(np.prod(extents)))[0, 0].numpy()
        along = list[np.ndarray]()
        for extent in extents:
            lacks = (group * interval - extent % (group * interval)) % (group * interval)
            at = np.arange(extent) + lacks // 2
            along.append((at[:, None] // (group * interval) == at // (group * interval)) & (at[:, None] % interval == at % interval))
        assert (found == (along[0] if len(along) == 1 else np.kron(*along))).all()


def test_both_rules_for_the_text_of_a_small_copy() -> None:
    for text_sees_low, low_sees_text in ((True, True), (False, True), (True, False), (False, False)):
        made = patterns.hierarchical_local_guided(2, (4, 4), (2, 2), radius=1, text_sees_low=text_sees_low, low_sees_text=low_sees_text)
        found = lacuna.dense(made, 22)[0, 0]
        assert bool(found[:2, 18:].all()) is text_sees_low
        assert bool(found[:2, 18:].any()) is text_sees_low
        assert bool(found[18:, :2].all()) is low_sees_text
        assert bool(found[18:, :2].any()) is low_sees_text
        assert found[:18, :2].all()
        assert found[:2, :18].all()
