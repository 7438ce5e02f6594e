"""What a pattern or a score reads beside its parameters may change later: it is followed, however it is read."""

# users write their functions without types, and so do these tests:
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportConstantRedefinition=false, reportUnknownParameterType=false, reportMissingParameterType=false
# ruff: noqa: ANN001, ANN201

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import count
from types import ModuleType, SimpleNamespace
from typing import Any

import lacuna
import pytest
import torch

SIZE = 3
SIZES = {"near": 3}
HOLDER = SimpleNamespace(inner=SimpleNamespace(size=3), sizes=[3])
MODULE = ModuleType("settings")
MODULE.SIZE = 3  # pyright: ignore[reportAttributeAccessIssue]


def helper(distance):
    return distance < SIZE


def closed():
    size = 3

    def change(value: int) -> None:
        nonlocal size
        size = value

    return (lambda q, k: q - k < size), change


def set_global(value: int) -> None:
    global SIZE
    SIZE = value


CELL, CHANGE_CELL = closed()
WAYS: dict[str, tuple[Callable[..., Any], Callable[[int], object]]] = {
    "a global": (lambda q, k: q - k < SIZE, set_global),
    "a cell": (CELL, CHANGE_CELL),
    "a function that it calls": (lambda q, k: helper(q - k), set_global),
    "a function inside": (lambda q, k: (lambda d: d < SIZE)(q - k), set_global),
    "an entry": (lambda q, k: q - k < SIZES["near"], lambda value: SIZES.update(near=value)),
    "an attribute": (lambda q, k: q - k < HOLDER.inner.size, lambda value: setattr(HOLDER.inner, "size", value)),
    "a list": (lambda q, k: q - k < HOLDER.sizes[0], lambda value: HOLDER.sizes.__setitem__(0, value)),
    "a module": (lambda q, k: q - k < MODULE.SIZE, lambda value: setattr(MODULE, "SIZE", value)),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_is_read_is_followed(way: str) -> None:
    function, change = WAYS[way]
    made = lacuna.pattern(function)
    score = lacuna.score(lambda s, q, k: s)
    whole = {"itself": made, "inverted": ~~made, "joined": made & lacuna.patterns.causal(), "laid out": made.on(20), "scored": made}
    q, k = torch.arange(20)[:, None], torch.arange(20)
    query = torch.randn(1, 1, 20, 16)
    pick = random.Random(way)
    for size in (3, 7, 3, *(pick.randrange(1, 15) for _ in range(4))):
        change(size)
        for name, pattern in whole.items():
            mask = (q - k < size) & ((k <= q) if name == "joined" else torch.tensor(True))
            assert torch.equal(lacuna.dense(pattern, 20)[0, 0], mask), (name, size)
            wanted = torch.nn.functional.scaled_dot_product_attention(query, query, query, attn_mask=mask)
            found = lacuna.attention(query, query, query, pattern, score=score() if name == "scored" else None, backend="eager")
            assert isinstance(found, torch.Tensor)
            assert torch.allclose(found, wanted, atol=1e-5), (name, size)
    change(3)


def test_scores_follow_too() -> None:
    made = lacuna.score(lambda s, q, k: s - SIZE * lacuna.where(q < k, 1.0, 0.0))
    texts = []
    for size in (3, 5, 3):
        set_global(size)
        texts.append(str(made().expr))
    assert texts == [f"s - {float(size)} * where(q < k, 1.0, 0.0)" for size in (3, 5, 3)]
    set_global(3)


RUNS = count()


@lacuna.pattern
def counted(q, k, *, w):
    next(RUNS)
    return q - k < w + SIZE


def test_what_does_not_change_is_traced_once() -> None:
    first = counted(w=3)
    assert first.now() is first
    assert len({id(counted(w=number).program) for number in range(9)} | {id(first.program)}) == 1
    assert next(RUNS) == 1
