"""Packed sequences against each sequence by itself, on every backend that runs here."""

# torch's types are partial.
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false, reportCallIssue=false
from __future__ import annotations

import random
from itertools import pairwise

import lacuna
import pytest
import random_problems as problems
import reference
import torch
from torch import Tensor

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
