"""Lengths and offsets of a call: one number for all batch items, or one for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor

from .advice import advice
from .request import UNIFORM, Ragged

INTEGERS = frozenset({torch.int32, torch.int64})


class Lengths(NamedTuple):
    """What a call asks for, in tokens.

    q_len, k_len: rows and keys each batch item has room for; packed sequences: those of the longest.
    offset:       position of query row 0; with `ragged.offsets` the smallest of them.
    stop:         largest position of a query row, plus 1; k_stop: largest key, plus 1.
    """

    q_len: int
    k_len: int
    offset: int
    stop: int
    k_stop: int
    ragged: Ragged = UNIFORM


def number_or_tensor(name: str, given: object) -> tuple[int | None, Tensor | None]:
    """What a length or offset was given as; neither where it was left out, or is "end".

    Raises:
        TypeError: it is no integer and no tensor of integers.
    """
    if (given is None and name != "q_offset") or (name == "q_offset" and isinstance(given, str) and given == "end"):
        return None, None
    if isinstance(given, int | torch.SymInt) and not isinstance(given, bool):
        return cast(int, given), None
    if not isinstance(given, Tensor) or given.dtype not in INTEGERS:
        end = ' or "end"' if name == "q_offset" else ""
        raise TypeError(advice(f"`{name}` is {described(given)}", f"an integer{end}, or a tensor int32[batch]"))
    return None, given


class Given(NamedTuple):
    """Lengths and offset as `Call` has them: the tensors among them, none where there are none; the numbers."""

    spans: Sequence[Tensor | None]
    q_len: int | None
    kv_len: int | None
    q_offset: int | None


def lengths_given(q_offset: object, q_len: object, kv_len: object) -> Given:
    """Raises: as `number_or_tensor`."""
    rows, q_lens = number_or_tensor("q_len", q_len)
    keys, k_lens = number_or_tensor("kv_len", kv_len)
    offset, offsets = number_or_tensor("q_offset", q_offset)
    spans = [] if q_lens is None and k_lens is None and offsets is None else [q_lens, k_lens, offsets, None, None]
    return Given(spans, rows, keys, offset)


def boundaries(name: str, given: object) -> Tensor:
    """First token of each packed sequence, then the total.

    Raises:
        TypeError: this is no tensor of integers with one axis.
    """
    if not isinstance(given, Tensor) or given.dtype not in INTEGERS or given.dim() != 1 or given.shape[0] == 0:
        raise TypeError(advice(f"`{name}` is {described(given)}", "a tensor int32[sequences + 1]: `[0, first length, ..., total]`"))
    return given


def lengths(query: Tensor, key: Tensor, q_offset: object, q_len: object, kv_len: object) -> Lengths:
    """The lengths of a call of `attention`, with query and key as [batch, heads, tokens, D].

    Lengths on a GPU are read back: a wrong one would make a kernel read memory that is not the caller's.

    Raises:
        TypeError: something is no integer and no tensor of integers, or an offset is another word than "end".
        ValueError: a length is negative or larger than its tensor; a tensor has not one entry per batch item.
    """
    rows, keys = query.shape[2], key.shape[2]
    if q_len is None and kv_len is None:
        if type(q_offset) is int:
            return Lengths(rows, keys, q_offset, q_offset + rows, keys)
        if isinstance(q_offset, str) and q_offset == "end":
            return Lengths(rows, keys, keys - rows, keys, keys)
    batch = query.shape[0]
    q_lens = _per_item("q_len", q_len, batch, rows)
    k_lens = _per_item("kv_len", kv_len, batch, keys)
    if isinstance(k_lens, int):
        keys, k_lens = k_lens, None
    if isinstance(q_lens, int):
        q_lens = None if q_lens == rows else torch.full((batch,), q_lens)
    return _placed(Ragged(q_lens=q_lens, k_lens=k_lens), (rows, keys, batch), q_offset, query.device)


def packed_lengths(query: Tensor, key: Tensor, q_offset: object, cu_seqlens_q: object, cu_seqlens_k: object) -> Lengths:
    """The lengths of a call of `varlen_attention`, with query and key as [1, heads, total, D].

    cu_seqlens: integer[sequences + 1], first token of each sequence, then the total; `cu_seqlens_k` None is `cu_seqlens_q`.

    Raises: as `lengths`; also ValueError where the boundaries decrease or do not cover the tensor.
    """
    q_start, q_lens = _boundaries("cu_seqlens_q", cu_seqlens_q, query.shape[2])
    if cu_seqlens_k is None and query.shape[2] == key.shape[2]:
        k_start, k_lens = q_start, q_lens
    elif cu_seqlens_k is None:
        raise ValueError(
            advice(f"query holds {query.shape[2]} tokens, key {key.shape[2]}, and their sequences differ", "`cu_seqlens_k=...`")
        )
    else:
        k_start, k_lens = _boundaries("cu_seqlens_k", cu_seqlens_k, key.shape[2])
    batch = q_lens.shape[0]
    if k_lens.shape[0] != batch:
        raise ValueError(advice(f"`cu_seqlens_q` has {batch} sequences, `cu_seqlens_k` {k_lens.shape[0]}", "one of each for each sequence"))
    longest = (int(q_lens.max()), int(k_lens.max()), batch) if batch else (0, 0, 0)
    return _placed(Ragged(q_start, q_lens, k_start, k_lens), longest, q_offset, query.device)


def _boundaries(name: str, given: object, total: int) -> tuple[Tensor, Tensor]:
    """First token and length of each sequence, i64 on the host."""
    bounds = boundaries(name, given).detach().to("cpu", torch.int64)
    sizes = bounds.diff()
    if int(bounds[0]) != 0 or int(bounds[-1]) != total:
        raise ValueError(
            advice(
                f"`{name}` runs from {int(bounds[0])} to {int(bounds[-1])}, but the tensor holds {total} tokens", f"0 first, {total} last"
            )
        )
    if bool((sizes < 0).any()):
        at = int((sizes < 0).nonzero()[0])
        raise ValueError(
            advice(f"`{name}` decreases from {int(bounds[at])} to {int(bounds[at + 1])} at entry {at + 1}", "boundaries in rising order")
        )
    return bounds[:-1].contiguous(), sizes


def _per_item(name: str, given: object, batch: int, tokens: int) -> int | Tensor | None:
    """A length for all, or i64[batch] on the host, checked against what the tensor holds; None where it is the tensor's own."""
    if given is None:
        return None
    values = _integers(name, given, batch)
    lo, hi = _extent(values)
    if lo < 0 or hi > tokens:
        wrong, what = (lo, "negative") if lo < 0 else (hi, f"more than the {tokens} tokens of the tensor")
        raise ValueError(advice(f"`{name}` is {wrong}, which is {what}", f"lengths from 0 to {tokens}"))
    return values


def _integers(name: str, given: object, batch: int) -> int | Tensor:
    number, tensor = number_or_tensor(name, given)
    if tensor is None:
        assert number is not None
        return number
    if tensor.shape != (batch,):
        raise ValueError(
            advice(f"`{name}` has shape {tuple(tensor.shape)}, and the batch is {batch}", f"one entry for each batch item: int32[{batch}]")
        )
    return tensor.detach().to("cpu", torch.int64)


def described(thing: object) -> str:
    if isinstance(thing, Tensor):
        return f"a tensor of {thing.dtype} with shape {tuple(thing.shape)}"
    return f"{thing!r}, a {type(thing).__name__}"


def _extent(values: int | Tensor) -> tuple[int, int]:
    if isinstance(values, int):
        return values, values
    return (int(values.min()), int(values.max())) if values.numel() else (0, 0)


def _placed(ragged: Ragged, room: tuple[int, int, int], q_offset: object, device: torch.device) -> Lengths:
    """Add the offsets, and bring every array to the device."""
    rows, keys, batch = room
    q_lens = rows if ragged.q_lens is None else ragged.q_lens
    k_lens = keys if ragged.k_lens is None else ragged.k_lens
    at_end = isinstance(q_offset, str) and q_offset == "end"
    offsets = k_lens - q_lens if at_end else _integers("q_offset", q_offset, batch)
    stop = _extent(offsets + q_lens)[1]
    if isinstance(offsets, Tensor):
        ragged = ragged._replace(offsets=offsets)
    moved = Ragged(*(None if array is None else array.to(device) for array in ragged))
    return Lengths(rows, keys, _extent(offsets)[0], stop, _extent(k_lens)[1], moved)
