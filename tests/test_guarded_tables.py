"""Tables that hold just what their masks show: output and gradients of every backend against float64, pair by pair."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from lacuna.runtime.calls import operators
from random_lookups import Node, Problem, random_problem, value
from torch import Tensor

# torch's types are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

WIDTH = 8
SEEDS = {"eager": range(30_000, 30_030), "cpp": range(31_000, 31_004), "triton": range(32_000, 32_004)}
FULL = 18  # times as many where everything is to be proved
pytestmark = pytest.mark.usefixtures("compiled_quickly")


@dataclass(frozen=True)
class Entry:
    """Of a float table: where the score reads it at one pair, None where it reads none."""

    at: tuple[int, ...] | None


def entry_read(score: Node, at: dict[str, int], problem: Problem) -> Entry:
    match score:
        case ("[]", "bias", *indices):
            return Entry(tuple(value(index, at, problem.tables) for index in indices))
        case ("where", condition, look, _):
            return entry_read(look, at, problem) if value(condition, at, problem.tables) else Entry(None)
        case _:
            return Entry(None)


def by_hand(problem: Problem, query: Tensor, key: Tensor, value_: Tensor, bias: Tensor | None) -> Tensor:
    """float64[batch, heads, rows, width]; rows that see nothing, or are past their length, are 0."""
    heads = query.shape[1]
    key, value_ = (each.repeat_interleave(heads // each.shape[1], 1) for each in (key, value_))
    visible = torch.zeros(*query.shape[:3], key.shape[2], dtype=torch.bool)
    added: dict[tuple[int, ...], tuple[int, ...]] = {}
    for at in problem.pairs():
        where = at["b"], at["h"], at["row"], at["col"]
        if value(problem.mask, at, problem.tables):
            visible[where] = True
            entry = entry_read(problem.score, at, problem)
            if entry.at is not None:
                added[where] = entry.at
    scores = query @ key.transpose(-1, -2) / WIDTH**0.5
    if bias is not None and added:
        places = tuple(torch.tensor(column) for column in zip(*added, strict=True))
        read = bias[tuple(torch.tensor(column) for column in zip(*added.values(), strict=True))]
        scores = scores.index_put(places, read, accumulate=True)
    some = visible.any(-1, keepdim=True)
    weights = torch.softmax(torch.where(visible, scores, torch.where(some, -torch.inf, 0.0)), -1)
    return (torch.where(some, weights, 0.0) @ value_).double()


def attended(problem: Problem, backend: str, tensors: list[Tensor], bias: Tensor | None) -> Tensor:
    tables = [torch.from_numpy(array) for name, array in problem.tables.items() if name != "bias"] + ([] if bias is None else [bias])
    lengths = [torch.tensor(column, dtype=torch.int32) for column in zip(*problem.items, strict=True)]
    spans = [*lengths, None, None]
    assert operators.LIBRARY  # registered
    numbers = ([problem.number], [], problem.program(), None, "bhld", backend)
    return torch.ops.lacuna.attention.default(*tensors, tables, spans, None, None, None, *numbers)[0]


def problems(backend: str, prove: bool) -> list[tuple[int, Problem]]:
    seeds = SEEDS[backend]
    drawn = ((seed, random_problem(seed)) for seed in (range(seeds.start, seeds.start + FULL * len(seeds)) if prove else seeds))
    return [(seed, problem) for seed, problem in drawn if problem.tables and not problem.harmful()]


@pytest.mark.parametrize("backend", ["eager", "cpp", "triton"])
def test_tables_that_hold_what_is_visible_give_what_they_should(backend: str, prove: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if backend == "triton":
        pytest.importorskip("triton")
        monkeypatch.setenv("TRITON_INTERPRET", "1")
    ran = 0
    for seed, problem in problems(backend, prove):
        torch.manual_seed(seed)
        rows, keys = (max(item[axis] for item in problem.items) for axis in (0, 1))
        kv_heads = 1 if seed % 2 else problem.heads
        shapes = ((problem.heads, rows), (kv_heads, keys), (kv_heads, keys))
        tensors = [torch.randn(len(problem.items), *shape, WIDTH, requires_grad=True) for shape in shapes]
        bias = torch.from_numpy(problem.tables["bias"]).requires_grad_() if "bias" in problem.tables else None
        exact = [each.detach().double().requires_grad_() for each in (*tensors, *([] if bias is None else [bias]))]
        found, wanted = (
            attended(problem, backend, tensors, bias),
            by_hand(problem, exact[0], exact[1], exact[2], exact[3] if bias is not None else None),
        )
        said = (seed, problem.program(), problem.items)
        assert (found - wanted).abs().max() < 1e-4, said
        weights = torch.randn_like(wanted)
        mine = torch.autograd.grad((found * weights).sum(), [*tensors, *([] if bias is None else [bias])])
        theirs = torch.autograd.grad((wanted * weights).sum(), exact, allow_unused=True)
        for gradient, other in zip(mine, theirs, strict=True):
            assert (gradient - (0 if other is None else other)).abs().max() < 1e-4, said
        ran += 1
    assert ran > 1


def test_problems_have_what_guards_are_about() -> None:
    drawn = [problem for _, problem in problems("eager", prove=False)]
    assert sum("bias" in problem.tables for problem in drawn) > 1
    assert sum(bool(problem.extents) for problem in drawn) > 1
    assert sum(len(set(problem.items)) > 1 for problem in drawn) > 1
