"""Spaces: grids with extents that are numbers or known at a call, two of them, and parts of a sequence; masks, tiles, scores, errors."""

# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false
# ruff: noqa: ANN001, ANN201, ANN202
# (definitions are written without types)
from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lacuna
import numpy as np
import pytest
import torch
from brute_force import classes
from conftest import PROFILE
from hypothesis import given, settings
from hypothesis import strategies as st
from lacuna import patterns
from lacuna.ir.expr import Const
from lacuna.ir.grid import Grid
from lacuna.ir.parse import parse_program
from lacuna.ir.pattern import Pattern
from lacuna.ir.program import InvalidProgram, Program, Space
from lacuna.ir.verify import verify

Place = tuple[int, ...]
pytestmark = pytest.mark.usefixtures("compiled_quickly")
EXAMPLES = 400 if PROFILE == "prove" else 10


def near_every_axis(q, k, *, reach):
    every = True
    for axis in range(len(q)):
        every = every & (abs(q[axis] - k[axis]) <= reach)
    return every


NEAR: dict[int, Pattern] = {rank: lacuna.pattern(rank=rank)(near_every_axis) for rank in (2, 3, 4)}


@lacuna.pattern(rank=2)
def under(q, k, *, ratio, reach):
    return (abs(q[0] // ratio - k[0]) <= reach) & (abs(q[1] // ratio - k[1]) <= reach)


@lacuna.pattern(rank=2)
def inward(q, k, *, reach):
    every = True
    for axis in range(2):
        start = lacuna.minimum(lacuna.maximum(q[axis] - reach, 0), q.extents[axis] - (2 * reach + 1))
        every = every & (start <= k[axis]) & (k[axis] < start + 2 * reach + 1)
    return every


@lacuna.score(rank=2)
def relative(s, q, k, *, bias):
    return s + bias[q[0] - k[0] + 15, q[1] - k[1] + 15]


def pairs(queries: Place, keys: Place, see: Callable[[Place, Place], bool]) -> np.ndarray:
    """bool[queries, keys] by definition."""
    rows, columns = ([*itertools.product(*map(range, extents))] for extents in (queries, keys))
    return np.array([[see(q, k) for k in columns] for q in rows])


def seen(pattern: Pattern, queries: int, keys: int | None = None) -> np.ndarray:
    return lacuna.dense(pattern, queries, keys)[0, 0].numpy()


def qkv(queries: int, keys: int, *, grad: bool = False) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    drawn = torch.Generator().manual_seed(queries + keys)
    query, key, value = (torch.randn(1, h, n, 16, generator=drawn).requires_grad_(grad) for h, n in ((4, queries), (2, keys), (2, keys)))
    return query, key, value


def by_definition(mask: np.ndarray, tensors: tuple[torch.Tensor, ...], bias: torch.Tensor | float = 0.0) -> torch.Tensor:
    query, key, value = tensors
    key, value = key.repeat_interleave(2, 1), value.repeat_interleave(2, 1)
    scores = query @ key.transpose(-1, -2) / 4 + bias
    weights = scores.masked_fill(~torch.from_numpy(mask), -math.inf).softmax(-1)
    return torch.nan_to_num(weights) @ value


def require_output(pattern: Pattern, mask: np.ndarray, score: Any = None, bias: torch.Tensor | float = 0.0) -> None:  # noqa: ANN401
    """The output of C++ kernels is that of the definition."""
    tensors = qkv(*mask.shape)
    found = lacuna.attention(*tensors, pattern, score=score)
    torch.testing.assert_close(found, by_definition(mask, tensors, bias), rtol=1e-4, atol=1e-5)


def require_gradients(pattern: Pattern, mask: np.ndarray) -> None:
    """Those of C++ kernels are those of the definition."""
    tensors = qkv(*mask.shape, grad=True)
    found, wanted = lacuna.attention(*tensors, pattern), by_definition(mask, tensors)
    assert isinstance(found, torch.Tensor)
    upstream = torch.linspace(-1, 1, found.numel()).view_as(found)
    for mine, true in zip(*(torch.autograd.grad((out * upstream).sum(), tensors) for out in (found, wanted)), strict=True):
        torch.testing.assert_close(mine, true, rtol=1e-3, atol=1e-4)


# -- two grids --------------------------------------------------------------------------------------------------------


def test_queries_on_a_grid_attend_with_keys_on_a_pooled_one() -> None:
    pattern = under(ratio=2, reach=1).on(queries=lacuna.grid(16, 8), keys=lacuna.grid(8, 4))
    mask = pairs((16, 8), (8, 4), lambda q, k: all(abs(i // 2 - j) <= 1 for i, j in zip(q, k, strict=True)))
    assert (seen(pattern, 128, 32) == mask).all()
    tiles = lacuna.schedule(pattern, 128, 32, block=(16, 8))
    assert tiles.exact
    assert (tiles.tiles() == classes(mask, 16, 8)).all()
    bias = torch.randn(31, 31, generator=torch.Generator().manual_seed(0))
    rows, columns = (np.array(list(np.ndindex(each))) for each in ((16, 8), (8, 4)))
    apart = rows[:, None] - columns[None] + 15
    require_output(pattern, mask, relative(bias=bias), bias[apart[..., 0], apart[..., 1]])


@given(data=st.data())
@settings(max_examples=EXAMPLES)
def test_random_grids_of_queries_and_keys_are_their_definition(data: st.DataObject) -> None:
    rank = data.draw(st.integers(2, 4))
    queries, keys = (tuple(data.draw(st.integers(1, 4)) for _ in range(rank)) for _ in "qk")
    reach = data.draw(st.integers(0, 2))
    pattern = NEAR[rank](reach=reach).on(queries=lacuna.grid(*queries), keys=keys)
    mask = pairs(queries, keys, lambda q, k: all(abs(i - j) <= reach for i, j in zip(q, k, strict=True)))
    if data.draw(st.booleans()):
        mask = mask & np.tri(*mask.shape, dtype=bool)
        pattern = pattern & patterns.causal()
    assert (seen(pattern, *mask.shape) == mask).all()
    found = lacuna.schedule(pattern, *mask.shape, block=(8, 4))
    assert (found.tiles() == classes(mask, 8, 4)).all()


# -- extents that a call says -----------------------------------------------------------------------------------------


def kernels(cache: Path) -> int:
    return len(list(cache.rglob("*.so")))


def test_frames_follow_from_the_keys_of_a_call_exactly_and_by_one_kernel(private_cache: Path) -> None:
    pattern, built = inward(reach=1).on(None, 6), 0
    for frames in (30, 25, 40, 33):
        mask = seen(inward(reach=1).on(frames, 6), frames * 6)
        assert (seen(pattern, frames * 6) == mask).all()
        tiles = lacuna.schedule(pattern, frames * 6, block=(16, 8))
        assert (tiles.exact, tiles.route, tiles.closed_form) == (True, "axes", True)
        assert (tiles.tiles() == classes(mask, 16, 8)).all()
        require_output(pattern, mask)
        built = built or kernels(private_cache)
    assert kernels(private_cache) == built


def test_a_slice_that_keys_begin_counts_whole() -> None:
    pattern, fixed = inward(reach=1).on(None, 6), inward(reach=1).on(4, 6)
    for tokens in (19, 23, 24):
        mask = seen(fixed, 24)[:tokens, :tokens]
        assert (seen(pattern, tokens) == mask).all()
        assert (seen(inward(reach=1).on(None, "cols")(cols=6), tokens) == mask).all()
        assert (lacuna.schedule(pattern, tokens, block=(8, 4)).tiles() == classes(mask, 8, 4)).all()


def test_one_kernel_serves_every_resolution(private_cache: Path) -> None:
    pattern, built = inward(reach=1).on(lacuna.grid(None, "cols")), 0
    assert pattern.unbound == ("cols",)
    for frames, cols in ((8, 20), (21, 7), (5, 33), (2, 90)):
        fixed, tokens = inward(reach=1).on(frames, cols), frames * cols
        mask = seen(fixed, tokens)
        assert (seen(pattern(cols=cols), tokens) == mask).all()
        found, exact = (lacuna.schedule(each, tokens, block=(16, 8)) for each in (pattern(cols=cols), fixed))
        assert str(found) == str(lacuna.schedule(pattern(cols=5), 25, block=(16, 8))), "the schedule holds for every extent"
        assert (found.exact, found.closed_form) == (True, True)
        assert (found.tiles() == exact.tiles()).all()
        require_output(pattern(cols=cols), mask)
        require_gradients(pattern(cols=cols), mask)
        built = built or kernels(private_cache)
    assert kernels(private_cache) == built


@given(data=st.data())
@settings(max_examples=EXAMPLES)
def test_tiles_of_named_extents_are_exact_where_axes_are_apart(data: st.DataObject) -> None:
    rank = data.draw(st.integers(2, 4))
    extents = tuple(data.draw(st.integers(1, 5)) for _ in range(rank))
    names: tuple[str | None, ...] = (None, "rows", "cols", "depth")[:rank]
    pattern = NEAR[rank](reach=data.draw(st.integers(0, 2)))
    bound = {name: extent for name, extent in zip(names, extents, strict=True) if name}
    mask = seen(pattern.on(*extents), math.prod(extents))
    found = pattern.on(*names)(**bound)
    assert (seen(found, math.prod(extents)) == mask).all()
    tiles = lacuna.schedule(found, math.prod(extents), block=(8, 4))
    assert tiles.exact
    assert (tiles.tiles() == classes(mask, 8, 4)).all()


@lacuna.pattern(rank=2)
def diamond(q, k, *, reach):
    return abs(q[0] - k[0]) + abs(q[1] - k[1]) <= reach


@given(rows=st.integers(1, 9), cols=st.integers(1, 9), reach=st.integers(0, 4))
@settings(max_examples=EXAMPLES)
def test_tiles_of_named_extents_are_exact_where_axes_are_joined(rows: int, cols: int, reach: int) -> None:
    mask = seen(diamond(reach=reach).on(rows, cols), rows * cols)
    found = lacuna.schedule(diamond(reach=reach).on(None, "cols")(cols=cols), rows * cols, block=(8, 4))
    exact = classes(mask, 8, 4)
    assert found.exact
    assert (found.tiles() == exact).all()


def test_explain_says_which_values_of_a_tile_are_known_by_their_ends() -> None:
    small = str(lacuna.explain(diamond(reach=1).on(None, "cols")(cols=50), 2000))
    assert "found: refined, exact" in small
    assert "kernels follow the bounds of its terms, by which 21 tiles more are met" in small
    text = str(lacuna.explain(diamond(reach=1).on(None, "cols")(cols=400), 200_000))
    assert "a cover that may hold more than it must" in text
    assert "in a tile known by its least and greatest value: k % max(cols, 1), k // max(cols, 1), q % max(cols, 1)" in text
    assert "least and greatest" not in str(lacuna.explain(diamond(reach=1).on(None, 9), 90))


@given(data=st.data())
@settings(max_examples=EXAMPLES)
def test_neighborhoods_on_grids_that_a_call_tells_are_those_on_fixed_ones(data: st.DataObject) -> None:
    rank = data.draw(st.integers(2, 3))
    extents = tuple(data.draw(st.integers(3, 8)) for _ in range(rank))
    windows = tuple(data.draw(st.integers(1, extent)) for extent in extents)
    strides = tuple(data.draw(st.integers(1, window)) for window in windows)
    apart = tuple(data.draw(st.integers(1, extent // window)) for extent, window in zip(extents, windows, strict=True))
    causal = tuple(data.draw(st.booleans()) for _ in extents)
    fixed = patterns.gna(extents, windows, strides, apart, causal)
    names = [None, *(data.draw(st.sampled_from((f"extent{axis}", extents[axis]))) for axis in range(1, rank))]
    given_at_call = {name: extent for name, extent in zip(names, extents, strict=True) if isinstance(name, str)}
    found, tokens = patterns.gna(lacuna.grid(*names), windows, strides, apart, causal)(**given_at_call), math.prod(extents)
    mask = seen(fixed, tokens)
    assert (seen(found, tokens) == mask).all()
    tiles, exact = lacuna.schedule(found, tokens, block=(8, 4)), classes(mask, 8, 4)
    assert ((tiles.tiles() > 0) >= (exact > 0)).all()
    assert ((tiles.tiles() == 2) <= (exact == 2)).all()
    assert not tiles.exact or (tiles.tiles() == exact).all()


# -- parts of a sequence ----------------------------------------------------------------------------------------------


def test_parts_of_a_sequence_know_where_they_are() -> None:
    whole = lacuna.sequence(text=7, video=lacuna.grid(3, 4, 5), end=(2, 2))
    assert whole.tokens == 71
    assert list(whole) == ["text", "video", "end"]
    assert whole["video"].slice == slice(7, 67)
    assert str(whole) == "text of 7, video of 3 x 4 x 5, end of 2 x 2"


def test_a_pattern_on_a_part_sees_nothing_else_and_a_score_changes_nothing_else() -> None:
    whole = lacuna.sequence(text=5, video=lacuna.grid(8, 8), end=3)
    near, video = NEAR[2](reach=1), whole["video"]
    inside = pairs((8, 8), (8, 8), lambda q, k: all(abs(i - j) <= 1 for i, j in zip(q, k, strict=True)))
    mask = np.zeros((72, 72), bool)
    mask[video.slice, video.slice] = inside
    assert (seen(near.on(video), 72) == mask).all()
    every = patterns.segmented(whole, {("video", "video"): near})
    full = np.ones_like(mask)
    full[video.slice, video.slice] = inside
    assert (seen(every, 72) == full).all()
    bias = torch.randn(31, 31, generator=torch.Generator().manual_seed(0))
    places = np.array(list(np.ndindex(8, 8)))
    apart = places[:, None] - places[None] + 15
    added = torch.zeros(72, 72)
    added[video.slice, video.slice] = bias[apart[..., 0], apart[..., 1]]
    require_output(every, full, relative(bias=bias).on(video), added)


def test_a_video_in_boxes_beside_text_meets_fewer_tiles_and_gives_the_same() -> None:
    whole = lacuna.sequence(text=9, video=lacuna.grid(2, 8, 40))
    pattern = patterns.segmented(whole, {("video", "video"): patterns.window((2, 8, 40), (1, 8, 8))})
    order = lacuna.orders.parts(whole, video=lacuna.orders.boxes((2, 8, 40), (1, 8, 8)))
    tokens = order.tokens.long()
    assert tokens.sort().values.tolist() == list(range(whole.tokens))
    assert tokens[9:18].tolist() == [9, 10, 11, 12, 13, 14, 15, 16, 49]
    mask = seen(pattern, whole.tokens)
    plain, boxed = (lacuna.schedule(pattern, whole.tokens, block=(64, 64), order=each) for each in (None, order))
    placed = np.concatenate([np.arange(9), np.zeros(55, int), tokens[9:]])  # what is no query sees what another one of its tile sees
    keys = mask[placed][:, placed]
    keys[:, 9:64] = False
    assert boxed.exact
    assert (boxed.tiles() == classes(keys, 64, 64)).all()
    assert (boxed.tiles() > 0).sum() < 0.5 * (plain.tiles() > 0).sum()
    tensors = qkv(whole.tokens, whole.tokens)
    found = lacuna.attention(*tensors, pattern, order=order)
    torch.testing.assert_close(found, by_definition(mask, tensors), rtol=1e-4, atol=1e-5)


def test_a_sequence_with_a_neighborhood_in_it_is_simulated_as_the_line_that_it_is() -> None:
    found = lacuna.simulate(patterns.segmented({"text": 5, "image": (4, 4)}, {("image", "image"): patterns.gna((4, 4), 3)}), device="cpu")
    assert found.extents == (21,)
    assert found.attended == 5 * 21 + 16 * (5 + 9)
    assert not found.sparse


def test_a_rule_reads_the_extents_of_each_side() -> None:
    @lacuna.pattern(rank=2)
    def scaled(q, k):
        return q[0] * k.extents[0] // q.extents[0] == k[0]

    pattern = patterns.segmented({"a": (6, 2), "b": (3, 2)}, {("a", "b"): scaled}, queries=["a"], keys=["b"])
    assert (seen(pattern, 12, 6) == pairs((6, 2), (3, 2), lambda q, k: q[0] * 3 // 6 == k[0])).all()
    assert (seen(scaled.on(queries=(6, 2), keys=(3, 2)), 12, 6) == seen(pattern, 12, 6)).all()


# -- text -------------------------------------------------------------------------------------------------------------


def test_grids_of_queries_and_keys_are_part_of_the_text() -> None:
    made = under(ratio=2, reach=1).on(queries=(None, 16), keys=lacuna.grid(None, "cols"))(cols=8).program
    assert " on ? x 16 and ? x cols {" in str(made)
    assert parse_program(str(made)) == made
    for grids in (Space(grids=(Grid((9,)), Grid((4,)))), Space(grids=(Grid((None,)), Grid((4, 4)))), Space(1, (9,))):
        program = Program("all", patterns.causal().program.mask, space=grids)
        assert parse_program(str(program)) == program
    for wrong in (
        Space(grids=(Grid((9,)), Grid((0,)))),
        Space(grids=(Grid((4, None)), Grid((4,)))),
        Space(2, (), (Grid((4,)), Grid((4,)))),
    ):
        with pytest.raises(InvalidProgram, match="is no grid of flat positions"):
            verify(Program("all", Const(True), space=wrong))
    with pytest.raises(InvalidProgram, match="all known or all `\\?`"):
        parse_program(str(made).replace(" and ? x cols", ""))


# -- mistakes ---------------------------------------------------------------------------------------------------------

WHOLE = lacuna.sequence(text=2, image=(4, 4))
WORD: Any = "a"
HALF: Any = 2.5
NAMED = NEAR[2](reach=1).on(None, "cols")


@pytest.mark.parametrize(
    ("action", "complaint", "fix"),
    [
        (lambda: lacuna.grid(), "a grid of 0 axes", "one to 4 extents"),
        (lambda: lacuna.grid(1, 2, 3, 4, 5), "a grid of 5 axes", "one to 4 extents"),
        (lambda: lacuna.grid(4, 0), "the extent of axis 1 is 0", "a positive integer"),
        (lambda: lacuna.grid(4, -3), "the extent of axis 1 is -3", "a positive integer"),
        (lambda: lacuna.grid(4, HALF), "is 2.5 of type float", "a positive integer, a name, or None"),
        (lambda: lacuna.grid(4, None), "the extent of axis 1 is None", "a number, or a name"),
        (lambda: lacuna.grid("rows", 4), "the outermost extent is the name `rows`", "None"),
        (lambda: lacuna.grid(4, "for"), "the name `for` of an extent is a keyword", "another name"),
        (lambda: NEAR[2].on(), "is not told `queries=`", "`.on(64, 64)`"),
        (lambda: NEAR[2].on(lacuna.grid(4, 4, 4)), "is on a grid of rank 2, got 3 extents", "`.on(..., ...)`"),
        (lambda: NEAR[2].on(4, 4, keys=lacuna.grid(2, 2)), "is told a grid and `queries=` or `keys=`", "`.on(queries=..., keys=...)`"),
        (lambda: NEAR[2].on(queries=lacuna.grid(2, 2)), "is not told `keys=`", "`.on(queries=lacuna.grid(...), keys=lacuna.grid(...))`"),
        (lambda: NEAR[2].on(queries=WORD, keys=lacuna.grid(2, 2)), "a space is 'a' of type str", "`lacuna.grid(48, 80)`"),
        (lambda: NEAR[2].on(None, "reach"), "has a parameter `reach`, and an extent", "another name"),
        (lambda: NEAR[2].on(WHOLE["text"]), "is on a grid of rank 2, got 1 extents", "`.on(..., ...)`"),
        (lambda: NAMED(cols=0), "binds the extent `cols` to 0", "a positive integer"),
        (lambda: NAMED(cols=2.0), "binds the extent `cols` to 2.0", "a positive integer"),
        (lambda: NAMED.program, "is used before `cols` is bound", "cols=..."),
        (lambda: patterns.gna(lacuna.grid(None), 3), "`extents` is one axis, ?", "`lacuna.patterns.neighborhood(window)`"),
        (lambda: lacuna.sequence(), "a sequence without parts", "`lacuna.sequence(text=226"),
        (lambda: lacuna.sequence(text=0), "the extent of axis 0 is 0", "a positive integer"),
        (lambda: lacuna.sequence(video=lacuna.grid(None, 4)), "the part `video` is on ? x 4", "numbers"),
        (lambda: lacuna.orders.parts(WHOLE, video=lacuna.orders.row_major((4, 4))), "there is no part `video`", "text, image"),
        (lambda: lacuna.orders.parts(WHOLE, image=lacuna.orders.row_major((4, 5))), "one of (4, 5) tokens, not of 4 x 4", "same extents"),
        (lambda: lacuna.orders.parts(WHOLE, image=HALF), "`order` is a float", "one of `lacuna.orders`"),
        (lambda: patterns.causal().on(16) & patterns.causal().on(17), "are on different grids", "both on one grid"),
        (lambda: NEAR[2](reach=1).on(4, 4) & patterns.causal().on(17), "are on different grids", "both on one grid"),
        (
            lambda: inward(reach=1).on(queries=(None, 4), keys=(None, 2)).program,
            "the outermost extent of the queries' own grid",
            "a number",
        ),
        (
            lambda: lacuna.attention(*qkv(16, 9), under(ratio=2, reach=1).on(queries=(4, 4), keys=(2, 2))),
            "reaches position 8",
            "`pattern.on",
        ),
        (
            lambda: lacuna.attention(*qkv(17, 4), under(ratio=2, reach=1).on(queries=(4, 4), keys=(2, 2))),
            "reaches position 16",
            "`pattern.on",
        ),
        (lambda: lacuna.attention(*qkv(18, 12), inward(reach=1).on(None, 3)), "queries reach position 17 of a grid", "`q_offset=`"),
        (lambda: lacuna.attention(*qkv(9, 9), patterns.segmented(WHOLE, {})), "the call has 9 keys", "`pattern.on"),
        (lambda: lacuna.attention(*qkv(18, 18), patterns.segmented(WHOLE, {}), score=relative(bias=torch.zeros(31, 31))), "is not", "`.on"),
        (lambda: lacuna.simulate(under(ratio=2, reach=1).on(queries=(4, 4), keys=(2, 2))), "is on two grids", "one grid"),
    ],
)
def test_mistakes_with_spaces_are_answered_with_the_fix(action: Callable[[], object], complaint: str, fix: str) -> None:
    with pytest.raises((TypeError, ValueError, NotImplementedError)) as caught:
        action()
    what, _, write = str(caught.value).partition("\n  write ")
    assert complaint in what
    assert fix in write
