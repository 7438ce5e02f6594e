"""Gradients through the public functions: of query, key, value, tables and the log-sum-exp, and what has none."""

# ruff: noqa: ANN401 (masks and scores are functions of anything that has operators)
# Patterns are written without annotations, and torch's are partial.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownLambdaType=false
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import lacuna
import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

pytestmark = pytest.mark.usefixtures("compiled_quickly")

attention: Callable[..., Any] = lacuna.attention
varlen: Callable[..., Any] = lacuna.varlen_attention
Q_POSITIONS, K_POSITIONS = torch.arange(13)[:, None], torch.arange(13)
SEEN = (K_POSITIONS <= Q_POSITIONS) & (Q_POSITIONS - K_POSITIONS < 5) & (Q_POSITIONS != 3)  # row 3 sees nothing


@lacuna.pattern
def sliding(q: Any, k: Any, *, window: Any) -> Any:
    return (k <= q) & (q - k < window)


@lacuna.pattern
def holed(q: Any, k: Any, *, window: Any) -> Any:
    return (k <= q) & (q - k < window) & (q != 3)


@lacuna.pattern
def documents(q: Any, k: Any, *, doc: Any) -> Any:
    return doc[q] == doc[k]


@lacuna.score
def alibi(s: Any, h: Any, q: Any, k: Any, *, slopes: Any) -> Any:
    return s + slopes[h] * (k - q)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def qkv(dtype: torch.dtype = torch.float64, kv_batch: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    shapes = [(2, 4, 13, 8), (kv_batch, 2, 13, 8), (kv_batch, 2, 13, 6)]
    query, key, value = (torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes)
    return query, key, value


def dense(query: Tensor, key: Tensor, value: Tensor, slopes: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """What `holed` with a window of 5 comes to, in torch's own differentiable operations."""
    key, value = (each.repeat_interleave(2, dim=1) for each in (key, value))
    scores = query @ key.transpose(-1, -2) / math.sqrt(8)
    if slopes is not None:
        scores = scores + slopes.to(scores)[:, None, None] * (K_POSITIONS - Q_POSITIONS)
    scores = torch.where(SEEN, scores, -1e30)
    weights = torch.where(SEEN, torch.softmax(scores, dim=-1), 0.0)
    return weights @ value, torch.logsumexp(scores, dim=-1)


def loss(out: Tensor, lse: Tensor) -> Tensor:
    """Something that both count in; rows that see nothing have a log-sum-exp of -inf, and give nothing."""
    return (out.sin()).sum() + torch.where(lse > -1e20, lse, 0.0).cos().sum()


def gradients(outputs: tuple[Tensor, Tensor], of: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loss(*outputs), of)


@pytest.mark.parametrize(("backend", "dtype"), [("cpp", torch.float32), ("eager", torch.float64), ("eager", torch.float32)], ids=str)
def test_gradients_are_those_of_dense_attention(backend: str, dtype: torch.dtype) -> None:
    inputs, slopes = qkv(dtype), torch.rand(4, dtype=dtype, requires_grad=True)
    of = [*inputs, slopes]
    got = gradients(attention(*inputs, holed(window=5), score=alibi(slopes=slopes), return_lse=True, backend=backend), of)
    close = 1e-9 if dtype is torch.float64 else 1e-4
    for mine, wanted, given in zip(got, gradients(dense(*inputs, slopes), of), of, strict=True):
        assert mine.shape == given.shape
        assert mine.dtype == given.dtype
        torch.testing.assert_close(mine, wanted, rtol=close, atol=close)
    assert not got[0][:, :, 3].any()


@pytest.mark.parametrize("layout", ["bhld", "blhd"])
def test_gradients_lie_as_their_tensors_do(layout: str) -> None:
    inputs = [each.detach().transpose(1, 2).contiguous() for each in qkv()]
    given = inputs if layout == "blhd" else [each.transpose(1, 2) for each in inputs]
    leaves = [each.detach().requires_grad_() for each in given]
    got = gradients(attention(*leaves, holed(window=5), layout=layout, return_lse=True, backend="eager"), leaves)
    heads_first = [each.transpose(1, 2).detach().requires_grad_() for each in inputs]
    for mine, wanted, leaf in zip(got, gradients(dense(*heads_first), heads_first), leaves, strict=True):
        assert mine.stride() == leaf.stride()
        torch.testing.assert_close(mine if layout == "bhld" else mine.transpose(1, 2), wanted)


def test_a_shared_key_batch_and_shared_heads_have_the_sum_of_their_gradients() -> None:
    inputs = qkv(kv_batch=1)
    got = gradients(attention(*inputs, holed(window=5), return_lse=True, backend="eager"), inputs)
    for mine, wanted in zip(got, gradients(dense(*inputs), inputs), strict=True):
        torch.testing.assert_close(mine, wanted)


def test_packed_sequences_have_the_gradients_of_each() -> None:
    packed = [torch.randn(20, heads, 8, dtype=torch.float64, requires_grad=True) for heads in (4, 2, 2)]
    out, lse = varlen(*packed, sliding(window=4), cu_seqlens_q=torch.tensor([0, 7, 7, 20]), return_lse=True, backend="eager")
    got = gradients((out, lse), packed)
    alone = [
        attention(*(each[start:stop].transpose(0, 1)[None] for each in packed), sliding(window=4), return_lse=True, backend="eager")
        for start, stop in ((0, 7), (7, 20))
    ]
    wanted = torch.autograd.grad(torch.stack([loss(*each) for each in alone]).sum(), packed)
    torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("which", ["out", "lse"])
def test_one_of_both_outputs_is_enough(which: str) -> None:
    inputs = qkv()
    out, lse = attention(*inputs, sliding(window=5), return_lse=True, backend="eager")
    of_out, of_lse = (torch.autograd.grad(each.sum(), inputs, retain_graph=True, allow_unused=True) for each in (out, lse))
    both = torch.autograd.grad(out.sum() + lse.sum(), inputs)
    assert not of_lse[2].any()  # the log-sum-exp does not read the values
    other = of_out if which == "lse" else of_lse
    for whole, rest, mine in zip(both, other, of_lse if which == "lse" else of_out, strict=True):
        torch.testing.assert_close(whole - rest, mine)


def test_gradients_are_right_to_second_order_of_a_step() -> None:
    slopes = torch.rand(4, dtype=torch.float64, requires_grad=True)
    lens = torch.tensor([13, 6])

    def function(*given: Tensor) -> Any:
        out, lse = attention(*given[:3], sliding(window=5), score=alibi(slopes=given[3]), kv_len=lens, return_lse=True, backend="eager")
        return out, torch.where(lse > -1e20, lse, 0.0)

    assert torch.autograd.gradcheck(function, (*qkv(), slopes), fast_mode=True)


def test_no_gradient_is_computed_where_none_is_asked_for() -> None:
    query, key, value = qkv()
    with torch.no_grad():
        assert not attention(query, key, value, backend="eager").requires_grad
    assert not attention(query.detach(), key.detach(), value.detach(), backend="eager").requires_grad
    out = attention(query.detach(), key.detach(), value, backend="eager")
    (got,) = torch.autograd.grad(out.sum(), [value])
    assert got.shape == value.shape


# -- what torch does with a graph -------------------------------------------------------------------------------------


@pytest.mark.parametrize("reentrant", [False, True], ids=["saved", "reentrant"])
def test_activation_checkpointing_gives_the_same_gradients(reentrant: bool) -> None:
    inputs = qkv()

    def function(query: Tensor, key: Tensor, value: Tensor) -> Any:
        return attention(query.sin(), key, value, sliding(window=5), backend="eager")

    function(*inputs).cos().sum().backward()
    wanted = [each.grad for each in inputs]
    again = [each.detach().clone().requires_grad_() for each in inputs]
    kept: Any = checkpoint(function, *again, use_reentrant=reentrant)
    kept.cos().sum().backward()
    for got, grad in zip(again, wanted, strict=True):
        assert grad is not None
        assert got.grad is not None
        assert torch.equal(got.grad, grad)


@pytest.mark.parametrize("which", ["query", "value", "mask table", "score table", "lengths"])
def test_a_tensor_that_changes_before_the_backward_pass_is_an_error(which: str) -> None:
    query, key, value = (each.detach().clone() for each in qkv())
    doc, slopes, lens = torch.arange(13) // 4, torch.rand(4, dtype=torch.float64), torch.tensor([13, 9])
    changing = {"query": query, "value": value, "mask table": doc, "score table": slopes, "lengths": lens}[which]
    key.requires_grad_()
    out = attention(query, key, value, documents(doc=doc), score=alibi(slopes=slopes), kv_len=lens, backend="eager")
    changing[0] = 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


def test_the_gradient_of_a_gradient_is_refused() -> None:
    inputs = qkv()
    first = torch.autograd.grad(attention(*inputs, backend="eager").sin().sum(), inputs, create_graph=True)
    words = r"attention is differentiated twice, and its backward pass has no derivative yet\.\n  write `loss.backward\(\)`"
    with pytest.raises(NotImplementedError, match=words):
        first[0].sum().backward()


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")  # forward mode loads torch's own scripts
def test_forward_mode_is_refused() -> None:
    query, key, value = (each.detach() for each in qkv())
    with pytest.raises(NotImplementedError, match=r"no forward-mode derivative yet\.\n  write `torch.func.vjp`"):
        torch.func.jvp(lambda q: attention(q, key, value, backend="eager"), (query,), (query,))


# -- torch.func -------------------------------------------------------------------------------------------------------


def test_torch_func_differentiates_under_vmap_and_over_it() -> None:
    query, key, value = (torch.randn(3, *each.shape, dtype=each.dtype) for each in qkv())
    slopes = torch.rand(4, dtype=torch.float64)

    def scalar(query: Tensor, key: Tensor, value: Tensor, slopes: Tensor) -> Tensor:
        return attention(query, key, value, sliding(window=5), score=alibi(slopes=slopes), backend="eager").sin().sum()

    for argnums in ((0, 1, 2), (0, 3)):
        per_item = torch.func.vmap(torch.func.grad(scalar, argnums=argnums), in_dims=(0, 0, None, None))(query, key, value[0], slopes)
        for item in range(3):
            alone = torch.func.grad(scalar, argnums=argnums)(query[item], key[item], value[0], slopes)
            torch.testing.assert_close(tuple(each[item] for each in per_item), alone)
    query, slopes = query.requires_grad_(), slopes.requires_grad_()
    batched: Any = torch.func.vmap(scalar, in_dims=(0, 0, None, None))(query, key, value[0], slopes)
    single = torch.stack([scalar(query[item], key[item], value[0], slopes) for item in range(3)])
    torch.testing.assert_close(torch.autograd.grad(batched.sum(), [query, slopes]), torch.autograd.grad(single.sum(), [query, slopes]))
