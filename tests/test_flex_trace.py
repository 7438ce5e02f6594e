"""What functions written for FlexAttention are traced to, and what each mistake is answered with."""

# FlexAttention's functions are written without types, and so are these:
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false, reportUnknownParameterType=false, reportMissingParameterType=false

from __future__ import annotations

from typing import Any

import pytest
import torch
from flex_mods import BATCH, DIM, HEADS, MASKS, L, Mod, causal, sliding_window, tensors
from lacuna import dense
from lacuna.interop import flex
from lacuna.ir.program import InvalidProgram
from torch.nn.attention import flex_attention as torch_flex

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
    assert shown(lambda b, h, q_idx, kv_idx: doc.long()[q_idx] == doc[-1]) == "captured[q] == value"


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
        (lambda b, h, q, k: torch.round(q, decimals=1) == k, "`torch.round(..., decimals=)` has no counterpart here", "one of"),
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
    assert "test_flex_trace.py" in raised.value.__notes__[0]


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
