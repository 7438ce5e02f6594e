"""Masks that divide by a length, where batch items have lengths of their own."""

# Patterns are written without annotations.
# ruff: noqa: ANN001, ANN201
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lacuna
import pytest
import torch
from lacuna.ir.pattern import Pattern

pytestmark = pytest.mark.usefixtures("compiled_quickly")
attention: Any = lacuna.attention
LENGTHS = [32, 25, 14, 31]


@lacuna.pattern
def first_half(q, k):
    return k // (lacuna.kv_len // 2) < 1


@lacuna.pattern
def two_of_three(q, k):
    return (k % (lacuna.kv_len - 12)) % 3 <= 1


@lacuna.pattern
def by_product(q, k):
    return k * (lacuna.kv_len - 8) < 150


def visible_by_hand(name: str, length: int) -> torch.Tensor:
    """bool[length]: which keys every row sees."""
    keys = range(length)
    rules: dict[str, Callable[[int], bool]] = {
        "first_half": lambda k: k < length // 2,
        "two_of_three": lambda k: k % (length - 12) % 3 <= 1,
        "by_product": lambda k: k * (length - 8) < 150,
    }
    return torch.tensor([rules[name](k) for k in keys])


@pytest.mark.parametrize("backend", ["cpp", "eager", "triton"])
@pytest.mark.parametrize("pattern", [first_half(), two_of_three(), by_product()], ids=["first_half", "two_of_three", "by_product"])
@pytest.mark.parametrize("rows", [32, 2])
def test_each_batch_item_is_divided_by_its_own_length(pattern: Pattern, backend: str, rows: int) -> None:
    for lengths in (LENGTHS, LENGTHS[2:3], [20, 20]):
        query = torch.randn(len(lengths), 2, rows, 16)
        key, value = torch.randn(2, len(lengths), 2, 32, 16)
        offset: Any = "end" if rows == 2 else 0
        out = attention(query, key, value, pattern, kv_len=torch.tensor(lengths), q_offset=offset, backend=backend)
        for item, length in enumerate(lengths):
            hidden = ~visible_by_hand(pattern.recipe.name, length)
            scores = query[item].double() @ key[item, :, :length].double().transpose(-1, -2) / 4
            wanted = torch.softmax(scores.masked_fill(hidden, -torch.inf), -1) @ value[item, :, :length].double()
            assert torch.allclose(out[item].double(), wanted, atol=1e-5)


@pytest.mark.parametrize("backend", ["cpp", "eager"])
def test_gradients_of_keys_are_those_of_their_own_length(backend: str) -> None:
    query, key, value = (torch.randn(4, 2, 32, 16, requires_grad=True) for _ in range(3))
    out = attention(query, key, value, first_half(), kv_len=torch.tensor(LENGTHS), backend=backend)
    found = torch.autograd.grad(out.square().sum(), (query, key, value))
    for item, length in enumerate(LENGTHS):
        hidden = torch.arange(length) >= length // 2
        parts = [each[item].detach().double().requires_grad_() for each in (query, key, value)]
        scores = parts[0] @ parts[1][:, :length].transpose(-1, -2) / 4
        wanted = torch.softmax(scores.masked_fill(hidden, -torch.inf), -1) @ parts[2][:, :length]
        for one, other in zip(found, torch.autograd.grad(wanted.square().sum(), parts), strict=True):
            assert torch.allclose(one[item].double(), other, atol=1e-4)
