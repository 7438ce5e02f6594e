"""Edges of a block of tokens as callers give them: one for both sides, or a pair."""

from __future__ import annotations

import numbers
import operator
from typing import cast

from ..ir.build import refusal


def edges_of(name: str, given: object) -> tuple[int, int]:
    """Tokens of queries and of keys.

    Raises:
        TypeError: they are no positive integer and no pair of them.
    """
    edges = tuple(cast("tuple[object, ...]", given)) if isinstance(given, tuple | list) else (given, given)
    sizes = [operator.index(each) for each in edges if isinstance(each, numbers.Integral | int) and type(each) is not bool]
    if len(sizes) != 2 or len(edges) != 2 or min(sizes) < 1:
        raise refusal(f"`{name}` is {given!r:.60}", f"two integers, `{name}=(128, 128)` for tiles of 128 queries and 128 keys")
    return sizes[0], sizes[1]
