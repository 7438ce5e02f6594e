"""What each format says, pair by pair, by its published definition. Shares nothing with the code under test."""

# torch's and numpy's types are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask


def of_block_mask(block_mask: BlockMask, heads: int) -> Tensor:
    """bool[heads, q_len, kv_len] of batch item 0: full blocks as they are, partial ones through the `mask_mod`, pair by pair."""
    (q_len, k_len), (rows, keys) = block_mask.seq_lengths, block_mask.BLOCK_SIZE
    found = torch.zeros(heads, q_len, k_len, dtype=torch.bool)
    every = [torch.arange(size) for size in (q_len, k_len)]
    for h in range(heads):
        at = min(h, block_mask.kv_num_blocks.shape[1] - 1)
        inside = block_mask.mask_mod(torch.tensor(0), torch.tensor(h), every[0][:, None], every[1][None, :]).expand(q_len, k_len)
        lists = ((block_mask.kv_num_blocks, block_mask.kv_indices), (block_mask.full_kv_num_blocks, block_mask.full_kv_indices))
        for full, (counts, columns) in enumerate(lists):
            assert counts is not None
            assert columns is not None
            for row in range(counts.shape[2]):
                for column in columns[0, at, row, : int(counts[0, at, row])].tolist():
                    tile = (slice(row * rows, (row + 1) * rows), slice(column * keys, (column + 1) * keys))
                    found[h][tile] = True if full else inside[tile]
    return found


def of_flash_mask(indices: Tensor, causal: bool, q_len: int) -> Tensor:
    """bool[heads, q_len, kv_len] of batch item 0."""
    heads, keys, width = indices.shape[1:]
    found = torch.ones(heads, q_len, keys, dtype=torch.bool)
    for h in range(heads):
        for key in range(keys):
            bounds: list[int] = indices[0, h, key].tolist()
            column = found[h, :, key]
            if causal:
                column[: max(0, key - (keys - q_len))] = False
            if width == 1:
                column[bounds[0] :] = False
            elif causal:
                column[bounds[0] : bounds[1]] = False
            elif width == 2:
                column[bounds[0] :] = False
                column[: bounds[1]] = False
            else:
                column[bounds[0] : bounds[1]] = False
                column[bounds[2] : bounds[3]] = False
    return found


def of_attn_slices(slices: Sequence[Tensor], q_len: int, k_len: int) -> Tensor:
    """int[q_len, kv_len]: how many slices hold each pair."""
    found = torch.zeros(q_len, k_len, dtype=torch.int32)
    q_ranges, k_ranges, types = (each.tolist() for each in slices)
    for (q0, q1), (k0, k1), kind in zip(q_ranges, k_ranges, types, strict=True):
        row, key = torch.arange(q1 - q0)[:, None], torch.arange(k1 - k0)[None, :]
        held = torch.ones(q1 - q0, k1 - k0, dtype=torch.bool)
        if kind in (1, 3):
            held &= key <= row + (k1 - k0) - (q1 - q0)
        if kind in (2, 3):
            held &= key >= row
        found[q0:q1, k0:k1] += held
    return found


def of_cu_seqlens(cu_q: Tensor, cu_k: Tensor, causal: bool, window: tuple[int, int]) -> Tensor:
    """bool[q_len, kv_len], as flash-attention's `flash_attn_varlen_func` masks: aligned to the bottom right corner of each sequence."""
    q_ends, k_ends = cu_q.tolist(), cu_k.tolist()
    found = torch.zeros(q_ends[-1], k_ends[-1], dtype=torch.bool)
    left, right = window
    for n in range(len(q_ends) - 1):
        rows, keys = q_ends[n + 1] - q_ends[n], k_ends[n + 1] - k_ends[n]
        row, key = torch.arange(rows)[:, None] + keys - rows, torch.arange(keys)[None, :]
        held = torch.ones(rows, keys, dtype=torch.bool)
        if left >= 0:
            held &= key >= row - left
        if right >= 0:
            held &= key <= row + right
        if causal:
            held &= key <= row
        found[q_ends[n] : q_ends[n + 1], k_ends[n] : k_ends[n + 1]] = held
    return found
