"""Patterns on grids and of segments: the definition of each in plain integers, its worked example, its identities and traps."""

# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false
# (definitions are written without types)
from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable
from typing import Any

import lacuna
import numpy as np
import pytest
import torch
from brute_force import classes
from lacuna import patterns
from lacuna.ir.pattern import Pattern

Place = tuple[int, ...]
See = Callable[[Any, Any], bool]


def places(extents: Place) -> list[Place]:
    return list(itertools.product(*(range(extent) for extent in extents)))


def defined(extents: Place, see: See) -> list[set[int]]:
    """The keys of each query of a row-major grid."""
    every = places(extents)
    return [{at for at, key in enumerate(every) if see(query, key)} for query in every]


def rows(pattern: Pattern, tokens: int, keys: int | None = None, batch: int = 1, b: int = 0) -> list[set[int]]:
    dense = lacuna.dense(pattern, tokens, keys, batch=batch)
    return [set(torch.nonzero(row).flatten().tolist()) for row in dense[min(b, dense.shape[0] - 1), 0]]


def span(start: int, stop: int) -> set[int]:
    return set(range(start, stop))


# -- definitions on grids ---------------------------------------------------------------------------------------------


def in_halo(q: Place, k: Place, block: Place, halo: Place) -> bool:
    return all(b * (i // b) - h <= j < b * (i // b) + b + h for i, j, b, h in zip(q, k, block, halo, strict=True))


def swin(q: Place, k: Place, extents: Place, window: int, shift: int) -> bool:
    """The cyclic form: the same window after the roll, and not from opposite sides of it."""
    rolled = [((i - shift) % n // window, (j - shift) % n // window) for i, j, n in zip(q, k, extents, strict=True)]
    return all(a == b for a, b in rolled) and all((i < shift) == (j < shift) for i, j in zip(q, k, strict=True))


def rolled(q: Place, k: Place, extents: Place, window: Place, shift: Place) -> bool:
    axes = zip(q, k, extents, window, shift, strict=True)
    return all((i - s) % n // w == (j - s) % n // w for i, j, n, w, s in axes)


def freeswim(i: int, j: int, n: int, d: int) -> bool:
    return i - d - max(d + i - n + 1, 0) <= j <= i + d + max(d - i, 0)


def convolved(q: Place, k: Place, extents: Place, kernel: int, dilation: int, roll: Place) -> bool:
    offsets = [dilation * step for step in range(-(kernel // 2), kernel // 2 + 1)]
    return all((j - r) % n - i in offsets for i, j, n, r in zip(q, k, extents, roll, strict=True))


def kept(distance: int, tokens: int, block: int) -> bool:
    span = 2 ** tokens.bit_length() / 2 ** distance.bit_length()
    return span >= block or distance % int(block / span) == 0


def width(distance: int, tokens: int, block: int, decay: float) -> float:
    span = 2 ** tokens.bit_length() / 2 ** distance.bit_length() * decay
    return tokens if distance <= 1 else max(span, block)


def radially(q: Place, k: Place, tokens: int, block: int, decay: float = 1.0) -> bool:
    distance = abs(q[0] - k[0])
    return kept(distance, tokens, block) and abs(q[1] - k[1]) <= width(distance, tokens, block, decay)


GRIDS: list[tuple[str, Place, Pattern, See]] = [
    ("halo", (8, 12), patterns.halo((8, 12), (4, 3), (1, 2)), lambda q, k: in_halo(q, k, (4, 3), (1, 2))),
    ("halo, ragged", (7, 5), patterns.halo((7, 5), 3, 1), lambda q, k: in_halo(q, k, (3, 3), (1, 1))),
    ("halo on an axis", (9,), patterns.halo(9, 2, 1), lambda q, k: in_halo(q, k, (2,), (1,))),
    ("overlapping", (8, 8), patterns.overlapping_cross((8, 8), 4, 0.5), lambda q, k: in_halo(q, k, (4, 4), (1, 1))),
    ("window", (8, 10), patterns.window((8, 10), (4, 3)), lambda q, k: q[0] // 4 == k[0] // 4 and q[1] // 3 == k[1] // 3),
    ("window on an axis", (9,), patterns.window(9, 4), lambda q, k: q[0] // 4 == k[0] // 4),
    ("shifted window", (8, 12), patterns.window((8, 12), 4, 2), lambda q, k: swin(q, k, (8, 12), 4, 2)),
    ("torus", (8, 6), patterns.torus_window((8, 6), (4, 3), (1, 2)), lambda q, k: rolled(q, k, (8, 6), (4, 3), (1, 2))),
    ("grid", (8, 6), patterns.grid((8, 6), (4, 3)), lambda q, k: q[0] % 2 == k[0] % 2 and q[1] % 2 == k[1] % 2),
    ("short", (8, 9), patterns.long_short_distance((8, 9), 4), lambda q, k: q[0] // 4 == k[0] // 4 and q[1] // 4 == k[1] // 4),
    (
        "long",
        (9, 13),
        patterns.long_short_distance((9, 13), 3, 2),
        lambda q, k: all(i % 2 == j % 2 and i // 6 == j // 6 for i, j in zip(q, k, strict=True)),
    ),
    (
        "inward",
        (2, 6, 7),
        patterns.inward_window((2, 6, 7), (1, 2)),
        lambda q, k: freeswim(q[1], k[1], 6, 1) and freeswim(q[2], k[2], 7, 2),
    ),
    ("shells", (3, 4), patterns.neighboring_ar((3, 4)), lambda q, k: sum(k) <= sum(q)),
    ("shells of a video", (2, 3, 3), patterns.neighboring_ar((2, 3, 3)), lambda q, k: sum(k) <= sum(q)),
    ("convolution", (6, 7), patterns.conv_window((6, 7), 3), lambda q, k: convolved(q, k, (6, 7), 3, 1, (0, 0))),
    ("dilated, rolled", (7, 9), patterns.conv_window((7, 9), 3, 2, roll=(2, -1)), lambda q, k: convolved(q, k, (7, 9), 3, 2, (2, -1))),
    ("disc", (7, 9), patterns.disc_local((7, 9), 3), lambda q, k: (q[0] - k[0]) ** 2 + (q[1] - k[1]) ** 2 < 9),
    ("radial", (9, 12), patterns.radial(9, 12, block=4), lambda q, k: radially(q, k, 12, 4)),
    ("radial, sink", (9, 8), patterns.radial(9, 8, block=8, sink=True), lambda q, k: k[0] == 0 or radially(q, k, 8, 8)),
    ("radial, narrow", (7, 16), patterns.radial(7, 16, block=2, decay=0.3), lambda q, k: radially(q, k, 16, 2, 0.3)),
]


@pytest.mark.parametrize(("extents", "pattern", "see"), [case[1:] for case in GRIDS], ids=[case[0] for case in GRIDS])
def test_pattern_is_its_definition_and_its_tiles_are_its_classes(extents: Place, pattern: Pattern, see: See) -> None:
    found = defined(extents, see)
    tokens = math.prod(extents)
    assert rows(pattern, tokens) == found
    pairs = np.array([[key in row for key in range(tokens)] for row in found])
    schedule = lacuna.schedule(pattern, tokens, block=(8, 8))
    assert schedule.exact
    assert (schedule.tiles() == classes(pairs, 8, 8)).all()


# -- segments ---------------------------------------------------------------------------------------------------------


def test_a_pooled_disc_has_more_keys_than_queries_and_text_does_not_see_them() -> None:
    text, extents, pool = 2, (4, 6), 2
    pixels = places(extents)
    found = rows(patterns.disc_local(extents, 3, text=text, pool=pool), 2 + 24, 2 + 24 + 6)
    for at in range(text):
        assert found[at] == span(0, 26)
    for at, query in enumerate(pixels):
        near = {2 + to for to, key in enumerate(pixels) if (query[0] - key[0]) ** 2 + (query[1] - key[1]) ** 2 < 9}
        assert found[2 + at] == {0, 1} | near | span(26, 32)


def test_a_video_with_text_behind_it_sees_the_text_and_is_seen_by_it() -> None:
    found = rows(patterns.radial(5, 6, block=2, text=3), 33)
    video = defined((5, 6), lambda q, k: radially(q, k, 6, 2))
    assert found == [row | span(30, 33) for row in video] + [span(0, 33)] * 3


def test_class_tokens_are_a_causal_prefix_of_the_shells() -> None:
    found = rows(patterns.neighboring_ar((3, 3), prefix=2), 11)
    shells = defined((3, 3), lambda q, k: sum(k) <= sum(q))
    assert found == [{0}, {0, 1}] + [{0, 1} | {2 + key for key in row} for row in shells]


def test_a_large_image_sees_the_part_of_its_small_copy_under_its_window() -> None:
    high, low, text = (16, 80), (8, 40), 3
    found = rows(patterns.hierarchical_local_guided(text, high, low, radius=(1, 2), window=(8, 16)), 3 + 1280 + 320)
    pixels, copies = places(high), places(low)
    for at in (0, 5, 79, 640, 1279):
        y, x = pixels[at]
        near = {3 + to for to, (row, col) in enumerate(pixels) if abs(y - row) <= 1 and abs(x - col) <= 2}
        under = {1283 + to for to, (row, col) in enumerate(copies) if row // 4 == y // 8 and col // 8 == x // 16}
        assert found[3 + at] == span(0, 3) | near | under
    assert found[1] == span(0, 1603)
    assert found[1283 + 10] == span(0, 3) | span(1283, 1283 + 256)
    assert found[1283 + 300] == span(0, 3) | span(1283 + 256, 1603)


@pytest.mark.parametrize(("cols", "whole"), [(15, True), (16, True), (17, False)])
def test_a_small_copy_of_up_to_256_tokens_is_seen_whole(cols: int, whole: bool) -> None:
    tokens = 16 * cols
    found = rows(patterns.hierarchical_local_guided(0, (16, cols), (16, cols), radius=0, window=8), 2 * tokens)
    for at, (row, col) in enumerate(places((16, cols))):
        under = {tokens + to for to, (y, x) in enumerate(places((16, cols))) if whole or (y // 8, x // 8) == (row // 8, col // 8)}
        assert found[at] == {at} | under


def test_tokens_of_a_block_see_its_prefix_alone() -> None:
    found = rows(patterns.block_local_prefix(8, 3, 2), 8, 6 + 8)
    for q in range(8):
        assert found[q] == span(q // 3 * 2, q // 3 * 2 + 2) | {6 + k for k in range(8) if k // 3 == q // 3 and k <= q}


@lacuna.pattern(rank=2)
def _zoomed(q, k, *, by):  # noqa: ANN001, ANN202
    return (q[0] // by == k[0]) & (q[1] // by == k[1])


def test_queries_and_keys_may_be_on_different_grids() -> None:
    pattern = patterns.segmented({"fine": (4, 6), "coarse": (2, 3)}, {("fine", "coarse"): _zoomed(by=2)}, queries=["fine"], keys=["coarse"])
    coarse = places((2, 3))
    assert rows(pattern, 24, 6) == [{coarse.index((row // 2, col // 2))} for row, col in places((4, 6))]


@lacuna.pattern
def _last(q, k):  # noqa: ANN001, ANN202
    return (q + 1 == lacuna.q_len) | (k + 1 == lacuna.kv_len)


def test_lengths_in_a_rule_are_those_of_its_segments() -> None:
    pattern = patterns.segmented({"a": 3, "b": 5}, {("a", "b"): _last}, default=False)
    assert rows(pattern, 8) == [{7}, {7}, span(3, 8)] + [set[int]()] * 5


def test_a_rule_counts_within_its_segments_and_keeps_its_parameters_apart() -> None:
    ids = torch.tensor([0, 1, 0, 1, 1])
    rules = {
        ("a", "a"): patterns.sliding_window(2),
        ("b", "b"): patterns.sliding_window(3),
        ("b", "a"): False,
        ("c", "c"): patterns.documents(ids, causal=False),
        ("a", "c"): patterns.neighborhood(2) & patterns.causal(),
    }
    pattern = patterns.segmented({"a": 5, "b": 4, "none": 0, "c": 5}, rules, default=False)
    found = rows(pattern, 14)
    for q in range(5):
        start = min(max(q - 1, 0), 3)
        assert found[q] == {k for k in range(5) if 0 <= q - k < 2} | {9 + k for k in range(start, start + 2) if k <= q}
    assert found[5:9] == [{5 + k for k in range(4) if 0 <= q - k < 3} for q in range(4)]
    assert found[9:] == [{9 + k for k in range(5) if ids[k] == ids[q]} for q in range(5)]
    wider = patterns.segmented({"a": 5, "b": 4, "none": 0, "c": 5}, {**rules, ("a", "a"): patterns.sliding_window(4)}, default=False)
    assert wider.program == pattern.program


def test_random_segments_are_their_rules() -> None:
    for seed in range(40):
        draw = random.Random(seed)
        sizes: dict[str, int | tuple[int, ...]] = {name: draw.choice((0, 3, 7, (2, 3), (3, 3))) for name in "abc"}
        counts = {name: math.prod(size) if isinstance(size, tuple) else size for name, size in sizes.items()}
        queries = draw.sample("abc", draw.choice((2, 3)))
        if not sum(counts[name] for name in queries):
            continue
        default = bool(seed % 2)
        reach = {(x, y): draw.choice((default, True, False, 2, 4)) for x in queries for y in "abc"}
        rules = {pair: each if isinstance(each, bool) else patterns.sliding_window((each, 1)) for pair, each in reach.items()}
        named = {pair: rule for pair, rule in rules.items() if rule is not default or draw.random() < 0.5}
        pattern = patterns.segmented(sizes, named, queries=queries, default=default)
        starts = dict(zip("abc", itertools.accumulate((0, *(counts[name] for name in "abc"))), strict=False))

        def sees(x: str, q: int, y: str, k: int, reach: dict[tuple[str, str], int] = reach) -> bool:
            rule = reach[x, y]
            return rule if isinstance(rule, bool) else -1 <= q - k <= rule

        want = [{starts[y] + k for y in "abc" for k in range(counts[y]) if sees(x, q, y, k)} for x in queries for q in range(counts[x])]
        assert rows(pattern, len(want), sum(counts.values())) == want, seed


# -- worked examples --------------------------------------------------------------------------------------------------


def test_the_examples_of_windows_halos_and_grids() -> None:
    assert rows(patterns.halo(8, 2, 1), 8)[:4] == [{0, 1, 2}] * 2 + [{1, 2, 3, 4}] * 2
    counts = lacuna.dense(patterns.halo((8, 8), 4, 1), 64).sum(-1).unique().tolist()
    assert counts == [25]
    assert lacuna.dense(patterns.halo((12, 12), 4, 1), 144).sum(-1).max() == 36
    assert rows(patterns.window(8, 4, 2), 8) == [{0, 1}] * 2 + [span(2, 6)] * 4 + [{6, 7}] * 2
    torus = rows(patterns.torus_window(8, 4, 1), 8)
    assert (torus[0], torus[1]) == ({0, 5, 6, 7}, span(1, 5))
    assert rows(patterns.grid(8, 4), 8)[0] == {0, 2, 4, 6}
    assert rows(patterns.window(8, 4), 8)[5] == span(4, 8)
    long = rows(patterns.long_short_distance(16, 4, 2), 16)
    assert (long[0], long[9]) == ({0, 2, 4, 6}, {9, 11, 13, 15})
    assert rows(patterns.patch_local(4), 8)[5] == span(4, 8)
    assert rows(patterns.sliding_window((1, 1)), 8)[0] == {0, 1}
    overlapping = patterns.overlapping_cross(8, 4, 0.5)
    assert rows(overlapping, 8)[4] == span(3, 8)
    assert patterns.overlapping_cross_padding(8, 4, 0.5)[4] == 1
    assert patterns.conv_window_padding((8, 3), (3, 1))[0] == 1


def test_the_examples_of_discs_shells_and_guides() -> None:
    assert rows(patterns.disc_local((4, 4), 2, text=1), 17)[1] == {0, 1, 2, 5, 6}
    for radius, count in ((2, 9), (3, 25), (4, 45), (8, 193)):
        side = 2 * radius + 1
        assert int(lacuna.dense(patterns.disc_local((side, side), radius), side * side)[0, 0, side * side // 2].sum()) == count
    shells = rows(patterns.neighboring_ar((3, 3)), 9)
    assert (shells[1], shells[4]) == ({0, 1, 3}, {0, 1, 2, 3, 4, 6})
    assert sum(len(row) for row in shells) == 50
    guided = rows(patterns.hierarchical_local_guided(1, (4, 4), (2, 2), radius=1), 1 + 16 + 4)
    assert guided[1] == {0, 1, 2, 5, 6} | span(17, 21)
    prefix = rows(patterns.block_local_prefix(6, 3, 1), 6, 8)
    assert prefix[4] == {1, 2 + 3, 2 + 4}


def test_the_examples_of_radial_bands() -> None:
    def seen(tokens: int, block: int) -> dict[int, int]:
        """For each frame distance, how many tokens of the frame the first token sees."""
        row = lacuna.dense(patterns.radial(8, tokens, block=block), 8 * tokens)[0, 0, 0].view(8, tokens)
        return {distance: int(count) for distance, count in enumerate(row.sum(-1))}

    assert seen(8, 4) == {0: 8, 1: 8, 2: 5, 3: 5, 4: 5, 5: 0, 6: 5, 7: 0}
    assert [distance for distance, count in seen(8, 8).items() if count] == [0, 1, 2, 4]
    row = rows(patterns.radial(4, 4, block=1), 16)[0]
    assert row == span(0, 8) | {8, 9, 10} | {12, 13, 14}
    half = lacuna.dense(patterns.radial(3, 8, block=4, next_width=2), 24)[0, 0, 0].view(3, 8).sum(-1).tolist()
    assert half == [8, 3, 5]


def rounded(frames: int, tokens: int, block: int, every: bool, sink: bool) -> np.ndarray:
    """bool[blocks, blocks] of a video of whole blocks, by the definition: pair of frames by pair of frames, written out."""
    blocks = frames * tokens // block
    found = np.zeros((blocks, blocks), bool)
    for i, j in itertools.product(range(frames), range(frames)):
        alone = np.zeros((frames * tokens, frames * tokens), bool)
        for a, b in itertools.product(range(tokens), range(tokens)):
            alone[i * tokens + a, j * tokens + b] = (sink and j == 0) or radially((i, a), (j, b), tokens, block)
        reach = blocks if every else -(-tokens // block)
        starts = i * tokens // block, j * tokens // block
        for x, y in itertools.product(*(range(start, min(start + reach, blocks)) for start in starts)):
            columns = alone[x * block : (x + 1) * block, y * block : (y + 1) * block].sum(0)
            dense, some = (3 * columns > block).sum(), (columns > 0).sum()
            found[x, y] |= bool(some) if every else bool(dense > 0.6 * (some + 1e-9))
    return found


@pytest.mark.parametrize(("frames", "tokens", "block"), [(5, 8, 4), (6, 6, 4), (4, 10, 8), (3, 24, 8), (8, 5, 4)])
def test_radial_bands_are_rounded_to_blocks_by_the_authors_rule_or_outwards(frames: int, tokens: int, block: int) -> None:
    for every, sink in itertools.product((False, True), (False, True)):
        pattern = patterns.radial(frames, tokens, block=block, sink=sink, rounding="superset" if every else "paper")
        wanted = np.kron(rounded(frames, tokens, block, every, sink), np.ones((block, block), bool))
        assert (lacuna.dense(pattern, frames * tokens)[0, 0].numpy() == wanted).all()
        exact = lacuna.dense(patterns.radial(frames, tokens, block=block, sink=sink), frames * tokens)[0, 0].numpy()
        assert not every or (wanted >= exact).all()


def test_rounding_by_the_authors_rule_adds_and_drops_pairs() -> None:
    exact, paper = (lacuna.dense(patterns.radial(9, 24, block=8, decay=1.3, rounding=each), 216)[0, 0] for each in (None, "paper"))
    assert (paper & ~exact).any()
    assert (exact & ~paper).any()


def test_rounded_radial_bands_skip_the_blocks_that_are_dropped_and_leave_text_alone() -> None:
    pattern = patterns.radial(8, 32, block=16, text=5, rounding="paper")
    mask = lacuna.dense(pattern, 261)[0, 0].numpy()
    assert mask[256:].all()
    assert mask[:, 256:].all()
    tiles = lacuna.schedule(pattern, 261, block=(16, 16))
    assert tiles.exact
    assert (tiles.tiles() == classes(mask, 16, 16)).all()
    assert (tiles.tiles()[:16, :16] != 1).all(), "blocks are kept whole"


def test_a_video_that_fills_no_last_block_keeps_it() -> None:
    mask = lacuna.dense(patterns.radial(3, 5, block=4, rounding="paper"), 15)[0, 0]
    assert mask[12:].all()
    assert mask[:, 12:].all()


# -- identities and traps ---------------------------------------------------------------------------------------------


def same(pattern: Pattern, other: Pattern, tokens: int) -> bool:
    return torch.equal(lacuna.dense(pattern, tokens), lacuna.dense(other, tokens))


def test_patterns_that_are_one_another() -> None:
    assert same(patterns.dilated_neighborhood(4, 2, length=8), patterns.grid(8, 4), 8)
    assert same(patterns.dilated_neighborhood((4, 2), (2, 5), length=(8, 10)), patterns.grid((8, 10), (4, 2)), 80)
    assert same(patterns.long_short_distance((8, 8), 4, 2), patterns.grid((8, 8), 4), 64)
    assert same(patterns.long_short_distance((8, 12), 4), patterns.window((8, 12), 4), 96)
    assert same(patterns.gna((8, 12), 4, 4), patterns.window((8, 12), 4), 96)
    assert same(patterns.halo((8, 9), 1, 2), patterns.conv_window((8, 9), 5), 72)
    assert same(patterns.inward_window((2, 6, 7), (1, 2)), patterns.gna((2, 6, 7), (2, 3, 5)), 84)
    assert same(patterns.torus_window((8, 8), 4), patterns.window((8, 8), 4), 64)
    assert same(patterns.long_short_distance((5, 5), 7, 3), patterns.full(), 25)
    assert same(patterns.inward_window((1, 5, 5), 4), patterns.full(), 25)


def test_four_edge_rules_are_four_patterns() -> None:
    shifted, clipped = patterns.gna((6, 6), 3), patterns.conv_window((6, 6), 3)
    wrapped = patterns.torus_window((6, 6), 3, 1)
    assert len(rows(shifted, 36)[0]) == 9
    assert len(rows(clipped, 36)[0]) == 4
    assert len(rows(wrapped, 36)[0]) == 9
    assert rows(wrapped, 36)[0] != rows(shifted, 36)[0]
    assert patterns.conv_window_padding((6, 6), 3)[0] == 5


def test_a_torus_joins_the_sides_that_shifted_windows_keep_apart() -> None:
    assert not same(patterns.torus_window((8, 8), 4, 2), patterns.window((8, 8), 4, 2), 64)


def test_a_disc_is_strict_and_clipped() -> None:
    found = rows(patterns.disc_local((5, 5), 2), 25)
    assert 12 + 2 not in found[12]
    assert len(found[0]) == 4


def test_the_widths_of_radial_bands_know_the_decay_and_their_thinning_does_not() -> None:
    plain, narrow = (lacuna.dense(patterns.radial(16, 16, block=4, decay=decay), 256)[0, 0, 0].view(16, 16).sum(-1) for decay in (1, 0.25))
    assert ((plain > 0) == (narrow > 0)).all()
    assert (narrow <= plain).all()
    assert (narrow < plain).any()


def test_outputs_of_two_rolls_are_averaged_where_features_are() -> None:
    query, key, value = (torch.randn(1, 1, 64, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(each)) for each in range(3))
    outs: list[Any] = [lacuna.attention(query, key, value, patterns.torus_window((8, 8), 4, shift), backend="eager") for shift in (0, 2)]
    want = torch.zeros_like(value)
    for shift in (0, 2):
        shown = torch.tensor([[rolled(q, k, (8, 8), (4, 4), (shift, shift)) for k in places((8, 8))] for q in places((8, 8))])
        scores = (query @ key.transpose(-1, -2) / math.sqrt(8)).masked_fill(~shown, -math.inf)
        want += torch.softmax(scores, -1) @ value / 2
    assert torch.allclose(sum(outs, torch.zeros(())) / 2, want)


def test_odd_batch_items_of_branches_see_everything() -> None:
    pattern = patterns.inward_window((1, 6, 6), 1, branches=True)
    assert rows(pattern, 36, batch=2, b=0) == rows(patterns.inward_window((1, 6, 6), 1), 36)
    assert rows(pattern, 36, batch=2, b=1) == [span(0, 36)] * 36


def test_heads_of_longlora_may_see_global_sinks() -> None:
    plain, sinks = (rows(patterns.shifted_sparse_s2attn(8, 2, groups=2, sinks=count), 8) for count in (0, 1))
    assert sinks == [row | {0} for row in plain]


def test_heads_of_s2_cover_the_context_only_if_they_reach_every_residue() -> None:
    for heads, covered in ((4, True), (2, False)):
        pattern = patterns.s2_local_stride(heads, block=1, local_blocks=1, vert_stride=4)
        union = lacuna.dense(pattern, 8, heads=heads)[0].any(0)
        assert bool((union == torch.ones(8, 8).tril().bool()).all()) is covered


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: patterns.grid((8, 9), 4), "`keys` is 4, which does not divide the extent 9"),
        (lambda: patterns.window((8, 8), 4, 4), "`shift` is 4 and `window` 4\n  write a shift of at most 3"),
        (lambda: patterns.halo_padding((8, 9), 4, 1), r"`block` is 4, which does not divide \(8, 9\)"),
        (lambda: patterns.overlapping_cross((8, 8), 5, 0.5), "`overlap \\* window / 2` is 1.25"),
        (lambda: patterns.conv_window((8, 8), 4), "`kernel` is 4, which has no centre\n  write an odd number, such as 5"),
        (lambda: patterns.neighboring_ar((8,)), "a sequence\n  write `lacuna.patterns.causal"),
        (lambda: patterns.inward_window((8, 8), 1), r"write `\(frames, rows, columns\)` of the video"),  # pyright: ignore[reportArgumentType]
        (lambda: patterns.disc_local((8, 9), 2, pool=2), "`pool` is 2, which does not divide 8 x 9"),
        (lambda: patterns.disc_local((8,), 2), r"write `\(rows, columns\)` of the image"),  # pyright: ignore[reportArgumentType]
        (lambda: patterns.radial(4, 8, decay=0), "`decay` is 0, which leaves no width"),
        (lambda: patterns.radial(4, 8, rounding="up"), "`rounding` is 'up'"),
        (lambda: patterns.hierarchical_local_guided(1, (9, 8), (2, 2)), r"`low` is \(2, 2\), which does not divide \(9, 8\)"),
        (lambda: patterns.hierarchical_local_guided(1, (64, 64), (32, 32), window=15), "one token of `low` stands for \\(2, 2\\)"),
        (lambda: patterns.segmented({"a": 2}, {("a", "b"): True}), r"a rule is about \('a', 'b'\)\n  write two of a"),
        (lambda: patterns.segmented({"a": 2}, {}, queries=["b"]), "there is no segment `b`\n  write some of a"),
        (lambda: patterns.segmented({"a": 2}, {}, queries=["a", "a"]), "the segment `a` stands twice on one side\n  write each"),
        (lambda: patterns.segmented({"a": 0}, {}), "a sequence has no tokens"),
        (lambda: patterns.segmented({"a": (4, 4)}, {("a", "a"): patterns.gna((4, 5), 3)}), "is on a grid, and a segment has the extents"),
        (lambda: patterns.segmented({"a": 16}, {("a", "a"): patterns.gna((4, 4), 3)}), r"has the extents \(16,\)"),
    ],
)
def test_parameters_without_a_meaning_are_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: patterns.segmented({"a": 2}, {("a", "a"): 0}), r"the rule of \('a', 'a'\) is 0\n  write True, False or a pattern"),  # pyright: ignore[reportArgumentType]
        (lambda: patterns.segmented({"a": 2}, {}, default=None), "`default` is None\n  write True or False"),  # pyright: ignore[reportArgumentType]
    ],
)
def test_what_is_no_rule_is_not_taken_for_one(call: Callable[[], object], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        call()
