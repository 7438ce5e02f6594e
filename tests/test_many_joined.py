"""Hundreds of patterns in one, joined every way: nothing recurses, and the mask is what numpy makes of the same steps."""

from __future__ import annotations

import pickle
import random
import sys
from collections.abc import Generator

import lacuna
import numpy as np
import pytest
import torch
from lacuna import patterns
from lacuna.ir.parse import parse_program
from lacuna.ir.pattern import Pattern
from lacuna.ir.trace import Traced
from lacuna.ir.verify import verify
from lacuna.runtime.views.dense import dense

LENGTH = 12
Mask = np.ndarray


@pytest.fixture
def little_room() -> Generator[None]:
    """A limit of recursion that a call of attention needs, and not much more."""
    usual = sys.getrecursionlimit()
    sys.setrecursionlimit(420)
    yield
    sys.setrecursionlimit(usual)


@lacuna.pattern
def band(q: Traced, k: Traced, *, at: int) -> Traced:
    return q - k == at


@lacuna.score
def lift(s: Traced, *, by: float) -> Traced:
    return s + by


def grown(seed: int, count: int) -> tuple[Pattern, Mask]:
    """A tree of `count` bands that grows on either side, and its mask."""
    pick = random.Random(seed)
    row, column = np.indices((LENGTH, LENGTH))
    made, mask = band(at=0), row - column == 0
    for _ in range(count):
        at = pick.randrange(-LENGTH, LENGTH)
        other, there = band(at=at), row - column == at
        sides = (made, other, mask, there) if pick.random() < 0.9 else (other, made, there, mask)
        match pick.randrange(100) // 24:
            case 0:
                made, mask = sides[0] | sides[1], sides[2] | sides[3]
            case 1:
                made, mask = sides[0] ^ sides[1], sides[2] ^ sides[3]
            case 2:
                made, mask = sides[0] - sides[1], sides[2] & ~sides[3]
            case 3:
                made, mask = ~(sides[0] & sides[1]), ~(sides[2] & sides[3])
            case _:
                made = made.shift(q=1, k=1)  # bands are the same further on
    return made, mask


@pytest.mark.usefixtures("little_room")
def test_trees_of_hundreds_are_traced_written_and_compared() -> None:
    made, mask = grown(0, 300)
    again, _ = grown(0, 300)
    assert np.array_equal(dense(made, LENGTH)[0, 0].numpy(), mask)
    assert made == again
    assert hash(made) == hash(again)
    assert len(repr(made)) > 2000
    verify(made.program)
    assert parse_program(str(made.program)) == made.program
    assert pickle.loads(pickle.dumps(made)) == made
    assert made != made | band(at=3)


@pytest.mark.usefixtures("little_room")
def test_trees_that_are_not_bound_are_compared_too() -> None:
    whole = [band]
    for _ in range(500):
        whole.append(whole[-1] | band)
    same = band
    for _ in range(500):
        same = same | band
    assert whole[-1] == same
    assert hash(whole[-1]) == hash(same)
    assert whole[-1] != band | whole[-2]
    assert whole[-1] != whole[-2] & band


@pytest.mark.usefixtures("little_room")
def test_hundreds_of_scores_follow_each_other() -> None:
    score = lift(by=1.0)
    for number in range(300):
        score = score.then(lift(by=float(number % 2)))
    x = torch.randn(1, 1, LENGTH, 16)
    assert score == pickle.loads(pickle.dumps(score))
    query, key, value = x, x.roll(1, 2), x.roll(2, 2)
    out, lse = lacuna.attention(query, key, value, score=score, return_lse=True, backend="eager")
    plain, base = lacuna.attention(query, key, value, return_lse=True, backend="eager")
    assert torch.allclose(out, plain, atol=1e-5)
    assert torch.allclose(lse, base + 151, atol=1e-4)


@pytest.mark.usefixtures("little_room", "compiled_quickly")
@pytest.mark.parametrize("backend", ["cpp", "eager"])
def test_hundreds_of_patterns_are_derived_and_run(backend: str) -> None:
    bands = [band(at=at) for at in range(6)]
    made = patterns.causal() & bands[0]
    for number in range(1, 150):
        made = made | bands[number % 6]
    x = torch.randn(1, 1, 96, 16)
    row, column = np.indices((96, 96))
    mask = torch.as_tensor((row >= column) & (row - column < 6))
    tiles = lacuna.schedule(made, 96, block=(16, 16)).tiles()
    assert np.array_equal(tiles > 0, mask.view(6, 16, 6, 16).any(3).any(1).numpy())
    wanted = torch.nn.functional.scaled_dot_product_attention(x, x, x, attn_mask=mask)
    found = lacuna.attention(x, x, x, made, backend=backend)
    assert isinstance(found, torch.Tensor)
    assert torch.allclose(found, wanted, atol=1e-5)


def test_names_that_collide_many_times_stay_short() -> None:
    made = band(at=1)
    for _ in range(40):
        made = band(at=1) | made
    names = [symbol.name for symbol in made.program.parameters]
    assert names == ["at", *(f"at_{number}" for number in range(2, 42))]
    longest = lacuna.pattern(eval(f"lambda q, k, *, {'w' * 64}: q - k < {'w' * 64}"))
    both = longest(**{"w" * 64: 3}) & longest(**{"w" * 64: 2})
    assert [symbol.name for symbol in both.program.parameters] == ["w" * 64, f"{'w' * 62}_2"]
