"""The public functions: arguments in, a checked request to a backend, tensors out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from .advice import advice
from .backends import backend as backend_of
from .keywords import unknown
from .merging import Meaning, resolved
from .ragged import Lengths, lengths, packed_lengths
from .request import LAYOUTS, Request, check_scale, check_shapes, check_tensors, readable
from .table_checks import check_bound_tensors, check_grid, check_tables

if TYPE_CHECKING:
    from ..ir.pattern import Pattern
    from ..ir.score import Score


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
        backend:  "cpp", "eager" or "triton"; None chooses.

    Returns:
        [B, Hq, Lq, Dv] in the dtype and layout of `query`. A row that sees nothing is 0, its log-sum-exp -inf.

    Raises:
        TypeError, ValueError: an argument does not fit; the message says what to write.
        NotImplementedError: a known gap, such as gradients, dropout or nested tensors.
    """
    if others:
        raise unknown(others)
    check_tensors(query, key, value, 4)
    if layout != "bhld":
        query, key, value = (_heads_first(tensor, layout) for tensor in (query, key, value))
    check_shapes(query, key, value)
    spans = lengths(query, key, q_offset, q_len, kv_len)
    request = _request((query, key, value), resolved(pattern, score), spans, (scale, layout, return_lse))
    out, lse = request.as_given(*backend_of(backend, query.device.type)(request))
    return (out, lse) if return_lse else out


def varlen_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    pattern: Pattern | None = None,
    *,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor | None = None,
    scale: float | None = None,
    score: Score | None = None,
    q_offset: int | str | Tensor = 0,
    return_lse: bool = False,
    backend: str | None = None,
    **others: object,
) -> Tensor | tuple[Tensor, Tensor]:
    """`attention` of sequences packed one after another, each with positions from 0 and seeing only itself.

    Args:
        query:        [total_q, Hq, D]; key: [total_k, Hkv, D]; value: [total_k, Hkv, Dv].
        cu_seqlens_q: int32[sequences + 1]: first token of each sequence, then total_q.
        cu_seqlens_k: the same for the keys; None where they are the same.
        q_offset:     an integer, int32[sequences], or "end".

    The rest is as in `attention`, `b` in a pattern being the number of the sequence. Returns [total_q, Hq, Dv], and float32[Hq, total_q].
    """
    if others:
        raise unknown(others)
    check_tensors(query, key, value, 3)
    query, key, value = (tensor.transpose(0, 1).unsqueeze(0) for tensor in (query, key, value))
    check_shapes(query, key, value)
    spans = packed_lengths(query, key, q_offset, cu_seqlens_q, cu_seqlens_k)
    request = _request((query, key, value), resolved(pattern, score), spans, (scale, "packed", return_lse))
    out, lse = request.as_given(*backend_of(backend, query.device.type)(request))
    return (out, lse) if return_lse else out


def _heads_first(tensor: Tensor, layout: str) -> Tensor:
    if layout != "blhd":
        raise ValueError(advice(f"there is no layout {layout!r}", " or ".join(f'`layout="{each}"`' for each in LAYOUTS)))
    return tensor.transpose(1, 2)


def _request(qkv: tuple[Tensor, Tensor, Tensor], meaning: Meaning, spans: Lengths, options: tuple[float | None, str, bool]) -> Request:
    """The request, once the program is seen to fit the lengths."""
    query, key, value = qkv
    program, bindings = meaning
    scale, layout, want_lse = options
    batch = query.shape[0] if spans.ragged.q_start is None else spans.ragged.q_start.shape[0]
    heads = query.shape[1]
    pairs = batch > 0 and heads > 0 and spans.q_len > 0 and spans.k_stop > 0  # else nothing is read
    if pairs and program.space.rank > 1:
        check_grid(program.space, spans)
    if program.tables:
        check_bound_tensors(program, bindings, query.device)
        if pairs:
            ranges = {"q": (spans.offset, spans.stop), "k": (0, spans.k_stop), "b": (0, batch), "h": (0, heads)}
            check_tables(program, bindings, ranges)
    return Request(
        readable(query),
        readable(key),
        readable(value),
        program,
        bindings,
        check_scale(scale, query.shape[3]),
        batch,
        spans.q_len,
        spans.k_len,
        spans.offset,
        spans.ragged,
        layout,
        want_lse,
    )
