"""Gradients of every backend against those of the definition in float64, within the tolerance that low precision earns."""

# Patterns and scores are written without annotations, and torch's are partial.
# ruff: noqa: ANN001, ANN201, ANN202
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownLambdaType=false
from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import gradient_reference as reference
import lacuna
import pytest
import random_problems as problems
import torch
from case_samples import crossed
from lacuna.runtime.eager import backend as eager
from random_problems import Places, Problem
from test_eager import Largest
from torch import Tensor

pytestmark = pytest.mark.usefixtures("compiled_quickly")

PROVE = os.environ.get("LACUNA_TEST_PROFILE") == "prove"
BACKENDS = ("cpp", "eager")
attention: Callable[..., Any] = lacuna.attention
each_backend = pytest.mark.parametrize("backend", BACKENDS)


# -- one problem ------------------------------------------------------------------------------------------------------


def tables_of(problem: Problem) -> list[Tensor]:
    """The float tables of a problem's score, as leaves."""
    score: Any = problem.options.get("score")
    bound = [] if score is None else score.bindings.values()
    return [table.requires_grad_() for table in bound if isinstance(table, Tensor) and table.is_floating_point()]


def found_and_exact(problem: Problem, backend: str, seed: int = 0) -> Iterator[tuple[str, Tensor, Tensor, float]]:
    """Name, gradient, true gradient and tolerance of query, key, value and of each table."""
    tables = tables_of(problem)
    leaves = [tensor.detach().requires_grad_() for tensor in problems.given(problem)]
    out, lse = attention(*leaves, problem.pattern, backend=backend, return_lse=True, **problem.options)
    torch.manual_seed(seed)
    grad_out, grad_lse = torch.randn(out.shape).to(out.dtype), torch.randn(lse.shape).to(lse.dtype)
    found = torch.autograd.grad((out, lse), (*leaves, *tables), (grad_out, grad_lse))
    if problem.options["layout"] == "blhd":
        grad_out, *found = grad_out.transpose(1, 2), *(each.transpose(1, 2) for each in found[:3]), *found[3:]
    dense = (problem.query, problem.key, problem.value, problem.mask, problem.scale, problem.scored)
    call = reference.Call(*dense, tables, grad_out, grad_lse)
    exact = reference.gradients(call)
    names = ["query", "key", "value", *(f"table {n}" for n in range(len(tables)))]
    yield from zip(names, found, exact, reference.tolerances(call, exact), strict=True)


def check(problem: Problem, backend: str, seed: int = 0) -> None:
    for name, found, exact, allowed in found_and_exact(problem, backend, seed):
        assert found.shape == exact.shape, f"{problem.name}: {name} has shape {tuple(found.shape)}"
        assert found.isfinite().all(), f"{problem.name}: {name} is not finite"
        error = float((found.double() - exact).abs().max()) if found.numel() else 0.0
        assert error <= allowed, f"{problem.name}: {name} is off by {error:.3g}, allowed {allowed:.3g}"


@each_backend
@pytest.mark.parametrize("seed", range(300 if PROVE else 6))
def test_random_problems_are_within_the_tolerance(backend: str, seed: int) -> None:
    check(problems.problem(seed), backend, seed)


@each_backend
def test_gradients_have_the_dtype_and_the_layout_of_what_they_are_gradients_of(backend: str) -> None:
    leaves = [torch.randn(2, 33, 4, 16, dtype=torch.bfloat16).requires_grad_() for _ in range(3)]
    out = attention(*leaves, problems.causal, layout="blhd", backend=backend)
    for leaf, found in zip(leaves, torch.autograd.grad(out.sum(), leaves), strict=True):
        assert (found.dtype, found.shape, found.stride()) == (leaf.dtype, leaf.shape, leaf.stride())


# -- differences in float64 -------------------------------------------------------------------------------------------


def smooth_problems(count: int) -> list[Problem]:
    """Small problems in float64 in which something is seen."""
    found = (problems.problem(seed, (torch.float64,), longest=33) for seed in range(1000))
    live = (each for each in found if bool(each.mask.any()) and each.query.shape[3] <= 40)
    return [next(live) for _ in range(count)]


@each_backend
@pytest.mark.parametrize("number", range(20 if PROVE else 3))
def test_differences_agree_on_twenty_problems(backend: str, number: int) -> None:
    problem = smooth_problems(20)[number]
    leaves = [tensor.detach().clone().requires_grad_() for tensor in problems.given(problem)]

    def outputs(*tensors: Tensor) -> tuple[Tensor, Tensor]:
        out, lse = attention(*tensors, problem.pattern, backend=backend, return_lse=True, **problem.options)
        return out, torch.where(lse == -math.inf, 0.0, lse)

    assert torch.autograd.gradcheck(outputs, leaves, fast_mode=True)  # also that two backward passes give the same bits


# -- the log-sum-exp --------------------------------------------------------------------------------------------------


@each_backend
def test_the_log_sum_exp_moves_with_the_keys_that_are_seen(backend: str) -> None:
    query, key, value = (torch.randn(2, 3, 70, 8, dtype=torch.float64).requires_grad_() for _ in range(3))
    _, lse = attention(query, key, value, problems.sliding(window=9), scale=0.5, return_lse=True, backend=backend)
    found = torch.autograd.grad(lse.sum(), (query, key, value))
    q, k = torch.arange(70)[:, None], torch.arange(70)
    weights = torch.softmax((0.5 * query @ key.mT).masked_fill(~((k <= q) & (q - k < 9)), -math.inf), dim=-1).detach()
    torch.testing.assert_close(found[0], 0.5 * weights @ key)
    torch.testing.assert_close(found[1], 0.5 * weights.mT @ query)
    assert not found[2].any()


# -- tables -----------------------------------------------------------------------------------------------------------

BATCH, HEADS, ROWS, KEYS = 2, 6, 140, 90
AT = Places(
    q=torch.arange(ROWS).view(1, 1, -1, 1),
    k=torch.arange(KEYS).view(1, 1, 1, -1),
    b=torch.arange(BATCH).view(-1, 1, 1, 1),
    h=torch.arange(HEADS).view(1, -1, 1, 1),
    rows=torch.tensor(ROWS),
    keys=torch.tensor(KEYS),
)


@lacuna.score
def relative(s, h, q, k, *, bias):
    return s + bias[h, q - k + 90]


@lacuna.score
def pairwise(s, q, k, *, bias):
    return s + bias[q, k]


@lacuna.score
def everywhere(s, b, h, q, k, *, bias):
    return s + bias[b, h, q, k]


@lacuna.score
def t5(s, h, q, k, *, bias):
    far = abs(q - k)
    return s + bias[min(far, 7) if far < 8 else min(8 + (far - 8) // 16, 12), h]  # each side in range by itself


@lacuna.score
def scaled(s, h, *, scales):
    return scales[h] * s


@lacuna.score
def gated(s, h, k, *, gates, bias):
    return lacuna.sigmoid(gates[h]) * s + (1 - lacuna.sigmoid(gates[h])) * bias[k % 7]


@lacuna.score
def fading(s, h, q, k, *, rates):
    return s * lacuna.exp(-rates[h] * abs(q - k) / 50)


@lacuna.score
def twice(s, h, b, q, k, *, slopes):
    return s + slopes[h] * (k - q) / 10 + slopes[b] * (q % 5)


@lacuna.score
def constant(s, *, shift):
    return lacuna.tanh(s * shift[0]) + shift[1]


def far_bucket(at: Places) -> Tensor:
    far = (at.q - at.k).abs()
    return torch.where(far < 8, far, (8 + (far - 8) // 16).clamp(max=12))


Dense = Callable[..., Tensor]
TABLES: list[tuple[Any, dict[str, tuple[int, ...]], Dense]] = [
    (problems.alibi, {"slopes": (6,)}, lambda s, slopes: s + slopes[AT.h] * (AT.k - AT.q)),
    (relative, {"bias": (6, 240)}, lambda s, bias: s + bias[AT.h, AT.q - AT.k + 90]),
    (pairwise, {"bias": (140, 90)}, lambda s, bias: s + bias[AT.q, AT.k]),
    (everywhere, {"bias": (2, 6, 140, 90)}, lambda s, bias: s + bias),
    (t5, {"bias": (13, 6)}, lambda s, bias: s + bias[far_bucket(AT), AT.h]),
    (scaled, {"scales": (6,)}, lambda s, scales: scales[AT.h] * s),
    (
        gated,
        {"gates": (6,), "bias": (7,)},
        lambda s, gates, bias: torch.sigmoid(gates[AT.h]) * s + (1 - torch.sigmoid(gates[AT.h])) * bias[AT.k % 7],
    ),
    (fading, {"rates": (6,)}, lambda s, rates: s * torch.exp(-rates[AT.h] * (AT.q - AT.k).abs() / 50)),
    (twice, {"slopes": (6,)}, lambda s, slopes: s + slopes[AT.h] * (AT.k - AT.q) / 10 + slopes[AT.b] * (AT.q % 5)),
    (constant, {"shift": (2,)}, lambda s, shift: torch.tanh(s * shift[0]) + shift[1]),
]
MASKS = [
    (None, AT.q == AT.q),
    (problems.sliding(window=20), (AT.k <= AT.q) & (AT.q - AT.k < 20)),
    (problems.later(gap=-3), AT.k > AT.q - 3),
]


def with_tables(case: tuple[Any, dict[str, tuple[int, ...]], Dense], dtypes: tuple[torch.dtype, torch.dtype], masked: int) -> Problem:
    """A problem whose score reads tables. dtypes: of query, key and value; of the tables."""
    torch.manual_seed(len(case[1]) + masked)
    score, shapes, dense = case
    pattern, mask = MASKS[masked]
    tables = {name: torch.rand(shape).to(dtypes[1]) for name, shape in shapes.items()}
    query, key, value = (torch.randn(shape).to(dtypes[0]) for shape in ((BATCH, HEADS, ROWS, 16), (1, 2, KEYS, 16), (1, 2, KEYS, 24)))
    return Problem(
        query,
        key,
        value,
        pattern,
        {"layout": "bhld", "score": score(**tables)},
        mask.expand(BATCH, HEADS, ROWS, KEYS),
        0.25,
        lambda s: dense(s, **{name: table.to(s.dtype) for name, table in tables.items()}),
        f"{score!r} {dtypes} {pattern!r}",
    )


@pytest.mark.parametrize(("case", "backend", "dtype"), crossed(TABLES, BACKENDS, [torch.float32, torch.float64]))
def test_tables_get_gradients_whatever_their_index(case: Any, backend: str, dtype: torch.dtype) -> None:  # noqa: ANN401
    check(with_tables(case, (dtype, dtype), 1 if dtype == torch.float32 else 2), backend)


@each_backend
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_tables_of_other_dtypes_get_gradients_of_their_own(backend: str, dtype: torch.dtype) -> None:
    problem = with_tables(TABLES[1], (torch.bfloat16, dtype), 0)
    check(problem, backend)
    query = problem.query.clone().requires_grad_()
    out = attention(query, problem.key, problem.value, problem.pattern, backend=backend, **problem.options)
    (found,) = torch.autograd.grad(out.sum(), tables_of(problem))
    assert found.dtype == dtype


@each_backend
def test_only_the_tables_that_are_asked_for_get_gradients(backend: str) -> None:
    problem = with_tables(TABLES[6], (torch.float32, torch.float32), 1)
    tables = tables_of(problem)
    out = attention(problem.query, problem.key, problem.value, problem.pattern, backend=backend, **problem.options)
    both = torch.autograd.grad(out.sum(), tables)
    tables[0].requires_grad_(False)
    out = attention(problem.query, problem.key, problem.value, problem.pattern, backend=backend, **problem.options)
    (alone,) = torch.autograd.grad(out.sum(), tables[1:])
    assert torch.equal(alone, both[1])


@each_backend
def test_a_table_that_only_decides_has_a_gradient_of_zero(backend: str) -> None:
    @lacuna.score
    def chosen(s, k, *, level):
        return lacuna.where(level[k] < 0.5, s, -1.0)

    level = torch.rand(40).requires_grad_()
    query = torch.randn(1, 1, 40, 8)
    (found,) = torch.autograd.grad(attention(query, query, query, score=chosen(level=level), backend=backend).sum(), [level])
    assert not found.any()


# -- what must not leak -----------------------------------------------------------------------------------------------


@each_backend
def test_slopes_that_are_no_numbers_at_hidden_pairs_do_not_leak(backend: str) -> None:
    @lacuna.score
    def rooted(s, h, q, k, *, slopes):
        return s * lacuna.log(1.0 + q - k) + slopes[h] * lacuna.sqrt(q - k)

    slopes = torch.rand(6)
    distance = (AT.q - AT.k).clamp(min=0)
    problem = with_tables(TABLES[0], (torch.float32, torch.float32), 1)
    check(
        replace(
            problem,
            options={"layout": "bhld", "score": rooted(slopes=slopes)},
            scored=lambda s: s * torch.log(1.0 + distance) + slopes.to(s.dtype)[AT.h] * torch.sqrt(distance.to(s.dtype)),
        ),
        backend,
    )


@each_backend
def test_rows_that_see_nothing_have_no_gradient_and_give_none(backend: str) -> None:
    leaves = [torch.randn(2, 2, 100, 8).requires_grad_() for _ in range(3)]
    out, lse = attention(*leaves, problems.later(gap=50), return_lse=True, backend=backend)
    grad_out = torch.zeros_like(out)
    grad_out[:, :, 49:] = 1e30
    query, key, value = torch.autograd.grad((out, lse), leaves, (grad_out, torch.zeros_like(lse)))
    assert not query.any()
    assert not key.any()
    assert not value.any()


@pytest.mark.parametrize("layout", ["bhld", "blhd"])
@pytest.mark.parametrize("kv_batch", [1, 2])
def test_memory_that_held_something_else_does_not_show(layout: str, kv_batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = torch.empty
    torch.manual_seed(kv_batch)
    query = problems.tensor((2, 4, 150, 20), torch.float32, layout)
    key, value = (problems.tensor((kv_batch, 2, 333, dim), torch.float32, layout) for dim in (20, 40))
    mask = torch.arange(333) <= torch.arange(150)[:, None]  # nobody sees the last keys
    problem = Problem(query, key, value, problems.causal, {"layout": layout}, mask.expand(2, 4, 150, 333), 20**-0.5)

    def used(*shape: Any, **options: Any) -> Tensor:  # noqa: ANN401
        return empty(*shape, **options).fill_(math.nan if options.get("dtype", torch.float32).is_floating_point else 7)

    monkeypatch.setattr(torch, "empty", used)
    check(problem, "cpp")


@each_backend
def test_padding_is_neither_read_nor_written(backend: str) -> None:
    query, key, value = (torch.randn(2, 2, 70, 8) for _ in range(3))
    key[0, :, 33:], key[1, :, 65:], value[0, :, 33:], value[1, :, 65:] = (math.nan,) * 4
    leaves = [each.requires_grad_() for each in (query, key, value)]
    lengths = torch.tensor([33, 65])
    out = attention(*leaves, problems.causal, kv_len=lengths, q_len=lengths, backend=backend)
    found = torch.autograd.grad(out.sum(), leaves)
    for each in found:
        assert not each[0, :, 33:].any()
        assert not each[1, :, 65:].any()
        assert each.isfinite().all()


@each_backend
def test_a_score_that_is_not_a_number_spoils_its_row_only(backend: str) -> None:
    leaves = [torch.ones(1, 1, 40, 8) for _ in range(3)]
    leaves[0][0, 0, 3] = math.nan
    for leaf in leaves:
        leaf.requires_grad_()
    out = attention(*leaves, problems.sliding(window=2), backend=backend)
    (query,) = torch.autograd.grad(out.sum(), leaves[:1])
    assert query.isnan().any(-1)[0, 0].nonzero().flatten().tolist() == [3]


# -- shapes of calls --------------------------------------------------------------------------------------------------


@each_backend
@pytest.mark.parametrize("score", [None, problems.soft, relative], ids=repr)
def test_packed_sequences_have_the_gradients_of_each_alone(backend: str, score: Any) -> None:  # noqa: ANN401
    bounds = torch.tensor([0, 5, 5, 70, 90], dtype=torch.int32)
    bias = torch.rand(4, 200).requires_grad_()
    options: dict[str, Any] = {"backend": backend, "score": relative(bias=bias) if score is relative else score}
    leaves = [torch.randn(90, heads, 16, dtype=torch.float64).requires_grad_() for heads in (4, 2, 2)]
    sources = (*leaves, bias) if score is relative else leaves
    pattern = problems.sliding(window=40)
    query, key, value = leaves
    packed = lacuna.varlen_attention(query, key, value, pattern, cu_seqlens_q=bounds, **options)
    assert isinstance(packed, Tensor)
    torch.manual_seed(1)
    gradient = torch.randn(packed.shape, dtype=torch.float64)
    alone = [
        attention(*(leaf[start:stop].transpose(0, 1).unsqueeze(0) for leaf in leaves), pattern, **options)[0].transpose(0, 1)
        for start, stop in itertools.pairwise(bounds)
        if start < stop
    ]
    found = torch.autograd.grad(packed, sources, gradient)
    for each, other in zip(found, torch.autograd.grad(torch.cat(alone), sources, gradient), strict=True):
        torch.testing.assert_close(each, other)


@each_backend
def test_long_rows_are_summed_over_all_their_keys(backend: str) -> None:
    """More keys than the eager backend takes at once, and tiles in several runs."""
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, heads, tokens, 8) for heads, tokens in ((2, 70), (1, 2300), (1, 2300)))
    q, k = torch.arange(70)[:, None], torch.arange(2300)
    for pattern, mask in (
        (None, q == q),
        (~problems.sliding(window=64), ~((k <= q) & (q - k < 64))),
        (problems.blocks(size=7), q // 7 == k // 7),
    ):
        for offset in (0, 900):
            if pattern is None or offset == 0:
                wide = mask.expand(1, 2, 70, 2300)
                check(
                    Problem(query, key, value, pattern, {"layout": "bhld", "q_offset": offset}, wide, 8**-0.5, name=f"{pattern!r}"), backend
                )


@each_backend
@pytest.mark.parametrize("lengths", [(0, 5), (5, 0), (0, 0)])
def test_nothing_to_attend_to_has_gradients_of_zero(backend: str, lengths: Sequence[int]) -> None:
    leaves = [torch.randn(2, 2, length, 8).requires_grad_() for length in (lengths[0], lengths[1], lengths[1])]
    for leaf, found in zip(leaves, torch.autograd.grad(attention(*leaves, backend=backend).sum(), leaves), strict=True):
        assert found.shape == leaf.shape
        assert not found.any()


# -- determinism and memory -------------------------------------------------------------------------------------------


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@each_backend
@pytest.mark.parametrize("case", [TABLES[1], TABLES[5]], ids=lambda case: case[0].recipe.name)
def test_ten_runs_on_one_thread_or_two_give_the_same_bits(backend: str, case: Any, threads: Callable[[int], None]) -> None:  # noqa: ANN401
    problem = with_tables(case, (torch.bfloat16, torch.float32), 1)
    runs: list[list[Tensor]] = []
    for run in range(10):
        threads(1 + run % 2)
        runs.append([found for _, found, _, _ in found_and_exact(problem, backend)])
    same = torch.testing.assert_close if backend == "eager" else _equal  # torch's products are torch's: threads may change their bits
    for run in runs[1:]:
        for one, other in zip(runs[0], run, strict=True):
            same(one, other)


def _equal(one: Tensor, other: Tensor) -> None:
    assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("pattern", "score"),
    crossed(
        [None, problems.causal, problems.sliding(window=300), ~problems.sliding(window=64)],
        [None, problems.soft, problems.alibi(slopes=torch.rand(2).requires_grad_())],
    ),
    ids=repr,
)
def test_no_tensor_is_as_large_as_a_score_matrix(pattern: object, score: object, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens, heads = 2500, 2
    query = torch.randn(1, heads, tokens, 8).requires_grad_()
    largest, descend = Largest(), eager.run_backward

    def watched(*given: Any) -> object:  # noqa: ANN401
        with largest:
            return descend(*given)

    monkeypatch.setattr(eager, "run_backward", watched)
    attention(query, query, query, pattern, score=score, backend="eager").sum().backward()
    assert heads * eager.BLOCK_Q * 64 < largest.elements <= heads * eager.BLOCK_Q * eager.KEYS_AT_ONCE < tokens * tokens / 10
