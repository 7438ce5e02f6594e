"""Torch's own `BlockMask`, in both directions: `torch.nn.attention.flex_attention` runs tiles that were derived here, and the other way.

>>> block_mask = to_block_mask(lacuna.patterns.sliding_window(1024), 131072)
>>> out = torch.nn.attention.flex_attention.flex_attention(query, key, value, block_mask=block_mask)
>>> out = lacuna.attention(query, key, value, from_block_mask(block_mask))
"""

# Torch's flex_attention is partly untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from functools import partial
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, noop_mask

from ..ir.build import refusal
from ..ir.pattern import Pattern
from ..ir.program import InvalidProgram
from .block_edges import edges_of
from .flex_trace import traced
from .given_tiles import derived_tiles
from .mask_mod import mask_mod
from .tiling import FULL, PARTIAL, tiling

Array = np.ndarray


def to_block_mask(
    pattern: Pattern | None,
    q_len: int,
    kv_len: int | None = None,
    *,
    block: int | tuple[int, int] | list[int] = 128,
    batch: int | None = None,
    heads: int | None = None,
    device: torch.device | str = "cpu",
) -> BlockMask:
    """A torch `BlockMask` of the derived tiles, with a `mask_mod` printed from the program. No pair of tokens is evaluated.

    Args:
        block:        tokens of a query and of a key block, as BLOCK_SIZE of `create_block_mask`.
        batch, heads: batch size and query heads, needed where the mask differs between them; the mask has extent 1 where it does not.
        device:       where lists and tables are put.

    Its lists are int32[batch or 1, heads or 1, blocks, blocks]; parameters are numbers in the `mask_mod`, tables are closed over.

    Raises:
        ValueError: the mask differs between heads or batch items and there is no number of them.
        NotImplementedError: the mask holds real numbers.
    """
    edges = edges_of("block", block)
    tiles = tiling(pattern, (q_len, kv_len), edges, (batch, heads))
    classes = np.stack([tiles.classes(*at) for at in tiles.each()])
    classes = classes.reshape(*tiles.extents, *classes.shape[1:])
    turned = classes.swapaxes(2, 3)
    lists = [torch.from_numpy(part).to(device) for way in (classes, turned) for kind in (PARTIAL, FULL) for part in _listed(way == kind)]
    return BlockMask(tiles.lengths, *lists, BLOCK_SIZE=edges, mask_mod=mask_mod(tiles.mask, tiles.values, device))


def _listed(held: Array) -> tuple[Array, Array]:
    """How many columns each row of bool[..., rows, columns] holds, int32[..., rows], and which, int32[..., rows, columns]; 0 after them."""
    found = np.zeros(held.shape, np.int32)
    *lead, column = np.nonzero(held)
    found[(*lead, (held.cumsum(-1, np.int32) - 1)[held])] = column
    return held.sum(-1, dtype=np.int32), found


def from_block_mask(block_mask: BlockMask) -> Pattern:
    """The pattern of a torch `BlockMask`, for its lengths: full blocks are visible, others where its `mask_mod` holds.

    The blocks become tables of truth values, so that empty ones are skipped and full ones run without mask arithmetic; the `mask_mod` is
    traced as by `lacuna.interop.flex`. What the lists say counts, also where it is not what the `mask_mod` alone would say, and what they
    say when the pattern is used: they may change in place.

    Raises:
        TypeError: it is no torch `BlockMask`, or has partial blocks whose `mask_mod` is no expression.
    """
    _require_block_mask(block_mask)
    edges = cast("tuple[int, int]", tuple(block_mask.BLOCK_SIZE))
    columns = -(-block_mask.seq_lengths[1] // edges[1])
    given = (block_mask.kv_num_blocks, block_mask.kv_indices, block_mask.full_kv_num_blocks, block_mask.full_kv_indices)
    lists = tuple(each for each in given if each is not None)
    if block_mask.mask_mod is noop_mask:
        return derived_tiles(partial(_listed_blocks, columns), lists, edges)
    inside = _traced(block_mask)
    if inside is None:
        return derived_tiles(partial(_full_blocks_alone, columns), lists, edges)
    inside = derived_tiles(partial(_partial_blocks, columns), lists, edges) & inside
    return inside if len(lists) == 2 else derived_tiles(partial(_full_blocks, columns), lists, edges) | inside


def _partial_blocks(columns: int, *lists: Tensor) -> Tensor:
    """bool[B, H, rows, columns] of the blocks whose pairs are asked for. lists: counts and columns of those, then of full blocks."""
    return _bitmap(lists[0], lists[1], columns) & ~_full_blocks(columns, *lists)


def _full_blocks(columns: int, *lists: Tensor) -> Tensor:
    return _bitmap(lists[2], lists[3], columns) if len(lists) == 4 else torch.zeros_like(_bitmap(lists[0], lists[1], columns))


def _full_blocks_alone(columns: int, *lists: Tensor) -> Tensor:
    """Of a block mask whose `mask_mod` cannot be asked."""
    if _partial_blocks(columns, *lists).any():
        what = "the block mask has partial blocks by now, and its `mask_mod` was no expression when the pattern was made"
        raise refusal(what, "`from_block_mask` of a `BlockMask` whose `mask_mod` is one")
    return _full_blocks(columns, *lists)


def _listed_blocks(columns: int, *lists: Tensor) -> Tensor:
    return _bitmap(lists[0], lists[1], columns) | _full_blocks(columns, *lists)


def _require_block_mask(block_mask: object) -> None:
    if not isinstance(block_mask, BlockMask):
        kind = f"{type(block_mask).__module__}.{type(block_mask).__name__}"
        raise refusal(f"`block_mask` is a {kind}", "a `torch.nn.attention.flex_attention.BlockMask`")


def _bitmap(counts: Tensor, indices: Tensor, columns: int) -> Tensor:
    """bool[B, H, rows, columns] of the first `counts` entries of each row of `indices`; what stands behind them means nothing."""
    counts, indices = (each if each.ndim == 3 + axis else each[None, None] for axis, each in enumerate((counts, indices)))
    listed = torch.arange(indices.shape[-1], device=indices.device) < counts[..., None]
    found = torch.zeros(*indices.shape[:-1], columns + 1, dtype=torch.bool, device=indices.device)
    found.scatter_(-1, torch.where(listed, indices, columns).long(), True)
    return found[..., :columns]


def _traced(block_mask: BlockMask) -> Pattern | None:
    """The pattern of the `mask_mod`; None where it is no expression and nothing asks."""
    try:
        return Pattern.of(*traced(block_mask.mask_mod, is_score=False)[:2])
    except (TypeError, InvalidProgram) as error:
        if not block_mask.kv_num_blocks.any():
            return None
        what = f"the `mask_mod` of the partial blocks is no expression: {error}"
        raise refusal(what, "it with operators and captured tensors, or a `BlockMask` of full blocks only") from error
