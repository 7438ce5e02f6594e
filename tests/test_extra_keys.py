"""Keys that every row sees beside the pattern, in every backend, beside dense float64 attention over all of them."""

# Patterns are written without annotations, and torch's are partial.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import lacuna
import pytest
import torch
from conftest import PROFILE
from lacuna import orders, patterns
from masks_beside import SHUFFLED, biased, every_second, late, near, off, square
from torch import Tensor

pytestmark = pytest.mark.usefixtures("compiled_quickly")
BACKENDS = ("cpp", "eager", "triton")
attention: Callable[..., Any] = lacuna.attention
varlen: Callable[..., Any] = lacuna.varlen_attention


@dataclass(frozen=True)
class Case:
    """rows, keys, extra: how many.   heads: of queries, and of keys.   shared: one batch of extra keys goes for all.

    shown: the mask over positions.   counted: there are zero keys too.   options: of the call.
    """

    pattern: Any
    shown: Callable[[Tensor, Tensor], Tensor]
    rows: int
    extra: int
    keys: int = 0
    heads: tuple[int, int] = (2, 1)
    dims: tuple[int, int] = (8, 5)
    shared: bool = False
    counted: bool = False
    offset: int = 0
    scale: float | None = None
    score: bool = False
    options: dict[str, Any] = field(default_factory=dict[str, Any])


CASES = {
    "more than a tile": Case(near(reach=3), lambda q, k: (q - k).abs() <= 3, 20, 70, heads=(4, 2), counted=True),
    "one for all of the batch": Case(near(reach=3), lambda q, k: (q - k).abs() <= 3, 20, 3, shared=True, scale=-0.7),
    "few rows at the end": Case(patterns.causal(), lambda q, k: k <= q, 5, 9, 1100, counted=True, offset=1095, options={"q_offset": "end"}),
    "residue classes": Case(every_second, lambda q, k: ((q - k) % 2 == 0) & ((q - k).abs() <= 12), 140, 5, counted=True),
    "boxes of a grid": Case(
        patterns.neighborhood((5, 5), length=(12, 12)), square, 144, 17, options={"order": orders.boxes((12, 12), (8, 8))}
    ),
    "tokens of a table": Case(near(reach=5), lambda q, k: (q - k).abs() <= 5, 40, 4, options={"order": orders.permutation(SHUFFLED)}),
    "an order for each head": Case(
        near(reach=5),
        lambda q, k: (q - k).abs() <= 5,
        40,
        4,
        heads=(4, 2),
        counted=True,
        options={"order": dict.fromkeys((2, 3), orders.permutation(SHUFFLED))},
    ),
    "heads last": Case(near(reach=9), lambda q, k: (q - k).abs() <= 9, 33, 6, options={"layout": "blhd"}),
    "rows that see nothing else": Case(late, lambda q, k: (q >= 20) & (k <= q), 40, 2),
    "a score with a table, and no scale": Case(near(reach=3), lambda q, k: (q - k).abs() <= 3, 24, 7, score=True, scale=0.0),
    "a score with a table": Case(near(reach=3), lambda q, k: (q - k).abs() <= 3, 24, 7, score=True, scale=-0.5),
    "dimensions between powers of two": Case(near(reach=3), lambda q, k: (q - k).abs() <= 3, 24, 7, dims=(40, 72)),
}


@dataclass(frozen=True)
class Problem:
    """tensors: query, key, value, extra keys, extra values, counts, table, in float64; what is differentiated."""

    tensors: tuple[Tensor, ...]
    case: Case

    @staticmethod
    def of(case: Case) -> Problem:
        generator = torch.Generator().manual_seed(3)
        keys, (heads, kv_heads), (dim, value_dim) = case.keys or case.rows, case.heads, case.dims

        def drawn(*shape: int) -> Tensor:
            return torch.randn(shape, dtype=torch.float64, generator=generator)

        batch = 1 if case.shared else 2
        kv = (drawn(2, kv_heads, keys, dim), drawn(2, kv_heads, keys, value_dim))
        extra = (drawn(batch, kv_heads, case.extra, dim), drawn(batch, kv_heads, case.extra, value_dim))
        tensors = (drawn(2, heads, case.rows, dim), *kv, *extra, drawn(heads, case.rows).abs(), drawn(keys))
        return Problem(tuple(each.requires_grad_() for each in tensors), case)

    def wanted(self) -> tuple[Tensor, Tensor]:
        case = self.case
        query, key, value, extra_keys, extra_values, counts, table = self.tensors
        q, k = torch.arange(case.rows)[:, None] + case.offset, torch.arange(key.shape[2])
        group = case.heads[0] // case.heads[1]
        every = (torch.cat([a.expand(2, -1, -1, -1), b], 2) for a, b in ((extra_keys, key), (extra_values, value)))
        keys, values = (each.repeat_interleave(group, 1) for each in every)
        scores = query @ keys.transpose(-1, -2) * (case.dims[0] ** -0.5 if case.scale is None else case.scale)
        if case.score:
            scores = torch.cat([scores[..., : case.extra], scores[..., case.extra :] + table[(q - k).abs()]], -1)
        hidden = torch.cat([torch.zeros(case.rows, case.extra, dtype=torch.bool), ~case.shown(q, k)], -1)
        return summed(scores.masked_fill(hidden, -math.inf), values, counts if case.counted else None)

    def found(self, backend: str) -> tuple[tuple[Tensor, ...], tuple[Tensor, Tensor]]:
        """The tensors that the call was given, and what it returned, rows first."""
        case = self.case
        *tensors, counts, table = given = tuple(each.detach().float().requires_grad_() for each in self.tensors)
        last = case.options.get("layout") == "blhd"
        query, key, value, extra_keys, extra_values = (each.transpose(1, 2) if last else each for each in tensors)
        options: dict[str, Any] = {"scale": case.scale, "backend": backend, "return_lse": True, **case.options}
        if case.score:
            options["score"] = biased(bias=table)
        if case.counted:
            options["zero_keys"] = counts
        out, lse = attention(query, key, value, case.pattern, extra_keys=extra_keys, extra_values=extra_values, **options)
        return given, (out.transpose(1, 2) if last else out, lse)

    def gradients(self, result: tuple[Tensor, Tensor], tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        out, lse = result
        used = [*tensors[:5], *([tensors[5]] if self.case.counted else []), *([tensors[6]] if self.case.score else [])]
        steps = torch.arange(out.shape[-1], dtype=out.dtype)
        return torch.autograd.grad((out * (steps + 1).cos()).sum() + lse.sin().sum(), used)


def summed(scores: Tensor, values: Tensor, counts: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """A softmax, with a mass of `counts` more in every denominator."""
    if counts is None:
        return torch.softmax(scores, -1) @ values, torch.logsumexp(scores, -1)
    mass = counts.log().expand(scores.shape[:-1]).unsqueeze(-1)
    scores = torch.cat([scores, mass], -1)
    return torch.softmax(scores, -1)[..., :-1] @ values, torch.logsumexp(scores, -1)


EVERYDAY = {  # every case meets every backend where there is time
    "more than a tile": BACKENDS,
    "one for all of the batch": ("cpp",),
    "few rows at the end": ("cpp", "triton"),
    "residue classes": ("cpp",),
    "boxes of a grid": ("cpp",),
    "tokens of a table": (),
    "an order for each head": ("triton",),
    "heads last": ("eager",),
    "rows that see nothing else": ("eager",),
    "a score with a table, and no scale": ("eager",),
    "a score with a table": ("triton",),
    "dimensions between powers of two": ("triton",),
}
PAIRS = [(name, backend) for name in CASES for backend in (BACKENDS if PROFILE == "prove" else EVERYDAY[name])]


@pytest.mark.parametrize(("name", "backend"), PAIRS)
def test_outputs_and_gradients_are_those_of_attention_over_all_the_keys(name: str, backend: str) -> None:
    problem = Problem.of(CASES[name])
    given, found = problem.found(backend)
    wanted = problem.wanted()
    assert off(found, wanted) < 2e-5
    if PROFILE == "prove" or problem.case.rows >= 16:  # fewer rows have a forward kernel of their own and no other backward kernels
        assert off(problem.gradients(found, given), problem.gradients(wanted, problem.tensors)) < 1e-4


def plain(*shape: int, extra: int) -> tuple[Tensor, ...]:
    """Query, key, value, and extra keys and values of two key heads."""
    generator = torch.Generator().manual_seed(5)
    batch, heads, _, dim = shape
    more = (torch.randn(batch, heads, extra, dim, generator=generator) for _ in range(2))
    return *(torch.randn(shape, generator=generator) for _ in range(3)), *more


ROWS, KEYS = torch.tensor([7, 16, 12], dtype=torch.int32), torch.tensor([16, 9, 0], dtype=torch.int32)


@pytest.mark.parametrize(("backend", "rows"), [("cpp", 16), ("cpp", 36), ("triton", 16), ("triton", 36), ("eager", 36)])
def test_lengths_of_batch_items_do_not_hide_extra_keys(backend: str, rows: int) -> None:
    tensors = [each.requires_grad_() for each in plain(3, 2, rows, 8, extra=5)]
    query, key, value, extra_keys, extra_values = tensors
    lengths = {"q_len": ROWS, "kv_len": KEYS}
    counts = torch.arange(3.0 * rows).view(3, 1, rows) % 4
    more = {"extra_keys": extra_keys, "extra_values": extra_values, "zero_keys": counts}
    out, lse = attention(query, key, value, near(reach=3), **lengths, **more, return_lse=True, backend=backend)
    exact = [each.detach().double().requires_grad_() for each in tensors]
    q, k = torch.arange(rows)[:, None], torch.arange(rows)
    hidden = ((q - k).abs() > 3) | (k >= KEYS[:, None, None])
    hidden = torch.cat([torch.zeros(3, rows, 5, dtype=torch.bool), hidden], -1)[:, None]
    keys, values = torch.cat([exact[3], exact[1]], 2), torch.cat([exact[4], exact[2]], 2)
    want_out, want_lse = summed((exact[0] @ keys.transpose(-1, -2) * 8**-0.5).masked_fill(hidden, -math.inf), values, counts.double())
    seen = (torch.arange(rows) < ROWS[:, None])[:, None].expand(3, 2, rows)
    assert off((out, lse[seen]), (want_out * seen[..., None], want_lse[seen])) < 2e-5
    assert (lse[~seen] == -math.inf).all()
    if rows == 16 and PROFILE != "prove":
        return  # see above
    got = torch.autograd.grad(out.cos().sum() + lse[seen].sin().sum(), tensors)
    want = torch.autograd.grad((want_out * seen[..., None]).cos().sum() + want_lse[seen].sin().sum(), exact)
    assert off(got, want) < 1e-4


@pytest.mark.parametrize("backend", BACKENDS)
def test_without_a_key_of_its_own_a_row_sees_the_extra_ones(backend: str) -> None:
    query, _, _, extra_keys, extra_values = tensors = [each.requires_grad_() for each in plain(2, 2, 20, 8, extra=5)]
    none = torch.zeros(2, 2, 0, 8, requires_grad=True)
    out, lse = attention(query, none, none, extra_keys=extra_keys, extra_values=extra_values, return_lse=True, backend=backend)
    used = [tensors[0], *tensors[3:]]
    first, second, third = exact = [each.detach().double().requires_grad_() for each in used]
    wanted = summed(first @ second.transpose(-1, -2) * 8**-0.5, third)
    assert off((out, lse), wanted) < 2e-5
    got = torch.autograd.grad(out.cos().sum() + lse.sin().sum(), [*used, none])
    assert got[3].shape == none.shape
    assert off(got[:3], torch.autograd.grad(wanted[0].cos().sum() + wanted[1].sin().sum(), exact)) < 1e-4


def test_half_precision_multiplies_extra_keys_as_it_does_others() -> None:
    query, key, value, extra_keys, extra_values = (each.bfloat16() for each in plain(1, 2, 40, 15, extra=21))  # both odd
    more = {"extra_keys": extra_keys, "extra_values": extra_values}
    out, lse = attention(query, key, value, near(reach=3), **more, return_lse=True, backend="cpp")
    far = (torch.arange(40)[:, None] - torch.arange(40)).abs() > 3
    hidden = torch.cat([torch.zeros(40, 21, dtype=torch.bool), far], -1)
    keys, values = torch.cat([extra_keys, key], 2).double(), torch.cat([extra_values, value], 2).double()
    want_out, want_lse = summed((query.double() @ keys.transpose(-1, -2) * 15**-0.5).masked_fill(hidden, -math.inf), values)
    assert off([lse], [want_lse]) < 1e-5
    assert off([out.float()], [want_out]) < 2e-2


def test_no_extra_keys_are_none() -> None:
    query, key, value, *_ = plain(1, 2, 20, 8, extra=1)
    none = torch.zeros(1, 2, 0, 8)
    alone = attention(query, key, value, near(reach=3), backend="cpp")
    assert torch.equal(attention(query, key, value, near(reach=3), extra_keys=none, extra_values=none, backend="cpp"), alone)


def test_a_call_made_before_reads_other_extra_keys_where_they_are() -> None:
    query, key, value, extra_keys, extra_values = plain(1, 2, 40, 8, extra=6)

    def called(keys: Tensor, values: Tensor) -> Tensor:
        return attention(query, key, value, near(reach=2), extra_keys=keys, extra_values=values, backend="cpp")

    first = called(extra_keys, extra_values)
    strided = torch.stack([extra_keys, extra_keys + 1], 3).flatten(2, 3)[:, :, 1::2]
    assert torch.equal(called(extra_keys + 1, extra_values), called(strided, extra_values))
    assert not torch.equal(called(extra_keys + 1, extra_values), first)
    assert torch.equal(called(extra_keys.clone(), extra_values.clone()), first)
    assert (
        off(
            [called(extra_keys[..., :3, :], extra_values[..., :3, :])],
            [called(extra_keys[..., :3, :].clone(), extra_values[..., :3, :]).double()],
        )
        == 0
    )


# -- what torch does with it ------------------------------------------------------------------------------------------


def test_torch_s_checks_of_the_operator_pass() -> None:
    query, key, value, extra_keys, extra_values = (each.requires_grad_() for each in plain(1, 1, 20, 4, extra=3))
    counts = torch.ones(1, 1, 20, requires_grad=True)
    arguments = (query, key, value, [], [], None, None, 0, [3], [], f"{near(reach=3).program}", None, "bhld", "eager", counts)
    torch.library.opcheck(torch.ops.lacuna.attention.default, (*arguments, extra_keys, extra_values))


@pytest.mark.filterwarnings("ignore")  # torch's compiler warns of itself
def test_a_compiled_call_sees_them(prove: bool) -> None:
    def step(query: Tensor, extra: Tensor) -> Tensor:
        return attention(query, query, query, near(reach=3), extra_keys=extra * 2, extra_values=extra, backend="eager")

    query, extra = torch.randn(1, 2, 30, 8, requires_grad=True), torch.randn(1, 2, 3, 8, requires_grad=True)
    compiled = torch.compile(step, fullgraph=True, backend="inductor" if prove else "aot_eager")
    found, wanted = compiled(query, extra), step(query, extra)
    assert torch.equal(found, wanted)
    pairs = zip(*(torch.autograd.grad(each.cos().sum(), (query, extra)) for each in (found, wanted)), strict=True)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in pairs)


def test_vmap_goes_over_them_and_leaves_shared_ones_shared() -> None:
    query, key, value, extra_keys, extra_values = plain(2, 2, 20, 8, extra=3)
    many = torch.stack([extra_keys, extra_keys + 1, -extra_keys], 1)  # [batch, items, ...]

    def loss(keys: Tensor, values: Tensor) -> Tensor:
        return attention(query, key, value, near(reach=3), extra_keys=keys, extra_values=values, backend="eager").cos().sum()

    for dims, keys, values in ((1, None), many[:1], extra_values[:1]), ((1, 1), many, many * 0.5):
        over = torch.func.vmap(torch.func.grad(loss, argnums=(0, 1)), in_dims=dims)(keys, values)
        alone = [torch.func.grad(loss, argnums=(0, 1))(keys[:, n], values if dims[1] is None else values[:, n]) for n in range(3)]
        for found, wanted in zip(over, zip(*alone, strict=True), strict=True):
            assert torch.allclose(found, torch.stack(wanted), atol=1e-6)


def test_autocast_casts_them_as_it_does_keys() -> None:
    query, key, value, extra_keys, extra_values = plain(1, 2, 20, 8, extra=3)
    with torch.autocast("cpu", torch.bfloat16):
        out = attention(query, key, value, extra_keys=extra_keys.bfloat16(), extra_values=extra_values, backend="eager")
    assert out.dtype == torch.bfloat16


Q, E = torch.zeros(2, 4, 20, 8), torch.zeros(2, 2, 3, 8)


@pytest.mark.parametrize(
    ("keys", "values", "message"),
    [
        (E, None, "of `extra_keys` and `extra_values` one is given.\n  write both, or neither"),
        (E[0], E, r"`extra_keys` has the shape \(2, 3, 8\), of heads first.\n  write batch 2 or 1, heads 2, dimension 8"),
        (E, E[..., :5], r"`extra_values` has the shape \(2, 2, 3, 5\)"),
        (torch.zeros(3, 2, 3, 8), E, r"`extra_keys` has the shape \(3, 2, 3, 8\)"),
        (torch.zeros(2, 4, 3, 8), torch.zeros(2, 4, 3, 8), r"`extra_keys` has the shape \(2, 4, 3, 8\)"),
        (E, E[:, :, :2], r"`extra_keys` and `extra_values` do not agree: \(2, 2, 3\) and \(2, 2, 2\).\n  write one value row"),
        (E.double(), E, r"`extra_keys` is torch.float64 on cpu, the query torch.float32 on cpu.\n  write `extra_keys.to\(query\)`"),
        (E, E.to("meta"), "`extra_values` is torch.float32 on meta"),
        (E[:, :, :0].double(), E[:, :, :0], r"`extra_keys` is torch.float64 on cpu"),
        (E[:, :1, :0], E[:, :, :0], r"`extra_keys` has the shape \(2, 1, 0, 8\)"),
    ],
)
def test_extra_keys_that_do_not_go_with_the_others_are_refused(keys: Tensor, values: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        attention(Q, Q[:, :2], Q[:, :2], extra_keys=keys, extra_values=values)


@pytest.mark.parametrize("backend", ["cpp", "eager"])
def test_a_score_s_table_has_no_gradient_where_no_key_of_the_pattern_counts(backend: str) -> None:
    query, key, value, extra_keys, extra_values = plain(2, 2, 20, 8, extra=3)
    bias, leaf = torch.randn(20, requires_grad=True), query.clone().requires_grad_()
    options = {"extra_keys": extra_keys, "extra_values": extra_values, "zero_keys": 1, "backend": backend}
    out = attention(leaf, key, value, patterns.causal(), score=biased(bias=bias), kv_len=0, **options)
    of_query, of_bias = torch.autograd.grad(out.square().sum(), (leaf, bias))
    weights = torch.softmax(torch.cat([query @ extra_keys.transpose(-1, -2) / math.sqrt(8), torch.zeros(2, 2, 20, 1)], -1), -1)
    assert torch.allclose(out, weights[..., :3] @ extra_values, atol=1e-5)
    assert of_query.abs().min() > 0
    assert torch.equal(of_bias, torch.zeros(20))


def test_packed_sequences_take_none_yet() -> None:
    packed, starts = torch.zeros(20, 2, 8), torch.tensor([0, 20], dtype=torch.int32)
    with pytest.raises(NotImplementedError, match="`extra_keys`: extra keys of packed sequences are not implemented yet"):
        varlen(packed, packed, packed, cu_seqlens_q=starts, extra_keys=E, extra_values=E)
    arguments = (packed, packed, packed, [], [None, None, None, starts, None], None, None, 0, [], [])
    dense = str(patterns.causal().program)
    with pytest.raises(NotImplementedError, match="`extra_keys`: extra keys of packed sequences are not implemented yet"):
        torch.ops.lacuna.attention.default(*arguments, dense, None, "packed", "cpp", None, E, E)
