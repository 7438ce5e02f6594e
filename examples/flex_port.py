"""A model written for FlexAttention, moved over by its imports alone: packed documents, each causal, with ALiBi.

python examples/flex_port.py
"""

# FlexAttention's functions are written without types:
# ruff: noqa: ANN001, ANN201
from __future__ import annotations

import torch
from lacuna.interop.flex import and_masks, create_block_mask, flex_attention  # was: from torch.nn.attention.flex_attention import ...

LENGTHS = (700, 48, 1300)
HEADS, DIM = 4, 64
TOKENS = sum(LENGTHS)

document = torch.repeat_interleave(torch.arange(len(LENGTHS)), torch.tensor(LENGTHS))


def causal(b, h, q_idx, kv_idx):
    return q_idx >= kv_idx


def same_document(b, h, q_idx, kv_idx):
    return document[q_idx] == document[kv_idx]


def alibi(score, b, h, q_idx, kv_idx):
    return score + (kv_idx - q_idx) * torch.exp2(-8.0 * (h + 1) / HEADS)


def main() -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, HEADS, TOKENS, DIM) for _ in range(3))
    block_mask = create_block_mask(and_masks(causal, same_document), None, None, TOKENS, TOKENS)
    print(f"traced:   {block_mask.pattern.program.mask}")
    print(f"sparsity: {block_mask.sparsity():.1f} % of the blocks are empty")

    out = flex_attention(query, key, value, score_mod=alibi, block_mask=block_mask)
    assert isinstance(out, torch.Tensor)

    slopes = torch.exp2(-8.0 * torch.arange(1, HEADS + 1) / HEADS).view(-1, 1, 1)
    position = torch.arange(TOKENS)
    distance = position - position[:, None]
    hidden = (distance > 0) | (document != document[:, None])
    bias = (distance * slopes).masked_fill(hidden, -torch.inf)
    dense = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    print(f"largest difference from dense attention: {(out - dense).abs().max().item():.1e}")


if __name__ == "__main__":
    main()
