"""Small masks in each format, as one reads them; and every refusal says which row or key breaks the form."""

# Patterns are written without annotations; torch's types are partly unknown.
# ruff: noqa: ANN001, ANN201, ANN202
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownLambdaType=false
# Wrong arguments are what is refused.
# pyright: reportArgumentType=false
from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from lacuna import dense, pattern, patterns, schedule, segments
from lacuna.interop.attn_slices import AttnSlices, from_attn_slices, to_attn_slices
from lacuna.interop.block_mask import from_block_mask, to_block_mask
from lacuna.interop.bsr import from_bsr, to_bsr
from lacuna.interop.cu_seqlens import from_cu_seqlens, to_cu_seqlens
from lacuna.interop.dense_mask import from_dense
from lacuna.interop.flash_mask import from_flash_mask, to_flash_mask
from torch.nn.attention.flex_attention import BlockMask

WINDOW = patterns.sliding_window(3)


@pattern
def per_head(h, q, k, *, window):
    return q - k < window[h]


@pattern
def per_item(b, q, k, *, length):
    return k < length[b]


@pattern
def swapped(q, k, *, half):
    return (q < half) ^ (k < half)


@pattern
def evens(q, k):
    return (q - k) % 2 == 0


@pattern
def cubes(q, k):
    return (q * q * q) % 11 == (k * k) % 11


@pattern
def divided(q, k, *, zero, sizes):
    return (q // (k - zero) <= 1) & (k % sizes[q % 3] < 2)


@pattern
def scaled(h, q, k, *, ids):
    return (ids[q] * 4 == ids[k] * 4) | (k < (h << 31))


def ints(*values: Any) -> torch.Tensor:  # noqa: ANN401 (nested lists)
    return torch.tensor(list(values), dtype=torch.int32)


# -- goldens ----------------------------------------------------------------------------------------------------------


def test_a_window_in_every_format(golden: Callable[[str, str], None]) -> None:
    tiles, block_mask = to_bsr(WINDOW, 8, block=(2, 2)), to_block_mask(WINDOW, 8, block=2)
    indices, causal = to_flash_mask(WINDOW, 8)
    slices, packed = to_attn_slices(WINDOW, 8), to_cu_seqlens(WINDOW, 8)
    lines = {
        "BSR crow": tiles.crow_indices,
        "BSR col": tiles.col_indices,
        "BSR classes": tiles.classes,
        "BlockMask kv_num_blocks": block_mask.kv_num_blocks[0, 0],
        "BlockMask kv_indices": block_mask.kv_indices[0, 0],
        f"FlashMask causal={causal}": indices[0, 0, :, 0],
        "AttnSlices q_ranges": slices.q_ranges,
        "AttnSlices k_ranges": slices.k_ranges,
        "AttnSlices types": slices.attn_type_map,
        "cu_seqlens_q": packed.cu_seqlens_q,
        "cu_seqlens_k": packed.cu_seqlens_k,
    }
    text = "\n".join(f"{name}: {value.tolist()}" for name, value in lines.items())
    golden("window.interchange", f"{text}\ncausal={packed.causal} window={packed.window}")


def test_the_text_of_a_mask_mod(golden: Callable[[str, str], None]) -> None:
    documents = patterns.documents(segments(torch.tensor([0, 3, 8])))
    golden("documents.mask_mod", inspect.getsource(to_block_mask(documents & WINDOW, 8).mask_mod))


def test_nothing_a_user_wrote_is_in_the_text() -> None:
    @pattern
    def evil_name(q, k, *, evil_window, evil_table):
        return (q - k < evil_window) & evil_table[k]

    mask = evil_name(evil_window=3, evil_table=torch.ones(8, dtype=torch.bool))
    assert "evil" not in inspect.getsource(to_block_mask(mask, 8).mask_mod)


@pytest.mark.parametrize("mask", [cubes, divided(zero=2, sizes=torch.tensor([2, 3, 4])), ~divided(zero=5, sizes=torch.tensor([-2, 5, 3]))])
def test_arithmetic_of_a_mask_mod_is_that_of_the_program(mask) -> None:
    """On int32 positions, as Flex's kernels have them: products leave 32 bits, divisors are zero or negative."""
    length = 1300
    positions = torch.arange(length, dtype=torch.int32)
    here, zero = to_block_mask(mask, length).mask_mod, torch.tensor(0)
    assert torch.equal(here(zero, zero, positions[:, None], positions[None, :]), dense(mask, length)[0, 0])


def test_entries_of_tables_and_heads_leave_32_bits_too() -> None:
    mask = scaled(ids=ints(0, 2**30, 2**31 - 1, 7, 0, 2**30))
    positions = torch.arange(6, dtype=torch.int32)
    here = to_block_mask(mask, 6, heads=2).mask_mod
    found = [here(ints(0)[0], head, positions[:, None], positions[None, :]) for head in ints(0, 1)]
    assert torch.equal(torch.stack(found), dense(mask, 6, heads=2)[0])
    assert torch.equal(dense(from_bsr(to_bsr(mask, 6, block=(4, 4), elements=True)), 6)[0, 0], found[0])


# -- refusals ---------------------------------------------------------------------------------------------------------


def overlapping() -> AttnSlices:
    return AttnSlices(ints([0, 4], [2, 6]), ints([0, 4], [3, 5]), ints(0, 0))


def odd_mask_mod(b, h, q_idx, kv_idx):
    return q_idx.cumsum(0) >= kv_idx


REFUSALS: dict[str, tuple[Callable[[], object], str]] = {
    "heads": (lambda: to_block_mask(per_head(window=ints(1, 2)), 8), "differs from head to head: it reads `h`.\n  write `heads=...`"),
    "batch": (
        lambda: to_flash_mask(per_item(length=ints(1, 2)), 8),
        "differs from batch item to batch item: it reads `b`.\n  write `batch=...`",
    ),
    "one mask": (lambda: to_attn_slices(per_head(window=ints(1, 2)), 8), "AttnSlices hold one mask for all heads and batch items"),
    "one packing": (lambda: to_cu_seqlens(per_head(window=ints(1, 2)), 8), "`cu_seqlens` hold one mask for all heads and batch items"),
    "ranges": (lambda: to_flash_mask(evens, 9), "key 0 is hidden from 4 separate ranges of rows (1 to 1, 3 to 3, 5 to 5, 7 to 7)"),
    "slices": (lambda: to_attn_slices(evens, 20, most=12), "takes 19 slices, and 12 are allowed: row 0 alone sees 10"),
    "more": (lambda: to_attn_slices(evens, 90, most=30), "takes more than 30 slices, and 30 are allowed: row 0"),
    "runs": (lambda: to_cu_seqlens(evens, 9), "row 0 sees 5 separate runs of keys (0 to 0, 2 to 2, 4 to 4, ...)"),
    "bounds": (lambda: to_cu_seqlens(patterns.prefix_lm(4), 9), "row 1 reaches 2 keys from its own, row 0 reaches 3"),
    "order": (lambda: to_cu_seqlens(swapped(half=4), 8), "row 4 sees keys from 0 on, which rows before it see too or pass by"),
    "no block mask": (lambda: from_block_mask(WINDOW), "`block_mask` is a lacuna.ir.pattern.Pattern\n  write a `torch.nn.attention"),
    "no expression": (
        lambda: from_block_mask(BlockMask.from_kv_blocks(ints([[1]]), ints([[[0]]]), BLOCK_SIZE=8, mask_mod=odd_mask_mod)),
        "the `mask_mod` of the partial blocks is no expression",
    ),
    "no elements": (lambda: from_bsr(to_bsr(WINDOW, 8, block=(2, 2))), "tile (0, 0) is partial, and nothing says which pairs"),
    "no BSR": (lambda: from_bsr(WINDOW), "`tiles` is a Pattern\n  write a `Bsr`"),
    "strided": (lambda: from_bsr(torch.ones(4, 4)), "`tiles` is a tensor of shape (4, 4) with layout torch.strided"),
    "floats": (lambda: from_dense(torch.ones(4, 4)), "torch.strided and shape (4, 4)\n  write bool[q_len, kv_len]"),
    "rank": (
        lambda: from_dense(torch.ones(1, 1, 1, 4, 4, dtype=torch.bool)),
        "`mask` is torch.bool of layout torch.strided and shape (1, 1, 1, 4, 4)",
    ),
    "no tensor": (lambda: from_dense([[True]]), "`mask` is list"),
    "width": (lambda: from_flash_mask(torch.zeros(1, 1, 8, 4, dtype=torch.int32), True), "write int32[batch, heads or 1, kv_len, 1 or 2]"),
    "twice": (lambda: from_attn_slices(overlapping()), "slices share the pair of row 2 and key 3, which MagiAttention would count twice"),
    "type": (lambda: from_attn_slices(AttnSlices(ints([0, 4]), ints([0, 4]), ints(4))), "slice 0 has rows [0, 4], keys [0, 4] and type 4"),
    "backwards": (lambda: from_attn_slices(AttnSlices(ints([4, 0]), ints([0, 4]), ints(0))), "slice 0 has rows [4, 0]"),
    "rows": (lambda: from_attn_slices(overlapping(), 5), "a slice holds row 5, and there are 5 queries"),
    "shapes": (lambda: from_attn_slices(AttnSlices(ints(0, 4), ints([0, 4]), ints(0))), "the slices are torch.int32 of shape (2,)"),
    "layers": (
        lambda: from_attn_slices(AttnSlices(ints(*[[0, 4]] * 17), ints(*[[2 * n, 2 * n + 1] for n in range(17)]), ints(*[0] * 17))),
        "row 0 is in more than 16 slices",
    ),
    "falling": (lambda: from_cu_seqlens(ints(0, 5, 3)), "`cu_seqlens_q` starts at 0 or falls"),
    "counts": (lambda: from_cu_seqlens(ints(0, 5), ints(0, 3, 5)), "there are 1 sequences of queries and 2 of keys"),
    "no offsets": (lambda: from_cu_seqlens([0, 5]), "`cu_seqlens_q` is a list\n  write `torch.tensor"),
    "no window": (lambda: from_cu_seqlens(ints(0, 5), window=3), "`window` is 3\n  write two integers"),
    "no indices": (lambda: from_flash_mask([[0]], True), "`startend_row_indices` is a list\n  write a tensor"),
    "no slices": (lambda: from_attn_slices(([[0, 1]], [[0, 1]], [0])), "the slices are list, list, list\n  write `AttnSlices`"),
    "no length": (lambda: to_block_mask(WINDOW, 8.0), "`q_len` is 8.0\n  write a number of tokens"),
    "no block": (lambda: to_bsr(WINDOW, 8, block=0), "`block` is 0\n  write two integers"),
    "three edges": (lambda: to_block_mask(WINDOW, 8, block=(4, 4, 4)), "`block` is (4, 4, 4)\n  write two integers"),
    "no head": (lambda: to_bsr(WINDOW, 8, at=(0, -1)), "`at` is (0, -1), which is no batch item and head"),
    "real offsets": (lambda: from_cu_seqlens(torch.tensor([0.0, 5.0])), "`cu_seqlens_q` is torch.float32 of shape (2,)"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_names_what_breaks_the_form(name: str) -> None:
    call, said = REFUSALS[name]
    with pytest.raises((TypeError, ValueError)) as refused:
        call()
    assert said in str(refused.value)
    assert "\n  write " in str(refused.value)


# -- edges ------------------------------------------------------------------------------------------------------------


def test_slices_may_be_none_at_all() -> None:
    @pattern
    def nothing(q, k):
        return q < 0

    slices = to_attn_slices(nothing, 5)
    assert [tuple(each.shape) for each in slices] == [(0, 2), (0, 2), (0,)]
    assert not dense(from_attn_slices(slices, 5), 5).any()
    assert to_bsr(nothing, 5, block=(2, 2)).crow_indices.tolist() == [0, 0, 0, 0]
    assert not dense(from_flash_mask(*to_flash_mask(nothing, 5)), 5).any()
    assert not dense(from_block_mask(to_block_mask(nothing, 5, block=2)), 5).any()
    assert to_cu_seqlens(nothing, 5).cu_seqlens_k.tolist() == [0, 0, 5]


def test_the_triangle_of_row_indices_ends_in_the_bottom_right_corner() -> None:
    found = dense(from_flash_mask(torch.full((1, 1, 6, 1), 4, dtype=torch.int32), True, 4), 4, 6)[0, 0]
    assert torch.equal(found, torch.ones(4, 6, dtype=torch.bool).tril(2))


def test_a_window_takes_two_slices_at_any_length() -> None:
    for length in (50, 5000):
        assert to_attn_slices(patterns.sliding_window(20), length).attn_type_map.tolist() == [1, 3]


def test_tables_of_heads_are_indexed_by_head() -> None:
    mask = per_head(window=ints(1, 4, 9))
    indices, causal = to_flash_mask(mask, 12, heads=3)
    assert indices.shape[:2] == (1, 3)
    assert torch.equal(dense(from_flash_mask(indices, causal), 12, heads=3), dense(mask, 12, heads=3))
    for h in range(3):
        assert (schedule(from_bsr(to_bsr(mask, 12, block=(4, 4), at=(0, h), elements=True)), 12).tiles() != 0).any()
