"""Neighborhood attention on grids: definition, worked examples, identities, and random problems against brute force."""

# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# (torch's types are partial)
from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import lacuna
import numpy as np
import pytest
import torch
from brute_force import classes
from lacuna import patterns
from lacuna.ir.pattern import Pattern

QUICK, PROVE, COMPILED = 14, 2000, 60
Array = np.ndarray


@dataclass(frozen=True)
class Gna:
    """The parameters of one problem, one entry for each axis."""

    extents: tuple[int, ...]
    window: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    causal: tuple[bool, ...]

    @property
    def pattern(self) -> Pattern:
        return patterns.gna(self.extents, self.window, self.stride, self.dilation, self.causal)


def keys_on_axis(query: int, extent: int, window: int, stride: int, dilation: int, causal: bool) -> set[int]:
    """The definition on one axis: list the residue class, find the leader of the query's group, cut its window out of the list."""
    members = list(range(query % dilation, extent, dilation))
    group = members.index(query) // stride
    if causal:
        leader = min(group * stride + stride - 1, len(members) - 1)
        return {key for at, key in enumerate(members) if leader - window < at and key <= query}
    leader = min(group * stride + stride // 2, len(members) - 1)
    first = leader - window // 2
    first = 0 if first < 0 else first
    first = len(members) - window if first + window > len(members) else first
    return set(members[first : first + window])


def brute(problem: Gna) -> Array:
    """bool[tokens, tokens], row-major over the grid."""
    pairs = np.zeros((math.prod(problem.extents),) * 2, bool)
    places = {place: at for at, place in enumerate(itertools.product(*(range(extent) for extent in problem.extents)))}
    axes = list(zip(problem.extents, problem.window, problem.stride, problem.dilation, problem.causal, strict=True))
    for place, row in places.items():
        for key in itertools.product(*(keys_on_axis(at, *axis) for at, axis in zip(place, axes, strict=True))):
            pairs[row, places[key]] = True
    return pairs


def random_gna(seed: int) -> Gna:
    draw = random.Random(seed)
    rank = draw.choice((1, 2, 2, 3, 3))
    extents = tuple(draw.randint(2, {1: 150, 2: 17, 3: 8}[rank]) for _ in range(rank))
    dilation = tuple(draw.choice((1, 1, draw.randint(1, min(6, max(1, extent // 2))))) for extent in extents)
    window = tuple(draw.randint(1, extent // apart) for extent, apart in zip(extents, dilation, strict=True))
    stride = tuple(draw.choice((1, 1, draw.randint(1, wide))) for wide in window)
    return Gna(extents, window, stride, dilation, tuple(draw.random() < 0.25 for _ in extents))


def rows(pattern: Pattern, tokens: int) -> list[set[int]]:
    return [set(torch.nonzero(row).flatten().tolist()) for row in lacuna.dense(pattern, tokens)[0, 0]]


def same(pattern: Pattern, other: Pattern, tokens: int) -> bool:
    return torch.equal(lacuna.dense(pattern, tokens), lacuna.dense(other, tokens))


# -- random problems --------------------------------------------------------------------------------------------------


def schedule_fault(problem: Gna, pairs: Array, block: tuple[int, int]) -> str:
    schedule = lacuna.schedule(problem.pattern, len(pairs), block=block)
    got, want = schedule.tiles(), classes(pairs, *block)
    lost = (got == 0) & (want != 0) | (got == 2) & (want != 2)
    if lost.any():
        return f"{int(lost.sum())} tiles are unsound by {schedule.route}"
    if schedule.exact and (got != want).any():
        return f"{int((got != want).sum())} tiles are not the definition's by {schedule.route}"
    return "" if schedule.exact else f"the schedule is a cover, by {schedule.route}"


def attention_fault(pattern: Pattern, pairs: Array, backend: str) -> str:
    """Output and gradients beside softmax over the dense mask in float64."""
    generator = torch.Generator().manual_seed(len(pairs))
    query, key, value, grad = (torch.randn(1, 2, len(pairs), 8, dtype=torch.float64, generator=generator) for _ in range(4))
    exact = [each.clone().requires_grad_() for each in (query, key, value)]
    scores = (exact[0] @ exact[1].transpose(-1, -2) / math.sqrt(8)).masked_fill(~torch.from_numpy(pairs), -math.inf)
    want = torch.softmax(scores, -1) @ exact[2]
    ours = [each.float().requires_grad_() for each in (query, key, value)]
    got = lacuna.attention(ours[0], ours[1], ours[2], pattern, backend=backend)
    assert isinstance(got, torch.Tensor)
    wanted = (want, *torch.autograd.grad(want, exact, grad))
    found = (got, *torch.autograd.grad(got, ours, grad.float()))
    for name, a, b in zip(("out", "query", "key", "value"), found, wanted, strict=True):
        error = float((a.double() - b).abs().max().detach())
        if not error <= 2e-5 * max(1.0, float(b.abs().max().detach())):
            return f"{name} is off by {error:.1e} on {backend}"
    return ""


def test_random_problems_are_their_definition(prove: bool, capsys: pytest.CaptureFixture[str]) -> None:
    met: Counter[str] = Counter()
    for seed in range(PROVE if prove else QUICK):
        problem = random_gna(seed)
        pairs = brute(problem)
        block = random.Random(seed).choice(((16, 16), (8, 16), (16, 8), (5, 7)))
        fault = schedule_fault(problem, pairs, block) or attention_fault(problem.pattern, pairs, "eager")
        if not fault and prove and seed < COMPILED:
            fault = attention_fault(problem.pattern, pairs, "cpp")
        assert not fault, f"seed {seed}: {fault}\n{problem}, tiles of {block}"
        met["problems"] += 1
        met["ragged"] += any(extent % apart for extent, apart in zip(problem.extents, problem.dilation, strict=True))
        met["even windows"] += any(wide % 2 == 0 for wide in problem.window)
        met["strided"] += max(problem.stride) > 1
        met["causal"] += any(problem.causal)
    with capsys.disabled():
        print("\n" + ", ".join(f"{name}: {count}" for name, count in sorted(met.items())))
    assert min(met.values()) >= 0.15 * met["problems"]


# -- worked examples --------------------------------------------------------------------------------------------------


def span(start: int, stop: int) -> set[int]:
    return set(range(start, stop))


def test_groups_of_queries_share_the_window_of_their_leader() -> None:
    assert rows(patterns.gna(8, 4, 2), 8) == [span(0, 4)] * 2 + [span(1, 5)] * 2 + [span(3, 7)] * 2 + [span(4, 8)] * 2
    assert rows(patterns.gna(9, 4, 3), 9) == [span(0, 4)] * 3 + [span(2, 6)] * 3 + [span(5, 9)] * 3
    causal = rows(patterns.gna(8, 4, 2, causal=True), 8)
    assert (causal[3], causal[4], causal[5]) == (span(0, 4), {2, 3, 4}, span(2, 6))


def test_a_corner_sees_the_window_that_touches_it() -> None:
    found = rows(patterns.neighborhood(3, length=(4, 4)), 16)
    assert found[0] == found[5] == {0, 1, 2, 4, 5, 6, 8, 9, 10}
    assert found[15] == {5, 6, 7, 9, 10, 11, 13, 14, 15}


def test_dilated_windows_stay_in_their_residue_class() -> None:
    found = rows(patterns.dilated_neighborhood(3, 2, length=8), 8)
    assert (found[0], found[3], found[4], found[7]) == ({0, 2, 4}, {1, 3, 5}, {2, 4, 6}, {3, 5, 7})
    ragged = rows(patterns.dilated_neighborhood(3, 2), 7)
    assert (ragged[5], ragged[6]) == ({1, 3, 5}, {2, 4, 6})


def test_every_row_of_the_plain_form_has_its_whole_window() -> None:
    for extents, window, dilation in (((7, 11), (3, 4), (2, 1)), ((5, 6, 4), (2, 5, 3), (2, 1, 1)), ((3, 4, 2, 5), (2, 3, 2, 2), 1)):
        counts = lacuna.dense(patterns.gna(extents, window, dilation=dilation), math.prod(extents)).sum(-1)
        assert counts.unique().tolist() == [math.prod(window)]


def test_an_axis_may_be_causal_alone() -> None:
    frames, rows_, cols = 4, 3, 3
    found = lacuna.dense(patterns.gna((frames, rows_, cols), (2, 3, 3), causal=(True, False, False)), 36)[0, 0]
    assert found[9 * 2].nonzero().flatten().tolist() == list(range(9, 27))
    assert found[0].nonzero().flatten().tolist() == list(range(9))


# -- identities and traps ---------------------------------------------------------------------------------------------


def test_an_even_window_has_one_key_more_on_the_left() -> None:
    found = rows(patterns.gna(8, 4), 8)
    assert found[:4] == [span(0, 4)] * 3 + [span(1, 5)]
    assert found[6] == found[7] == span(4, 8)
    centred = {k for k in range(8) if abs(3 - k) <= 2}  # the reading of another library: one key more
    assert found[3] < centred


def test_a_stride_of_the_window_blocks_only_an_extent_it_divides() -> None:
    assert rows(patterns.gna(12, 4, 4), 12) == rows(patterns.block_local(4), 12)
    last = rows(patterns.gna(10, 4, 4), 10)
    assert last[8] == last[9] == span(6, 10)
    assert last[7] == span(4, 8)


def sliding_tiles(length: int, tile: int, tiles: int) -> list[set[int]]:
    """Windows of whole tiles, moved inward: the middle tile is the query's own; an even number has one more on the left."""
    count = length // tile
    firsts = [min(max(q // tile - tiles // 2, 0), count - tiles) for q in range(length)]
    return [span(first * tile, (first + tiles) * tile) for first in firsts]


@pytest.mark.parametrize(("tile", "tiles"), [(2, 1), (2, 2), (2, 3), (4, 2), (4, 3), (3, 3), (3, 2)])
def test_sliding_tiles_are_strided_windows_of_an_odd_number_of_tiles_alone(tile: int, tiles: int) -> None:
    length = 8 * tile
    assert (rows(patterns.gna(length, tile * tiles, tile), length) == sliding_tiles(length, tile, tiles)) is bool(tiles % 2)


def test_a_window_without_a_length_is_the_one_of_the_call() -> None:
    for length in (9, 14, 20):
        assert same(patterns.neighborhood(5, stride=2, dilation=1), patterns.gna(length, 5, 2), length)


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: patterns.gna((8, 8), (3, 9)), "`window \\* dilation` is 9 on axis 1, of 8 tokens\n  write a window of at most 8"),
        (lambda: patterns.gna((8, 9), 3, dilation=(1, 4)), "is 12 on axis 1, of 9 tokens\n  write a window of at most 2"),
        (lambda: patterns.gna((8, 8), 3, (1, 4)), "`stride` is 4 and `window` 3 on axis 1: some keys would be seen by nobody"),
        (lambda: patterns.gna((8, 8), (3, 3, 3)), r"`window` is \(3, 3, 3\), on 2 axes\n  write one integer, or 2 in a tuple"),
        (lambda: patterns.gna((8, 8), 3.0), "`window` is 3.0, on 2 axes"),  # pyright: ignore[reportArgumentType] (as a user may)
        (lambda: patterns.gna((8, 8), 0), "`window` is 0, which has no meaning here"),
        (
            lambda: patterns.gna(8, 3, causal=1),  # pyright: ignore[reportArgumentType]
            "`causal` is 1, on 1 axis\n  write one truth value",
        ),
        (lambda: patterns.gna((8, 0), 3), r"`extents` is \(8, 0\)\n  write one to 4 positive integers"),
        (lambda: patterns.gna((2,) * 5, 2), "write one to 4 positive integers"),
        (
            lambda: patterns.neighborhood((3, 3)),
            r"`window` is \(3, 3\), and a number is given for each axis of a grid\n  write its extents",
        ),
    ],
)
def test_parameters_without_a_meaning_are_refused(call: Callable[[], Pattern], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
