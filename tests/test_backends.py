"""Every backend against float64 attention, on the same random problems, within the tolerance that half precision earns."""

# Patterns are written without annotations, and torch's are partial.
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import lacuna
import pytest
import random_problems as problems
import reference
import torch

PROVE = os.environ.get("LACUNA_TEST_PROFILE") == "prove"
attention: Callable[..., Any] = lacuna.attention


def check(problem: problems.Problem, backend: str) -> None:
    query, key, value = problems.given(problem)
    out, lse = attention(query, key, value, problem.pattern, backend=backend, return_lse=True, **problem.options)
    out = out.transpose(1, 2) if problem.options["layout"] == "blhd" else out
    dense = (problem.query, problem.key, problem.value, problem.mask, problem.scale, problem.scored)
    exact_out, exact_lse = reference.attention(*dense)
    allowed = reference.tolerance(*dense)
    assert out.dtype == problem.query.dtype, problem.name
    try:
        reference.assert_close(out, exact_out, allowed.out)
        reference.assert_close(lse, exact_lse, allowed.lse)
    except AssertionError as error:
        raise AssertionError(f"{problem.name}: {error}") from None


@pytest.mark.parametrize("seed", range(500 if PROVE else 18))
def test_cpp_is_within_the_tolerance(seed: int) -> None:
    check(problems.problem(seed), "cpp")


@pytest.mark.parametrize("seed", range(500 if PROVE else 20))
def test_eager_is_within_the_tolerance(seed: int) -> None:
    check(problems.problem(seed), "eager")


@pytest.mark.parametrize("seed", range(1000, 1100 if PROVE else 1008))
def test_interpreted_triton_is_within_the_tolerance(seed: int) -> None:
    check(problems.problem(seed, (torch.float32, torch.bfloat16, torch.float16), longest=90), "triton")


WINDOWS = (0, 1, 100, 160, *range(200, 10_001, 100 if PROVE else 4900), 20_000, -1, 2**31 - 1, 2**40)
LENGTHS = (1, 2, 15, 16, 17, 63, 64, 129, 700, *((999, 1024, 2047, 3001, 4096, 6000, 9999) if PROVE else (2047,)))


def test_windows_and_lengths_do_not_change_the_kernel() -> None:
    """Three kernels serve every window and length: one for up to 16 rows, one for up to 32, one for more."""
    from lacuna.runtime.compilers.cpp_compiler import tally
    from lacuna.runtime.kernels.kernel_of import forget_kernels

    forget_kernels()
    tokens = torch.randn(1, 1, max(LENGTHS), 24)
    for length in (5, 20, 40):
        attention(tokens[:, :, :length], tokens, tokens, problems.sliding(window=3), backend="cpp")
    before = tally.compilations
    for window in WINDOWS:
        for length in LENGTHS:
            part = tokens[:, :, :length]
            out = attention(part, part, part, problems.sliding(window=window), backend="cpp")
            check_some_rows(out, part, window)
    assert tally.compilations == before


def check_some_rows(out: torch.Tensor, tokens: torch.Tensor, window: int) -> None:
    """First, middle and last rows of attention of tokens with themselves under a causal window, one by one."""
    exact = tokens[0, 0].double()
    for row in {0, len(exact) // 2, len(exact) - 1}:
        seen = exact[max(0, row + 1 - max(window, 0)) : row + 1]
        weights = torch.softmax(seen @ exact[row] / exact.shape[1] ** 0.5, dim=0)
        reference.assert_close(out[0, 0, row], weights @ seen, 1e-5)


@pytest.mark.parametrize("backend", ["cpp", "eager"])
def test_packed_sequences_see_only_themselves(backend: str) -> None:
    lengths = [5, 0, 70, 1, 33]
    offsets = torch.tensor([0, *lengths]).cumsum(0).int()
    packed = torch.randn(sum(lengths), 2, 16)
    out, lse = lacuna.varlen_attention(packed, packed, packed, problems.causal, cu_seqlens_q=offsets, return_lse=True, backend=backend)
    for start, stop in zip(offsets.tolist(), offsets.tolist()[1:], strict=False):
        part = packed[start:stop].transpose(0, 1).unsqueeze(0)
        below = torch.ones(stop - start, stop - start, dtype=torch.bool).tril()
        exact_out, exact_lse = reference.attention(part, part, part, below)
        reference.assert_close(out[start:stop].transpose(0, 1).unsqueeze(0), exact_out, 1e-5)
        reference.assert_close(lse[:, start:stop].unsqueeze(0), exact_lse, 1e-5)


def test_a_score_on_a_grid_reads_a_table_with_an_entry_for_each_token() -> None:
    """63 tokens on rows of 8: the last row is one short, and the table ends where the tokens do."""
    query, key, bias = torch.randn(1, 1, 63, 8), torch.randn(1, 1, 63, 8), torch.randn(1, 63)
    given = problems.near(r=1).on(8, 8)
    scored = attention(query, key, key, given, score=problems.biased(bias=bias), backend="eager")
    row, column = torch.arange(63) // 8, torch.arange(63) % 8
    mask = ((row[:, None] - row).abs() <= 1) & ((column[:, None] - column).abs() <= 1)
    exact, _ = reference.attention(query, key, key, mask, score=lambda s: s + bias.to(s.dtype))
    reference.assert_close(scored, exact, 1e-5)


def test_nan_and_infinite_scores_propagate_and_empty_rows_are_zero() -> None:
    query = torch.randn(1, 1, 40, 8)
    key = query.clone()
    key[0, 0, 3] = torch.nan
    out, lse = attention(query, key, query, problems.sliding(window=2), backend="cpp", return_lse=True)
    seen_nan = torch.zeros(40, dtype=torch.bool)
    seen_nan[3:5] = True
    assert torch.equal(out.isnan().all(-1)[0, 0], seen_nan)
    assert torch.equal(lse.isnan()[0, 0], seen_nan)


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    query = torch.randn(2, 3, 500, 64)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = attention(query, query, query, problems.causal, backend="cpp")
        torch.set_num_threads(2)
        two = attention(query, query, query, problems.causal, backend="cpp")
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(one, two)
