"""FlexAttention's functions with its signatures: a `mask_mod` and a `score_mod` written for it run here unchanged.

>>> from lacuna.interop.flex import create_block_mask, flex_attention
>>> block_mask = create_block_mask(lambda b, h, q_idx, kv_idx: q_idx >= kv_idx, None, None, 1024, 1024)
>>> out = flex_attention(query, key, value, block_mask=block_mask)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from .. import attention, dense
from ..ir.build import refusal
from ..ir.pattern import Pattern
from ..ir.score import Score
from ..ir.untraced import untraced
from .block_edges import edges_of
from .flex_trace import Function, traced


@dataclass(frozen=True, eq=False)
class BlockMask:
    """What `create_block_mask` returns: the traced mask and its lengths. No mask is ever built from it, unless it is asked for.

    first:      the pattern as `create_block_mask` traced it.
    computes:   whether `mask_mod` computes tensors out of captured ones, `offset + 1`: then it is traced at every use.
    shape:      (B or 1, H or 1, Q_LEN, KV_LEN).
    block_size: tokens of a query and a key block, for `to_dense` and `sparsity`; the compiler chooses its own tiles.
    """

    mask_mod: Function
    first: Pattern
    computes: bool
    shape: tuple[int, int, int, int]
    block_size: tuple[int, int]

    @property
    def pattern(self) -> Pattern:
        """The mask, of what captured tensors hold when it is used."""
        return Pattern.of(*untraced(traced, self.mask_mod, is_score=False)[:2]) if self.computes else self.first

    def to_dense(self) -> Tensor:
        """int32[B, H, query blocks, key blocks]: 1 where a block holds a pair that is attended. Evaluates every pair."""
        return self._blocks.int()

    def sparsity(self) -> float:
        """Percentage of blocks without any attended pair. Evaluates every pair."""
        return 100.0 * (1.0 - self._blocks.float().mean().item()) if self._blocks.numel() else 0.0

    @property
    def _blocks(self) -> Tensor:
        """Of what captured tensors hold now."""
        batch, heads, rows, columns = self.shape
        mask = dense(self.pattern, rows, columns, batch=batch, heads=heads)
        block_q, block_k = self.block_size
        padded = torch.nn.functional.pad(mask, (0, -columns % block_k, 0, -rows % block_q))
        return padded.view(batch, heads, -(-rows // block_q), block_q, -(-columns // block_k), block_k).any(5).any(3)

    def __repr__(self) -> str:
        return f"BlockMask(shape={self.shape}, mask={self.pattern.program.mask})"


def create_block_mask(
    mask_mod: Function,
    B: int | None,  # noqa: N803 (FlexAttention's name, as the next three)
    H: int | None,  # noqa: N803
    Q_LEN: int,  # noqa: N803
    KV_LEN: int,  # noqa: N803
    device: torch.device | str | None = None,
    BLOCK_SIZE: int | tuple[int, int] | list[int] = 128,  # noqa: N803
) -> BlockMask:
    """The mask that `mask_mod(b, h, q_idx, kv_idx)` says, traced once; no pair is evaluated.

    Args:
        mask_mod:   written with operators, torch functions and captured tensors. Numbers that it closes over are part of the program, so
                    that each is compiled anew; a tensor without axes, `torch.tensor(256)`, is a parameter, whose value is read at each
                    call.
        B, H:       batch size and query heads, None for any.
        device:     taken and not needed: captured tensors are where they are.
        BLOCK_SIZE: the blocks of `to_dense` and `sparsity`.

    Raises:
        TypeError, InvalidProgram: `mask_mod` does something that is no expression; the message says what to write.
    """
    if not callable(mask_mod):
        raise refusal(f"`mask_mod` is {mask_mod!r}", "a function of (b, h, q_idx, kv_idx)")
    sizes = edges_of("BLOCK_SIZE", BLOCK_SIZE)
    pattern, computes = _mask(mask_mod)
    return BlockMask(mask_mod, pattern, computes, (B or 1, H or 1, Q_LEN, KV_LEN), sizes)


def and_masks(*mask_mods: Function) -> Function:
    """A `mask_mod` that holds where all of them do; everywhere without any."""
    return _folded("and_masks", mask_mods, True, torch.logical_and)


def or_masks(*mask_mods: Function) -> Function:
    """A `mask_mod` that holds where one of them does; nowhere without any."""
    return _folded("or_masks", mask_mods, False, torch.logical_or)


def _folded(name: str, mask_mods: tuple[Function, ...], start: bool, join: Callable[[Tensor, Tensor], Tensor]) -> Function:
    for each in mask_mods:
        if not callable(each):
            raise refusal(f"`{name}` is given {each!r}", "functions of (b, h, q_idx, kv_idx)")

    def folded(b: Tensor, h: Tensor, q_idx: Tensor, kv_idx: Tensor) -> Tensor:
        result = b.new_full((), start, dtype=torch.bool)
        for each in mask_mods:
            result = join(result, cast(Tensor, each(b, h, q_idx, kv_idx)))
        return result

    folded.__name__ = name
    return folded


def flex_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    score_mod: Function | None = None,
    block_mask: BlockMask | None = None,
    scale: float | None = None,
    enable_gqa: bool = False,
    return_lse: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """`lacuna.attention` with the arguments of torch.nn.attention.flex_attention.

    Args:
        query:      [B, Hq, L, D]; key: [B or 1, Hkv, S, D]; value: [B or 1, Hkv, S, Dv].
        score_mod:  a function of (score, b, h, q_idx, kv_idx); `h` is the query head.
        block_mask: from this module's `create_block_mask`, for the lengths of this call.
        enable_gqa: whether Hq may be a multiple of Hkv.
        return_lse: return the log-sum-exp as well, float32 (float64 for float64) [B, Hq, L].

    Raises:
        TypeError, ValueError, NotImplementedError: as `lacuna.attention` does; a block mask of other lengths, batch size or heads.
    """
    if score_mod is not None and not callable(score_mod):
        raise refusal(f"`score_mod` is {score_mod!r}", "a function of (score, b, h, q_idx, kv_idx)")
    if block_mask is not None:
        _check_block_mask(block_mask, query, key)
    if not enable_gqa and query.ndim == key.ndim == 4 and query.shape[1] != key.shape[1]:
        raise ValueError(f"query has {query.shape[1]} heads, key {key.shape[1]}.\n  write `enable_gqa=True` to share key heads")
    return attention(
        query,
        key,
        value,
        None if block_mask is None else _pattern(block_mask),
        scale=scale,
        score=None if score_mod is None else _score(score_mod, query),
        return_lse=return_lse,
    )


def _mask(mask_mod: Function) -> tuple[Pattern, bool]:
    """A mask as it is traced here, and whether it computes tensors out of captured ones."""
    if torch.compiler.is_dynamo_compiling():
        from .flex_recorded import recorded_mask

        return recorded_mask(mask_mod), False
    made = untraced(traced, mask_mod, is_score=False)
    return Pattern.of(made.program, made.bindings), made.computes


def _score(score_mod: Function, query: Tensor) -> Score:
    real = torch.float64 if query.dtype is torch.float64 else torch.float32
    if torch.compiler.is_dynamo_compiling():
        from .flex_recorded import recorded_score

        return recorded_score(score_mod, real)
    made = untraced(traced, score_mod, is_score=True, real=real)
    return Score.of(made.program, made.bindings)


def _pattern(block_mask: BlockMask) -> Pattern:
    """That of a block mask; inside a compiled region of its function, so that its tensors are inputs of the graph."""
    return _mask(block_mask.mask_mod)[0] if torch.compiler.is_dynamo_compiling() else block_mask.pattern


def _check_block_mask(block_mask: object, query: Tensor, key: Tensor) -> None:
    if not isinstance(block_mask, BlockMask):
        kind = f"{type(block_mask).__module__}.{type(block_mask).__name__}"
        raise refusal(f"`block_mask` is a {kind}", "`lacuna.interop.flex.create_block_mask(mask_mod, B, H, Q_LEN, KV_LEN)`")
    if query.ndim != 4 or key.ndim != 4:
        return  # answered by `attention`
    wanted = (query.shape[0], query.shape[1], query.shape[2], key.shape[2])
    if any(made != have and not (axis < 2 and made == 1) for axis, (made, have) in enumerate(zip(block_mask.shape, wanted, strict=True))):
        raise ValueError(
            f"the block mask is for (B, H, Q_LEN, KV_LEN) = {block_mask.shape}, the call has {wanted}.\n"
            f"  write `create_block_mask(mask_mod, None, None, {wanted[2]}, {wanted[3]})`"
        )
