"""attention-gym's masks and scores, written for FlexAttention from their definitions; and tensors to run them on."""

# FlexAttention's functions are written without types, and so are these:
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false, reportUnknownParameterType=false, reportMissingParameterType=false
# ruff: noqa: ANN001, ANN201, ANN202

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from lacuna.interop import flex
from torch import Tensor

L, HEADS, BATCH, DIM = 96, 2, 2, 16
Mod = Callable[..., Any]


def tensors(heads: int = HEADS) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(BATCH, heads, L, DIM), torch.randn(BATCH, HEADS, L, DIM), torch.randn(BATCH, HEADS, L, DIM)


# -- masks


def causal(b, h, q_idx, kv_idx):
    return q_idx >= kv_idx


def sliding_window(size: int) -> Mod:
    def mask(b, h, q_idx, kv_idx):
        return (q_idx >= kv_idx) & (q_idx - kv_idx <= size)

    return mask


def dilated_sliding_window(size: int, dilation: int) -> Mod:
    def mask(b, h, q_idx, kv_idx):
        distance = torch.abs(q_idx - kv_idx)
        return (distance <= size * dilation) & (torch.remainder(distance, dilation) == 0)

    return mask


def prefix_lm(length: int) -> Mod:
    return flex.or_masks(causal, lambda b, h, q_idx, kv_idx: kv_idx < length)


def documents(mask_mod: Mod, lengths: list[int]) -> Mod:
    """Each document on its own, with positions counted from its first token."""
    sizes = torch.tensor(lengths)
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), sizes.cumsum(0)])
    document = torch.repeat_interleave(torch.arange(len(lengths)), sizes)

    def mask(b, h, q_idx, kv_idx):
        same = document[q_idx] == document[kv_idx]
        return same & mask_mod(b, h, q_idx - starts[document[q_idx]], kv_idx - starts[document[kv_idx]])

    return mask


def natten_2d(width: int, height: int, kernel: int) -> Mod:
    """A `kernel` x `kernel` neighbourhood whose centre is kept away from the borders."""

    def mask(b, h, q_idx, kv_idx):
        q_x, q_y = q_idx // width, q_idx % width
        k_x, k_y = kv_idx // width, kv_idx % width
        centre_x = q_x.clamp(kernel // 2, height - 1 - kernel // 2)
        centre_y = torch.clamp(q_y, min=kernel // 2, max=width - 1 - kernel // 2)
        return ((centre_x - k_x).abs() <= kernel // 2) & ((centre_y - k_y).abs() <= kernel // 2)

    return mask


def sliding_tile_2d(width: int, tile: int, kernel: int) -> Mod:
    """Tiles of `tile` x `tile` tokens see the tiles of a window; tokens are stored tile after tile."""
    across = width // tile

    def mask(b, h, q_idx, kv_idx):
        q_tile, k_tile = torch.floor_divide(q_idx, tile * tile), torch.div(kv_idx, tile * tile, rounding_mode="floor")
        near_x = torch.abs(torch.clamp(q_tile // across, kernel // 2, across - 1 - kernel // 2) - k_tile // across) <= kernel // 2
        near_y = torch.abs(torch.clamp(q_tile % across, kernel // 2, across - 1 - kernel // 2) - k_tile % across) <= kernel // 2
        return torch.logical_and(near_x, near_y)

    return mask


def flamingo(media_of_text: Tensor, media_of_token: Tensor) -> Mod:
    """A text token sees the tokens of the last image before it."""

    def mask(b, h, q_idx, kv_idx):
        return (media_of_text[b, q_idx] == media_of_token[b, kv_idx]) & (media_of_text[b][q_idx] >= 0)

    return mask


def batchify(mask_mod: Mod, length: int) -> Mod:
    """Sequences of `length` tokens, one after another, each under `mask_mod`."""

    def mask(b, h, q_idx, kv_idx):
        return (q_idx // length == kv_idx // length) & mask_mod(b, h, q_idx % length, kv_idx % length)

    return mask


def global_sliding_window(size: int, sinks: Tensor) -> Mod:
    near = sliding_window(size)
    return lambda b, h, q_idx, kv_idx: torch.logical_or(near(b, h, q_idx, kv_idx), sinks[kv_idx]) & ~(kv_idx > q_idx)


def block_diffusion(length: int, block: int) -> Mod:
    """Noisy tokens first, clean ones after: noisy blocks see themselves and the clean blocks before, clean ones are block-causal."""

    def mask(b, h, q_idx, kv_idx):
        q_clean, k_clean = q_idx >= length, kv_idx >= length
        q_block = torch.where(q_clean, (q_idx - length) // block, q_idx // block)
        k_block = torch.where(k_clean, (kv_idx - length) // block, kv_idx // block)
        diagonal = (q_block == k_block) & (q_clean == k_clean)
        return diagonal | ((q_block > k_block) & k_clean & ~q_clean) | ((q_block >= k_block) & k_clean & q_clean)

    return mask


def shared_prefix(prefix: int, length: int) -> Mod:
    def mask(b, h, q_idx, kv_idx):
        inside = torch.bitwise_and(q_idx >= kv_idx, (q_idx - prefix) // length == (kv_idx - prefix) // length)
        return torch.bitwise_or(kv_idx < prefix, inside) & (kv_idx <= q_idx)

    return mask


def per_head_window(windows: Tensor) -> Mod:
    return lambda b, h, q_idx, kv_idx: (q_idx - kv_idx).abs() < windows[h]


TEXT = torch.stack([torch.arange(L) // 24 - 1, torch.arange(L) // 16 - 1]).int()
TOKEN = torch.stack([torch.arange(L) // 32, torch.arange(L) // 8]).int()
MASKS: dict[str, Mod] = {
    "causal": causal,
    "sliding window": sliding_window(10),
    "dilated": dilated_sliding_window(4, 3),
    "prefix LM": prefix_lm(20),
    "documents": documents(causal, [10, 1, 50, 35]),
    "NATTEN 2D": natten_2d(12, 8, 5),
    "sliding tile 2D": sliding_tile_2d(8, 2, 3),
    "flamingo": flamingo(TEXT, TOKEN),
    "batchify": batchify(sliding_window(7), 32),
    "block diffusion": block_diffusion(48, 8),
    "window per head": per_head_window(torch.tensor([3, 40])),
}
MORE_MASKS: dict[str, Mod] = {
    "prefix LM of documents": documents(prefix_lm(5), [40, 16, 40]),
    "global and sliding window": global_sliding_window(9, torch.arange(L) % 40 == 3),
    "shared prefix": shared_prefix(16, 20),
    "conjunction": flex.and_masks(causal, sliding_window(30), natten_2d(12, 8, 3)),
}


# -- scores


def alibi(score, b, h, q_idx, kv_idx):
    return score + (kv_idx - q_idx) * torch.exp2(-((h + 1) * 8.0 / HEADS))


def soft_cap(cap: float) -> Mod:
    return lambda score, b, h, q_idx, kv_idx: cap * torch.tanh(score / cap)


def sandwich(dim: int) -> Mod:
    """The inner products of sinusoidal embeddings: cosines of the distance, slower along the dimensions."""

    def score_mod(score, b, h, q_idx, kv_idx):
        distance = (q_idx - kv_idx).to(torch.float32)
        for pair in range(dim // 2):
            score = score + torch.cos(distance / 10000 ** (2 * pair / dim)) * (h + 1)
        return score

    return score_mod


def per_batch_capped(caps: Tensor, floor: Tensor) -> Mod:
    """Tensors without axes are numbers; -inf hides a pair."""

    def score_mod(score, b, h, q_idx, kv_idx):
        return torch.where(kv_idx - q_idx > floor, -float("inf"), torch.minimum(score, caps[b]))

    return score_mod


def added(table: Tensor, *axes: str) -> Mod:
    def score_mod(score, b, h, q_idx, kv_idx):
        positions = {"b": b, "h": h, "q": q_idx, "k": kv_idx, "q-k": q_idx - kv_idx, "|q-k|": torch.abs(q_idx - kv_idx)}
        return score + table[tuple(positions[axis] for axis in axes)]

    return score_mod


def every_function(score, b, h, q_idx, kv_idx):
    x = torch.sigmoid(score).square() + torch.sqrt(score.abs()) * torch.rsqrt(1.0 + score**2)
    y = torch.log1p(torch.exp(-torch.relu(score))) + torch.sin(score).neg() - torch.erf(score).clamp(-0.5, 0.25)
    z = torch.sign(q_idx - kv_idx) + torch.bitwise_xor(q_idx, kv_idx).remainder(4) + (q_idx << 1) % 3 + (q_idx == kv_idx) * 2
    return (
        x + y / 2 + torch.log2(z.abs().float() + 1) + torch.zeros_like(score) + torch.logical_xor(q_idx > 3, kv_idx.bool()).to(score.dtype)
    )


BIAS = torch.linspace(-1, 1, BATCH * HEADS * L * L).sin().view(BATCH, HEADS, L, L)
SCORES: dict[str, Mod] = {
    "ALiBi": alibi,
    "soft-cap": soft_cap(2.0),
    "sandwich": sandwich(8),
    "numbers in tensors": per_batch_capped(torch.tensor([0.5, 1.5]), torch.tensor(7)),
    "bias by head and place": added(BIAS, "b", "h", "q", "k"),
    "bias by distance": added(BIAS[0, :, 0], "h", "|q-k|"),
    "negative indices wrap": added(BIAS[0, :, 0], "h", "q-k"),
    "bias in bytes": added(torch.arange(L, dtype=torch.uint8) // 60, "k"),
    "every function": every_function,
}
