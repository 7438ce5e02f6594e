"""Block Transformer: the token decoder sees its own block up to itself, and tokens that sum up the blocks before."""

# Patterns are written without annotations.
# ruff: noqa: ANN001, ANN202
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
from __future__ import annotations

from ..ir.pattern import Pattern, pattern
from .blocks import chunked
from .checks import wholes
from .segmented import segmented


@pattern
def _own_prefix(q, k, *, block, prefix):
    return q // block == k // prefix


def block_local_prefix(length: int, block: int, prefix: int) -> Pattern:
    """q // B == k // B and k <= q among tokens; of the prefixes, the m tokens of the query's own block.

    length: tokens, which are the queries. block: B. prefix: m, keys in front for each block: keys [m * ceil(length / B) | length].
    Trap: the prefix of block b sums up the blocks *before* b; made of b itself it would leak the future. The block decoder is `causal`
    on the blocks' embeddings. Source: N. Ho et al., Block Transformer: Global-to-Local Language Modeling for Fast Inference, 2024.
    """
    length, block = wholes(1, length=length, block=block)
    (prefix,) = wholes(0, prefix=prefix)
    segments = {"prefixes": prefix * -(-length // block), "tokens": length}
    rules: dict[tuple[str, str], Pattern | bool] = {("tokens", "tokens"): chunked(block)}
    if prefix:
        rules["tokens", "prefixes"] = _own_prefix(block=block, prefix=prefix)
    return segmented(segments, rules, queries=("tokens",))
