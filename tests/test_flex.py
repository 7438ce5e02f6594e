"""`lacuna.interop.flex` beside FlexAttention eager, on attention-gym's masks and scores."""

# FlexAttention's functions are written without types, and so are these:
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false, reportUnknownParameterType=false, reportMissingParameterType=false

from __future__ import annotations

import warnings

import pytest
import torch
from flex_mods import BATCH, BIAS, HEADS, MASKS, MORE_MASKS, SCORES, L, Mod, added, tensors
from lacuna import dense
from lacuna.interop import flex
from torch import Tensor
from torch.nn.attention import flex_attention as torch_flex

pytestmark = pytest.mark.usefixtures("compiled_quickly")


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


@pytest.mark.parametrize("name", MORE_MASKS)
def test_a_mask_hides_the_pairs_that_flex_attention_hides(name: str) -> None:
    mask = MORE_MASKS[name]
    found = dense(flex.create_block_mask(mask, BATCH, HEADS, L, L).pattern, L, batch=BATCH, heads=HEADS)
    assert torch.equal(found, torch_flex.create_mask(mask, BATCH, HEADS, L, L, device="cpu"))


@pytest.mark.parametrize("name", SCORES)
def test_a_score_agrees_with_flex_attention(name: str) -> None:
    both(score=SCORES[name])


def test_masks_and_scores_go_together() -> None:
    both(MASKS["documents"], SCORES["ALiBi"], scale=0.3)


def test_query_heads_share_key_heads() -> None:
    both(MASKS["sliding window"], SCORES["ALiBi"], heads=4)


def test_the_output_comes_alone_unless_the_log_sum_exp_is_wanted() -> None:
    query, key, value = tensors()
    out = flex.flex_attention(query, key, value)
    assert isinstance(out, Tensor)
    torch.testing.assert_close(out, torch.nn.functional.scaled_dot_product_attention(query, key, value), rtol=1e-4, atol=2e-5)


def test_lengths_and_dimensions_may_differ() -> None:
    query, key, value = tensors()
    compared(query[:, :, :33], key, value[..., :9], lambda b, h, q_idx, kv_idx: kv_idx - q_idx <= L - 33)


def test_a_row_that_sees_nothing_is_zero() -> None:
    both(lambda b, h, q_idx, kv_idx: (q_idx > kv_idx + 3) & torch.ones_like(q_idx, dtype=torch.bool))


def test_gradients_flow_to_operands_and_captured_tensors() -> None:
    """FlexAttention has none on CPUs: the definition is written out."""
    query, key, value = (each.double().requires_grad_() for each in tensors())
    bias = BIAS.double().requires_grad_()
    block_mask = flex.create_block_mask(MASKS["causal"], None, None, L, L)
    out = flex.flex_attention(query, key, value, added(bias, "b", "h", "q", "k"), block_mask)
    assert isinstance(out, Tensor)
    scores = query @ key.mT / query.shape[3] ** 0.5 + bias
    hidden = torch.ones(L, L, dtype=torch.bool).triu(1)
    wanted = torch.softmax(scores.masked_fill(hidden, float("-inf")), dim=-1) @ value
    leaves = (query, key, value, bias)
    for have, want in zip(torch.autograd.grad(out.sum(), leaves), torch.autograd.grad(wanted.sum(), leaves), strict=True):
        torch.testing.assert_close(have, want)
