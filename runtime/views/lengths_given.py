"""Lengths and tile edges as callers of `schedule`, `explain`, `plot` and `dense` give them."""

from __future__ import annotations

import numbers
import operator
from typing import cast

from ...ir.advice import advice
from ...ir.space import Space


def lengths_given(space: Space, q_len: object, kv_len: object, least: int) -> tuple[int, int]:
    """Tokens of queries and of keys: as many as the pattern's space has where nothing is given, as many keys as queries otherwise.

    Raises:
        TypeError: nothing is given, and the space does not know.
        ValueError: one is no integer of at least `least`.
    """
    if q_len is None:
        q_len = space.tokens("q")
        if q_len is None:
            raise TypeError(advice("no number of tokens is given", "it behind the pattern, `lacuna.explain(pattern, 4096)`"))
        kv_len = space.tokens("k") if kv_len is None else kv_len
    rows = count_given("q_len", q_len, least)
    return rows, rows if kv_len is None else count_given("kv_len", kv_len, least)


def count_given(name: str, value: object, least: int = 1) -> int:
    """Python's or numpy's integer as Python's.

    Raises:
        ValueError: it is none, or less than `least`.
    """
    found = operator.index(value) if isinstance(value, numbers.Integral | int) and type(value) is not bool else None
    if found is None or found < least:
        why = "; a schedule has at least one tile" if least else ""
        raise ValueError(f"`{name}` is {value!r:.60}{why}\n  write {'a positive integer' if least else 'an integer of at least 0'}")
    return found


def block_given(block: object) -> tuple[int, int]:
    """Edges of a tile.

    Raises:
        ValueError: they are no pair of positive integers.
    """
    edges = cast("tuple[object, ...]", block if isinstance(block, tuple | list) else (block,))
    if len(edges) != 2:
        edge = block if isinstance(block, int) else 64
        raise ValueError(f"`block` is {block!r:.60}, no pair of edges\n  write tokens of queries and of keys, `({edge}, {edge})`")
    return count_given("block", edges[0]), count_given("block", edges[1])
