"""Zero keys that kernels count, in every backend, beside a dense softmax in float64 with as much mass added by hand."""

# Patterns are written without annotations, and torch's are partial.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import lacuna
import numpy as np
import pytest
import torch
from conftest import PROFILE
from lacuna import orders, patterns
from lacuna.runtime.cpp.call import Arguments, CppKernel
from masks_beside import SHUFFLED, biased, every_second, late, near, off, square
from torch import Tensor

pytestmark = pytest.mark.usefixtures("compiled_quickly")
BACKENDS = ("cpp", "eager", "triton")
attention: Callable[..., Any] = lacuna.attention
varlen: Callable[..., Any] = lacuna.varlen_attention


@dataclass(frozen=True)
class Case:
    """rows, keys: lengths.   heads: of queries, and of keys.   shown: the mask over positions.   options: of the call."""

    pattern: Any
    shown: Callable[[Tensor, Tensor], Tensor]
    rows: int
    keys: int = 0
    heads: tuple[int, int] = (2, 1)
    counts: tuple[int, ...] = ()
    offset: int = 0
    scale: float | None = None
    score: bool = False
    options: dict[str, Any] = field(default_factory=dict[str, Any])


CASES = {
    "one number for each row": Case(near(reach=3), lambda q, k: (q - k).abs() <= 3, 50, heads=(4, 2)),
    "few rows at the end": Case(patterns.causal(), lambda q, k: k <= q, 5, 550, counts=(2, 1, 5), offset=545, options={"q_offset": "end"}),
    "residue classes": Case(every_second, lambda q, k: ((q - k) % 2 == 0) & ((q - k).abs() <= 12), 140, counts=(2, 1, 140)),
    "boxes of a grid": Case(patterns.neighborhood((5, 5), length=(12, 12)), square, 144, options={"order": orders.boxes((12, 12), (8, 8))}),
    "tokens of a table": Case(near(reach=5), lambda q, k: (q - k).abs() <= 5, 40, options={"order": orders.permutation(SHUFFLED)}),
    "heads last": Case(near(reach=9), lambda q, k: (q - k).abs() <= 9, 33, counts=(1, 2, 33), options={"layout": "blhd"}),
    "rows that see nothing": Case(late, lambda q, k: (q >= 20) & (k <= q), 40, counts=(2, 2, 40)),
    "scores far below 0": Case(near(reach=3), lambda q, k: (q - k).abs() <= 3, 20, scale=-200.0),
    "a score with a table": Case(near(reach=3), lambda q, k: (q - k).abs() <= 3, 24, score=True),
}


@dataclass(frozen=True)
class Problem:
    """tensors: query, key, value, counts, table, in float64; what is differentiated."""

    tensors: tuple[Tensor, ...]
    case: Case

    @staticmethod
    def of(case: Case) -> Problem:
        generator = torch.Generator().manual_seed(3)
        keys, (heads, kv_heads) = case.keys or case.rows, case.heads

        def drawn(*shape: int) -> Tensor:
            return torch.randn(shape, dtype=torch.float64, generator=generator)

        query = drawn(2, heads, case.rows, 8)
        if case.scale is not None:  # so that every product is positive, and every score negative
            query = query.abs()
        key = drawn(2, kv_heads, keys, 8)
        key = key if case.scale is None else key.abs()
        counts = torch.randint(0, 4, case.counts or (case.rows,), generator=generator).double() + (0.0 if case.scale is None else 0.5)
        tensors = (query, key, drawn(2, kv_heads, keys, 5), counts, drawn(keys))
        return Problem(tuple(each.requires_grad_() for each in tensors), case)

    def wanted(self) -> tuple[Tensor, Tensor]:
        case = self.case
        query, key, value, counts, table = self.tensors
        key, value = (each.repeat_interleave(case.heads[0] // case.heads[1], 1) for each in (key, value))
        q, k = torch.arange(case.rows)[:, None] + case.offset, torch.arange(key.shape[2])
        scores = query @ key.transpose(-1, -2) * (case.scale or 8**-0.5)
        scores = scores + table[(q - k).abs()] if case.score else scores
        return counted(scores.masked_fill(~case.shown(q, k), -math.inf), value, counts)

    def found(self, backend: str, dtype: torch.dtype = torch.float32) -> tuple[tuple[Tensor, ...], tuple[Tensor, Tensor]]:
        """The tensors that the call was given, and what it returned, rows first."""
        case = self.case
        query, key, value, counts, table = given = tuple(each.detach().to(dtype).requires_grad_() for each in self.tensors)
        last = case.options.get("layout") == "blhd"
        query, key, value = (each.transpose(1, 2) if last else each for each in (query, key, value))
        score = {"score": biased(bias=table)} if case.score else {}
        out, lse = attention(
            query, key, value, case.pattern, zero_keys=counts, scale=case.scale, return_lse=True, backend=backend, **score, **case.options
        )
        return given, (out.transpose(1, 2) if last else out, lse)


def counted(scores: Tensor, value: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """A softmax with a mass of `counts` more in every denominator."""
    counts = counts.expand(scores.shape[:-1]).unsqueeze(-1)
    highest = scores.detach().amax(-1, keepdim=True)
    highest = torch.where(counts > 0, highest.clamp(min=0), highest)
    highest = torch.where(highest == -math.inf, 0, highest)
    weights = torch.exp(scores - highest)
    total = weights.sum(-1, keepdim=True) + counts * torch.exp(-highest)
    empty = total == 0
    total = torch.where(empty, 1, total)
    return (weights / total) @ value, torch.where(empty, -math.inf, total.log() + highest).squeeze(-1)


def gradients(result: tuple[Tensor, Tensor], tensors: Sequence[Tensor], *, scored: bool) -> tuple[Tensor, ...]:
    out, lse = result
    steps = torch.arange(out.shape[-1], dtype=out.dtype)
    loss = (out * (steps + 1).cos()).sum() + torch.where(lse == -math.inf, 0, lse).sin().sum()
    return torch.autograd.grad(loss, tensors if scored else tensors[:4])


EVERYDAY = {  # every case meets every backend where there is time
    "one number for each row": ("eager",),
    "few rows at the end": ("cpp", "triton"),
    "residue classes": ("cpp",),
    "boxes of a grid": ("cpp",),
    "tokens of a table": ("cpp",),
    "heads last": ("eager",),
    "rows that see nothing": ("cpp", "eager"),
    "scores far below 0": BACKENDS,
    "a score with a table": ("eager",),
}
PAIRS = [(name, backend) for name in CASES for backend in (BACKENDS if PROFILE == "prove" else EVERYDAY[name])]


@pytest.mark.parametrize(("name", "backend"), PAIRS)
def test_outputs_and_gradients_are_those_of_a_softmax_with_more_mass(name: str, backend: str) -> None:
    problem = Problem.of(CASES[name])
    given, found = problem.found(backend)
    wanted = problem.wanted()
    assert off(found, wanted) < 2e-5
    scored = problem.case.score
    if PROFILE != "prove" and problem.case.rows < 16:
        return  # so few rows have a forward kernel of their own and no other backward kernels
    want = gradients(wanted, problem.tensors, scored=scored)
    got = gradients(found, given, scored=scored)
    empty = wanted[1].isfinite().logical_not()
    if empty.any():  # a row that sees nothing has no gradient, whatever the slope of a logarithm at 0 is
        want = (*want[:3], want[3].masked_fill(empty, 0))
    assert off(got, want) < 1e-4


def plain(*shape: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(5)
    return tuple(torch.randn(shape, generator=generator) for _ in range(3))


ROWS, KEYS = torch.tensor([7, 16, 12], dtype=torch.int32), torch.tensor([16, 9, 0], dtype=torch.int32)


@pytest.mark.parametrize(("backend", "rows"), [("cpp", 16), ("triton", 36), ("eager", 36)])
def test_lengths_of_batch_items_end_what_is_counted(backend: str, rows: int) -> None:
    query, key, value = plain(3, 2, rows, 8)
    counts = torch.arange(3.0 * rows).view(3, 1, rows) % 4
    out, lse = attention(query, key, value, near(reach=3), q_len=ROWS, kv_len=KEYS, zero_keys=counts, return_lse=True, backend=backend)
    for item, (last_row, last_key) in enumerate(zip(ROWS.tolist(), KEYS.tolist(), strict=True)):
        q, k = torch.arange(rows)[:, None], torch.arange(rows)
        shown = ((q - k).abs() <= 3) & (k < last_key) & (q < last_row)
        scores = (query[item].double() @ key[item].double().transpose(-1, -2) * 8**-0.5).masked_fill(~shown, -math.inf)
        wanted = counted(scores, value[item].double(), torch.where(q[:, 0] < last_row, counts[item].double(), 0))
        assert off((out[item], lse[item]), wanted) < 2e-5


@pytest.mark.parametrize("backend", BACKENDS if PROFILE == "prove" else ("cpp", "eager"))
def test_packed_sequences_have_a_count_for_each_of_their_rows(backend: str) -> None:
    query, key, value = (each[0].transpose(0, 1).contiguous() for each in plain(1, 2, 60, 8))
    starts = torch.tensor([0, 25, 25, 60], dtype=torch.int32)
    counts = (torch.arange(60.0) % 3).requires_grad_()
    out, lse = varlen(query, key, value, near(reach=3), cu_seqlens_q=starts, zero_keys=counts, return_lse=True, backend=backend)
    got = torch.autograd.grad(out.cos().sum() + lse.sin().sum(), counts)
    of = torch.bucketize(torch.arange(60), starts[1:], right=True)
    shown = ((torch.arange(60)[:, None] - torch.arange(60)).abs() <= 3) & (of[:, None] == of)
    first, second, third = (each.double().transpose(0, 1) for each in (query, key, value))
    exact = counts.detach().double().requires_grad_()
    want_out, want_lse = counted((first @ second.transpose(-1, -2) * 8**-0.5).masked_fill(~shown, -math.inf), third, exact)
    assert off((out, lse), (want_out.transpose(0, 1), want_lse)) < 2e-5
    assert off(got, torch.autograd.grad(want_out.cos().sum() + want_lse.sin().sum(), exact)) < 1e-4


@pytest.mark.parametrize("backend", BACKENDS)
def test_without_a_key_a_row_sees_its_zero_keys(backend: str) -> None:
    query, key, value = torch.randn(1, 2, 3, 8), torch.zeros(1, 2, 0, 8), torch.zeros(1, 2, 0, 5)
    counts = torch.tensor([2.0, 0.0, 1.0], requires_grad=True)
    out, lse = attention(query, key, value, zero_keys=counts, return_lse=True, backend=backend)
    assert out.shape == (1, 2, 3, 5)
    assert not out.any()
    assert torch.equal(lse, counts.log().expand(1, 2, 3))
    assert torch.autograd.grad(lse[..., ::2].sum(), counts)[0].tolist() == [1, 0, 2]


def test_half_precision_counts_in_float32() -> None:
    query, key, value = (each.bfloat16() for each in plain(1, 2, 40, 16))
    counts = torch.arange(40)
    out, lse = attention(query, key, value, near(reach=3), zero_keys=counts, return_lse=True, backend="cpp")
    near_by = (torch.arange(40)[:, None] - torch.arange(40)).abs() <= 3
    scores = (query.double() @ key.double().transpose(-1, -2) / 4).masked_fill(~near_by, -math.inf)
    want_out, want_lse = counted(scores, value.double(), counts.double())
    assert off([lse], [want_lse]) < 1e-5
    assert off([out.float()], [want_out]) < 2e-2


def test_halo_padding_counts_as_it_does_after_the_fact() -> None:
    count = patterns.halo_padding((12, 12), 4, 2)
    qkv = plain(1, 2, 144, 8)
    out, lse = attention(*qkv, patterns.halo((12, 12), 4, 2), return_lse=True)
    wanted = lacuna.zero_keys(out, lse, count)
    found = attention(*qkv, patterns.halo((12, 12), 4, 2), zero_keys=count, return_lse=True)
    assert off(found, [each.double() for each in wanted]) < 1e-5


@pytest.mark.parametrize(
    ("extents", "block", "halo"), [((6, 9), (2, 3), (1, 2)), ((4, 8), (4, 2), (0, 3)), ((2, 6, 4), (1, 3, 2), (1, 0, 2))]
)
def test_halo_padding_is_what_the_windows_hold_outside_the_grid(
    extents: tuple[int, ...], block: tuple[int, ...], halo: tuple[int, ...]
) -> None:
    wanted: list[int] = []
    for place in itertools.product(*map(range, extents)):
        window = [range(at // size * size - rim, at // size * size + size + rim) for at, size, rim in zip(place, block, halo, strict=True)]
        cells = list(itertools.product(*window))
        wanted.append(sum(any(not 0 <= at < size for at, size in zip(cell, extents, strict=True)) for cell in cells))
    assert list(patterns.halo_padding(extents, block, halo)) == wanted


def test_counts_are_read_where_they_are_at_every_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second call is one that was made before: only addresses are new. A broadcast is a stride of 0, not a copy."""
    seen: list[int] = []
    run = CppKernel.__call__

    def noted(kernel: CppKernel, arguments: Arguments) -> None:
        seen.append(getattr(arguments, "zero_keys"))  # noqa: B009 (only some arguments have it)
        run(kernel, arguments)

    monkeypatch.setattr(CppKernel, "__call__", noted)
    qkv = plain(2, 3, 40, 8)
    first, second = torch.ones(40), torch.arange(80.0)[::2]
    outs = [attention(*qkv, near(reach=2), zero_keys=each, backend="cpp") for each in (first, second, first)]
    assert seen == [first.data_ptr(), second.data_ptr(), first.data_ptr()]
    assert torch.equal(outs[0], outs[2])
    assert not torch.equal(outs[0], outs[1])
    first[:] = 7
    assert not torch.equal(attention(*qkv, near(reach=2), zero_keys=first, backend="cpp"), outs[0])


# -- what torch does with it ------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")  # torch's compiler warns of itself
def test_a_compiled_call_counts(prove: bool) -> None:
    def step(query: Tensor, counts: Tensor) -> Tensor:
        return attention(query, query, query, near(reach=3), zero_keys=counts.exp())

    query, counts = torch.randn(1, 2, 30, 8, requires_grad=True), torch.randn(30, requires_grad=True)
    compiled = torch.compile(step, fullgraph=True, backend="inductor" if prove else "aot_eager")
    found, wanted = compiled(query, counts), step(query, counts)
    assert torch.equal(found, wanted)
    pairs = zip(*(torch.autograd.grad(each.cos().sum(), (query, counts)) for each in (found, wanted)), strict=True)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in pairs)


def test_vmap_goes_over_counts() -> None:
    query, key, value = plain(3, 2, 20, 8)
    counts = torch.rand(4, 20, 1)

    def one(count: Tensor) -> Tensor:
        return attention(query, key, value, near(reach=3), zero_keys=count[:, 0], backend="cpp")

    def loss(count: Tensor) -> Tensor:
        return one(count).cos().sum()

    assert torch.equal(torch.vmap(one)(counts), torch.stack([one(each) for each in counts]))
    slope = torch.vmap(torch.func.grad(loss))(counts)
    alone = [torch.func.grad(loss)(each) for each in counts]
    assert torch.allclose(slope, torch.stack(alone), atol=1e-6)


def test_autocast_leaves_the_counts_alone() -> None:
    query, key, value = plain(1, 2, 20, 8)
    counts = torch.full((20,), 257.0)  # which bfloat16 has not
    with torch.autocast("cpu", torch.bfloat16):
        out, lse = attention(query, key, value, near(reach=3), zero_keys=counts, return_lse=True, backend="eager")
    assert out.dtype == torch.bfloat16
    assert lse.min() > math.log(257)


@pytest.mark.parametrize(
    ("counts", "error", "message"),
    [
        (torch.ones(19), ValueError, r"`zero_keys` has the shape \(19,\), of \(2, 3, 20\) rows.\n  write one number for each row"),
        (torch.ones(1, 1, 1, 20), ValueError, r"`zero_keys` has the shape"),
        ((-1,) * 20, ValueError, "`zero_keys` has negative entries, or some that are no numbers.\n  write how many keys are padded"),
        (-torch.ones(20), ValueError, "`zero_keys` has negative entries"),
        (torch.full((20,), math.nan), ValueError, "or some that are no numbers"),
        ((math.nan,) * 20, ValueError, "or some that are no numbers"),
        (torch.ones(20, dtype=torch.complex64), TypeError, "`zero_keys` is of torch.complex64.\n  write a number for each row"),
        (torch.ones(20).to_sparse(), (TypeError, NotImplementedError), "`zero_keys`"),
        (["many"] * 20, TypeError, "which is not all numbers.\n  write a number for each row"),
        ([[1, 2], [3]], TypeError, "which is not all numbers"),
        (([1] * 20,), TypeError, "which is not all numbers"),
        ("many", TypeError, "`zero_keys` is a str.\n  write a number for each row"),
        (True, TypeError, "`zero_keys` is a bool"),
        (torch.ones(20, device="meta"), ValueError, r"`zero_keys` is on meta, the query on cpu.\n  write `zero_keys.to\('cpu'\)`"),
    ],
)
def test_counts_that_fit_no_rows_are_refused(counts: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        attention(*plain(2, 3, 20, 8), zero_keys=counts)


def test_one_number_goes_for_all_rows_whatever_its_type() -> None:
    operands = plain(1, 2, 20, 8)
    given = (3, 3.0, np.float32(3), np.int64(3), torch.tensor(3))
    outs = [attention(*operands, zero_keys=each, backend="eager") for each in given]
    assert all(torch.equal(each, outs[0]) for each in outs)


def test_the_operator_refuses_counts_of_another_shape_or_dtype() -> None:
    query, key, value = plain(1, 2, 20, 8)
    arguments = (query, key, value, [], [], None, None, 0, [3], [], f"{near(reach=3).program}", None, "bhld", "cpp")
    for counts in (torch.ones(20), torch.ones(1, 2, 20, dtype=torch.float64)):
        with pytest.raises(ValueError, match=r"`zero_keys` is .*\n  write torch.float32 of shape \(1, 2, 20\) on cpu"):
            torch.ops.lacuna.attention.default(*arguments, counts)
