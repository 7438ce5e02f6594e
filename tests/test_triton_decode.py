"""Few query rows against many keys: the decode kernels of the Triton backend in the interpreter, against float64 attention."""

# Patterns are written without annotations, and torch's are partial.
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownLambdaType=false
from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import lacuna
import pytest
import random_problems as problems
import reference
import torch
from case_samples import crossed
from lacuna.runtime.calls.claimed import claimed
from lacuna.runtime.gpu.recording import Recording
from lacuna.runtime.kernels.kernel_of import forget_kernels
from lacuna.runtime.request.request import Ragged
from lacuna.runtime.triton import decode as triton_decode
from lacuna.runtime.triton.compile_binary import cross_compile
from lacuna.runtime.triton.decode import Split
from test_backends import check
from torch import Tensor
from triton_kernels import CAUSAL, WINDOW, Operations, Options, call_of, loaded, plan

PROVE = os.environ.get("LACUNA_TEST_PROFILE") == "prove"
ROWS = (1, 1, 1, 2, 3, 5, 8, 15, 16)
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
attention: Callable[..., Any] = lacuna.attention


@pytest.fixture
def splits(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """How many programs shared the keys of a tile of rows, in every launch; as many as there are tiles of keys allow."""
    met: set[int] = set()
    start = triton_decode.launch

    def watched(kernel: Any, call: Any, split: Split) -> None:  # noqa: ANN401
        met.add(split.splits)
        start(kernel, call, split)

    monkeypatch.setattr(triton_decode, "launch", watched)
    monkeypatch.setattr(triton_decode, "LEAST_TILES", 1)
    return met


def checked(query: Tensor, key: Tensor, value: Tensor, pattern: object, mask: Tensor, **options: object) -> Tensor:
    """The output of attention, after a look at it and its log-sum-exp."""
    out, lse = attention(query, key, value, pattern, backend="triton", return_lse=True, **options)
    exact_out, exact_lse = reference.attention(query, key, value, mask)
    allowed = reference.tolerance(query, key, value, mask)
    reference.assert_close(out, exact_out, allowed.out)
    reference.assert_close(lse, exact_lse, allowed.lse)
    return out


# -- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(2000, 2100) if PROVE else (2001, 2014, 2024))
def test_few_rows_are_within_the_tolerance(seed: int, splits: set[int]) -> None:
    problem = problems.problem(seed, DTYPES, rows=ROWS)
    check(problem, "triton")
    assert bool(splits) or not problem.mask.any()


def test_one_kernel_serves_every_window_group_length_and_offset(splits: set[int]) -> None:
    key, value = torch.randn(2, 2, 200, 40), torch.randn(2, 2, 200, 33)
    k = torch.arange(200).view(1, 1, 1, -1)
    for (rows, group), window, offset in (
        ((1, 1), 70, "end"),
        ((1, 8), 2**40, 3),
        ((2, 3), 5, torch.tensor([150, -4])),
        ((7, 2), -1, 0),
        ((16, 5), 70, "end"),
    ):
        query = torch.randn(2, 2 * group, rows, 40)
        lengths = torch.tensor([200, 65 + rows])
        start = lengths - rows if isinstance(offset, str) else torch.as_tensor(offset).expand(2)
        q = torch.arange(rows).view(1, 1, -1, 1) + start.view(-1, 1, 1, 1)
        mask = (k <= q) & (q - k < window) & (k < lengths.view(-1, 1, 1, 1))
        checked(query, key, value, problems.sliding(window=window), mask, q_offset=offset, kv_len=lengths)
    assert splits == {7}


def test_heads_that_share_keys_may_see_different_tiles(splits: set[int]) -> None:
    windows = torch.tensor([0, 1, 64, 500, 130, 5, 0, 333])
    query, key, value = torch.randn(1, 8, 3, 32), torch.randn(1, 2, 400, 32), torch.randn(1, 2, 400, 32)
    q, k = torch.arange(397, 400).view(-1, 1), torch.arange(400)
    mask = ((q - k).abs() < windows.view(-1, 1, 1)).expand(1, 8, 3, 400)
    out = checked(query, key, value, problems.per_head(windows=windows), mask, q_offset="end")
    assert out[:, [0, 6]].eq(0).all()
    assert splits == {13}


def test_packed_sequences_of_few_rows_see_only_themselves(splits: set[int]) -> None:
    rows, keys = [1, 0, 3, 16, 2], [200, 7, 0, 300, 64]
    starts, key_starts = (torch.tensor([0, *each]).cumsum(0).int() for each in (rows, keys))
    query, key = torch.randn(sum(rows), 6, 64), torch.randn(sum(keys), 2, 64)
    boundaries: dict[str, Any] = {"cu_seqlens_q": starts, "cu_seqlens_k": key_starts}
    out, lse = lacuna.varlen_attention(query, key, key, problems.causal, q_offset="end", return_lse=True, backend="triton", **boundaries)
    for n in range(len(rows)):
        part = query[starts[n] : starts[n + 1]].transpose(0, 1).unsqueeze(0)
        cache = key[key_starts[n] : key_starts[n + 1]].transpose(0, 1).unsqueeze(0)
        mask = torch.arange(keys[n]) <= torch.arange(rows[n]).view(-1, 1) + keys[n] - rows[n]
        exact_out, exact_lse = reference.attention(part, cache, cache, mask)
        reference.assert_close(out[starts[n] : starts[n + 1]].transpose(0, 1).unsqueeze(0), exact_out, 1e-5)
        reference.assert_close(lse[:, starts[n] : starts[n + 1]].unsqueeze(0), exact_lse, 1e-5)
    assert splits == {10}


@pytest.mark.parametrize("keys", [90, 300])
def test_rows_past_a_length_and_rows_that_see_nothing_are_zero(keys: int, splits: set[int]) -> None:
    query, key = torch.randn(3, 4, 4, 8), torch.randn(3, 2, keys, 8)
    options: dict[str, Any] = {"q_len": torch.tensor([4, 0, 2]), "kv_len": torch.tensor([keys, keys, 0])}
    out, lse = attention(query, key, key, problems.later(gap=keys - 3), backend="triton", return_lse=True, **options)
    empty = torch.ones(3, 4, 4, dtype=torch.bool)
    empty[0, :, :2] = False
    assert torch.equal(lse == -torch.inf, empty)
    assert torch.equal((out == 0).all(-1), empty)
    assert splits


def test_what_is_hidden_or_past_the_length_is_never_read(splits: set[int]) -> None:
    """A window over a long cache: NaN anywhere else would show, 0 * NaN being NaN."""
    query, key = torch.randn(1, 4, 1, 40), torch.randn(1, 2, 1000, 40)
    seen = torch.arange(650, 750)
    poisoned = torch.full_like(key, torch.nan)
    poisoned[:, :, 640:750] = key[:, :, 640:750]  # a tile begins at 640
    out = attention(query, poisoned, poisoned[..., :33], problems.sliding(window=100), q_offset="end", kv_len=750, backend="triton")
    exact, _ = reference.attention(query, key[:, :, seen], key[:, :, seen, :33], None)
    reference.assert_close(out, exact, 1e-5)
    assert splits == {24}


def test_nan_propagates_across_splits_of_the_keys(splits: set[int]) -> None:
    query, key = torch.randn(1, 2, 2, 64), torch.randn(1, 1, 500, 64)
    key[0, 0, 499] = torch.nan
    out, lse = attention(query, key, torch.ones_like(key), problems.causal, q_offset="end", backend="triton", return_lse=True)
    assert torch.equal(lse.isnan(), torch.tensor([[[False, True]] * 2]))
    assert torch.equal(out.isnan().all(-1), lse.isnan())
    assert splits == {16}


def test_the_same_call_gives_the_same_bits(splits: set[int]) -> None:
    query, key = torch.randn(2, 6, 2, 16), torch.randn(2, 2, 400, 16)
    first, second = (attention(query, key, key, problems.causal, q_offset="end", backend="triton", return_lse=True) for _ in range(2))
    assert all(map(torch.equal, first, second))
    assert splits == {13}


# -- splits -----------------------------------------------------------------------------------------------------------


def test_programs_fill_a_gpu_and_have_enough_to_do() -> None:
    def split(batch: int, heads: tuple[int, int], rows: int, keys: int, differ: bool = False) -> Split:
        call = call_of((torch.empty(batch, heads[0], rows, 8), torch.empty(1, heads[1], 0, 8), torch.empty(1, heads[1], 0, 8)))
        return Split.of(replace(call, k_len=keys), 64, differ)

    assert split(1, (32, 8), 1, 131072) == Split(rows=16, together=4, programs=8, splits=33)
    assert split(64, (32, 8), 1, 131072) == Split(rows=16, together=4, programs=512, splits=1)
    assert split(1, (32, 8), 1, 1024).splits == 4
    assert split(1, (32, 8), 16, 131072) == Split(rows=64, together=4, programs=8, splits=33)
    assert split(1, (128, 1), 3, 131072) == Split(rows=64, together=21, programs=7, splits=38)
    assert split(1, (32, 8), 1, 131072, differ=True).together == 1


# -- graphs -----------------------------------------------------------------------------------------------------------


def test_lengths_and_offsets_that_change_in_place_are_read_anew(tmp_path: Path) -> None:
    """As the launches of a captured graph do: same arguments, other numbers behind the pointers."""
    kernel = loaded(replace(plan(CAUSAL.replace("k <= q", "k <= q + offset"), (16, 32)), family="decode"), tmp_path)
    query, key, value = torch.randn(2, 4, 1, 16), torch.randn(2, 2, 300, 16), torch.randn(2, 2, 300, 16)
    k_lens, offsets = torch.tensor([10, 20]), torch.tensor([9, 19])
    call = call_of((query, key, value), Options(ragged=Ragged(k_lens=k_lens, offsets=offsets), scale=0.25))
    split = replace(Split.of(call, 32, heads_differ=False), splits=3)
    for lengths in ([10, 20], [300, 1], [128, 129]):
        k_lens.copy_(torch.tensor(lengths))
        offsets.copy_(k_lens - 1)
        triton_decode.launch(kernel, call, split)
        mask = (torch.arange(300) < k_lens.view(2, 1, 1, 1)).expand(2, 4, 1, 300)
        exact, _ = reference.attention(query, key, value, mask, 0.25)
        reference.assert_close(call.out, exact, reference.tolerance(query, key, value, mask, 0.25).out)


def test_a_launch_only_allocates_and_never_waits_for_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = loaded(replace(plan(WINDOW, (16, 32)), family="decode"), tmp_path)
    lengths = Ragged(k_lens=torch.tensor([10, 20]), offsets=torch.tensor([9, 19]))
    call = call_of((torch.randn(2, 4, 1, 16), torch.randn(2, 2, 300, 16), torch.randn(2, 2, 300, 16)), Options({"W": 5}, ragged=lengths))
    started: list[int] = []
    monkeypatch.setattr(triton_decode, "start", lambda kernel, each, device: started.append(each.programs))
    with Operations() as seen:
        triton_decode.launch(kernel, call, replace(Split.of(call, 32, heads_differ=False), splits=3))
    assert started == [12, 8]
    assert seen.met == {"empty", "slice"}  # one allocation, in two parts


# -- kernels ----------------------------------------------------------------------------------------------------------


def test_a_growing_cache_is_served_by_one_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LACUNA_CACHE_DIR", str(tmp_path / "cache"))
    forget_kernels()
    key, value = torch.randn(1, 1, 100, 24), torch.randn(1, 1, 100, 24)
    for length in (1, 2, 16, 33, 64, 65, 100):
        query = torch.randn(1, 3, 1, 24)
        out = attention(query, key[:, :, :length], value[:, :, :length], problems.sliding(window=20), q_offset="end", backend="triton")
        live = slice(max(0, length - 20), length)
        exact, _ = reference.attention(query, key[:, :, live], value[:, :, live], None)
        reference.assert_close(out, exact, 1e-5)
    assert len([*(tmp_path / "cache").rglob("*.py")]) == 1


AGAIN = {64: 16, 128: 120}  # bytes by dimension, spilled since sums with NaN are taken once more; in which loop was not looked at


@pytest.mark.parametrize(("target", "dim"), crossed(["sm_80", "sm_90", "sm_100", "gfx942"], [64, 128]))
def test_decode_kernels_spill_little(tmp_path: Path, dim: int, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "triton"))
    few = replace(plan(WINDOW, (16, 64), (dim, dim), "bf16"), family="decode", num_warps=4, num_stages=3)
    made = cross_compile(loaded(few, tmp_path, interpret=False), few, target)
    assert made.resources.spills <= AGAIN[dim]
    assert made.resources.shared_bytes <= 160 * 1024
    assert {"gfx942": "v_mfma"}.get(target, "mma") in made.assembly


@pytest.mark.parametrize(("target", "dim", "keys"), crossed(["sm_80", "sm_90"], [64, 128], [128, 4096]))
def test_calls_in_one_part_and_in_several_compile_for_a_gpu(target: str, dim: int, keys: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dimensions that sums are taken once more of in parts: what the interpreter lets a variable be, the compiler need not."""
    split = Split.of
    made: list[int] = []

    def watched(*given: Any, **named: Any) -> Split:  # noqa: ANN401
        found = split(*given, **named)
        made.append(found.splits)
        return found

    monkeypatch.setattr(Split, "of", watched)
    query, key = torch.randn(1, 4, 1, dim).bfloat16(), torch.randn(1, 2, keys, dim).bfloat16()
    with claimed(target, Recording()) as driver:
        attention(query, key, key, backend="triton")
    assert (made[0] > 1) == (keys > 128)
    assert len(driver.launches) == 1 + (keys > 128)
