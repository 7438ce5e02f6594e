"""One mask in the formats of four libraries, and their formats as masks here.

python examples/interchange.py
"""

from __future__ import annotations

import warnings

import lacuna
import torch
from lacuna import patterns
from lacuna.interop.attn_slices import from_attn_slices, to_attn_slices
from lacuna.interop.block_mask import from_block_mask, to_block_mask
from lacuna.interop.bsr import to_bsr
from lacuna.interop.cu_seqlens import to_cu_seqlens
from lacuna.interop.flash_mask import from_flash_mask, to_flash_mask
from torch.nn.attention.flex_attention import flex_attention

LENGTH = 1000


def main() -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 4, LENGTH, 64) for _ in range(3))
    offsets = torch.tensor([0, 400, 650, LENGTH], dtype=torch.int32)
    pattern = patterns.documents(lacuna.segments(offsets)) & patterns.sliding_window(128)
    out = lacuna.attention(query, key, value, pattern)

    block_mask = to_block_mask(pattern, LENGTH)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # FlexAttention says that it is slow without torch.compile
        theirs = flex_attention(query, key, value, block_mask=block_mask)
    print(f"FlexAttention on our tiles: difference {(out - theirs).abs().max().item():.1e}")

    tiles = to_bsr(pattern, LENGTH, block=(64, 64))
    print(f"BSR: {len(tiles.col_indices)} tiles, {int((tiles.classes == 2).sum())} of them full")
    packed = to_cu_seqlens(pattern, LENGTH)
    print(f"cu_seqlens: {packed.cu_seqlens_q.tolist()}, causal={packed.causal}, window={packed.window}")
    slices = to_attn_slices(pattern, LENGTH)
    print(f"AttnSlices: {list(zip(slices.q_ranges.tolist(), slices.attn_type_map.tolist(), strict=True))}")
    row_indices = to_flash_mask(pattern, LENGTH)
    print(f"FlashMask: {tuple(row_indices.startend_row_indices.shape)}, causal={row_indices.causal}")

    for back in (from_block_mask(block_mask), from_attn_slices(slices, LENGTH), from_flash_mask(*row_indices)):
        assert torch.equal(lacuna.dense(back, LENGTH), lacuna.dense(pattern, LENGTH))
    again = lacuna.attention(query, key, value, from_attn_slices(slices, LENGTH))
    print(f"and back: difference {(out - again).abs().max().item():.1e}")


if __name__ == "__main__":
    main()
