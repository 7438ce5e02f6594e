"""NATTEN's `attention`: dense or causal, of tensors with heads last, and of packed sequences."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor

from .. import attention as attend
from .. import varlen_attention
from ..ir.advice import advice
from ..ir.pattern import Pattern
from ..patterns import causal
from .natten_checks import backend_of


class _Sequences(NamedTuple):
    """Where packed sequences begin, int32[sequences + 1], and what the longest has at most; None where nobody said."""

    begin_q: Tensor
    begin_kv: Tensor
    longest_q: int | None
    longest_kv: int | None


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    is_causal: bool = False,
    scale: float | None = None,
    seqlens_Q: Tensor | None = None,  # noqa: N803  (NATTEN's names)
    seqlens_KV: Tensor | None = None,  # noqa: N803
    cumulative_seqlen_Q: Tensor | None = None,  # noqa: N803
    cumulative_seqlen_KV: Tensor | None = None,  # noqa: N803
    max_seqlen_Q: int | None = None,  # noqa: N803
    max_seqlen_KV: int | None = None,  # noqa: N803
    *,
    return_lse: bool = False,
    **options: object,
) -> Tensor | tuple[Tensor, Tensor]:
    """Attention of all tokens, or of a triangle that begins top left.

    Args:
        query: [batch, tokens, heads, head_dim]. key, value: [batch, tokens_kv, heads_kv, head_dim or head_dim_v].
        scale: factor on query . key; 1 / sqrt(head_dim) where it is None or 0, as in NATTEN.
        seqlens_Q, seqlens_KV: of sequences packed one after another into a batch of 1: integer[sequences] tokens each.
        cumulative_seqlen_Q, cumulative_seqlen_KV: instead of these, integer[sequences + 1]: where each begins, then the total.
        max_seqlen_Q, max_seqlen_KV: tokens that no sequence has more of.
        options: how NATTEN runs: taken, told of once, and of no effect, but for `backend=` "cpp", "eager" or "triton".

    Returns:
        [batch, tokens, heads, head_dim_v]; with `return_lse` also the log-sum-exp [batch, tokens, heads].

    Raises:
        ValueError: one side of a pair is given, or packed sequences are no batch of 1. TypeError: an argument that is none of NATTEN's.
    """
    backend = backend_of(options)
    pattern = causal() if is_causal else None
    sequences = _sequences((seqlens_Q, seqlens_KV), (cumulative_seqlen_Q, cumulative_seqlen_KV), (max_seqlen_Q, max_seqlen_KV))
    if sequences is not None:
        out, lse = _packed((query, key, value), pattern, sequences, scale or None, backend)
    else:
        found = attend(query, key, value, pattern, scale=scale or None, layout="blhd", return_lse=True, backend=backend)
        out, lse = cast(tuple[Tensor, Tensor], found)
    return (out, lse.transpose(1, 2)) if return_lse else out


def _sequences(
    lengths: tuple[Tensor | None, Tensor | None], begins: tuple[Tensor | None, Tensor | None], longest: tuple[int | None, int | None]
) -> _Sequences | None:
    for name, (of_q, of_kv) in (("seqlens", lengths), ("cumulative_seqlen", begins)):
        if (of_q is None) != (of_kv is None):
            raise ValueError(advice(f"of `{name}_Q` and `{name}_KV` one is given", "both, or neither"))
    if begins[0] is not None and begins[1] is not None:
        return _Sequences(begins[0], begins[1], *longest)
    if lengths[0] is not None and lengths[1] is not None:
        return _Sequences(_begin(lengths[0]), _begin(lengths[1]), *longest)
    if longest != (None, None):
        raise ValueError(advice("the longest sequence is given and the sequences are not", "`seqlens_Q` and `seqlens_KV` as well"))
    return None


def _begin(lengths: Tensor) -> Tensor:
    return torch.nn.functional.pad(lengths.cumsum(0, dtype=torch.int32), (1, 0))


def _packed(
    qkv: tuple[Tensor, Tensor, Tensor], pattern: Pattern | None, sequences: _Sequences, scale: float | None, backend: str | None
) -> tuple[Tensor, Tensor]:
    for name, tensor in zip(("query", "key", "value"), qkv, strict=True):
        if tensor.dim() != 4 or tensor.shape[0] != 1:
            raise ValueError(
                advice(f"`{name}` has the shape {tuple(tensor.shape)}", "[1, total, heads, head_dim], as packed sequences have")
            )
    query, key, value = (tensor.squeeze(0) for tensor in qkv)
    found = varlen_attention(
        query,
        key,
        value,
        pattern,
        cu_seqlens_q=sequences.begin_q,
        cu_seqlens_k=sequences.begin_kv,
        max_seqlen_q=sequences.longest_q,
        max_seqlen_k=sequences.longest_kv,
        scale=scale,
        return_lse=True,
        backend=backend,
    )
    out, lse = cast(tuple[Tensor, Tensor], found)
    return out.unsqueeze(0), lse.unsqueeze(0)
