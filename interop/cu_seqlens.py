"""`cu_seqlens`: packed sequences as flash-attention's `flash_attn_varlen_func` takes them.

Sequence n holds the rows cu_seqlens_q[n] to cu_seqlens_q[n + 1] and the keys cu_seqlens_k[n] to cu_seqlens_k[n + 1], and nothing else sees
either. Inside it row r sees key c, both counted from its beginning, where

    r + shift - left <= c <= r + shift + right,    shift = keys of the sequence - rows of the sequence

so that the last row is beside the last key. `window` is (left, right), -1 for no bound; `causal` makes right 0.
"""

# Patterns are written without annotations.
# ruff: noqa: ANN001, ANN202
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, NoReturn, cast

import numpy as np
import torch
from torch import Tensor

from .. import pattern, segments
from ..ir.build import refusal
from ..ir.derived import derived
from ..ir.pattern import Pattern
from .tiling import Runs, one_mask, tiling

Array = np.ndarray


class CuSeqlens(NamedTuple):
    """cu_seqlens_q, cu_seqlens_k: int32[sequences + 1], from 0 to the number of tokens; `causal` and `window` of flash-attention."""

    cu_seqlens_q: Tensor
    cu_seqlens_k: Tensor
    causal: bool
    window: tuple[int, int]


def to_cu_seqlens(pattern: Pattern | None, q_len: int, kv_len: int | None = None, *, block: tuple[int, int] = (128, 128)) -> CuSeqlens:
    """The packed sequences that `pattern` is at these lengths, in as many sequences as can be told apart.

    Rows that see no key are a sequence without keys, keys that no row sees one without rows.

    Raises:
        ValueError: the mask differs between heads or batch items; a row sees several runs of keys; sequences are out of order; the rows of
            sequences are not bounded alike. Names the row.
    """
    one_mask(pattern, "`cu_seqlens`")
    tiles = tiling(pattern, (q_len, kv_len), block)
    q_len, k_len = tiles.lengths
    start, stop = _ends(tiles.runs(), q_len)
    firsts = _first_rows(start, stop)
    sequences = _Sequences.of(firsts, start, stop)
    if np.any(sequences.k1[:-1] > sequences.k0[1:]):
        at = int(np.flatnonzero(sequences.k1[:-1] > sequences.k0[1:])[0]) + 1
        _refuse(int(sequences.q0[at]), f"sees keys from {sequences.k0[at]} on, which rows before it see too or pass by")
    left, right = sequences.window(start, stop)
    cu_q, cu_k = _offsets(sequences, k_len)
    return CuSeqlens(cu_q, cu_k, right == 0, (left, right))


def _refuse(row: int, what: str) -> NoReturn:
    raise ValueError(
        f"the mask is no row of packed sequences: row {row} {what}.\n"
        "  write `to_attn_slices`, `to_block_mask` or `to_bsr`, which hold other masks"
    )


def _ends(runs: Runs, rows: int) -> tuple[Array, Array]:
    """int64[rows] each: the keys that a row sees; both the end of the row before where it sees none."""
    counts = runs.counts(rows)
    if counts.max(initial=0) > 1:
        row = int(np.flatnonzero(counts > 1)[0])
        listed = ", ".join(f"{first} to {last - 1}" for first, last in runs.of(row)[:3])
        _refuse(row, f"sees {counts[row]} separate runs of keys ({listed}{', ...' if counts[row] > 3 else ''})")
    before = np.searchsorted(runs.line, np.arange(rows))
    stop = np.concatenate([[0], runs.stop])[before + counts]
    start = stop.copy()
    start[runs.line] = runs.start
    return start, stop


def _first_rows(start: Array, stop: Array) -> Array:
    """Rows where a sequence begins: no key is seen by this row and the one before; of rows that see none, the first."""
    seen = start < stop
    apart = np.maximum(start[1:], start[:-1]) >= np.minimum(stop[1:], stop[:-1])
    begins = np.where(seen[1:] & seen[:-1], apart, seen[1:] != seen[:-1])
    return np.flatnonzero(np.concatenate([[True], begins])[: len(start)])


class _Sequences(NamedTuple):
    """Half-open ranges of rows and keys."""

    q0: Array
    q1: Array
    k0: Array
    k1: Array

    @staticmethod
    def of(firsts: Array, start: Array, stop: Array) -> _Sequences:
        ends = np.append(firsts[1:], len(start))
        return _Sequences(firsts, ends, start[firsts], stop[ends - 1])

    def window(self, start: Array, stop: Array) -> tuple[int, int]:
        """(left, right) that bounds every row."""
        rows = np.arange(len(start))
        size = self.q1 - self.q0
        k0, k1, shift = (np.repeat(each, size) for each in (self.k0, self.k1, self.k1 - self.q1))
        seen = start < stop
        left = _bound(rows + shift - start, rows + shift - k0, seen, seen & (start != k0))
        right = _bound(stop - 1 - rows - shift, k1 - 1 - rows - shift, seen, seen & (stop != k1))
        return left, right


def _bound(reach: Array, most: Array, seen: Array, cut: Array) -> int:
    """The number that rows reach where they are cut, and -1 where none is; a row that is not cut must not reach further."""
    if not cut.any():
        return -1
    bound = int(reach[cut][0])
    wrong = np.flatnonzero((cut & (reach != bound)) | (seen & ~cut & (most > bound)) | (seen & (bound < 0)))
    if len(wrong):
        first = int(np.flatnonzero(cut)[0])
        _refuse(int(wrong[0]), f"reaches {int(reach[wrong[0]])} keys from its own, row {first} reaches {bound}")
    return bound


def _offsets(sequences: _Sequences, k_len: int) -> tuple[Tensor, Tensor]:
    """Offsets of the sequences, and of the keys between them, which are sequences without rows."""
    rows, keys = [0], [0]
    for q0, q1, k0, k1 in zip(*(each.tolist() for each in sequences), strict=True):
        if k0 > keys[-1]:
            rows.append(q0)
            keys.append(k0)
        rows.append(q1)
        keys.append(max(k1, keys[-1]))
    if keys[-1] < k_len:
        rows.append(rows[-1])
        keys.append(k_len)
    return torch.tensor(rows, dtype=torch.int32), torch.tensor(keys, dtype=torch.int32)


# -- import -----------------------------------------------------------------------------------------------------------


@pattern
def _packed(q, k, *, cu_seqlens, left, right):
    seen = cu_seqlens[q] == cu_seqlens[k]
    seen = seen if left is None else seen & (q - k <= left)
    return seen if right is None else seen & (k - q <= right)


@pattern
def _packed_apart(q, k, *, cu_seqlens_q, cu_seqlens_k, shift, left, right):
    seen = cu_seqlens_q[q] == cu_seqlens_k[k]
    seen = seen if left is None else seen & (q + shift[q] - k <= left)
    return seen if right is None else seen & (k - q - shift[q] <= right)


def from_cu_seqlens(
    cu_seqlens_q: Tensor, cu_seqlens_k: Tensor | None = None, *, causal: bool = False, window: tuple[int, int] = (-1, -1)
) -> Pattern:
    """The pattern of packed sequences, for as many queries and keys as the last offsets say.

    cu_seqlens_q, cu_seqlens_k: int32[sequences + 1] from 0 on, never falling; None: those of the queries.

    Sequences of which queries and keys are the same need no array but the offsets: their ids never decrease. Otherwise each row also holds
    how far the keys of its sequence are ahead of the rows.

    Raises:
        TypeError, ValueError: the offsets are of another shape or kind, or fall; the window is no pair of integers.
    """
    _require_window(window)
    left, right = (None if size < 0 else size for size in window)
    right = 0 if causal else right
    offsets = _checked("cu_seqlens_q", cu_seqlens_q)
    if cu_seqlens_k is None or cu_seqlens_k is cu_seqlens_q:
        return _packed(cu_seqlens=segments(derived(_rising, cu_seqlens_q)), left=left, right=right)
    others = _checked("cu_seqlens_k", cu_seqlens_k)
    if torch.equal(offsets, others):
        return _packed(cu_seqlens=segments(derived(_alike, cu_seqlens_q, cu_seqlens_k)), left=left, right=right)
    if len(offsets) != len(others):
        raise ValueError(
            f"there are {len(offsets) - 1} sequences of queries and {len(others) - 1} of keys.\n  write as many offsets for both"
        )
    shift = derived(_shifts, cu_seqlens_q, cu_seqlens_k)
    return _packed_apart(cu_seqlens_q=segments(cu_seqlens_q), cu_seqlens_k=segments(cu_seqlens_k), shift=shift, left=left, right=right)


def _rising(cu_seqlens_q: Tensor) -> Tensor:
    return _checked("cu_seqlens_q", cu_seqlens_q)


def _alike(cu_seqlens_q: Tensor, cu_seqlens_k: Tensor) -> Tensor:
    """The offsets of both sides, which were the same when the pattern was made."""
    offsets, others = _checked("cu_seqlens_q", cu_seqlens_q), _checked("cu_seqlens_k", cu_seqlens_k)
    if not torch.equal(offsets, others):
        raise ValueError("`cu_seqlens_k` was `cu_seqlens_q` when the pattern was made, and is not now.\n  write `from_cu_seqlens` again")
    return offsets


def _shifts(cu_seqlens_q: Tensor, cu_seqlens_k: Tensor) -> Tensor:
    """int32[rows]: how far the keys of the sequence of a row are ahead of its rows."""
    offsets, others = _checked("cu_seqlens_q", cu_seqlens_q), _checked("cu_seqlens_k", cu_seqlens_k)
    return torch.repeat_interleave(others[1:] - offsets[1:], offsets.diff()).int()


def _require_window(window: object) -> None:
    sizes = cast("Sequence[object]", window) if isinstance(window, tuple | list) else ()
    if [type(size) for size in sizes] != [int, int]:
        raise refusal(f"`window` is {window!r}", "two integers, `window=(left, right)`, -1 for no bound")


def _checked(name: str, offsets: Tensor) -> Tensor:
    if not isinstance(offsets, Tensor):  # pyright: ignore[reportUnnecessaryIsInstance]  (not every caller is typed)
        raise refusal(f"`{name}` is a {type(offsets).__name__}", f"`torch.tensor({name}, dtype=torch.int32)`")
    if offsets.ndim != 1 or not len(offsets) or "int" not in str(offsets.dtype):
        raise refusal(f"`{name}` is {offsets.dtype} of shape {tuple(offsets.shape)}", "int32[sequences + 1]")
    if offsets[0] != 0 or (offsets.diff() < 0).any():
        raise ValueError(f"`{name}` starts at {int(offsets[0])} or falls.\n  write cumulative lengths, `[0, *lengths.cumsum(0)]`")
    return offsets.long()
