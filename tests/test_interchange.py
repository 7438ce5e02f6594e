"""Masks leave in other libraries' formats and come back the same; what comes back runs, and skips what it may."""

# Patterns are written without annotations; torch's types are partly unknown.
# ruff: noqa: ANN001, ANN201
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false
from __future__ import annotations

import itertools
import warnings
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import TypeVar

import brute_force
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from interchange_formats import of_attn_slices, of_block_mask, of_cu_seqlens, of_flash_mask
from lacuna import attention, dense, pattern, patterns, schedule, segments
from lacuna.interop.attn_slices import AttnSlices, from_attn_slices, to_attn_slices
from lacuna.interop.block_mask import from_block_mask, to_block_mask
from lacuna.interop.bsr import from_bsr, to_bsr
from lacuna.interop.cu_seqlens import CuSeqlens, from_cu_seqlens, to_cu_seqlens
from lacuna.interop.dense_mask import from_dense
from lacuna.interop.flash_mask import from_flash_mask, to_flash_mask
from lacuna.ir.pattern import Pattern
from random_programs import HEADS, random_case
from torch import Tensor
from torch.nn.attention import flex_attention as torch_flex

Answer = TypeVar("Answer")
pytestmark = pytest.mark.usefixtures("compiled_quickly")
L = 300
DOCUMENTS = torch.tensor([0] * 100 + [1] * 130 + [2] * 70)


@pattern
def per_head(h, q, k, *, window):
    return (k <= q) & (q - k < window[h])


@pattern(rank=2)
def near(q, k, *, reach):
    return (abs(q[0] - k[0]) <= reach) & (abs(q[1] - k[1]) <= reach)


MASKS: dict[str, Pattern] = {
    "causal": patterns.causal(),
    "window": patterns.sliding_window(50),
    "documents": patterns.documents(DOCUMENTS),
    "packed": patterns.documents(segments(torch.tensor([0, 100, 100, 230, L])), causal=False),
    "strided": patterns.strided(70),
    "sink": patterns.sink_window(4, 130),
    "per head": per_head(window=torch.tensor([10, 200])),
    "grid": near(reach=3).on(15, 20),
    "prefix": patterns.prefix_lm(120),
    "blocks": patterns.block_local(64),
}


@cache
def operands(rows: int = L, keys: int = L) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    return tuple(torch.randn(1, 2, size, 16, generator=draw) for size in (rows, keys, keys))  # pyright: ignore[reportReturnType]


def outcome(mask: Pattern, backend: str, sizes: tuple[int, int] = (L, L)) -> list[Tensor]:
    """The output and the three gradients."""
    leaves = [each.clone().requires_grad_() for each in operands(*sizes)]
    out = attention(leaves[0], leaves[1], leaves[2], mask, backend=backend)
    assert isinstance(out, Tensor)
    return [out.detach(), *torch.autograd.grad(out.square().sum(), leaves)]


def same_outcome(mask: Pattern, wanted: Pattern, sizes: tuple[int, int] = (L, L), backends: tuple[str, ...] = ("eager",)) -> None:
    """Forward and backward."""
    reference = outcome(wanted, "eager", sizes)
    for backend in backends:
        for have, want in zip(outcome(mask, backend, sizes), reference, strict=True):
            torch.testing.assert_close(have, want, rtol=1e-4, atol=2e-5)


# -- Flex -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MASKS)
def test_flex_attention_runs_our_tiles_to_our_result(name: str) -> None:
    query, key, value = operands()
    block_mask = to_block_mask(MASKS[name], L, block=64, heads=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is slow without torch.compile
        theirs = torch_flex.flex_attention(query, key, value, block_mask=block_mask)
    torch.testing.assert_close(theirs, attention(query, key, value, MASKS[name], backend="eager"), rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("name", MASKS)
def test_our_lists_are_those_that_flex_would_find(name: str) -> None:
    """`create_block_mask` evaluates every pair. Padded blocks are never full for us, and documents in an array are a cover."""
    ours = to_block_mask(MASKS[name], 256, 192, block=(64, 32), heads=2)
    theirs = torch_flex.create_block_mask(ours.mask_mod, 1, ours.shape[1], 256, 192, device="cpu", BLOCK_SIZE=(64, 32))
    exact = schedule(MASKS[name], 256, 192, block=(64, 32), heads=2).exact
    for part in ("kv", "q") if exact else ():
        for kind in ("", "full_"):
            counts, columns = (getattr(ours, f"{kind}{part}_{word}") for word in ("num_blocks", "indices"))
            wanted, listed = (getattr(theirs, f"{kind}{part}_{word}") for word in ("num_blocks", "indices"))
            assert torch.equal(counts, wanted), (kind, part)
            told = torch.arange(columns.shape[-1]) < counts[..., None]
            assert torch.equal(columns[told], listed[told]), (kind, part)
    assert not (theirs.to_dense().bool() & ~ours.to_dense().bool()).any()


@pytest.mark.parametrize("name", MASKS)
def test_a_block_mask_comes_back(name: str) -> None:
    back = from_block_mask(to_block_mask(MASKS[name], L, block=64, heads=2))
    assert torch.equal(dense(back, L, heads=2), dense(MASKS[name], L, heads=2))
    for h in range(2):
        found, wanted = (schedule(each, L, block=(64, 64), heads=2) for each in (back, MASKS[name]))
        assert found.exact
        assert (found.tiles(0, h) == wanted.tiles(0, h)).all() or not wanted.exact


def test_a_block_mask_that_came_back_runs_forward_and_backward() -> None:
    for name in ("documents", "per head"):
        same_outcome(from_block_mask(to_block_mask(MASKS[name], L, block=64, heads=2)), MASKS[name])


def test_a_block_mask_that_came_back_is_compiled(prove: bool) -> None:
    back = from_block_mask(to_block_mask(MASKS["blocks"], L, block=64, heads=2))
    if prove:
        same_outcome(back, MASKS["blocks"], backends=("cpp",))
    query, key, value = operands()
    ours, wanted = (attention(query, key, value, mask, backend=backend) for mask, backend in ((back, "cpp"), (MASKS["blocks"], "eager")))
    torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=2e-5)


def test_lists_count_where_the_function_says_otherwise() -> None:
    """Only blocks that are listed are seen, and full ones whole, whatever the function holds elsewhere."""
    counts, columns = torch.tensor([[[1, 0]]]), torch.tensor([[[[1, 0], [0, 0]]]])
    full_counts, full_columns = torch.tensor([[[1, 1]]]), torch.tensor([[[[0, 0], [1, 1]]]])
    made = torch_flex.BlockMask.from_kv_blocks(counts, columns, full_counts, full_columns, 16, lambda b, h, q, k: q >= k - 20, (30, 32))
    assert torch.equal(dense(from_block_mask(made), 30, 32)[0], of_block_mask(made, 1))


def test_a_random_choice_of_blocks_skips_the_others() -> None:
    """Block top-k, drawn per batch item and head, without a function: no tile is partial."""
    chosen = torch.rand(2, 2, 5, 5, generator=torch.Generator().manual_seed(1)) < 0.4
    counts, columns = chosen.sum(-1, dtype=torch.int32), chosen.int().argsort(descending=True, stable=True).int()
    made = torch_flex.BlockMask.from_kv_blocks(counts, columns, BLOCK_SIZE=64, seq_lengths=(320, 320))
    back = from_block_mask(made)
    found = schedule(back, 320, block=(64, 64), heads=2, batch=2)
    for b in range(2):
        for h in range(2):
            assert (found.tiles(b, h) == 2 * chosen[b, h].numpy()).all()
    wanted = chosen.repeat_interleave(64, 2).repeat_interleave(64, 3)
    assert torch.equal(dense(back, 320, batch=2, heads=2), wanted)


def test_masks_alike_in_all_heads_leave_one_set_of_lists() -> None:
    assert to_block_mask(MASKS["causal"], L, batch=4, heads=8).shape == (1, 1, L, L)
    assert to_block_mask(MASKS["per head"], L, batch=4, heads=2).shape == (1, 2, L, L)


def test_a_long_block_mask_is_made_from_the_tiles_alone() -> None:
    found = to_block_mask(patterns.sliding_window(1024), 131_072)
    assert found.full_kv_num_blocks is not None
    assert int(found.kv_num_blocks.sum()) == 1024 + 1016  # the diagonal, and the far edge
    assert int(found.full_kv_num_blocks.sum()) == 7 * 1024 - 28
    assert torch.equal(found.kv_num_blocks.sum(), found.q_num_blocks.sum())  # pyright: ignore[reportOptionalMemberAccess]


# -- the other formats ------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Sparse BSR tensor support is in beta")
@pytest.mark.parametrize("name", ["causal", "documents", "strided", "blocks"])
def test_block_sparse_rows_come_back(name: str) -> None:
    wanted = dense(MASKS[name], L, 250)[0, 0]
    tiles = to_bsr(MASKS[name], L, 250, block=(32, 64), elements=True)
    assert torch.equal(tiles.sparse().to_dense()[:L, :250], wanted)
    for back in (from_bsr(tiles), from_bsr(tiles.sparse())):
        assert torch.equal(dense(back, L, 250)[0, 0], wanted)
        found = schedule(back, L, 250, block=(32, 64))
        assert found.exact
        assert (found.tiles() == brute_force.classes(wanted.numpy(), 32, 64)).all()


@given(st.data())
def test_slices_with_rows_and_keys_of_no_slice_between_them_are_their_union(data: st.DataObject) -> None:
    """Slices of disjoint runs of rows, in any order; what lies before, between and behind them sees nothing."""
    edges = sorted(data.draw(st.sets(st.integers(0, 24), min_size=2, max_size=8)))
    ranges = [(first, last) for first, last in itertools.pairwise(edges) if data.draw(st.booleans())] or [(edges[0], edges[1])]
    keys = [tuple(sorted((data.draw(st.integers(0, 12)), data.draw(st.integers(0, 12))))) for _ in ranges]
    kinds = [data.draw(st.integers(0, 3)) for _ in ranges]
    order = data.draw(st.permutations(range(len(ranges))))
    table = [torch.tensor([each[at] for at in order], dtype=torch.int32) for each in (ranges, keys, kinds)]
    wanted = torch.zeros(30, 12, dtype=torch.bool)
    for (first, last), (start, stop), kind in zip(ranges, keys, kinds, strict=True):
        for row in range(first, last):
            low = start + (row - first if kind & 2 else 0)
            high = stop - (last - 1 - row if kind & 1 else 0)
            wanted[row, max(low, 0) : max(high, low, 0)] = True
    back = from_attn_slices(AttnSlices(*table), 30)
    assert torch.equal(dense(back, 30, 12)[0, 0], wanted)
    found, classes = schedule(back, 30, 12, block=(4, 4)).tiles(), brute_force.classes(wanted.numpy(), 4, 4)
    assert ((found == classes) | (found == 1)).all()  # a tile with rows of no slice may count as partial


def test_row_indices_of_key_heads_are_shared_by_their_query_heads() -> None:
    indices = torch.randint(1, 60, (2, 2, 60, 1), generator=torch.Generator().manual_seed(3), dtype=torch.int32)
    rows, keys = torch.arange(60)[:, None], torch.arange(60)[None]
    wanted = (rows >= keys) & (rows < indices[..., 0][:, :, None, :])
    assert torch.equal(dense(from_flash_mask(indices, True, heads=6), 60, batch=2, heads=6), wanted.repeat_interleave(3, 1))
    assert torch.equal(dense(from_flash_mask(indices, True), 60, batch=2, heads=2), wanted)
    with pytest.raises(
        ValueError, match=r"3 query heads cannot share the row indices of 2 heads evenly\.\n  write `heads=` a multiple of 2"
    ):
        from_flash_mask(indices, True, heads=3)


def test_what_came_back_runs_forward_and_backward(prove: bool) -> None:
    window, backends = MASKS["window"], ("cpp", "eager") if prove else ("eager",)
    same_outcome(from_bsr(to_bsr(window, L, 250, block=(64, 32), elements=True)), window, (L, 250), backends)
    same_outcome(from_flash_mask(*to_flash_mask(window, L)), window, (L, L), backends)
    same_outcome(from_attn_slices(to_attn_slices(MASKS["sink"], L)), MASKS["sink"], (L, L), backends)
    packed = to_cu_seqlens(MASKS["documents"], L)
    back = from_cu_seqlens(packed.cu_seqlens_q, packed.cu_seqlens_k, causal=packed.causal)
    same_outcome(back, MASKS["documents"], (L, L), backends)
    same_outcome(from_dense(dense(window, L)[0, 0]), window, (L, L), backends)


def test_a_dense_mask_has_the_tiles_of_its_pairs() -> None:
    mask = torch.rand(2, 3, 70, 90, generator=torch.Generator().manual_seed(2)) < 0.5
    mask[:, :, :40, 16:64] = False
    mask[:, :, 40:, :30] = True
    found = schedule(from_dense(mask), 70, 90, block=(8, 16), heads=3, batch=2)
    assert found.exact
    for b in range(2):
        for h in range(3):
            assert (found.tiles(b, h) == brute_force.classes(mask[b, h].numpy(), 8, 16)).all()
    assert torch.equal(dense(from_dense(mask), 70, 90, batch=2, heads=3), mask)


@pytest.mark.parametrize("mask", ["window", "documents", "prefix", "sink", "blocks"])
def test_tiles_of_what_came_back_are_as_many(mask: str) -> None:
    """Minima and maxima over tiles are a cover; of these masks it is the tiles themselves."""
    wanted = schedule(MASKS[mask], L, block=(32, 32)).tiles()
    for back in (from_flash_mask(*to_flash_mask(MASKS[mask], L)), from_attn_slices(to_attn_slices(MASKS[mask], L))):
        assert (schedule(back, L, block=(32, 32)).tiles() == wanted).all()


def of_case(seed: int) -> tuple[Pattern, np.ndarray, tuple[int, int]]:
    """A random pattern, bool[HEADS, q_len, k_len] by looking at each pair, and its lengths."""
    case = random_case(seed)
    launch = case.launch
    numbers = {name: int(value) for name, value in launch.parameters.items()}
    problem = brute_force.Problem(case.program.mask, launch.q_len, launch.k_len, 0, numbers, launch.tables)
    bindings = {**numbers, **{name: torch.from_numpy(array) for name, array in launch.tables.items()}}
    wanted = np.stack([brute_force.dense(problem, 0, h) for h in range(HEADS)])
    return Pattern.of(case.program, bindings), wanted, (launch.q_len, launch.k_len)


def test_random_masks_come_back_the_same_or_are_refused(prove: bool, capsys: pytest.CaptureFixture[str]) -> None:
    made: Counter[str] = Counter()
    for seed in range(1000 if prove else 8):
        mask, wanted, (q_len, k_len) = of_case(seed)
        exported = to_block_mask(mask, q_len, k_len, block=(8, 4), heads=HEADS)
        assert (of_block_mask(exported, HEADS).numpy() == wanted).all(), f"seed {seed}"
        back = from_block_mask(exported)
        assert (dense(back, q_len, k_len, heads=HEADS)[0].numpy() == wanted).all(), f"seed {seed}"
        assert (dense(from_dense(torch.from_numpy(wanted)[None]), q_len, k_len, heads=HEADS)[0].numpy() == wanted).all()
        made["BlockMask"] += 1
        try:
            indices, causal = to_flash_mask(mask, q_len, k_len, heads=HEADS, block=(8, 4))
        except ValueError:
            assert max_hidden(wanted) > 2
        else:
            assert (of_flash_mask(indices, causal, q_len).numpy() == wanted).all(), f"seed {seed}"
            again = dense(from_flash_mask(indices, causal, q_len), q_len, k_len, heads=HEADS)
            assert (again[0].numpy() == wanted).all(), f"seed {seed}"
            made["FlashMask"] += 1
        if not (wanted == wanted[:1]).all():
            continue
        made.update(one_head(seed))
    with capsys.disabled():
        print("\n" + ", ".join(f"{name}: {count}" for name, count in sorted(made.items())))
    assert all(made[name] >= 2 for name in ("BlockMask", "FlashMask", "AttnSlices", "Bsr"))


def answered(call: Callable[[], Answer]) -> Answer | str:
    """What `call` returns, or why it refuses."""
    try:
        return call()
    except ValueError as error:
        return str(error)


def one_head(seed: int) -> list[str]:
    """The formats of one mask for all heads that case `seed` has, each checked."""
    mask, wanted, (q_len, k_len) = of_case(seed)
    found = ["Bsr"]
    tiles = to_bsr(mask, q_len, k_len, block=(8, 4), elements=True)
    assert (dense(from_bsr(tiles), q_len, k_len)[0, 0].numpy() == wanted[0]).all(), f"seed {seed}"
    slices = answered(lambda: to_attn_slices(mask, q_len, k_len, most=10_000, block=(8, 4)))
    if isinstance(slices, str):
        assert "reads `h`" in slices, f"seed {seed}: {slices}"
        return found
    assert (of_attn_slices(slices, q_len, k_len).numpy() == wanted[0]).all(), f"seed {seed}"
    back = answered(lambda: from_attn_slices(slices, q_len))
    if isinstance(back, str):
        assert "more than 16 slices" in back, f"seed {seed}: {back}"
    else:
        assert (dense(back, q_len, k_len)[0, 0].numpy() == wanted[0]).all(), f"seed {seed}"
        found.append("AttnSlices")
    packed = answered(lambda: to_cu_seqlens(mask, q_len, k_len, block=(8, 4)))
    if isinstance(packed, str):
        return found
    assert (of_cu_seqlens(*packed).numpy() == wanted[0]).all(), f"seed {seed}"
    return [*found, "cu_seqlens"]


def max_hidden(wanted: np.ndarray) -> int:
    """The most separate ranges of rows that any key is hidden from."""
    padded = np.pad(~wanted, ((0, 0), (1, 0), (0, 0)))
    return int((padded[:, 1:] & ~padded[:, :-1]).sum(1).max(initial=0))


@st.composite
def packings(draw: st.DrawFn) -> CuSeqlens:
    """Any packed sequences, some without rows or keys."""
    count = draw(st.integers(1, 5))
    sizes = [draw(st.lists(st.integers(0, 9), min_size=count, max_size=count)) for _ in range(2)]
    rows = sizes[0] if sum(sizes[0]) else [*sizes[0][:-1], 1]
    keys = draw(st.sampled_from([rows, sizes[1] if sum(sizes[1]) else [*sizes[1][:-1], 1]]))
    window = draw(st.sampled_from([(-1, -1), (-1, 0), (2, 0), (0, 0), (3, 1), (-1, 2), (0, -1)]))
    cu_q, cu_k = (torch.tensor([0, *np.cumsum(each)], dtype=torch.int32) for each in (rows, keys))
    return CuSeqlens(cu_q, cu_k, window[1] == 0, window)


@given(packings())
def test_packed_sequences_are_recognised_whatever_their_sizes(packed: CuSeqlens) -> None:
    q_len, k_len = int(packed.cu_seqlens_q[-1]), int(packed.cu_seqlens_k[-1])
    wanted = of_cu_seqlens(*packed)
    mask = from_cu_seqlens(packed.cu_seqlens_q, packed.cu_seqlens_k, causal=packed.causal, window=packed.window)
    assert torch.equal(dense(mask, q_len, k_len)[0, 0], wanted)
    assert torch.equal(of_cu_seqlens(*to_cu_seqlens(from_dense(wanted), q_len, k_len, block=(8, 8))), wanted)


def test_offsets_of_sequences_are_found_in_a_program_and_need_no_array() -> None:
    offsets = torch.tensor([0, 100, 230, L], dtype=torch.int32)
    found = to_cu_seqlens(patterns.documents(segments(offsets)), L)
    assert torch.equal(found.cu_seqlens_q, offsets)
    assert torch.equal(found.cu_seqlens_k, offsets)
    assert found.causal
    assert found.window == (-1, 0)
    assert schedule(from_cu_seqlens(offsets, causal=True), L).closed_form
