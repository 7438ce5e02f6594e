"""S2-Attention: per head, local blocks and a stride of blocks that starts elsewhere in each head."""

# Patterns are written without annotations.
# ruff: noqa: ANN001, ANN202
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
from __future__ import annotations

from ..ir.pattern import Pattern, pattern
from .checks import truth, whole, wholes


@pattern
def _local_stride(q, k, h, *, block, local_blocks, vert_stride, step, first, group, dense_from):
    q_block, k_block, head = q // block, k // block, h // group
    column = (k_block + head * step + first) % vert_stride == 0
    return (k <= q) & ((q_block - k_block < local_blocks) | column | (head >= dense_from))


def s2_local_stride(
    heads: int,
    *,
    block: int = 64,
    local_blocks: int = 16,
    vert_stride: int = 8,
    kv_heads: int | None = None,
    step: int | None = None,
    offset: int = 0,
    homo_head: bool = False,
    num_dense_heads: int = 0,
) -> Pattern:
    """k <= q and (qb - kb < local_blocks or (kb + h * step + offset) % vert_stride == 0 or h is one of the last dense heads).

    qb, kb: blocks of `block` tokens. h counts KV heads, as the query heads of a group share their pattern.
    heads:  query heads. kv_heads: KV heads; None means as many.
    step:   blocks between the columns of neighbouring heads; None means max(1, vert_stride // heads), 0 when `homo_head`.
    num_dense_heads: how many of the KV heads, the last ones, see everything before them.
    offset: 0 in the authors' library, 1 in vLLM and Phi-3-small: the two public versions differ by one block.

    Source: X. Lin et al., S2-Attention: Hardware-Aware Context Sharding Among Attention Heads, 2024.
    """
    heads, block, local_blocks, vert_stride = wholes(1, heads=heads, block=block, local_blocks=local_blocks, vert_stride=vert_stride)
    (num_dense_heads,) = wholes(0, num_dense_heads=num_dense_heads)
    truth(homo_head=homo_head)
    shared = heads if kv_heads is None else whole("kv_heads", kv_heads, 1)
    if heads % shared:
        raise ValueError(f"`kv_heads` is {shared}, which does not divide {heads} query heads\n  write a divisor of `heads`")
    if num_dense_heads > shared:
        raise ValueError(f"`num_dense_heads` is {num_dense_heads}, of {shared} KV heads\n  write an integer of at most {shared}")
    stepped = max(1, vert_stride // heads) if step is None else whole("step", step, -(2**31))
    return _local_stride(
        block=block,
        local_blocks=local_blocks,
        vert_stride=vert_stride,
        step=0 if homo_head else stepped,
        first=whole("offset", offset, -(2**31)),
        group=heads // shared,
        dense_from=shared - num_dense_heads,
    )
