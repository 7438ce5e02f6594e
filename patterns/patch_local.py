"""Transformer in Transformer: the words of a patch see each other."""

from __future__ import annotations

from ..ir.pattern import Pattern
from .blocks import block_local
from .per_item import PerItem, spans


def patch_local(words: PerItem) -> Pattern:
    """q // words == k // words, on a sequence of patches of `words` tokens each. The outer attention, between patches, is dense.

    Source: K. Han et al., Transformer in Transformer, 2021.
    """
    spans(1, words=words)
    return block_local(words)
