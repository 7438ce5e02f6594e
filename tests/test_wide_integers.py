"""Integers are mathematical, or refused by name: tables of every dtype over their whole range, parameters over all of int64."""

# numpy's and torch's types are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import lacuna
import numpy as np
import pytest
import torch
from brute_force import classes
from lacuna.passes.bounds.too_wide import MeaninglessShift, TooWide
from torch import Tensor
from wide_programs import Wide, wide_program

QUICK, PROVED = 80, 5000


def reference(tensors: tuple[Tensor, ...], pairs: np.ndarray) -> Tensor:
    """Attention by definition in float64: rows that see nothing are 0."""
    query, key, value = (tensor.double() for tensor in tensors)
    score = (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).masked_fill(~torch.from_numpy(pairs), -torch.inf)
    return torch.softmax(score, -1).nan_to_num(0.0) @ value


def tensors_of(case: Wide, seed: int) -> tuple[Tensor, ...]:
    chance = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(1, 1, length, 8, generator=chance) for length in (case.q_len, case.k_len, case.k_len))


def tile_fault(case: Wide, pairs: np.ndarray) -> str:
    """Tiles of the schedule, which begins at position 0, against those of every pair."""
    found = lacuna.schedule(case.pattern, case.q_len, case.k_len, block=case.block)
    got, want = found.tiles(), classes(pairs, *case.block)
    wrong = ((got == 0) & (want != 0)) | ((got == 2) & (want != 2))
    if wrong.any() or (found.exact and (got != want).any()):
        return f"tiles are wrong by {found.route}"
    if (lacuna.dense(case.pattern, case.q_len, case.k_len)[0, 0].numpy() != pairs).any():
        return "the oracle's mask is wrong"
    return ""


def output_fault(case: Wide, pairs: np.ndarray, seed: int, backend: str) -> str:
    tensors: Any = tensors_of(case, seed)
    out = lacuna.attention(*tensors, pattern=case.pattern, q_offset=case.offset, backend=backend)
    assert isinstance(out, Tensor)
    error = float((out.double() - reference(tensors, pairs)).abs().max())
    return f"an error of {error:.2g} by {backend}" if error > 1e-4 else ""


def outcome(seed: int, backend: str) -> str:
    """`exact`, `refused`, `refused at sight` where all numbers would have fitted, or what is wrong."""
    case = wide_program(seed)
    moved, fits = case.exact()
    still = case if case.offset == 0 else replace(case, offset=0)
    pairs, fits_at_0 = (moved, fits) if still is case else still.exact()
    faults: list[str] = []
    refused, needless = 0, 0
    for check, known in ((lambda: tile_fault(still, pairs), fits_at_0), (lambda: output_fault(case, moved, seed, backend), fits)):
        try:
            faults.append(check())
        except (TooWide, MeaninglessShift):
            refused, needless = refused + 1, needless + known
    fault = next(filter(None, faults), "")
    if fault:
        return f"seed {seed}: {fault}\n{case}"
    return "exact" if not refused else "refused at sight" if needless else "refused"


def test_random_programs_over_any_integers_are_exact_or_refused(prove: bool, capsys: pytest.CaptureFixture[str]) -> None:
    found: Counter[str] = Counter()
    for seed in range(PROVED if prove else QUICK):
        said = outcome(seed, "eager")
        assert not said.startswith("seed"), said
        found[said] += 1
    with capsys.disabled():
        print("\n" + ", ".join(f"{name}: {count}" for name, count in sorted(found.items())))
    assert found["exact"] >= 0.5 * found.total()
    assert found["refused at sight"] <= 0.2 * found.total()


@pytest.mark.usefixtures("compiled_quickly")
def test_kernels_over_any_integers_are_exact_or_refused(prove: bool) -> None:
    said = [outcome(seed, "cpp") for seed in range(9000, 9000 + (120 if prove else 4))]
    assert not [each for each in said if each.startswith("seed")]
    assert "exact" in said


def test_unsigned_tables_past_int64_are_refused_by_name() -> None:
    @lacuna.pattern
    def same(q: Any, k: Any, *, ids: Any) -> Any:  # noqa: ANN401 (patterns are written without types)
        return ids[q] == ids[k]

    tensors: Any = (torch.randn(1, 1, 3, 8),) * 3
    pattern = same(ids=torch.tensor([1, 2**63, 2**64 - 1], dtype=torch.uint64))
    refusal = r"table `ids` of torch.uint64 holds 18446744073709551615.*\n  write entries below 2 \*\* 63; .*`ids.view\(torch.int64\)`"
    calls: tuple[Callable[[], object], ...] = (
        lambda: lacuna.attention(*tensors, pattern=pattern),
        lambda: lacuna.schedule(pattern, 3),
        lambda: lacuna.dense(pattern, 3),
    )
    for call in calls:
        with pytest.raises(OverflowError, match=refusal):
            call()


@pytest.mark.parametrize("offset", [2**62 + 1, -(2**63), 2**70])
def test_offsets_beyond_all_positions_are_refused_by_name(offset: int) -> None:
    tensors: Any = (torch.randn(1, 1, 3, 8),) * 3
    with pytest.raises(OverflowError, match=r"`q_offset` is .*positions are 64-bit integers.\n  write an offset of at most 2 \*\* 62"):
        lacuna.attention(*tensors, pattern=lacuna.patterns.causal(), q_offset=offset)


def test_the_oracle_refuses_what_leaves_64_bits() -> None:
    @lacuna.pattern
    def product(q: Any, k: Any, *, n: Any) -> Any:  # noqa: ANN401
        return (q + n) * (k + n) > 0

    with pytest.raises(OverflowError, match=r"`\(q \+ n\) \* \(k \+ n\)` leaves 64 bits at some pair.\n  write smaller numbers"):
        lacuna.dense(product(n=2**32), 3)
    assert lacuna.dense(product(n=2**31), 3).all()


@pytest.mark.usefixtures("compiled_quickly")
@pytest.mark.parametrize("wide", [False, True], ids=["32 bits", "64 bits"])
def test_kernels_shift_by_more_than_31(wide: bool) -> None:
    """Small numbers too, whose kernel computes in 32 bits: a shift by 40 leaves the sign."""

    @lacuna.pattern
    def moved(q: Any, k: Any, *, t: Any, by: Any) -> Any:  # noqa: ANN401 (patterns are written without types)
        return ((t[q] >> by[k]) & 1) == (((t[k] >> by[q]) << (by[k] % 2)) & 1)

    chance = np.random.default_rng(1)
    numbers: list[int] = [int(each) << (40 if wide else 0) for each in chance.integers(-99, 99, 40)]
    amounts: list[int] = [int(each) for each in chance.integers(0, 64, 40)]
    shown = [
        [((numbers[q] >> amounts[k]) & 1) == (((numbers[k] >> amounts[q]) << (amounts[k] % 2)) & 1) for k in range(40)] for q in range(40)
    ]
    tensors = tuple(torch.randn(1, 1, 40, 8, generator=torch.Generator().manual_seed(part)) for part in range(3))
    pattern = moved(t=torch.tensor(numbers), by=torch.tensor(amounts))
    for backend in ("cpp", "eager"):
        query, key, value = tensors
        out = lacuna.attention(query, key, value, pattern, backend=backend)
        assert isinstance(out, Tensor)
        assert float((out.double() - reference(tensors, np.array(shown))).abs().max()) < 1e-4


@pytest.mark.usefixtures("compiled_quickly")
def test_bounds_of_tables_are_those_of_each_item() -> None:
    """Where offsets differ between items, so do the entries that rows of one tile read."""

    @lacuna.pattern
    def same(q: Any, k: Any, *, ids: Any) -> Any:  # noqa: ANN401
        return ids[q] == ids[k]

    ids = torch.arange(560) // 40
    offsets = torch.tensor([10, 500])
    query, key, value = (torch.randn(2, 1, length, 8, generator=torch.Generator().manual_seed(length)) for length in (20, 560, 561))
    for backend in ("cpp", "eager"):
        out = lacuna.attention(query, key, value[:, :, :560], same(ids=ids), q_offset=offsets, backend=backend)
        assert isinstance(out, Tensor)
        for item, offset in enumerate(offsets.tolist()):
            pairs = (ids[offset : offset + 20, None] == ids[None]).numpy()
            wanted = reference((query[item : item + 1], key[item : item + 1], value[item : item + 1, :, :560]), pairs)
            assert float((out[item : item + 1].double() - wanted).abs().max()) < 1e-4


LENGTHS: dict[str, dict[str, Any]] = {"uniform": {}, "ragged": {"kv_len": torch.tensor([70, 33])}, "moved": {"q_offset": 3}}


@pytest.mark.usefixtures("compiled_quickly")
@pytest.mark.parametrize("lengths", LENGTHS)
def test_a_window_without_an_end_is_causal(lengths: str) -> None:
    """Bounds of its tiles would leave 64 bits, so they are listed: forward, backward and decode, as torch has it without a window."""

    @lacuna.pattern
    def window(q: Any, k: Any, *, wide: Any) -> Any:  # noqa: ANN401 (patterns are written without types)
        return (k <= q) & (q - k < wide)

    given = LENGTHS[lengths]
    stops = given.get("kv_len", torch.tensor([70, 70]))
    offset = given.get("q_offset", 0)
    k = torch.arange(70)
    for rows in (slice(0, 70 - offset), slice(69 - offset, 70 - offset)):
        held = [torch.randn(2, 1, 70, 8, generator=torch.Generator().manual_seed(part)).double() for part in range(3)]
        query, key, value = (tensor.float().requires_grad_() for tensor in (held[0][:, :, rows], *held[1:]))
        at = offset + rows.start
        out = lacuna.attention(query, key, value, window(wide=2**63 - 1), backend="cpp", **{**given, "q_offset": at})
        assert isinstance(out, Tensor)
        seen = (k <= at + torch.arange(query.shape[2])[:, None]) & (k < stops[:, None, None, None])
        exact = [tensor.detach().double().requires_grad_() for tensor in (query, key, value)]
        score = (exact[0] @ exact[1].transpose(-1, -2) / 8**0.5).masked_fill(~seen, -torch.inf)
        wanted = torch.softmax(score, -1) @ exact[2]
        assert float((out - wanted).detach().abs().max()) < 1e-4
        gradients = zip(torch.autograd.grad(out.sum(), (query, key, value)), torch.autograd.grad(wanted.sum(), exact), strict=True)
        assert all(float((ours - theirs).abs().max()) < 1e-4 for ours, theirs in gradients)
