"""The eager backend: no tensor as large as a score matrix, the same answers as the definition, any device torch knows."""

# Patterns are written without annotations.
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import lacuna
import pytest
import random_problems as problems
import reference
import torch
from hypothesis import given
from lacuna.runtime.eager import backend as eager
from lacuna.runtime.launches import derivations
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

attention: Callable[..., Any] = lacuna.attention


class Largest(TorchDispatchMode):
    """Remembers how many elements the largest tensor held that an operation made, views aside."""

    def __init__(self) -> None:
        super().__init__()  # pyright: ignore[reportUnknownMemberType]  (torch's signature)
        self.elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401 (torch's signature)
        result = func(*args, **(kwargs or {}))
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor) and leaf._base is None]
        self.elements = max(self.elements, *(leaf.untyped_storage().nbytes() // leaf.element_size() for leaf in made), 0)
        return result


@lacuna.pattern
def striped(q, k, *, step):  # noqa: ANN001, ANN201 (patterns are written without annotations)
    return (q - k) % step == 0


@lacuna.pattern
def ring(q, k, *, r):  # noqa: ANN001, ANN201
    return (q - k) * (q - k) + k * k < r


SEVERAL = [None, problems.causal, problems.sliding(window=300), striped(step=3), ~problems.sliding(window=64)]


@given(problems.problems(longest=90))
def test_random_problems_are_within_the_tolerance(problem: problems.Problem) -> None:
    out, lse = attention(*problems.given(problem), problem.pattern, backend="eager", return_lse=True, **problem.options)
    dense = (problem.query, problem.key, problem.value, problem.mask, problem.scale, problem.scored)
    exact_out, exact_lse = reference.attention(*dense)
    allowed = reference.tolerance(*dense)
    reference.assert_close(out.transpose(1, 2) if problem.options["layout"] == "blhd" else out, exact_out, allowed.out)
    reference.assert_close(lse, exact_lse, allowed.lse)


@pytest.mark.parametrize(
    "pattern", [None, problems.causal, problems.sliding(window=300), striped(step=3), ~problems.sliding(window=64)], ids=repr
)
@pytest.mark.parametrize("score", [None, problems.soft], ids=repr)
def test_no_tensor_is_as_large_as_a_score_matrix(pattern: object, score: object) -> None:
    tokens, heads = 3000, 2
    query = torch.randn(1, heads, tokens, 16)
    with Largest() as largest:
        attention(query, query, query, pattern, score=score, backend="eager")
    assert 0 < largest.elements <= max(query.numel(), heads * eager.BLOCK_Q * eager.KEYS_AT_ONCE)
    assert largest.elements < tokens * tokens / 10


def test_hidden_tiles_are_not_touched() -> None:
    query = torch.randn(1, 1, 640, 8)
    key = query.clone()
    key[:, :, :256] = math.nan
    out = attention(query, key, key, problems.sliding(window=65), backend="eager")
    assert out[:, :, :320].isnan().any()
    assert not out[:, :, 384:].isnan().any()


def test_padding_is_not_touched() -> None:
    query, key = torch.randn(2, 2, 70, 8), torch.randn(2, 2, 70, 8)
    key[0, :, 33:], key[1, :, 65:] = math.nan, math.nan
    out = attention(query, key, key, problems.causal, kv_len=torch.tensor([33, 65]), backend="eager")
    assert not out.isnan().any()


def test_infinite_scores_and_nan_propagate_where_they_are_seen() -> None:
    query = torch.ones(1, 1, 40, 8)
    for bad in (math.nan, math.inf):
        key = torch.ones(1, 1, 40, 8)
        key[0, 0, 3] = bad
        out, lse = attention(query, key, query, problems.sliding(window=2), backend="eager", return_lse=True)
        assert out.isnan().any(-1)[0, 0].nonzero().flatten().tolist() == [3, 4]
        assert lse.isnan()[0, 0].nonzero().flatten().tolist() == [3, 4]


def test_rows_that_see_nothing_are_zero_with_a_log_sum_exp_of_minus_infinity() -> None:
    query = torch.randn(2, 2, 100, 8)
    out, lse = attention(query, query, query, problems.later(gap=50), backend="eager", return_lse=True)
    assert bool((out[:, :, 49:] == 0).all())
    assert bool((lse[:, :, 49:] == -math.inf).all())
    assert bool(lse[:, :, :49].isfinite().all())


def test_a_schedule_is_derived_once_for_all_windows_and_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    derive = derivations.derive
    monkeypatch.setattr(derivations, "derive", lambda *given: calls.append(given) or derive(*given))
    derivations.forget_derivations()
    for window, tokens in ((3, 50), (40, 300), (-1, 1), (2**40, 129)):
        query = torch.randn(1, 1, tokens, 4)
        attention(query, query, query, problems.sliding(window=window), backend="eager")
    assert len(calls) == 1


def test_tiles_found_in_a_table_are_not_used_for_another_table() -> None:
    query = torch.randn(1, 1, 200, 8)
    for fill in (torch.zeros, torch.ones):
        seen = fill(1, 200, 200).bool()
        out = attention(query, query, query, problems.listed(seen=seen), backend="eager")
        exact, _ = reference.attention(query, query, query, seen)
        reference.assert_close(out, exact, 1e-5)


def test_masks_that_need_refinement_are_right_at_every_length() -> None:
    for tokens in (130, 70):
        query = torch.randn(1, 1, tokens, 8)
        q, k = torch.arange(tokens)[:, None], torch.arange(tokens)
        exact, _ = reference.attention(query, query, query, (q - k) * (q - k) + k * k < 3000)
        reference.assert_close(attention(query, query, query, ring(r=3000), backend="eager"), exact, 1e-5)


def test_the_same_call_gives_the_same_bits() -> None:
    query = torch.randn(2, 4, 333, 40, dtype=torch.bfloat16)
    first, second = (attention(query, query[:, :2], query[:, :2], problems.causal, backend="eager") for _ in range(2))
    assert torch.equal(first, second)


def test_a_look_up_that_may_leave_its_table_is_refused_with_its_reach() -> None:
    @lacuna.pattern
    def shifted(q, k, *, doc):  # noqa: ANN001, ANN202
        return doc[2 * q] == doc[k]

    query = torch.randn(1, 1, 10, 4)
    with pytest.raises(
        IndexError, match=r"table `doc` holds 10 entries, but `2 \* q` reaches 18\.\n  write a table with at least 19 entries"
    ):
        attention(query, query, query, shifted(doc=torch.zeros(10, dtype=torch.int32)), backend="eager")
