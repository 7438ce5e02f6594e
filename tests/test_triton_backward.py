"""Gradients of Triton kernels in the interpreter, against those of the definition in float64."""

# Patterns and scores are written without annotations, and torch's are partial.
# ruff: noqa: ANN001, ANN202
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownLambdaType=false
from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import lacuna
import pytest
import random_problems as problems
import test_gradients
import torch
from lacuna.runtime.triton import backward_kernels
from random_problems import Problem
from test_gradients import TABLES, check, found_and_exact, pairwise, relative, tables_of, with_tables
from torch import Tensor

PROVE = os.environ.get("LACUNA_TEST_PROFILE") == "prove"
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
attention: Callable[..., Any] = lacuna.attention
varlen_attention: Callable[..., Any] = lacuna.varlen_attention


@pytest.mark.parametrize("seed", range(100) if PROVE else (0, 1, 17, 28))
def test_random_problems_are_within_the_tolerance(seed: int) -> None:
    check(problems.problem(seed, DTYPES, longest=90), "triton", seed)


@pytest.mark.parametrize("dims", [(1, 3), (80, 65)])
def test_float64_and_odd_dimensions_have_gradients(dims: tuple[int, int]) -> None:
    query, key, value = (torch.randn(1, heads, 40, dim, dtype=torch.float64) for heads, dim in ((2, dims[0]), (1, dims[0]), (1, dims[1])))
    q, k = torch.arange(40)[:, None], torch.arange(40)
    mask = ((k <= q) & (q - k < 9)).expand(1, 2, 40, 40)
    check(Problem(query, key, value, problems.sliding(window=9), {"layout": "bhld"}, mask, dims[0] ** -0.5), "triton")


# -- tables -----------------------------------------------------------------------------------------------------------


def few(problem: Problem) -> Problem:
    """The problem on its first rows, keys and heads; keys are shared by what is left of the batch."""
    parts = slice(None), slice(0, 3), slice(0, 37)
    mask = problem.mask[:, :3, :37, :70]
    key, value = problem.key[:, :1, :70], problem.value[:, :1, :70]
    whole = problem.scored
    assert whole is not None

    def scored(s: Tensor) -> Tensor:
        room = s.new_zeros(problem.mask.shape)
        room[:, :3, :37, :70] = s
        return whole(room)[:, :3, :37, :70]

    return replace(problem, query=problem.query[parts], key=key, value=value, mask=mask, scored=scored)


@pytest.mark.parametrize("case", TABLES if PROVE else [TABLES[n] for n in (2, 6, 8, 9)], ids=lambda case: case[0].recipe.name)
def test_tables_get_gradients_whatever_their_index(case: Any) -> None:  # noqa: ANN401
    problem = with_tables(case, (torch.float32, torch.float32), 1)
    check(problem if PROVE else few(problem), "triton")


def test_pairs_are_summed_in_as_many_launches_as_memory_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = few(with_tables(TABLES[1], (torch.float32, torch.float32), 1))
    once = [found for _, found, _, _ in found_and_exact(problem, "triton")]
    monkeypatch.setattr(backward_kernels, "MOST_PAIR_BYTES", 100_000)
    for several, each in zip(found_and_exact(problem, "triton"), once, strict=True):
        assert torch.equal(several[1], each)


def test_only_the_tables_that_are_asked_for_get_gradients() -> None:
    problem = few(with_tables(TABLES[6], (torch.bfloat16, torch.float16), 1))
    tables = tables_of(problem)
    tables[0].requires_grad_(False)
    out = attention(problem.query, problem.key, problem.value, problem.pattern, backend="triton", **problem.options)
    (alone,) = torch.autograd.grad(out.sum(), tables[1:])
    assert (alone.shape, alone.dtype) == (tables[1].shape, torch.float16)
    assert alone.any()


# -- what must not leak -----------------------------------------------------------------------------------------------


def test_slopes_that_are_no_numbers_at_hidden_pairs_do_not_leak() -> None:
    @lacuna.score
    def rooted(s, h, q, k, *, slopes):
        return s * lacuna.log(1.0 + q - k) + slopes[h] * lacuna.sqrt(q - k)

    slopes = torch.rand(6)
    distance = (test_gradients.AT.q - test_gradients.AT.k).clamp(min=0)
    problem = replace(
        with_tables(TABLES[0], (torch.float32, torch.float32), 1),
        options={"layout": "bhld", "score": rooted(slopes=slopes)},
        scored=lambda s: s * torch.log(1.0 + distance) + slopes.to(s.dtype)[test_gradients.AT.h] * torch.sqrt(distance.to(s.dtype)),
    )
    check(few(problem), "triton")


def test_rows_that_see_nothing_have_no_gradient_and_give_none() -> None:
    leaves = [torch.randn(1, 2, 100, 8).requires_grad_() for _ in range(3)]
    out, lse = attention(*leaves, problems.later(gap=50), return_lse=True, backend="triton")
    grad_out = torch.zeros_like(out)
    grad_out[:, :, 49:] = 1e30
    for found in torch.autograd.grad((out, lse), leaves, (grad_out, torch.zeros_like(lse))):
        assert not found.any()


@pytest.mark.parametrize(("shared", "score"), [(True, None), (True, problems.soft), (False, None)], ids=repr)
def test_padding_is_neither_read_nor_written(shared: bool, score: object) -> None:
    query, key, value = (torch.randn(batch, 2, 150, 8) for batch in (2, 1 if shared else 2, 1 if shared else 2))
    query[0, :, 33:], query[1, :, 140:], key[:, :, 140:], value[:, :, 140:] = (torch.nan,) * 4
    leaves = [each.requires_grad_() for each in (query, key, value)]
    options: dict[str, Any] = {"score": score, "backend": "triton"}
    lengths = torch.tensor([33, 140])
    out, lse = attention(*leaves, ~problems.later(gap=100), kv_len=lengths, q_len=lengths, return_lse=True, **options)
    seen = torch.arange(150) < lengths[:, None]
    found = torch.autograd.grad((out, lse), leaves, (seen[:, None, :, None] * torch.ones_like(out), seen[:, None] * torch.ones_like(lse)))
    assert all(each.isfinite().all() for each in found)
    assert not found[0][0, :, 33:].any()
    assert not found[1][:, :, 140:].any()
    alone = [leaf[:, :, :33] if leaf.shape[0] == 1 else leaf[:1, :, :33] for leaf in leaves]
    first_out, first_lse = attention(*alone, ~problems.later(gap=100), return_lse=True, **options)
    exact = torch.autograd.grad(first_out.sum() + first_lse.sum(), leaves[:1])
    torch.testing.assert_close(found[0][0], exact[0][0])


def test_keys_that_a_call_leaves_out_have_no_gradient() -> None:
    leaves = [torch.randn(1, 1, 100, 8).requires_grad_() for _ in range(3)]
    _, key, value = torch.autograd.grad(attention(*leaves, kv_len=20, backend="triton").sum(), leaves)
    assert not key[:, :, 20:].any()
    assert not value[:, :, 20:].any()
    assert value[:, :, :20].all()


# -- shapes of calls --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("score", [relative, problems.biased], ids=["pairs", "keys"])
def test_packed_sequences_have_the_gradients_of_each_alone(score: Any) -> None:  # noqa: ANN401
    bounds = torch.tensor([0, 5, 5, 70, 90], dtype=torch.int32)
    bias = torch.rand(4, 200).requires_grad_()
    options = {"backend": "triton", "score": score(bias=bias)}
    leaves = [torch.randn(90, heads, 16, dtype=torch.float64).requires_grad_() for heads in (4, 2, 2)]
    packed = varlen_attention(*leaves, problems.sliding(window=40), cu_seqlens_q=bounds, **options)
    gradient = torch.randn(packed.shape, dtype=torch.float64)
    found = torch.autograd.grad(packed, (*leaves, bias), gradient)
    total = torch.zeros_like(bias)
    for n, (start, stop) in enumerate(itertools.pairwise(bounds)):
        if start < stop:
            parts = [leaf[start:stop].detach().transpose(0, 1).unsqueeze(0).requires_grad_() for leaf in leaves]
            its_own = bias if score is relative else bias[n : n + 1]  # as many sequences as there are
            out = attention(*parts, problems.sliding(window=40), backend="triton", score=score(bias=its_own))[0].transpose(0, 1)
            *alone, of_bias = torch.autograd.grad(out, (*parts, its_own), gradient[start:stop])
            total[slice(None) if score is relative else slice(n, n + 1)] += of_bias
            for each, other in zip(found, alone, strict=False):
                torch.testing.assert_close(each[start:stop], other[0].transpose(0, 1))
    torch.testing.assert_close(found[3], total)


WARM = """
import sys, torch, lacuna
@lacuna.score
def shifted(s, k, *, cap, bias):
    return cap * lacuna.tanh(s / cap) + bias[k % 7]
bias = torch.rand(7).requires_grad_()
query = torch.randn(1, 1, 20, 16).requires_grad_()
lacuna.attention(query, query, query, score=shifted(cap=2.0, bias=bias), backend="triton").sum().backward()
print(bias.grad.shape[0], [name for name in ("islpy", "sympy", "networkx", "jinja2") if name in sys.modules])
"""


def test_a_second_process_runs_without_the_compiler_s_libraries() -> None:
    cold, warm = (subprocess.run([sys.executable, "-c", WARM], check=True, capture_output=True, text=True).stdout.strip() for _ in range(2))
    assert "sympy" in cold
    assert warm == "7 []"


@pytest.mark.parametrize("lengths", [(0, 5), (5, 0), (0, 0)])
def test_nothing_to_attend_to_has_gradients_of_zero(lengths: tuple[int, int]) -> None:
    leaves = [torch.randn(2, 2, length, 8).requires_grad_() for length in (lengths[0], lengths[1], lengths[1])]
    for leaf, found in zip(leaves, torch.autograd.grad(attention(*leaves, backend="triton").sum(), leaves), strict=True):
        assert found.shape == leaf.shape
        assert not found.any()


def test_two_runs_give_the_same_bits() -> None:
    problem = few(with_tables(TABLES[6], (torch.bfloat16, torch.float32), 1))
    first, second = ([found for _, found, _, _ in found_and_exact(problem, "triton")] for _ in range(2))
    assert all(map(torch.equal, first, second))
    again = few(with_tables((pairwise, {"bias": (140, 90)}, TABLES[2][2]), (torch.float32, torch.float32), 0))
    first, second = ([found for _, found, _, _ in found_and_exact(again, "triton")] for _ in range(2))
    assert all(map(torch.equal, first, second))
