"""Few query rows on the Triton backend: the keys of each item are split among programs, and what these leave is merged.

Lengths and offsets are read on the device; nothing here waits for it, so that a call can be captured in a graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...codegen.triton_arguments import ROWS, ZERO_STRIDES
from .call import Call, unordered_arguments
from .kernel import Kernel, Start, start

MOST_ROWS = 64  # of a tile
PROGRAMS = 264  # two for each multiprocessor of the largest GPU known
LEAST_TILES = 4  # of keys, for a program


@dataclass(frozen=True, slots=True)
class Split:
    """How a call is divided, from shapes alone.

    rows:     of a tile: a power of two from 16 on.   together: query heads in a tile.
    programs: tiles of rows.                          splits:   programs that share the keys of a tile of rows.
    """

    rows: int
    together: int
    programs: int
    splits: int

    @staticmethod
    def of(call: Call, block_k: int, heads_differ: bool) -> Split:
        heads, kv_heads = call.query.shape[1], call.key.shape[1]
        group = heads // kv_heads
        together = 1 if heads_differ else max(1, min(group, MOST_ROWS // call.q_len))
        rows = max(16, 1 << (together * call.q_len - 1).bit_length())
        programs = call.batch * kv_heads * -(-group // together)
        tiles = -(-call.k_len // block_k)
        return Split(rows, together, programs, max(1, min(-(-PROGRAMS // programs), tiles // LEAST_TILES)))


def launch(kernel: Kernel, call: Call, split: Split) -> None:
    """Write `call.out` and `call.lse`, as `triton_call.launch` does."""
    for each in starts(kernel, call, split, room_of(call, split)):
        start(kernel, each, call.query.device)


def starts(kernel: Kernel, call: Call, split: Split, room: Tensor | None) -> tuple[Start, ...]:
    """What `launch` starts, in this order: the kernel, and where there are splits the one that merges."""
    assert call.lse is not None
    all_rows = call.batch * call.query.shape[1] * call.q_len
    sums, weights = (None, None) if room is None else _parted(room, split.splits * all_rows, call.value.shape[3])
    given = {
        **unordered_arguments(kernel, call),
        "sums": sums,
        "weights": weights,
        "together": split.together,
        "splits": split.splits,
        "all_rows": all_rows,
        "BLOCK_Q": split.rows,
    }
    first = Start(split.programs * split.splits, given)
    if room is None:
        return (first,)
    return first, Start(call.batch * call.query.shape[1], _of_merge(given), merge=True)


def room_of(call: Call, split: Split) -> Tensor | None:
    """Memory between the two kernels: of torch's allocator, so that a graph can be captured. Nothing where one program has all keys."""
    if split.splits == 1:
        return None
    assert call.lse is not None
    rows = split.splits * call.batch * call.query.shape[1] * call.q_len
    return torch.empty(rows * (call.value.shape[3] + 2), dtype=call.lse.dtype, device=call.lse.device)


def _parted(room: Tensor, rows: int, width: int) -> tuple[Tensor, Tensor]:
    """[splits, rows, Dv] of weighted values and [splits, 2, rows] of highest scores and weights, as flat as they lie."""
    sums, weights = room[: rows * width], room[rows * width :]
    return sums, weights


def _of_merge(given: dict[str, Any]) -> dict[str, Any]:
    """What the second kernel takes of the first one's arguments."""
    strides = [f"{tensor}_{axis}" for tensor in ("out", ROWS) for axis in ("batch", "head", "token")]
    names = ("out", "lse", "sums", "weights", "q_start", "q_lens", "heads", "q_len", "splits", "all_rows", *strides, "UNIT")
    return {name: given[name] for name in (*names, *("zero_keys", *ZERO_STRIDES)) if name in given}
