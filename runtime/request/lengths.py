"""Lengths and offsets of a call: one number for all batch items, or one for each."""

# torch's annotations are partial.
# pyright: reportUnknownMemberType=false
from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor

from ...ir.advice import advice
from ..tensors.host_numbers import capturing, is_gpu, moved, numbers_of, on_gpu
from .request import UNIFORM, Ragged

INTEGERS = frozenset({torch.int32, torch.int64})
FURTHEST = 2**62
"""Tokens from 0 that rows may begin at: what is added to them stays in 64 bits."""


class Lengths(NamedTuple):
    """What a call asks for, in tokens.

    q_len, k_len: rows and keys each batch item has room for; packed sequences: those of the longest.
    offset:       position of query row 0; with `ragged.offsets` the smallest of them.
    stop:         largest position of a query row, plus 1; k_stop: largest key, plus 1.
    left:         names in `ragged` of tensors that were not looked at.
    from_end:     offsets are keys less rows of each item, which only the GPU knows; `offset` and `stop` say nothing.
    """

    q_len: int
    k_len: int
    offset: int
    stop: int
    k_stop: int
    ragged: Ragged = UNIFORM
    from_end: bool = False
    left: frozenset[str] = frozenset()


def number_or_tensor(name: str, given: object) -> tuple[int | None, Tensor | None]:
    """What a length or offset was given as; neither where it was left out, or is "end".

    Raises:
        TypeError: it is no integer and no tensor of integers.
        OverflowError: it is an offset beyond 2 ** 62.
    """
    if (given is None and name != "q_offset") or (name == "q_offset" and isinstance(given, str) and given == "end"):
        return None, None
    if isinstance(given, int) and name == "q_offset" and abs(given) > FURTHEST:
        raise OverflowError(advice(f"`q_offset` is {given}, and positions are 64-bit integers", "an offset of at most 2 ** 62 either way"))
    if isinstance(given, int | torch.SymInt) and not isinstance(given, bool):
        return cast(int, given), None
    if not isinstance(given, Tensor) or given.dtype not in INTEGERS or given.layout is not torch.strided:
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
    if (
        not isinstance(given, Tensor)
        or given.dtype not in INTEGERS
        or given.dim() != 1
        or given.shape[0] == 0
        or given.layout is not torch.strided
    ):
        raise TypeError(advice(f"`{name}` is {described(given)}", "a tensor int32[sequences + 1]: `[0, first length, ..., total]`"))
    return given


def longest(name: str, given: object) -> int | None:
    """How many tokens no sequence has more of: a number, or a tensor of one that the host can read, as FlashAttention's callers have it.

    Raises:
        TypeError, ValueError: this is no such number.
    """
    if isinstance(given, Tensor) and given.dtype in INTEGERS and given.dim() == 0 and given.device.type == "cpu":
        given = int(numbers_of(name, given))
    if given is not None and (not isinstance(given, int | torch.SymInt) or isinstance(given, bool)):
        raise TypeError(advice(f"`{name}` is {described(given)}", "an integer, which the host knows: the longest sequence"))
    if isinstance(given, int) and given < 0:
        raise ValueError(advice(f"`{name}` is {given}, and lengths are not negative", "the length of the longest sequence"))
    return cast("int | None", given)


def lengths(query: Tensor, key: Tensor, q_offset: object, q_len: object, kv_len: object) -> Lengths:
    """The lengths of a call of `attention`, with query and key as [batch, heads, tokens, D].

    Lengths on a GPU are read back, once for each state of a tensor: the checks of the program ask for them.

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


def lengths_on_gpu(query: Tensor, key: Tensor, q_offset: object, q_len: object, kv_len: object) -> Lengths:
    """As `lengths`, but the numbers in tensors are left where they are: kernels hold them inside what the tensors have room for.

    Raises:
        TypeError, ValueError: something does not fit that shows without a look at them.
    """
    batch, rows, keys = query.shape[0], query.shape[2], key.shape[2]
    q_lens, k_lens = (_left(name, given, query, size) for name, given, size in (("q_len", q_len, rows), ("kv_len", kv_len, keys)))
    if isinstance(k_lens, int):
        keys, k_lens = k_lens, None
    if isinstance(q_lens, int):
        q_lens = None if q_lens == rows else torch.full((batch,), q_lens, device=query.device)
    given = {"q_lens": q_len, "k_lens": kv_len, "offsets": q_offset}
    left = frozenset(name for name, each in given.items() if isinstance(each, Tensor) and on_gpu(each))
    ragged = Ragged(q_lens=q_lens, k_lens=k_lens)
    if isinstance(q_offset, str):
        return Lengths(rows, keys, keys - rows, keys, keys, ragged, q_lens is not None or k_lens is not None, left)
    offset = _left("q_offset", q_offset, query, None)
    if isinstance(offset, int):
        return Lengths(rows, keys, offset, offset + rows, keys, ragged, left=left)
    return Lengths(rows, keys, 0, rows, keys, ragged._replace(offsets=offset), left=left)


def _left(name: str, given: object, query: Tensor, room: int | None) -> int | Tensor | None:
    """A number that was checked, or the tensor that was given, on the device of the query."""
    if given is None:
        return None
    _, tensor = number_or_tensor(name, given)
    if tensor is None or not on_gpu(tensor):
        checked = _integers(name, given, query.shape[0]) if room is None else _per_item(name, given, query.shape[0], room)
        return checked.to(query.device) if isinstance(checked, Tensor) else checked
    if tensor.shape != (query.shape[0],):
        raise _wrong_shape(name, tensor, query.shape[0])
    if tensor.device != query.device:
        raise ValueError(advice(f"`{name}` is on {tensor.device}, the query on {query.device}", f"`{name}.to({str(query.device)!r})`"))
    return tensor.detach().contiguous()


Pair = tuple[int, int]
"""Of queries and of keys."""


def packed_lengths(
    totals: Pair, bounds: tuple[object, object], most: tuple[int | None, int | None], q_offset: object, device: torch.device
) -> Lengths:
    """The lengths of a call of `varlen_attention` whose tensors hold `totals` tokens.

    bounds: integer[sequences + 1] each, first token of each sequence, then the total; None for the keys is as for the queries.
    most:   tokens that no sequence has more of, or None.

    Raises: as `lengths`; also ValueError where the boundaries decrease or do not cover the tensor, or a sequence is longer than `most`.
    """
    if capturing(device):
        return _captured(totals, bounds, most, q_offset)
    q_start, q_lens = _boundaries("cu_seqlens_q", bounds[0], totals[0])
    if bounds[1] is None and totals[0] == totals[1]:
        k_start, k_lens = q_start, q_lens
    elif bounds[1] is None:
        raise ValueError(advice(f"query holds {totals[0]} tokens, key {totals[1]}, and their sequences differ", "`cu_seqlens_k=...`"))
    else:
        k_start, k_lens = _boundaries("cu_seqlens_k", bounds[1], totals[1])
    batch = q_lens.shape[0]
    if k_lens.shape[0] != batch:
        raise ValueError(advice(f"`cu_seqlens_q` has {batch} sequences, `cu_seqlens_k` {k_lens.shape[0]}", "one of each for each sequence"))
    rows, keys = (int(q_lens.max()), int(k_lens.max())) if batch else (0, 0)
    for name, each, limit in zip(("max_seqlen_q", "max_seqlen_k"), (rows, keys), most, strict=True):
        if limit is not None and each > limit:
            raise ValueError(advice(f"`{name}` is {limit}, and a sequence has {each} tokens", f"`{name}={each}`"))
    if is_gpu(device):  # a graph that is captured after this call needs the same kernel
        rows, keys = (each if limit is None else min(limit, total) for each, limit, total in zip((rows, keys), most, totals, strict=True))
    return _placed(Ragged(q_start, q_lens, k_start, k_lens), (rows, keys, batch), q_offset, device)


def _captured(totals: Pair, bounds: tuple[object, object], most: tuple[int | None, int | None], q_offset: object) -> Lengths:
    """As `packed_lengths`, as steps of the graph: whatever the boundaries are when it runs, no sequence leaves the tensors."""
    rows, keys = (total if limit is None else min(limit, total) for total, limit in zip(totals, most, strict=True))
    q_start, q_lens = _held(boundaries("cu_seqlens_q", bounds[0]), totals[0], rows)
    k_start, k_lens = _held(boundaries("cu_seqlens_k", bounds[0] if bounds[1] is None else bounds[1]), totals[1], keys)
    ragged, left = Ragged(q_start, q_lens, k_start, k_lens), frozenset(("q_start", "q_lens", "k_start", "k_lens"))
    if isinstance(q_offset, int):
        return Lengths(rows, keys, q_offset, q_offset + rows, keys, ragged, left=left)
    offsets = k_lens - q_lens if isinstance(q_offset, str) else cast(Tensor, q_offset).to(torch.int64)
    return Lengths(rows, keys, 0, max(rows, keys), keys, ragged._replace(offsets=offsets), left=left)


def _held(bounds: Tensor, total: int, most: int) -> tuple[Tensor, Tensor]:
    """First token and length, at most `most`, of each sequence, inside a tensor of `total` tokens."""
    rising = bounds.to(torch.int64).clamp(0, total).cummax(0).values
    return rising[:-1], rising.diff().clamp(max=most)


def _boundaries(name: str, given: object, total: int) -> tuple[Tensor, Tensor]:
    """First token and length of each sequence, i64 on the host."""
    bounds = _copied(name, boundaries(name, given))
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
        raise _wrong_shape(name, tensor, batch)
    return _copied(name, tensor)


def _copied(name: str, tensor: Tensor) -> Tensor:
    """i64 on the host, in memory that nobody else writes: launches that are remembered read it again."""
    return torch.from_numpy(numbers_of(name, tensor)).to(torch.int64, copy=True)


def _wrong_shape(name: str, tensor: Tensor, batch: int) -> ValueError:
    return ValueError(
        advice(f"`{name}` has shape {tuple(tensor.shape)}, and the batch is {batch}", f"one entry for each batch item: int32[{batch}]")
    )


def described(thing: object) -> str:
    if isinstance(thing, Tensor):
        layout = "" if thing.layout is torch.strided else f"{thing.layout} "
        return f"a {layout}tensor of {thing.dtype} with shape {tuple(thing.shape)}"
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
    there = Ragged(*(None if array is None else moved(array, device) for array in ragged))
    return Lengths(rows, keys, _extent(offsets)[0], stop, _extent(k_lens)[1], there)
