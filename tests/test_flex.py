"""attention-gym's masks and scores, written from their definitions, through `lacuna.interop.flex` and through FlexAttention eager."""

# FlexAttention's functions are written without types, and so are these:
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false, reportUnknownParameterType=false, reportMissingParameterType=false
# ruff: noqa: ANN001, ANN201, ANN202

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from lacuna import dense
from lacuna.interop import flex
from lacuna.ir.program import InvalidProgram
from torch import Tensor
from torch.nn.attention import flex_attention as torch_flex

L, HEADS, BATCH, DIM = 96, 2, 2, 16
Mod = Callable[..., Any]


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
    "prefix LM of documents": documents(prefix_lm(5), [40, 16, 40]),
    "NATTEN 2D": natten_2d(12, 8, 5),
    "sliding tile 2D": sliding_tile_2d(8, 2, 3),
    "flamingo": flamingo(TEXT, TOKEN),
    "batchify": batchify(sliding_window(7), 32),
    "global and sliding window": global_sliding_window(9, torch.arange(L) % 40 == 3),
    "block diffusion": block_diffusion(48, 8),
    "shared prefix": shared_prefix(16, 20),
    "window per head": per_head_window(torch.tensor([3, 40])),
    "conjunction": flex.and_masks(causal, sliding_window(30), natten_2d(12, 8, 3)),
}


def tensors(heads: int = HEADS) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(BATCH, heads, L, DIM), torch.randn(BATCH, HEADS, L, DIM), torch.randn(BATCH, HEADS, L, DIM)


def compared(query: Tensor, key: Tensor, value: Tensor, mask: Mod) -> None:
    block_mask = flex.create_block_mask(mask, query.shape[0], None, query.shape[2], key.shape[2])
    theirs = torch_flex.create_block_mask(mask, query.shape[0], None, query.shape[2], key.shape[2], device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is slow without torch.compile
        wanted = torch_flex.flex_attention(query, key, value, block_mask=theirs)
    torch.testing.assert_close(flex.flex_attention(query, key, value, block_mask=block_mask), wanted, rtol=1e-4, atol=2e-5)


def both(mask: Mod | None = None, score: Mod | None = None, heads: int = HEADS, scale: float | None = None) -> None:
    """Assert that output and log-sum-exp are FlexAttention's."""
    query, key, value = tensors(heads)
    ours = None if mask is None else flex.create_block_mask(mask, None, None, L, L)
    found = flex.flex_attention(query, key, value, score, ours, scale, heads != HEADS, return_lse=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is slow without torch.compile
        theirs = None if mask is None else torch_flex.create_block_mask(mask, BATCH, heads, L, L, device="cpu")
        run = torch_flex.flex_attention
        wanted = run(query, key, value, score, theirs, scale, heads != HEADS, return_lse=True)
    for have, want in zip(found, wanted, strict=True):
        torch.testing.assert_close(have, want, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("name", MASKS)
def test_a_mask_agrees_with_flex_attention(name: str) -> None:
    both(MASKS[name])


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


@pytest.mark.parametrize("name", SCORES)
def test_a_score_agrees_with_flex_attention(name: str) -> None:
    both(score=SCORES[name])


def test_masks_and_scores_go_together() -> None:
    both(MASKS["documents"], SCORES["ALiBi"], scale=0.3)
    both(MASKS["window per head"], SCORES["numbers in tensors"])


def test_query_heads_share_key_heads() -> None:
    both(MASKS["sliding window"], alibi, heads=4)


def test_the_output_comes_alone_unless_the_log_sum_exp_is_wanted() -> None:
    query, key, value = tensors()
    out = flex.flex_attention(query, key, value)
    assert isinstance(out, Tensor)
    torch.testing.assert_close(out, torch.nn.functional.scaled_dot_product_attention(query, key, value), rtol=1e-4, atol=2e-5)


def test_lengths_and_dimensions_may_differ() -> None:
    query, key, value = tensors()
    compared(query[:, :, :33], key, value[..., :9], lambda b, h, q_idx, kv_idx: kv_idx - q_idx <= L - 33)
    compared(query, key[:, :, :50], value[:, :, :50], causal)


def test_a_row_that_sees_nothing_is_zero() -> None:
    both(lambda b, h, q_idx, kv_idx: (q_idx > kv_idx + 3) & torch.ones_like(q_idx, dtype=torch.bool))


# -- block masks


def shown(mask_mod: Mod) -> str:
    return str(flex.create_block_mask(mask_mod, None, None, L, L).pattern.program.mask)


@pytest.mark.parametrize("name", ["causal", "NATTEN 2D", "documents", "flamingo"])
def test_block_masks_say_which_blocks_are_empty(name: str) -> None:
    ours = flex.create_block_mask(MASKS[name], BATCH, HEADS, L, L, device="cpu", BLOCK_SIZE=16)
    theirs = torch_flex.create_block_mask(MASKS[name], BATCH, HEADS, L, L, device="cpu", BLOCK_SIZE=16)
    assert torch.equal(ours.to_dense(), theirs.to_dense())
    assert ours.sparsity() == pytest.approx(theirs.sparsity(), abs=1e-4)


def test_a_block_mask_of_ragged_blocks_counts_the_last_ones() -> None:
    made = flex.create_block_mask(causal, None, None, 40, 50, BLOCK_SIZE=(16, 32))
    assert made.to_dense().tolist() == [[[[1, 0], [1, 0], [1, 1]]]]
    assert made.sparsity() == pytest.approx(100 / 3, abs=1e-4)
    assert repr(made) == "BlockMask(shape=(1, 1, 40, 50), mask=k <= q)"


def test_captured_tensors_keep_their_names() -> None:
    doc, near = torch.zeros(L, dtype=torch.int32), torch.tensor(3)
    assert shown(lambda b, h, q_idx, kv_idx: (doc[q_idx] == doc[kv_idx]) & (q_idx - kv_idx < near)) == "doc[q] == doc[k] and q - k < near"
    assert shown(lambda b, h, q_idx, kv_idx: doc.long()[q_idx] == doc[-1]) == "table[q] == value"


def test_tensors_keep_their_names_in_combinations() -> None:
    doc = torch.zeros(L, dtype=torch.int32)
    assert shown(flex.and_masks(causal, lambda b, h, q_idx, kv_idx: doc[q_idx] == doc[kv_idx])) == "k <= q and doc[q] == doc[k]"


def test_indices_that_may_be_negative_count_from_the_end() -> None:
    near = torch.zeros(L, 3, dtype=torch.bool)
    assert shown(lambda b, h, q_idx, kv_idx: near[q_idx - kv_idx][-1]) == "near[(q - k) % 96, 2]"
    assert shown(lambda b, h, q_idx, kv_idx: near[(q_idx - kv_idx).clamp(min=0), 1]) == "near[max(q - k, 0), 1]"


def test_a_new_value_in_a_tensor_is_the_same_program() -> None:
    def program(size: int) -> object:
        window = torch.tensor(size)
        return flex.create_block_mask(lambda b, h, q_idx, kv_idx: q_idx - kv_idx < window, None, None, L, L).pattern.program

    assert program(3) == program(50)


NUMBERS = torch.arange(7) - 3


@pytest.mark.parametrize(
    "mask_mod",
    [
        lambda b, h, q, k: (k - q) // 3 < -2,
        lambda b, h, q, k: (k - 2 * q) % 7 == 3,
        lambda b, h, q, k: (k - q) % -5 == -2,
        lambda b, h, q, k: torch.fmod(k - q, -5) == q % 7 - 3,
        lambda b, h, q, k: torch.div(k - q, -4, rounding_mode="floor") == 2,
        lambda b, h, q, k: 40 // (q + 1) == 90 % (k + 3),
        lambda b, h, q, k: torch.bitwise_not(q) + (q ^ k) < (q | 5) - (k & 6),
        lambda b, h, q, k: torch.rsub(q, k) > 1 - torch.sign(k - q) * 3,
        lambda b, h, q, k: (q < k) + (k % 3 == 0) * 2 == 2,
        lambda b, h, q, k: (q < k) & (q % 2) | (k == 3) != 0,
        lambda b, h, q, k: torch.where(q < k, k % 2 == 0, q % 3) == 1,
        lambda b, h, q, k: torch.logical_not(q % 3) ^ torch.logical_or(k % 2, q == k),
        lambda b, h, q, k: (q >> 2) + (1 << (k % 4)) >= (k - q) ** 2,
        lambda b, h, q, k: NUMBERS[k % 7] < NUMBERS[(q - k) % 7 - 3],
        lambda b, h, q, k: torch.maximum(q, 2 * k).clip(3, 50) == torch.minimum(k + 3, NUMBERS[6] * 9),
        lambda b, h, q, k: (q - k).abs().square().ne(9) & (b == h).logical_not(),
        lambda b, h, q, k: torch.ones_like(q, dtype=torch.bool),
    ],
)
def test_operators_mean_what_torch_means(mask_mod: Mod) -> None:
    found = dense(flex.create_block_mask(mask_mod, BATCH, HEADS, 40, 48).pattern, 40, 48, batch=BATCH, heads=HEADS)
    assert torch.equal(found, torch_flex.create_mask(mask_mod, BATCH, HEADS, 40, 48, device="cpu"))


def test_the_combinations_of_no_masks() -> None:
    assert shown(flex.and_masks()) == "true"
    assert shown(flex.or_masks()) == "false"
    assert shown(torch_flex.and_masks(causal, sliding_window(3))) == "k <= q and (k <= q and q - k <= 3)"


# -- mistakes

TABLE = torch.zeros(4, L)


@pytest.mark.parametrize(
    ("mask_mod", "complaint", "fix"),
    [
        (lambda b, h, q, k: (q >= k) and (q - k < 3), "data-dependent control flow: the expression `k <= q`", "`&`, `|`, `~` instead of"),
        (lambda b, h, q, k: 0 <= q - k < 3, "`0 <= q - k` has no truth value", "`(a <= x) & (x <= b)`"),
        (lambda b, h, q, k: q >= k if h == 0 else q < k, "`h == 0` has no truth value", "`torch.where(condition, a, b)` instead of `if`"),
        (lambda b, h, q, k: max(q, k) < 3, "`q < k` has no truth value", "`torch.maximum` instead of `min`, `max`"),
        (lambda b, h, q, k: any(k == each for each in range(q)), "a plain number is wanted where the expression `q`", "instead of a loop"),
        (lambda b, h, q, k: [1, 2][q] == k, "a plain number is wanted", "a captured tensor instead of a list"),
        (lambda b, h, q, k: int(q) == k, "a plain number is wanted", "torch's operators"),
        (lambda b, h, q, k: {q: 1}, "`q` cannot be a dictionary key", "a captured tensor"),
        (lambda b, h, q, k: q[0] == k, "`q[...]`: the expression is one number", "`table[q_idx]`"),
        (lambda b, h, q, k: q.item() == k, "`torch.item(...)` has no counterpart here", "one of abs, absolute, add"),
        (lambda b, h, q, k: torch.add(q, k, alpha=2) == k, "`torch.add(..., alpha=)` has no counterpart here", "one of"),
        (lambda b, h, q, k: torch.add(TABLE[h], 1), "`add` of a row of a captured tensor", "an index for every axis"),
        (lambda b, h, q, k: q + TABLE[h] > k, "a row of a captured tensor is used as a number", "an index for every axis"),
        (lambda b, h, q, k: TABLE * q > k, "a tensor of shape (4, 96) meets a position directly", "`table[q_idx]`"),
        (lambda b, h, q, k: TABLE[h, :] > k, "a slice of a captured tensor of shape (4, 96)", "slice the tensor outside"),
        (lambda b, h, q, k: TABLE[h, q, k] > k, "shape (4, 96) is read with 3 indices", "one index per axis"),
        (lambda b, h, q, k: TABLE[h, q < k] > k, "`TABLE` is read at `q < k`, which is no integer", "an integer index"),
        (lambda b, h, q, k: q.new_ones(3) > k, "`new_ones` makes more than one number", "a tensor made outside the function"),
        (lambda b, h, q, k: (q / 2).floor() > k, "the real `float(q) / 2.0` is rounded", "`//` on integers"),
        (lambda b, h, q, k: (q * 0.5).long() > k, "the real `float(q) * 0.5` is made an integer", "`//` to round down"),
        (lambda b, h, q, k: q / 2 < k, "`float(q) / 2.0` in the mask is a real", "`//`"),
        (lambda b, h, q, k: q - k, "the mask is the number `q - k`", "`q - k != 0`"),
        (lambda b, h, q, k: None, "returns nothing", "`return q_idx >= kv_idx`"),
    ],
)
def test_mistakes_in_a_mask_are_answered_with_the_fix(mask_mod: Mod, complaint: str, fix: str) -> None:
    with pytest.raises((TypeError, InvalidProgram)) as raised:
        flex.create_block_mask(mask_mod, None, None, L, L)
    assert complaint in str(raised.value)
    assert fix in str(raised.value)
    assert "test_flex.py" in raised.value.__notes__[0]


@pytest.mark.parametrize(
    ("arguments", "error", "complaint", "fix"),
    [
        ({"block_mask": causal}, TypeError, "`block_mask` is a builtins.function", "`lacuna.interop.flex.create_block_mask("),
        ({"score_mod": 3}, TypeError, "`score_mod` is 3", "a function of (score, b, h, q_idx, kv_idx)"),
        ({"score_mod": lambda *_: None}, TypeError, "returns nothing", "`return score`"),
        (
            {"block_mask": (None, None, L, 9)},
            ValueError,
            "(1, 1, 96, 9), the call has (2, 2, 96, 96)",
            "`create_block_mask(mask_mod, None,",
        ),
        ({"block_mask": (3, None, L, L)}, ValueError, "(3, 1, 96, 96), the call has (2, 2, 96, 96)", "`create_block_mask("),
        ({"query": torch.zeros(BATCH, 4, L, DIM)}, ValueError, "query has 4 heads, key 2", "`enable_gqa=True`"),
        ({"query": torch.zeros(BATCH, 2, L, DIM, requires_grad=True)}, NotImplementedError, "grad", "torch.no_grad()"),
        ({"score_mod": added(BIAS.clone().requires_grad_(), "b", "h", "q", "k")}, NotImplementedError, "grad", "torch.no_grad()"),
    ],
)
def test_mistakes_in_a_call_are_answered_with_the_fix(arguments: dict[str, Any], error: type[Exception], complaint: str, fix: str) -> None:
    sizes = arguments.get("block_mask")
    given: dict[str, Any] = {**dict(zip(("query", "key", "value"), tensors(), strict=True)), **arguments}
    if isinstance(sizes, tuple):
        given["block_mask"] = flex.create_block_mask(causal, *sizes)
    with pytest.raises(error) as raised:
        flex.flex_attention(**given)
    assert complaint in str(raised.value)
    assert fix in str(raised.value)


def test_only_functions_are_masks() -> None:
    with pytest.raises(TypeError, match=r"`mask_mod` is 3\n  write a function of \(b, h, q_idx, kv_idx\)"):
        flex.create_block_mask(3, None, None, L, L)  # pyright: ignore[reportArgumentType] (the mistake)
    with pytest.raises(TypeError, match=r"`and_masks` is given True\n  write functions of \(b, h, q_idx, kv_idx\)"):
        flex.and_masks(causal, True)  # pyright: ignore[reportArgumentType] (the mistake)
