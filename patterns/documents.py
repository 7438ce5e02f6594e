"""Packed documents that do not see each other."""

# Patterns are written without annotations.
# ruff: noqa: ANN001, ANN202
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
from __future__ import annotations

from ..ir.pattern import Pattern, pattern
from ..ir.segments import Segments
from .checks import truth


@pattern
def _same(q, k, *, document):
    return document[q] == document[k]


@pattern
def _same_causal(q, k, *, document):
    return (k <= q) & (document[q] == document[k])


def documents(document: object, *, causal: bool = True) -> Pattern:
    """document[q] == document[k], and k <= q when `causal`.

    document: integer tensor [tokens] of ids in any order, or `lacuna.segments(offsets)` of cumulative lengths: then the ids never
              decrease, and no array of minima is needed.
    Source: packing of documents as in M. Krell et al., Efficient Sequence Packing, 2021.
    """
    if not isinstance(document, Segments) and len(getattr(document, "shape", ())) != 1:
        raise ValueError(
            f"`document` is {document!r:.60}, not one id per token\n  write an integer tensor [tokens], or `lacuna.segments(offsets)`"
        )
    truth(causal=causal)
    return _same_causal(document=document) if causal else _same(document=document)
