"""Block-sparse rows: the tiles of one (batch item, head) as scipy's and torch's BSR layout, what FlashInfer's block-sparse kernels read.

>>> tiles = to_bsr(lacuna.patterns.sliding_window(256), 4096, block=(64, 64))
>>> tiles.crow_indices, tiles.col_indices, tiles.classes
>>> out = lacuna.attention(query, key, value, from_bsr(to_bsr(pattern, 4096, elements=True)))
"""

# Patterns are written without annotations, and torch's sparse tensors have few.
# ruff: noqa: ANN001, ANN202
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
from __future__ import annotations

from functools import partial
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from .. import pattern
from ..ir.build import refusal
from ..ir.derived import derived
from ..ir.pattern import Pattern
from .given_tiles import derived_tiles
from .tiling import FULL, PARTIAL, Tiling, tiling

Array = np.ndarray


class Bsr(NamedTuple):
    """Tiles of a [q_len, kv_len] mask in rows; the last of them may hang over the lengths.

    crow_indices: int32[q_tiles + 1]: where each row of tiles begins among the entries, and how many there are.
    col_indices:  int32[entries]: key tile of each entry, rising within a row.
    classes:      uint8[entries]: 1 partial, 2 full.
    elements:     bool[entries, rows, keys] of each tile, False outside the lengths; None where it was not asked for.
    block:        (rows, keys) tokens of a tile.
    shape:        (q_len, kv_len) tokens.
    """

    crow_indices: Tensor
    col_indices: Tensor
    classes: Tensor
    elements: Tensor | None
    block: tuple[int, int]
    shape: tuple[int, int]

    def sparse(self) -> Tensor:
        """As a torch.sparse_bsr tensor: bool of whole tiles where there are elements, else uint8 [q_tiles, k_tiles] of classes."""
        blocks = (len(self.crow_indices) - 1, -(-self.shape[1] // self.block[1]))
        edges = self.block if self.elements is not None else (1, 1)
        values = self.classes[:, None, None] if self.elements is None else self.elements
        size = (blocks[0] * edges[0], blocks[1] * edges[1])
        return torch.sparse_bsr_tensor(self.crow_indices, self.col_indices, values, size, check_invariants=True)


def to_bsr(
    pattern: Pattern | None,
    q_len: int,
    kv_len: int | None = None,
    *,
    block: tuple[int, int] = (128, 128),
    at: tuple[int, int] = (0, 0),
    elements: bool = False,
) -> Bsr:
    """The tiles of `pattern` that hold a visible pair, at (batch item, head) `at`.

    elements: evaluate the mask inside partial tiles as well; without it, no pair is looked at.

    Raises:
        TypeError, ValueError: a length, an edge of `block` or an entry of `at` is none.
    """
    if min(at) < 0:
        raise ValueError(f"`at` is {at}, which is no batch item and head\n  write two numbers from 0 on, `at=(0, 0)`")
    tiles = tiling(pattern, (q_len, kv_len), block, (at[0] + 1, at[1] + 1))
    at = min(at[0], tiles.extents[0] - 1), min(at[1], tiles.extents[1] - 1)  # the mask may not differ
    classes = tiles.classes(*at)
    row, column = np.nonzero(classes)
    starts = np.concatenate([[0], np.bincount(row, minlength=len(classes)).cumsum()])
    return Bsr(
        torch.from_numpy(starts.astype(np.int32)),
        torch.from_numpy(column.astype(np.int32)),
        torch.from_numpy(classes[row, column]),
        torch.from_numpy(_elements(tiles, at, (row, column))) if elements else None,
        block,
        tiles.lengths,
    )


def _elements(tiles: Tiling, at: tuple[int, int], entries: tuple[Array, Array]) -> Array:
    (rows, keys), (q_len, k_len) = tiles.block, tiles.lengths
    found = np.zeros((len(entries[0]), rows, keys), bool)
    for entry, (row, column) in enumerate(zip(*entries, strict=True)):
        q = np.arange(row * rows, min((row + 1) * rows, q_len))[:, None]
        k = np.arange(column * keys, min((column + 1) * keys, k_len))[None, :]
        found[entry, : q.shape[0], : k.shape[1]] = tiles.visible(at, q, k)
    return found


@pattern
def _inside(q, k, *, tiles, elements, block):
    return elements[tiles[q // block[0], k // block[1]], q % block[0], k % block[1]]


def from_bsr(tiles: Bsr | Tensor) -> Pattern:
    """The pattern of a `Bsr`, or of a torch.sparse_bsr tensor whose entries that are not zero are visible.

    Full tiles run without mask arithmetic; of partial ones the elements are read. Memory is that of the tiles, not of the mask.

    Raises:
        TypeError: it is neither.
        ValueError: it has partial tiles without elements.
    """
    given = _as_bsr(tiles)
    shape = (len(given.crow_indices) - 1, -(-given.shape[1] // given.block[1]))
    sources = (given.crow_indices, given.col_indices, given.classes)
    if given.elements is None:
        return derived_tiles(partial(_full_alone, shape), sources, given.block)
    slot = derived(partial(_slots, shape), *sources)
    inside = derived_tiles(partial(_of_class, PARTIAL, shape), sources, given.block)
    inside &= _inside(tiles=slot, elements=given.elements, block=given.block)
    return derived_tiles(partial(_of_class, FULL, shape), sources, given.block) | inside


def _of_class(wanted: int, shape: tuple[int, int], crow_indices: Tensor, col_indices: Tensor, classes: Tensor) -> Tensor:
    """bool[1, 1, q_tiles, k_tiles]. classes: of tiles, or their elements."""
    found = torch.zeros(shape, dtype=torch.bool)
    found[_places(crow_indices, col_indices)] = _classes(classes) == wanted
    return found[None, None]


def _slots(shape: tuple[int, int], crow_indices: Tensor, col_indices: Tensor, classes: Tensor) -> Tensor:
    """int32[q_tiles, k_tiles]: where the elements of a tile are."""
    found = torch.zeros(shape, dtype=torch.int32)
    found[_places(crow_indices, col_indices)] = torch.arange(len(classes), dtype=torch.int32)
    return found


def _full_alone(shape: tuple[int, int], crow_indices: Tensor, col_indices: Tensor, classes: Tensor) -> Tensor:
    """Of tiles whose elements nobody has."""
    partial_ones = _of_class(PARTIAL, shape, crow_indices, col_indices, classes)[0, 0].nonzero()
    if len(partial_ones):
        row, column = partial_ones[0].tolist()
        raise ValueError(
            f"tile ({row}, {column}) is partial, and nothing says which pairs of it are visible.\n"
            f"  write `to_bsr(..., elements=True)`, or class {FULL} where tiles are visible as a whole"
        )
    return _of_class(FULL, shape, crow_indices, col_indices, classes)


def _places(crow_indices: Tensor, col_indices: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column of each tile that is stored."""
    return torch.repeat_interleave(torch.arange(len(crow_indices) - 1), crow_indices.diff()), col_indices.long()


def _classes(given: Tensor) -> Tensor:
    """Of tiles by themselves, or by their elements [tiles, rows, keys]."""
    return given if given.ndim == 1 else torch.where((given != 0).flatten(1).all(1), FULL, PARTIAL).to(torch.uint8)


def _as_bsr(tiles: object) -> Bsr:
    if isinstance(tiles, Bsr):
        return tiles
    if isinstance(tiles, Tensor):
        return _of_sparse(tiles)
    raise refusal(f"`tiles` is a {type(tiles).__name__}", "a `Bsr`, or `torch.sparse_bsr_tensor(crow_indices, col_indices, values)`")


def _of_sparse(sparse: Tensor) -> Bsr:
    if sparse.layout is not torch.sparse_bsr or sparse.ndim != 2:
        raise refusal(
            f"`tiles` is a tensor of shape {tuple(sparse.shape)} with layout {sparse.layout}",
            "one mask [q_len, kv_len], `mask.to_sparse_bsr((rows, keys))`; `from_dense(mask)` for dense ones",
        )
    values = sparse.values()
    rows, keys = values.shape[1:]
    seen = cast(Tensor, derived(_visible, values))
    return Bsr(sparse.crow_indices(), sparse.col_indices(), values, seen, (rows, keys), (sparse.shape[0], sparse.shape[1]))


def _visible(values: Tensor) -> Tensor:
    return values != 0
