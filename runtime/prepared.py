"""Calls that were made before: of a call with the same shapes, numbers and tables only the addresses are new.

What is remembered is what every check and every proof of a call depends on; a table that changed in place has another version.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Sequence
from types import ModuleType
from typing import NamedTuple, cast

import torch
from torch import Tensor

from .calls import Call, lse_dtype
from .device_numbers import capturing, pin
from .request import Request

REMEMBERED = 256
ALIGNMENT_BYTES = 16  # what kernels are made for
Launch = Callable[[Sequence[Tensor | None]], None]


class Prepared(NamedTuple):
    """launch: fills output and log-sum-exp, the last of five tensors, from query, key and value of one shape and layout.

    lengths: `launch` takes q_len, kv_len and q_offset after these, where they are tensors on a GPU.
    """

    launch: Launch
    out_shape: list[int]
    lse_shape: list[int]
    lse_dtype: torch.dtype
    read: tuple[weakref.ref[Tensor], ...]
    lengths: bool = False

    def __call__(self, call: Call) -> tuple[Tensor, Tensor]:
        out = call.query.new_empty(self.out_shape)
        lse = call.query.new_empty(self.lse_shape, dtype=self.lse_dtype)
        if self.lengths:
            self.launch((call.query, call.key, call.value, out, lse, *call.spans[:3]))
        else:
            self.launch((call.query, call.key, call.value, out, lse))
        return out, lse


_prepared: dict[Hashable, Prepared] = {}


def prepared(call: Call) -> Prepared | None:
    """What an earlier call like this one left."""
    known = _key(call)
    found = None if known is None else _prepared.get(known)
    if found is None or any(reference() is None for reference in found.read):  # another tensor may have its identity by now
        return None
    if (call.tables or call.spans) and capturing(call.query.device):
        if call.layout == "packed":  # what was found out of boundaries holds now, not whenever the graph runs
            return None
        pin(found)
    return found


def forget_prepared() -> None:
    """Prepare every call anew, as a new process would."""
    _prepared.clear()


def remember(call: Call, request: Request, room: ModuleType) -> None:
    """Keep what the next call like this one can skip, where the backend offers it."""
    known = _key(call)
    prepare = getattr(room, "prepare", None)
    in_place = _strided(request, call) and _lengths_in_place(request, call)
    if call.layout == "packed" and capturing(request.query.device):
        return  # its memory is the graph's
    if prepare is None or known is None or not in_place:
        return
    launch = cast("Launch | None", prepare(request))
    if launch is None:
        return
    if len(_prepared) >= REMEMBERED:
        _prepared.clear()
    read = tuple(weakref.ref(each) for each in (*call.tables, *(() if request.left else call.spans)) if each is not None)
    _prepared[known] = Prepared(launch, *call.output_shapes(), lse_dtype(call.query), read, bool(request.left))


def _strided(request: Request, call: Call) -> bool:
    """Whether kernels read the caller's own memory."""
    return all(
        mine.data_ptr() == given.data_ptr()
        for mine, given in ((request.query, call.query), (request.key, call.key), (request.value, call.value))
    )


def _lengths_in_place(request: Request, call: Call) -> bool:
    """Whether kernels read the caller's own lengths, where these were left on a GPU."""
    if not request.left:
        return True
    ours = (request.ragged.q_lens, request.ragged.k_lens, request.ragged.offsets)
    return all(
        given is None or (mine is not None and mine.data_ptr() == given.data_ptr()) for given, mine in zip(call.spans, ours, strict=False)
    )


def _key(call: Call) -> Hashable | None:
    """Everything that the checks and the launch depend on; None where a change in place cannot be seen."""
    query, key, value = call.query, call.key, call.value
    tables = call.tables
    if call.spans and call.leaves_lengths:
        lengths = tuple(None if each is None else (each.dtype, each.shape, each.stride(), each.device) for each in call.spans)
        seen = _versions(tables)
        if seen is None:
            return None
        seen = seen, lengths
    elif tables or call.spans:
        seen = _versions((*tables, *call.spans))
        if seen is None:
            return None
    else:
        seen = ()
    return (
        (query.shape, key.shape, value.shape, query.stride(), key.stride(), value.stride()),
        (query.dtype, key.dtype, value.dtype, query.device, key.device, value.device),
        seen,
        (query.data_ptr() | key.data_ptr() | value.data_ptr()) % ALIGNMENT_BYTES == 0,
        query.dtype is torch.float32 and torch.backends.cuda.matmul.allow_tf32,
        call[5:8],
        tuple(call.integers),
        tuple(call.reals),
        call[10:],
    )


def _versions(tensors: Sequence[Tensor | None]) -> Hashable | None:
    """Which tensors a call reads beside query, key and value, and in which state; inference tensors do not say."""
    found: list[Hashable] = []
    for tensor in tensors:
        if tensor is None:
            found.append(None)
        elif tensor.is_inference():
            return None
        else:
            found.append((id(tensor), tensor._version, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()))
    return tuple(found)
