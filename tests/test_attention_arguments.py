"""What `attention` and `varlen_attention` refuse, and with which words."""

# ruff: noqa: ANN401 (masks and scores are functions of anything that has operators)
# pyright: reportUnknownMemberType=false
from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import lacuna
import pytest
import torch
from lacuna.runtime.triton import backend as triton_backend
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode


@lacuna.pattern
def sliding(q: Any, k: Any, *, window: Any) -> Any:
    return (k <= q) & (q - k < window)


@lacuna.pattern
def documents(q: Any, k: Any, *, doc: Any) -> Any:
    return doc[q] == doc[k]


@lacuna.pattern
def previous(q: Any, k: Any, *, doc: Any) -> Any:
    return doc[q - 1] == doc[k]


@lacuna.pattern
def per_item(q: Any, k: Any, b: Any, h: Any, *, width: Any) -> Any:
    return abs(q - k) < width[b, h]


@lacuna.pattern(rank=2)
def near(q: Any, k: Any, *, r: Any) -> Any:
    return (abs(q[0] - k[0]) <= r) & (abs(q[1] - k[1]) <= r)


@lacuna.score
def alibi(s: Any, h: Any, q: Any, k: Any, *, slopes: Any) -> Any:
    return s + slopes[h] * (k - q)


def plain(q: Any, k: Any) -> Any:
    return k <= q


def qkv(q_shape: tuple[int, ...] = (2, 4, 6, 8), k_shape: tuple[int, ...] = (2, 2, 6, 8), dv: int = 8, **options: Any) -> list[Tensor]:
    return [torch.randn(shape, **options) for shape in (q_shape, k_shape, (*k_shape[:-1], dv))]


def _claimed(device: str) -> list[Tensor]:
    with FakeTensorMode():
        return [torch.empty(1, 2, 6, 8, device=device) for _ in range(3)]


attention: Callable[..., object] = lacuna.attention
varlen: Callable[..., object] = lacuna.varlen_attention
Make = Callable[[], object]
Q, K, V = qkv()

BAD: dict[str, tuple[Make, type[Exception], str]] = {
    "no tensor": (lambda: attention([1.0], K, V), TypeError, "`query` is a list, not a tensor.\n  write `torch.as_tensor(query)`"),
    "rank 3": (
        lambda: attention(Q[0], K, V),
        ValueError,
        "`query` has 3 dimensions, shape (4, 6, 8).\n  write a tensor [batch, heads, tokens, dim], or call `lacuna.varlen_attention`",
    ),
    "rank 5": (
        lambda: attention(Q, K[None], V),
        ValueError,
        "`key` has 5 dimensions, shape (1, 2, 2, 6, 8).\n  write a tensor [batch",
    ),
    "dtypes differ": (
        lambda: attention(Q, K.half(), V),
        TypeError,
        "query, key and value have different dtypes: torch.float32, torch.float16, torch.float32.\n  write `key.to(query.dtype)`",
    ),
    "integer dtype": (
        lambda: attention(Q.int(), K.int(), V.int()),
        TypeError,
        "attention does not take tensors of torch.int32.\n  write float32, bfloat16, float16 or float64",
    ),
    "complex dtype": (
        lambda: attention(Q.to(torch.complex64), K.to(torch.complex64), V.to(torch.complex64)),
        TypeError,
        "does not take tensors of torch.complex64",
    ),
    "devices differ": (
        lambda: attention(Q, K.to("meta"), V),
        ValueError,
        "query, key and value are on different devices: cpu, meta, cpu.\n  write `key.to(query.device)`",
    ),
    "device": (
        lambda: attention(*_claimed("xpu")),
        NotImplementedError,
        "attention does not run on `xpu` tensors yet.\n  write `query.cpu()`, or use a CUDA device",
    ),
    "nested": (
        lambda: attention(torch.nested.nested_tensor([Q[0], Q[1, :, :3]], layout=torch.jagged), K, V),
        NotImplementedError,
        "`query` is a nested tensor, which attention does not take yet.\n  write `lacuna.varlen_attention(...)` with `cu_seqlens_q`",
    ),
    "sparse": (
        lambda: attention(Q, K.to_sparse(), V),
        NotImplementedError,
        "`key` is a torch.sparse_coo tensor, which attention does not take yet.\n  write `key.to_dense()`",
    ),
    "key and value heads": (
        lambda: attention(Q, K, V[:, :1]),
        ValueError,
        "key and value do not agree: batch 2, heads 2, tokens 6 and batch 2, heads 1, tokens 6.\n  write one value row for each key",
    ),
    "key and value lengths": (
        lambda: attention(Q, K, V[:, :, 1:]),
        ValueError,
        "key and value do not agree: batch 2, heads 2, tokens 6",
    ),
    "head dimensions": (
        lambda: attention(Q, K[..., :4], V),
        ValueError,
        "query has dimension 8, key has 4.\n  write query and key with the same last dimension",
    ),
    "too many dimensions": (
        lambda: attention(*qkv((1, 1, 2, 257), (1, 1, 2, 257))),
        ValueError,
        "dimensions must be 1 to 256: query and key have 257, value has 8.\n  write more heads of fewer dimensions",
    ),
    "no dimensions": (lambda: attention(*qkv(dv=0)), ValueError, "dimensions must be 1 to 256: query and key have 8, value has 0"),
    "heads": (
        lambda: attention(*qkv((2, 5, 6, 8))),
        ValueError,
        "5 query heads cannot share 2 key heads evenly.\n  write a number of query heads that is a multiple",
    ),
    "no key heads": (lambda: attention(*qkv(k_shape=(2, 0, 6, 8))), ValueError, "4 query heads cannot share 0 key heads evenly"),
    "batch": (
        lambda: attention(*qkv((4, 4, 6, 8))),
        ValueError,
        "query has batch 4, key and value have 2.\n  write key and value with batch 4, or 1 to share them",
    ),
    "layout": (
        lambda: attention(Q, K, V, layout="lbhd"),
        ValueError,
        'there is no layout \'lbhd\'.\n  write `layout="bhld"` or `layout="blhd"`',
    ),
    "backend": (
        lambda: attention(Q, K, V, backend="cudnn"),
        ValueError,
        "there is no backend 'cudnn'.\n  write `cpp` or `eager` or `triton`",
    ),
    "scale of a tensor": (
        lambda: attention(Q, K, V, scale=torch.tensor(0.5)),
        TypeError,
        "`scale` is a Tensor: tensor(0.5000).\n  write a number: `scale=0.125`, or `float(...)` of a tensor",
    ),
    "scale of a truth value": (lambda: attention(Q, K, V, scale=True), TypeError, "`scale` is a bool: True"),
    "offset word": (
        lambda: attention(Q, K, V, q_offset="start"),
        TypeError,
        "`q_offset` is 'start', a str.\n  write an integer or \"end\", or a tensor int32[batch]",
    ),
    "offset real": (lambda: attention(Q, K, V, q_offset=1.5), TypeError, "`q_offset` is 1.5, a float"),
    "offset truth": (lambda: attention(Q, K, V, q_offset=True), TypeError, "`q_offset` is True, a bool"),
    "offset shape": (
        lambda: attention(Q, K, V, q_offset=torch.tensor([1, 2, 3])),
        ValueError,
        "`q_offset` has shape (3,), and the batch is 2.\n  write one entry for each batch item: int32[2]",
    ),
    "offset dtype": (
        lambda: attention(Q, K, V, q_offset=torch.tensor([1.0, 2.0])),
        TypeError,
        "`q_offset` is a tensor of torch.float32 with shape (2,)",
    ),
    "q_len too long": (
        lambda: attention(Q, K, V, q_len=7),
        ValueError,
        "`q_len` is 7, which is more than the 6 tokens of the tensor.\n  write lengths from 0 to 6",
    ),
    "kv_len negative": (
        lambda: attention(Q, K, V, kv_len=torch.tensor([3, -1])),
        ValueError,
        "`kv_len` is -1, which is negative.\n  write lengths from 0 to 6",
    ),
    "kv_len shape": (
        lambda: attention(Q, K, V, kv_len=torch.tensor([[3, 1]])),
        ValueError,
        "`kv_len` has shape (1, 2), and the batch is 2",
    ),
    "kv_len list": (
        lambda: attention(Q, K, V, kv_len=[3, 1]),
        TypeError,
        "`kv_len` is [3, 1], a list.\n  write an integer, or a tensor",
    ),
    "plain function": (
        lambda: attention(Q, K, V, plain),
        TypeError,
        "`pattern` is the plain function `plain`.\n  write `@lacuna.pattern` above its definition",
    ),
    "plain score": (
        lambda: attention(Q, K, V, score=plain),
        TypeError,
        "`score` is the plain function `plain`.\n  write `@lacuna.score`",
    ),
    "mask tensor": (
        lambda: attention(Q, K, V, torch.ones(6, 6, dtype=torch.bool)),
        TypeError,
        "`pattern` is a mask, torch.bool of shape (6, 6).\n  write `from lacuna.interop.dense_mask import from_dense`",
    ),
    "word": (
        lambda: attention(Q, K, V, "causal"),
        TypeError,
        "`pattern` is a str: 'causal'.\n  write the result of `@lacuna.pattern`",
    ),
    "score as pattern": (
        lambda: attention(Q, K, V, alibi(slopes=torch.ones(4))),
        TypeError,
        "`pattern` is the score `alibi(slopes=f32[4])`.\n  write it as `score=`",
    ),
    "unbound pattern": (
        lambda: attention(Q, K, V, sliding),
        TypeError,
        "`sliding` is used before `window` is bound\n  write `sliding(window=...)`",
    ),
    "unbound score": (lambda: attention(Q, K, V, score=alibi), TypeError, "`alibi` is used before `slopes` is bound"),
    "unbound grid": (lambda: attention(Q, K, V, near(r=1)), TypeError, "`near(r=1)` is used before its grid is bound\n  write"),
    "small grid": (
        lambda: attention(Q, K, V, near(r=1).on(2, 2)),
        ValueError,
        "the grid 2 x 2 holds positions 0 to 3, and the call reaches position 5.\n  write `pattern.on(...)`",
    ),
    "before the grid": (
        lambda: attention(Q, K, V, near(r=1).on(2, 3), q_offset=-1),
        ValueError,
        "the grid 2 x 3 holds positions 0 to 5, and queries start at position -1",
    ),
    "short table": (
        lambda: attention(Q, K, V, documents(doc=torch.zeros(5, dtype=torch.int32))),
        ValueError,
        "table `doc` holds 5 entries, but `q` reaches 5.\n  write a table with at least 6 entries",
    ),
    "short table after an offset": (
        lambda: attention(Q, K, V, documents(doc=torch.zeros(6, dtype=torch.int32)), q_offset=torch.tensor([0, 3])),
        ValueError,
        "table `doc` holds 6 entries, but `q` reaches 8",
    ),
    "negative index": (
        lambda: attention(Q, K, V, previous(doc=torch.zeros(9, dtype=torch.int32))),
        ValueError,
        "table `doc` holds 9 entries, but `q - 1` starts at -1, and a negative index does not wrap.\n  write `max(q - 1, 0)` as the index",
    ),
    "table of too few heads": (
        lambda: attention(Q, K, V, per_item(width=torch.ones(2, 3, dtype=torch.int32))),
        ValueError,
        "table `width` holds 3 entries along axis 1, but `h` reaches 3",
    ),
    "table elsewhere": (
        lambda: attention(Q, K, V, documents(doc=torch.zeros(6, dtype=torch.int32, device="meta"))),
        ValueError,
        "table `doc` is on meta, the query on cpu.\n  write `doc.to('cpu')`",
    ),
    "dropout": (
        lambda: attention(Q, K, V, dropout=0.1),
        NotImplementedError,
        "`dropout`: dropout is not implemented yet.\n  write the call without",
    ),
    "sinks": (
        lambda: attention(Q, K, V, sink=torch.zeros(4)),
        NotImplementedError,
        "`sink`: learnable sinks are not implemented yet",
    ),
    "pages": (
        lambda: attention(Q, K, V, page_table=Q),
        NotImplementedError,
        "`page_table`: paged keys and values are not implemented yet",
    ),
    "another library's word": (
        lambda: attention(Q, K, V, attn_mask=None),
        TypeError,
        "attention has no argument `attn_mask`.\n  write a pattern: `@lacuna.pattern`",
    ),
    "slip": (
        lambda: attention(Q, K, V, scales=0.5),
        TypeError,
        "attention has no argument `scales`.\n  write one of those in `help",
    ),
}


@pytest.mark.parametrize("case", BAD, ids=str)
def test_attention_refuses_and_says_what_to_write(case: str) -> None:
    call, error, words = BAD[case]
    with pytest.raises(error, match=re.escape(words)):
        call()


PQ, PK, PV = torch.randn(9, 4, 8), torch.randn(9, 2, 8), torch.randn(9, 2, 8)
BOUNDS = torch.tensor([0, 4, 9], dtype=torch.int32)

BAD_PACKED: dict[str, tuple[Make, type[Exception], str]] = {
    "rank 4": (
        lambda: varlen(Q, K, V, cu_seqlens_q=BOUNDS),
        ValueError,
        "`query` has 4 dimensions, shape (2, 4, 6, 8).\n  write a tensor [tokens, heads, dim], or call `lacuna.attention`",
    ),
    "order of tokens": (
        lambda: varlen(PQ, PK, PV, cu_seqlens_q=BOUNDS, order=lacuna.orders.row_major((9,))),
        NotImplementedError,
        "`order`: orders of packed sequences are not implemented yet.\n  write the call without `order`",
    ),
    "list": (
        lambda: varlen(PQ, PK, PV, cu_seqlens_q=[0, 4, 9]),
        TypeError,
        "`cu_seqlens_q` is [0, 4, 9], a list.\n  write a tensor int32[sequences + 1]",
    ),
    "reals": (
        lambda: varlen(PQ, PK, PV, cu_seqlens_q=BOUNDS.float()),
        TypeError,
        "`cu_seqlens_q` is a tensor of torch.float32 with shape (3,)",
    ),
    "nothing": (
        lambda: varlen(PQ, PK, PV, cu_seqlens_q=BOUNDS[:0]),
        TypeError,
        "`cu_seqlens_q` is a tensor of torch.int32 with shape (0,)",
    ),
    "first": (
        lambda: varlen(PQ, PK, PV, cu_seqlens_q=BOUNDS[1:]),
        ValueError,
        "`cu_seqlens_q` runs from 4 to 9, but the tensor holds 9 tokens.\n  write 0 first, 9 last",
    ),
    "last": (
        lambda: varlen(PQ, PK, PV, cu_seqlens_q=BOUNDS, cu_seqlens_k=BOUNDS[:2]),
        ValueError,
        "`cu_seqlens_k` runs from 0 to 4, but the tensor holds 9 tokens",
    ),
    "order": (
        lambda: varlen(PQ, PK, PV, cu_seqlens_q=torch.tensor([0, 6, 4, 9])),
        ValueError,
        "`cu_seqlens_q` decreases from 6 to 4 at entry 2.\n  write boundaries in rising order",
    ),
    "number of sequences": (
        lambda: varlen(PQ, PK, PV, cu_seqlens_q=BOUNDS, cu_seqlens_k=torch.tensor([0, 9])),
        ValueError,
        "`cu_seqlens_q` has 2 sequences, `cu_seqlens_k` 1.\n  write one of each for each sequence",
    ),
    "totals": (
        lambda: varlen(PQ, PK[1:], PV[1:], cu_seqlens_q=BOUNDS),
        ValueError,
        "query holds 9 tokens, key 8, and their sequences differ.\n  write `cu_seqlens_k=...`",
    ),
    "short table": (
        lambda: varlen(PQ, PK, PV, documents(doc=torch.zeros(4, dtype=torch.int32)), cu_seqlens_q=BOUNDS),
        ValueError,
        "table `doc` holds 4 entries, but `q` reaches 4",
    ),
    "dropout": (
        lambda: varlen(PQ, PK, PV, cu_seqlens_q=BOUNDS, dropout_p=0.1),
        NotImplementedError,
        "`dropout_p`: dropout is not implemented yet",
    ),
}


@pytest.mark.parametrize("case", BAD_PACKED, ids=str)
def test_varlen_attention_refuses_and_says_what_to_write(case: str) -> None:
    call, error, words = BAD_PACKED[case]
    with pytest.raises(error, match=re.escape(words)):
        call()


@pytest.mark.parametrize("score", [None, alibi(slopes=torch.ones(4, requires_grad=True))], ids=["key", "table"])
def test_a_backend_without_a_backward_pass_says_so(score: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(triton_backend, "run_backward")
    with pytest.raises(NotImplementedError, match=r"a gradient, and backend `triton` has no backward pass yet.\n  write `with"):
        attention(Q, K.clone().requires_grad_(score is None), V, score=score, backend="triton")
