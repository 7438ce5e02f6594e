"""The public functions: arguments in, one call of an operator, tensors out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from ..request.description import described, traced_description
from ..request.extra_keys import given
from ..request.head_orders import OrderGiven, OrdersOfHeads, asked
from ..request.lengths import Given, boundaries, lengths_given, longest, number_or_tensor
from ..request.request import check_dense, check_scale
from ..request.token_order import TokenOrder
from ..request.zero_keys import Counts, counts_of
from ..tensors.torch_dispatch import asks_for_gradients, below_autograd, goes_past_torch, in_forward_mode, traced_by_jit, transformed
from . import autograd, compute
from . import operators as operators  # registers them
from .backend_of import no_backend
from .call import check_dense_layout
from .keywords import unknown

if TYPE_CHECKING:
    from ...ir.pattern import Pattern
    from ...ir.score import Score


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    pattern: Pattern | None = None,
    *,
    scale: float | None = None,
    score: Score | None = None,
    q_offset: int | str | Tensor = 0,
    q_len: int | Tensor | None = None,
    kv_len: int | Tensor | None = None,
    layout: str = "bhld",
    return_lse: bool = False,
    order: OrderGiven = None,
    zero_keys: Counts | None = None,
    extra_keys: Tensor | None = None,
    extra_values: Tensor | None = None,
    backend: str | None = None,
    **others: object,
) -> Tensor | tuple[Tensor, Tensor]:
    """Attention over the pairs that `pattern` lets see each other; the tiles it hides are never visited.

    Args:
        query:    [B, Hq, Lq, D] in float32, bfloat16, float16 or float64.
        key:      [Bkv, Hkv, Lk, D] of the same dtype; Hq is a multiple of Hkv, Bkv is 1 or B.
        value:    [Bkv, Hkv, Lk, Dv].
        pattern:  from `@lacuna.pattern`; None is dense.
        scale:    factor on query . key; 1 / sqrt(D) where it is not given. Zero and negative numbers are legal.
        score:    from `@lacuna.score`: what becomes of a scaled score before the softmax.
        q_offset: position of query row 0: an integer, int32[B], or "end" for kv_len - q_len.
        q_len:    rows that count, an integer or int32[B]; the rows after them are 0.
        kv_len:   keys that count, likewise.
        layout:   "bhld", or "blhd" for [B, L, H, D] tensors; of the output too.
        return_lse: return the log-sum-exp as well, float32 (float64 for float64) [B, Hq, Lq].
        order:    of the tokens in tiles, from `lacuna.orders`; None chooses. A sequence has one for each query head, a mapping one for
                  some heads. It changes how long the call takes, not what it gives.
        zero_keys: how many keys of score 0 and value 0 each row sees beside its own, such as a padded image has: a tuple of Lq numbers,
                  or a tensor [Lq] or broadcasting to [B, Hq, Lq]. Padded keys whose score is a bias count exp(bias) each: then it is their
                  sum, and may require a gradient. Rows after `q_len` have none. On a GPU less than 0 counts as 0, and is not refused.
        extra_keys: [B or 1, Hkv, E, D], keys that every row sees beside those of the pattern, whatever pattern and lengths hide: text or
                  register tokens. In the layout of the call. Their scores are scaled and nothing else: `score` does not reach them.
        extra_values: [B or 1, Hkv, E, Dv], their values.
        backend:  "cpp", "eager" or "triton"; None chooses.

    Returns:
        [B, Hq, Lq, Dv] in the dtype and layout of `query`. A row that sees nothing is 0, its log-sum-exp -inf.

    Raises:
        TypeError, ValueError: an argument does not fit; the message says what to write.
        NotImplementedError: a known gap, such as dropout, nested tensors or second derivatives.
    """
    if others:
        raise unknown(others)
    check_dense_layout(layout)
    wanted = None if order is None else asked(order, _heads(query, layout))
    counts = None if zero_keys is None else counts_of(query, zero_keys, layout)
    extra = given(extra_keys, extra_values, (query, key, value), layout)
    options = Options(scale, layout, backend, wanted, (counts, *extra))
    out, lse = _call((query, key, value), (pattern, score), lengths_given(q_offset, q_len, kv_len), options)
    return (out, lse) if return_lse else out


def _heads(query: Tensor, layout: str) -> int | None:
    """Of a query; None where it is none, which is said later."""
    check_dense("query", query)
    return query.shape[layout.index("h")] if query.dim() == len(layout) else None


def varlen_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    pattern: Pattern | None = None,
    *,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor | None = None,
    max_seqlen_q: int | Tensor | None = None,
    max_seqlen_k: int | Tensor | None = None,
    scale: float | None = None,
    score: Score | None = None,
    q_offset: int | str | Tensor = 0,
    return_lse: bool = False,
    zero_keys: Counts | None = None,
    backend: str | None = None,
    **others: object,
) -> Tensor | tuple[Tensor, Tensor]:
    """`attention` of sequences packed one after another, each with positions from 0 and seeing only itself.

    Args:
        query:        [total_q, Hq, D]; key: [total_k, Hkv, D]; value: [total_k, Hkv, Dv].
        cu_seqlens_q: int32[sequences + 1]: first token of each sequence, then total_q.
        cu_seqlens_k: the same for the keys; None where they are the same.
        max_seqlen_q: no sequence has more query rows. Checked, but not in a graph that is being captured: that runs as many programs for
                      each sequence as this needs, else as all tokens would, and leaves the rows of a longer sequence past it unwritten.
                      A number, or a tensor of one on the CPU.
        max_seqlen_k: no sequence has more keys, likewise; None where `cu_seqlens_k` is None too: as `max_seqlen_q`.
        q_offset:     an integer, int32[sequences], or "end".
        zero_keys:    [total_q], or broadcasting to [Hq, total_q].

    The rest is as in `attention`, `b` in a pattern being the number of the sequence. Returns [total_q, Hq, Dv], and float32[Hq, total_q].
    """
    if others:
        raise unknown(others)
    offset, offsets = number_or_tensor("q_offset", q_offset)
    cu_q = boundaries("cu_seqlens_q", cu_seqlens_q)
    cu_k = None if cu_seqlens_k is None else boundaries("cu_seqlens_k", cu_seqlens_k)
    most_q = longest("max_seqlen_q", max_seqlen_q)
    most_k = most_q if max_seqlen_k is None and cu_k is None else longest("max_seqlen_k", max_seqlen_k)
    spans = Given([None, None, offsets, cu_q, cu_k], most_q, most_k, offset)
    counts = None if zero_keys is None else counts_of(query, zero_keys, "packed")
    out, lse = _call((query, key, value), (pattern, score), spans, Options(scale, "packed", backend, None, (counts, None, None)))
    return (out, lse) if return_lse else out


class Options(NamedTuple):
    """Of a call. beside: zero keys, extra keys and extra values, as `Call` has them."""

    scale: float | None
    layout: str
    backend: str | None
    order: TokenOrder | OrdersOfHeads | None
    beside: tuple[Tensor | None, Tensor | None, Tensor | None]


def _call(
    qkv: tuple[Tensor, Tensor, Tensor],
    meaning: tuple[Pattern | None, Score | None],
    spans: Given,
    options: Options,
) -> tuple[Tensor, Tensor]:
    """The operator on a call whose tensors and numbers are of the right types."""
    query, key, value = qkv
    check_dense("query", query)
    check_dense("key", key)
    check_dense("value", value)
    scale, layout, backend, order, beside = options
    if backend is not None and not isinstance(backend, str):  # pyright: ignore[reportUnnecessaryIsInstance] (not every caller is typed)
        raise no_backend(backend)
    if scale is not None:
        scale = check_scale(scale, 1)
    if torch.compiler.is_compiling():
        program, tables, integers, reals = traced_description(*meaning)
        if order is not None:
            program, tables = program + order.text, [*tables, *order.tables]
        return _operator(query, key, value, tables, *spans, integers, reals, program, scale, layout, backend or "", *beside)
    program, tables, integers, reals = described(*meaning)
    if order is not None:
        program, tables = program + order.text, [*tables, *order.tables]
    arguments = (query, key, value, tables, *spans, integers, reals, program, scale, layout, backend or "", *beside)
    if goes_past_torch(query, key, value, tables, (*spans.spans, *beside)) and (backend is None or type(backend) is str):
        if not asks_for_gradients((query, key, value, *tables, *beside)):
            with below_autograd():
                return compute.attention(*arguments)
        return autograd.attention(*arguments)
    if traced_by_jit():
        return _traced((query, key, value, tables), spans, (integers, reals, program, scale, layout, backend or "", *beside))
    if _recorded((query, key, value, *tables, *beside)):
        return _operator(*arguments)
    with below_autograd():
        return _operator(*arguments)


_operator: Any = torch.ops.lacuna.attention.default


def _traced(tensors: tuple[object, ...], given: Given, rest: tuple[object, ...]) -> tuple[Tensor, Tensor]:
    """The operator as `torch.jit.trace` can record it."""
    spans, *numbers = given
    there = [span for span in spans if span is not None]
    return torch.ops.lacuna.attention_traced.default(*tensors, there, [int(span is not None) for span in spans], *numbers, *rest)


def _recorded(tensors: Sequence[Tensor | None]) -> bool:
    """Whether autograd or a transform of torch.func may want to see a call on these."""
    return in_forward_mode() or transformed() or asks_for_gradients(tensors)
