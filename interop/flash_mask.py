"""FlashMask's row indices: for each key, the ranges of rows that do not see it (PaddlePaddle, `flashmask_attention`).

Of `startend_row_indices`, int32[batch, heads or 1, kv_len, n], with query rows counted from 0 and stops exclusive,

    causal, n = 1:      rows from [0] on are hidden
    causal, n = 2:      rows [0] to [1] are hidden
    not causal, n = 2:  rows from [0] on are hidden, and rows before [1]
    not causal, n = 4:  rows [0] to [1] are hidden, and rows [2] to [3]

where `causal` also hides the rows before k - (kv_len - q_len): the triangle ends in the bottom right corner.
"""

# Patterns are written without annotations.
# ruff: noqa: ANN001, ANN202
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, NoReturn

import numpy as np
import torch
from torch import Tensor

from .. import pattern
from ..ir.advice import advice
from ..ir.build import refusal
from ..ir.pattern import Pattern
from .given_tiles import at, per_axes, without_axes
from .tiling import Runs, tiling

Array = np.ndarray


class FlashMask(NamedTuple):
    """The arguments `startend_row_indices`, int32[batch or 1, heads or 1, kv_len, 1 | 2 | 4], and `causal` of `flashmask_attention`."""

    startend_row_indices: Tensor
    causal: bool


def to_flash_mask(
    pattern: Pattern | None,
    q_len: int,
    kv_len: int | None = None,
    *,
    batch: int | None = None,
    heads: int | None = None,
    block: tuple[int, int] = (128, 128),
) -> FlashMask:
    """Row indices that hide exactly what `pattern` hides, in the shortest form that can: causal with 1 or 2, else 2 or 4 numbers a key.

    Args:
        batch, heads: batch size and heads, needed where the mask differs between them. The format counts key heads; here they are the
                      query heads, so that with grouped heads a mask that reads `h` has no such form.
        block:        tiles whose full and empty ones are not looked into.

    Raises:
        ValueError: some key is hidden from more ranges of rows than the form has; names the key.
    """
    tiles = tiling(pattern, (q_len, kv_len), block, (batch, heads))
    hidden = [_hidden(tiles.runs(each, of="k"), tiles.lengths) for each in tiles.each()]
    below = [each.below_the_diagonal() for each in hidden]
    columns = [column for column in below if column is not None]
    causal = len(columns) == len(hidden)
    found = np.stack(columns if causal else [each.anywhere() for each in hidden])
    ends = np.all(found[..., 1] == q_len)
    if causal:
        found = found[..., :1] if ends else found
    elif ends and not found[..., 2].any():
        found = found[..., [0, 3]]
    shaped = found.reshape(*tiles.extents, *found.shape[1:])
    return FlashMask(torch.from_numpy(shaped.astype(np.int32)), causal)


@dataclass(frozen=True)
class _Hidden:
    """Ranges of rows hidden from each key, none of them empty, in order of key, then of row.

    key, start, stop: int64[ranges]; lengths: (q_len, kv_len).
    """

    key: Array
    start: Array
    stop: Array
    lengths: tuple[int, int]

    def below_the_diagonal(self) -> Array | None:
        """int64[keys, 2]: what is hidden beside the triangle of `causal`; None where that sees less, or more than one range is left."""
        rows, keys = self.lengths
        diagonal = np.maximum(0, np.arange(keys) - (keys - rows))
        covered = (self.start == 0) & (self.stop >= diagonal[self.key])
        if np.bincount(self.key[covered], minlength=keys)[diagonal > 0].min(initial=1) == 0:
            return None
        live = self.stop > diagonal[self.key]
        if np.bincount(self.key[live], minlength=keys).max(initial=0) > 1:
            return None
        found = np.full((keys, 2), rows)
        found[self.key[live]] = np.stack([self.start[live], self.stop[live]], 1)
        return found

    def anywhere(self) -> Array:
        """int64[keys, 4]: the lower range, which reaches the last row where there is one only that does, then the upper."""
        rows, keys = self.lengths
        counts = np.bincount(self.key, minlength=keys)
        if counts.max(initial=0) > 2:
            self._refuse(int(np.flatnonzero(counts > 2)[0]))
        first = np.concatenate([[True], self.key[1:] != self.key[:-1]])[: len(self.key)]
        lower = np.where(counts[self.key] == 2, ~first, self.stop == rows)
        found = np.tile([rows, rows, 0, 0], (keys, 1))
        for here, column in ((lower, 0), (~lower, 2)):
            found[self.key[here], column] = self.start[here]
            found[self.key[here], column + 1] = self.stop[here]
        return found

    def _refuse(self, key: int) -> NoReturn:
        at = self.key == key
        ranges = list(zip(self.start[at].tolist(), self.stop[at].tolist(), strict=True))
        listed = ", ".join(f"{start} to {stop - 1}" for start, stop in ranges[:4]) + (", ..." if len(ranges) > 4 else "")
        raise ValueError(
            f"key {key} is hidden from {len(ranges)} separate ranges of rows ({listed}), and FlashMask's row indices say two at most.\n"
            "  write `to_block_mask` or `to_bsr`, which hold any mask"
        )


def _hidden(visible: Runs, lengths: tuple[int, int]) -> _Hidden:
    """Before, between and after the visible runs of each key."""
    rows, keys = lengths
    every = np.arange(keys)
    key = np.sort(np.concatenate([every, visible.line]), kind="stable")
    start = np.insert(visible.stop, np.searchsorted(visible.line, every), 0)
    stop = np.insert(visible.start, np.searchsorted(visible.line, every, side="right"), rows)
    live = start < stop
    return _Hidden(key[live], start[live], stop[live], lengths)


@pattern
def _outside(b, h, q, k, *, startend_row_indices, columns, triangle, per, group):
    def bound(column):
        return startend_row_indices[at(per, b, h // group if group > 1 else h, k, column)]

    lower = q < bound(0)
    if columns != (1,) and (triangle or columns == (4,)):
        lower = lower | (bound(1) <= q)
    if triangle:
        return lower & (k <= q + triangle[0])
    upper = bound(1) <= q if columns == (2,) else (q < bound(2)) | (bound(3) <= q)
    return lower & upper


def from_flash_mask(startend_row_indices: Tensor, causal: bool, q_len: int | None = None, heads: int | None = None) -> Pattern:
    """The pattern of FlashMask's row indices, for `q_len` queries (None: as many as keys) and the keys that they are given for.

    startend_row_indices: int32[batch or 1, heads or 1, kv_len, n] with n of 1 or 2 where `causal`, else 2 or 4.
    heads: query heads of the calls, where the indices are given for key heads that several of these share; None: one for each.

    Tile classes come from the minimum and maximum of each bound over a tile of keys, as in FlashMask's own kernels.

    Raises:
        TypeError: the tensor has another shape or holds no integers.
        ValueError: `heads` cannot share the heads of the tensor evenly.
    """
    widths = (1, 2) if causal else (2, 4)
    indices = startend_row_indices
    if not isinstance(indices, Tensor):  # pyright: ignore[reportUnnecessaryIsInstance]  (not every caller is typed)
        raise refusal(f"`startend_row_indices` is a {type(indices).__name__}", "a tensor, int32[batch, heads or 1, kv_len, numbers]")
    if indices.ndim != 4 or indices.shape[3] not in widths or indices.is_floating_point() or indices.dtype == torch.bool:
        raise refusal(
            f"`startend_row_indices` is {indices.dtype} of shape {tuple(indices.shape)}",
            f"int32[batch, heads or 1, kv_len, {widths[0]} or {widths[1]}] with `causal={causal}`",
        )
    keys, width = indices.shape[2:]
    triangle = (keys - (keys if q_len is None else q_len),) if causal else ()
    group = _query_heads_each(indices.shape[1], heads)
    return _outside(startend_row_indices=without_axes(indices), columns=(width,), triangle=triangle, per=per_axes(indices), group=group)


def _query_heads_each(given: int, heads: int | None) -> int:
    """How many query heads share an entry of the axis of heads."""
    if heads is None or given == 1:
        return 1
    if heads < given or heads % given:
        raise ValueError(
            advice(f"{heads} query heads cannot share the row indices of {given} heads evenly", f"`heads=` a multiple of {given}")
        )
    return heads // given
