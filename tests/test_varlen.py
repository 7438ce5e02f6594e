"""Packed sequences against each sequence by itself, on every backend that runs here."""

# torch's types are partial.
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false, reportCallIssue=false
from __future__ import annotations

import random
from itertools import pairwise
from unittest.mock import Mock

import claimed_gpu
import lacuna
import pytest
import random_problems as problems
import reference
import torch
from lacuna.runtime.calls import prepared_calls
from lacuna.runtime.calls.claimed import claimed
from lacuna.runtime.gpu.recording import Recording
from lacuna.runtime.request import lengths
from torch import Tensor

pytestmark = pytest.mark.usefixtures("compiled_quickly")
PREFIX = torch.tensor([0, 9, 3, 40, 2])
BACKENDS = pytest.mark.parametrize("backend", ["eager", "cpp"])


def bounds(lengths: list[int]) -> Tensor:
    return torch.tensor([0, *lengths]).cumsum(0).int()


def mask_of(name: str, q: Tensor, k: Tensor, item: int) -> Tensor:
    """The mask of one sequence, by hand."""
    if name == "sliding":
        return (k <= q) & (q - k < 7)
    return (k < PREFIX[item]) | (k <= q) if name == "per_item" else k <= q


@BACKENDS
@pytest.mark.parametrize("name", ["causal", "sliding", "per_item"])
@pytest.mark.parametrize("q_offset", [0, 2, "end", torch.tensor([4, 0, 9, 1, 0])], ids=str)
def test_each_sequence_gets_what_it_would_get_alone(backend: str, name: str, q_offset: int | str | Tensor) -> None:
    rng = random.Random(name)
    q_lens, k_lens = ([rng.choice((0, 1, 5, 70, 33)) for _ in range(5)] for _ in range(2))
    query = torch.randn(sum(q_lens), 4, 20)
    key, value = torch.randn(sum(k_lens), 2, 20), torch.randn(sum(k_lens), 2, 12)
    pattern = {"causal": problems.causal, "sliding": problems.sliding(window=7), "per_item": problems.per_item(prefix=PREFIX)}[name]
    cu_q, cu_k = bounds(q_lens), bounds(k_lens)
    out, lse = lacuna.varlen_attention(
        query, key, value, pattern, cu_seqlens_q=cu_q, cu_seqlens_k=cu_k, q_offset=q_offset, return_lse=True, backend=backend
    )
    for item, (rows, keys) in enumerate(zip(pairwise(cu_q.tolist()), pairwise(cu_k.tolist()), strict=True)):
        parts = [tensor[slice(*span)].transpose(0, 1)[None] for tensor, span in ((query, rows), (key, keys), (value, keys))]
        q_len, k_len = parts[0].shape[2], parts[1].shape[2]
        first = k_len - q_len if isinstance(q_offset, str) else int(torch.as_tensor(q_offset).expand(5)[item])
        mask = mask_of(name, torch.arange(q_len)[:, None] + first, torch.arange(k_len), item)
        exact_out, exact_lse = reference.attention(*parts, mask)
        reference.assert_close(out[slice(*rows)].transpose(0, 1)[None], exact_out, 1e-5)
        reference.assert_close(lse[:, slice(*rows)][None], exact_lse, 1e-5)


@BACKENDS
def test_what_lies_in_other_sequences_does_not_matter(backend: str) -> None:
    lengths = bounds([30, 40, 10])
    tensors = [torch.randn(80, 2, 16) for _ in range(3)]
    spoiled = [tensor.clone() for tensor in tensors]
    for tensor in spoiled:
        tensor[:30], tensor[70:] = torch.nan, torch.nan
    one, other = (lacuna.varlen_attention(*given, None, cu_seqlens_q=lengths, backend=backend) for given in (tensors, spoiled))
    assert isinstance(one, Tensor)
    assert isinstance(other, Tensor)
    assert torch.equal(one[30:70], other[30:70])


# -- the longest sequence ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["eager", "cpp", "triton"])
def test_the_longest_sequence_may_be_said_and_is_checked(backend: str) -> None:
    packed, cu = torch.randn(30, 2, 16), bounds([11, 0, 19])

    def call(**most: object) -> Tensor:
        return lacuna.varlen_attention(packed, packed, packed, problems.causal, cu_seqlens_q=cu, backend=backend, **most)  # pyright: ignore[reportArgumentType, reportReturnType]

    plain = call()
    assert torch.equal(call(max_seqlen_q=19), plain)
    assert torch.equal(call(max_seqlen_q=30, cu_seqlens_k=cu, max_seqlen_k=1000), plain)
    assert torch.equal(call(max_seqlen_q=cu.diff().max()), plain)  # as callers of FlashAttention have it
    with pytest.raises(ValueError, match="`max_seqlen_q` is 18, and a sequence has 19 tokens"):
        call(max_seqlen_q=torch.tensor(18))
    with pytest.raises(ValueError, match=r"`max_seqlen_q` is 18, and a sequence has 19 tokens\.\n  write `max_seqlen_q=19`"):
        call(max_seqlen_q=18)
    with pytest.raises(ValueError, match="`max_seqlen_k` is 3, and a sequence has 19 tokens"):
        call(max_seqlen_q=19, max_seqlen_k=3)
    with pytest.raises(ValueError, match="`max_seqlen_k` is -1, and lengths are not negative"):
        call(max_seqlen_k=-1)
    with pytest.raises(TypeError, match=r"`max_seqlen_q` is 4\.0, a float\.\n  write an integer, which the host knows"):
        call(max_seqlen_q=4.0)


@pytest.mark.parametrize("most", [None, 19, 12])
def test_a_capture_starts_as_many_programs_as_the_longest_sequence_needs(most: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies past a length that was said is cut off, and no other sequence is touched."""
    packed, cu = torch.randn(200, 1, 16), bounds([11, 170, 19]) if most == 12 else bounds([11, 0, 19])
    with claimed_gpu.uncompiled(), claimed("sm_90", claimed_gpu.Simulated()) as driver:
        for module in (lengths, prepared_calls):
            monkeypatch.setattr(module, "capturing", Mock(return_value=True))
        with torch.no_grad():
            out = lacuna.varlen_attention(packed, packed, packed, problems.causal, cu_seqlens_q=cu, max_seqlen_q=most, backend="triton")
        assert isinstance(out, Tensor)
    (launched,) = driver.launches
    room = 200 if most is None else most
    assert launched.arguments["q_len"] == launched.arguments["k_len"] == room
    assert (launched.programs == 3) == (most is not None)
    for first, length in ((0, 11), (11, 12)) if most == 12 else ((0, 11), (11, 19)):
        rows = slice(first, first + length)
        part = packed[rows].transpose(0, 1)[None]
        exact, _ = reference.attention(part, part, part, torch.ones(length, length, dtype=torch.bool).tril())
        reference.assert_close(out[rows].transpose(0, 1)[None], exact, 1e-5)


def test_a_call_before_a_capture_takes_the_kernel_of_the_capture(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as both say the longest sequence: by it kernels are chosen, and none can be loaded while a graph is captured."""
    packed, cu = torch.randn(200, 1, 16), bounds([50, 150])
    with claimed_gpu.uncompiled(), claimed("sm_90", Recording()) as driver, torch.no_grad():
        for captured in (False, True):
            for module in (lengths, prepared_calls):
                monkeypatch.setattr(module, "capturing", Mock(return_value=captured))
            lacuna.varlen_attention(packed, packed, packed, problems.causal, cu_seqlens_q=cu, max_seqlen_q=190, backend="triton")
    before, after = driver.launches
    assert before.layout == after.layout
    assert before.programs == after.programs
    assert before.arguments["q_len"] == after.arguments["q_len"] == 190
