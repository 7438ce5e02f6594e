"""Dilated windows on small grids, a call at a time against the definition: extents that are no multiple, windows that touch the end."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass

import lacuna
import numpy as np
import pytest
from brute_force import classes
from lacuna import patterns
from lacuna.ir.expr import Const
from lacuna.ir.parse import parse_program
from lacuna.passes.grids.axis_windows import windows
from lacuna.passes.program.evaluate import evaluate

Array = np.ndarray
QUICK, PROVED = 24, 600


@dataclass(frozen=True)
class Case:
    """A neighborhood on a grid, and the tile it is cut in. Each of `extents` holds `window` tokens of each residue class."""

    extents: tuple[int, ...]
    window: tuple[int, ...]
    dilation: tuple[int, ...]
    causal: tuple[bool, ...]
    block: tuple[int, int]


def drawn(seed: int) -> Case:
    """The outer axis is dilated, and rarely a multiple of its dilation."""
    chance = random.Random(seed)
    rank = chance.choice([2, 2, 2, 3])
    dilation = (chance.choice([2, 3, 3]), *(chance.choice([1, 1, 2]) for _ in range(rank - 1)))
    window = tuple(chance.choice([1, 2, 3]) for _ in range(rank))
    most = 13 if rank == 2 else 7
    extents = tuple(chance.randint(w * d, max(most, w * d)) for w, d in zip(window, dilation, strict=True))
    causal = tuple(chance.random() < 0.2 for _ in range(rank))
    return Case(extents, window, dilation, causal, chance.choice([(1, 1), (4, 4), (5, 3), (8, 4), (7, 7), (3, 8)]))


def sees(case: Case, axis: int, q: int, k: int) -> bool:
    """Along one axis: the `window` nearest tokens of the same residue class, moved inward at the ends, or those up to the query."""
    apart, width = case.dilation[axis], case.window[axis]
    if q % apart != k % apart:
        return False
    place, count = q // apart, len(range(q % apart, case.extents[axis], apart))
    if case.causal[axis]:
        return place - width < k // apart <= place
    first = min(max(place - width // 2, 0), max(count - width, 0))
    return first <= k // apart < first + width


def dense(case: Case) -> Array:
    along = [
        np.array([[sees(case, axis, q, k) for k in range(extent)] for q in range(extent)], bool) for axis, extent in enumerate(case.extents)
    ]
    places = list(itertools.product(*map(range, case.extents)))
    return np.array([[all(seen[q, k] for seen, q, k in zip(along, a, b, strict=True)) for b in places] for a in places], bool)


def test_dilated_windows_lose_no_pair(prove: bool) -> None:
    for seed in range(PROVED if prove else QUICK):
        case = drawn(seed)
        pattern = patterns.neighborhood(case.window, dilation=case.dilation, causal=case.causal, length=case.extents)
        found = lacuna.schedule(pattern, int(np.prod(case.extents)), block=case.block)
        got, want = found.tiles(), classes(dense(case), *case.block)
        lost, false = (got == 0) & (want != 0), (got == 2) & (want != 2)
        assert not lost.any(), f"seed {seed}: {case} loses tiles {np.argwhere(lost).tolist()} by {found.route}"
        assert not false.any(), f"seed {seed}: {case} takes {np.argwhere(false).tolist()} to be full by {found.route}"
        assert not found.exact or (got == want).all(), f"seed {seed}: {case} is not exact by {found.route}"


SIDES = ("q - k", "-(k - q)", "q - 3 - (k - 3)", "2 * q - q - k")


@pytest.mark.parametrize("distance", SIDES)
@pytest.mark.parametrize("turned", [False, True])
def test_windows_are_where_a_difference_says(distance: str, turned: bool) -> None:
    """`q - k` from -1 to 4, either side written first."""
    low, high = (f"-1 <= {distance}", f"{distance} < 5") if not turned else (f"-({distance}) <= 1", f"-5 < -({distance})")
    mask = parse_program(f"program @near(q < Lq, k < Lk) {{ mask = {low} and {high} score = s normalise = softmax }}").mask
    found = windows(mask)
    assert found is not None
    for q in range(6, 12):
        start, stop = (int(evaluate(found.of(end, Const(q), Const(0)), {})) for end in (found.start, found.stop))
        assert (start, stop) == (q - 4, q + 2)
