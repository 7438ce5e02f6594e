"""AttnSlices: rectangles of a mask, each full or cut by diagonals through its corners (MagiAttention, `flex_flash_attn_func`).

A slice is rows [q0, q1), keys [k0, k1) and a type. Inside it the row q sees

    0  full         every key
    1  causal       keys up to k1 - 1 - (q1 - 1 - q): the last row sees all of them
    2  inv_causal   keys from k0 + (q - q0) on: the first row sees all of them
    3  bi_causal    both

A mask is the union of slices that share no pair: the kernels add up what each of them finds.
"""

# Patterns are written without annotations.
# ruff: noqa: ANN001, ANN202
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from itertools import combinations
from typing import NamedTuple, NoReturn

import numpy as np
import torch
from torch import Tensor

from .. import pattern
from ..ir.build import refusal
from ..ir.pattern import Pattern
from .tiling import Runs, one_mask, tiling

Array = np.ndarray

MOST_LAYERS = 16


class SliceType(IntEnum):
    """Bit 0: the end of the keys moves by one from row to row. Bit 1: their beginning does."""

    FULL = 0
    CAUSAL = 1
    INV_CAUSAL = 2
    BI_CAUSAL = 3


class AttnSlices(NamedTuple):
    """q_ranges, k_ranges: int32[slices, 2], stops exclusive; attn_type_map: int32[slices] of `SliceType`. In order of their first row."""

    q_ranges: Tensor
    k_ranges: Tensor
    attn_type_map: Tensor


def to_attn_slices(
    pattern: Pattern | None, q_len: int, kv_len: int | None = None, *, most: int | None = None, block: tuple[int, int] = (128, 128)
) -> AttnSlices:
    """Slices that together hold exactly the pairs of `pattern`, each pair in one of them.

    Runs of visible keys are followed from row to row for as long as each of their ends stays or moves by one, which makes few slices where
    rows see one run, not always the fewest where they see several.

    Args:
        most:  how many slices are worth having; None: as many as there are rows, and 64 at least.
        block: tiles whose full and empty ones are not looked into.

    Raises:
        ValueError: the mask differs between heads or batch items, or takes more than `most` slices; names a row that sees many runs.
    """
    one_mask(pattern, "AttnSlices")
    runs = tiling(pattern, (q_len, kv_len), block).runs()
    most = max(q_len, 64) if most is None else most
    if len(runs.line) > most * max(q_len, 1):
        _refuse(runs, q_len, f"more than {most}", most)
    slices = sorted(_slices(runs))
    if len(slices) > most:
        _refuse(runs, q_len, f"{len(slices)}", most)
    table = torch.tensor(slices, dtype=torch.int32).reshape(-1, 5)
    return AttnSlices(table[:, :2].contiguous(), table[:, 2:4].contiguous(), table[:, 4].contiguous())


def _refuse(runs: Runs, q_len: int, count: str, most: int) -> NoReturn:
    counts = runs.counts(q_len)
    row = int(counts.argmax())
    raise ValueError(
        f"the mask takes {count} slices, and {most} are allowed: row {row} alone sees {counts[row]} separate runs of keys.\n"
        "  write `most=...` to have them all the same, or `to_block_mask` or `to_bsr`, which hold any mask"
    )


def _slices(runs: Runs) -> Iterator[tuple[int, int, int, int, int]]:
    """(q0, q1, k0, k1, type) of chains of runs whose links have one type."""
    following, kinds = _links(runs)
    line, start, stop = (each.tolist() for each in runs)
    linked = np.zeros(len(line), bool)
    linked[following[following >= 0]] = True
    following, kinds = following.tolist(), kinds.tolist()
    for first in np.flatnonzero(~linked).tolist():
        head = tail = first
        while head >= 0:
            kind = kinds[tail]
            while following[tail] >= 0 and kinds[tail] == kind:
                tail = following[tail]
            yield line[head], line[tail] + 1, start[head], stop[tail], (kind if tail != head else SliceType.FULL)
            head = tail = following[tail]


def _links(runs: Runs) -> tuple[Array, Array]:
    """Of each run, the run of the next row whose ends are its own or one more, or -1, and the type of slice that holds both.

    There is at most one: two runs of a row are at least one key apart, and so are their beginnings two.
    """
    wide = int(runs.stop.max(initial=0)) + 2
    place = runs.line * wide + runs.start
    following, kinds = np.full(len(place), -1), np.zeros(len(place), np.int64)
    for moved in (0, 1):
        found = np.searchsorted(place, place + wide + moved)
        inside = np.minimum(found, max(len(place) - 1, 0))
        longer = runs.stop[inside] - runs.stop
        here = (place[inside] == place + wide + moved) & (longer >= 0) & (longer <= 1)
        following[here], kinds[here] = found[here], 2 * moved + longer[here]
    return following, kinds


# -- import -----------------------------------------------------------------------------------------------------------


@pattern
def _between(q, k, *, start, stop):
    return (start[q] <= k) & (k < stop[q])


def from_attn_slices(slices: AttnSlices, q_len: int | None = None) -> Pattern:
    """The pattern of slices, for `q_len` queries (None: up to the last row of any slice) and any number of keys.

    Each row holds the beginning and the end of the keys that it sees, once for each slice that it is in, up to 16 of them; tiles come from
    their minima and maxima over a tile of rows.

    Raises:
        TypeError: the tensors have other shapes or hold no integers.
        ValueError: a range or a type is none, slices share a pair, or a row is in more than 16 slices.
    """
    table = _checked(slices)
    rows = int(table[:, 1].max(initial=0)) if q_len is None else q_len
    table = table[np.lexsort((table[:, 2] - table[:, 3], table[:, 0]))]  # the widest goes on where the last one ended
    if table[:, 1].max(initial=0) > rows:
        raise ValueError(f"a slice holds row {table[:, 1].max() - 1}, and there are {rows} queries.\n  write `q_len=...`, or no `q_len`")
    layers = [_held(table[layer], rows) for layer in _layers(table)]
    _require_disjoint(layers)
    found: Pattern | None = None
    for start, stop in layers:
        each = _between(start=torch.from_numpy(start), stop=torch.from_numpy(stop))
        found = each if found is None else found | each
    assert found is not None
    return found


def _checked(slices: AttnSlices) -> Array:
    """int64[slices, 5]."""
    if not all(isinstance(each, Tensor) for each in slices):  # pyright: ignore[reportUnnecessaryIsInstance]  (not every caller is typed)
        raise refusal(f"the slices are {', '.join(type(each).__name__ for each in slices)}", "`AttnSlices` of three tensors of int32")
    q_ranges, k_ranges, types = (each.cpu() for each in slices)
    integers = all("int" in str(each.dtype) for each in (q_ranges, k_ranges, types))
    if not integers or q_ranges.shape != (len(types), 2) or k_ranges.shape != q_ranges.shape or types.ndim != 1:
        shapes = ", ".join(f"{each.dtype} of shape {tuple(each.shape)}" for each in (q_ranges, k_ranges, types))
        raise refusal(f"the slices are {shapes}", "int32[slices, 2], int32[slices, 2] and int32[slices]")
    table = torch.cat([q_ranges, k_ranges, types[:, None]], 1).long().numpy()
    wrong = (table[:, 0] < 0) | (table[:, 2] < 0) | (table[:, 1] < table[:, 0]) | (table[:, 3] < table[:, 2]) | ((table[:, 4] & ~3) != 0)
    if wrong.any():
        row = table[wrong][0].tolist()
        raise ValueError(
            f"slice {int(np.flatnonzero(wrong)[0])} has rows {row[:2]}, keys {row[2:4]} and type {row[4]}.\n"
            "  write ranges with 0 <= start <= stop, and types 0 (full), 1 (causal), 2 (inv_causal) or 3 (bi_causal)"
        )
    return table


def _layers(table: Array) -> list[list[int]]:
    """Slices, in order of their first row, in as few lists as they need so that no two of one list share a row."""
    layers: list[list[int]] = [[]]
    free = [0]
    for number, (first, stop) in enumerate(table[:, :2].tolist()):
        layer = next((at for at, row in enumerate(free) if row <= first), len(free))
        if layer == MOST_LAYERS:
            raise ValueError(
                f"row {first} is in more than {MOST_LAYERS} slices.\n  write the mask as a function of `q` and `k`, or `from_dense(mask)`"
            )
        if layer == len(free):
            layers.append([])
            free.append(0)
        layers[layer].append(number)
        free[layer] = stop
    return layers


def _held(table: Array, rows: int) -> tuple[Array, Array]:
    """int32[rows] each: the keys that each row sees through the slices of one layer.

    A row of no slice has both where its neighbours' end, so that minima and maxima over a tile of rows stay those of the slices.
    """
    start = np.full(rows, table[0, 2] if len(table) else 0, np.int32)
    stop = start.copy()
    for q0, q1, k0, k1, kind in table.tolist():
        row = np.arange(q0, q1)
        start[q0:q1] = k0 + (row - q0 if kind & SliceType.INV_CAUSAL else 0)
        stop[q0:q1] = np.maximum(k1 - (q1 - 1 - row if kind & SliceType.CAUSAL else 0), start[q0:q1])
        if q1 > q0:
            start[q1:] = stop[q1:] = stop[q1 - 1]
    return start, stop


def _require_disjoint(layers: list[tuple[Array, Array]]) -> None:
    """ValueError where two slices share a pair."""
    for (start, stop), (other_start, other_stop) in combinations(layers, 2):
        first = np.maximum(start, other_start)
        both = np.flatnonzero(first < np.minimum(stop, other_stop))
        if len(both):
            raise ValueError(
                f"slices share the pair of row {both[0]} and key {first[both[0]]}, which MagiAttention would count twice.\n"
                "  write slices that share none, as `to_attn_slices` makes them"
            )
