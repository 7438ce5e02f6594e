"""Orders of tokens per query head, and the views of heads that share one.

A kernel takes the tokens of all its heads in one order, so heads that share an order become a launch of their own on a slice of the
heads: a strided view, nothing copied. Query heads that share a key head may be in different launches.
"""

from __future__ import annotations

import functools
from collections.abc import Hashable
from typing import NamedTuple

from .order import Order


class HeadOrders(NamedTuple):
    """An order for each query head.

    of_head: which of `orders` a head has.   orders: each once; None leaves it to kernels.
    """

    of_head: tuple[int, ...]
    orders: tuple[Order | None, ...]


class HeadView(NamedTuple):
    """Heads that one launch takes: query head `n` of the slice has key head `n // group` of the other.

    place: how many views before this one have a key head of it; sums over keys of equal places never meet.
    """

    heads: range
    kv_heads: range
    place: int = 0


@functools.lru_cache(maxsize=256)
def head_views(of_head: tuple[Hashable, ...], kv_heads: int) -> tuple[HeadView, ...]:
    """Views that hold every query head once, in a fixed order; as few as taking the longest of the first head that is left finds.

    of_head: what the heads of a view have in common, of each query head.   kv_heads: divides the number of query heads.
    """
    group = len(of_head) // kv_heads
    found: list[HeadView] = []
    for common in dict.fromkeys(of_head):
        left = [head for head, own in enumerate(of_head) if own == common]
        while left:
            view = _longest(left, group)
            before = {other.place for other in found if set(other.kv_heads) & set(view.kv_heads)}
            found.append(view._replace(place=next(place for place in range(len(found) + 1) if place not in before)))
            left = [head for head in left if head not in view.heads]
    return tuple(found)


def _longest(left: list[int], group: int) -> HeadView:
    """The longest view of the first of some heads and others of them, evenly apart; of equal ones that of the smallest step."""
    found = [_view(left[:1], group)]
    for second in left[1:]:
        step, alike = second - left[0], list[int]()
        for head in range(left[0], left[-1] + 1, step):
            if head not in left:
                break
            alike.append(head)
        found += [_view(alike[:count], group) for count in range(2, len(alike) + 1)]
    return max((view for view in found if view is not None), key=lambda view: len(view.heads))


def _view(heads: list[int], group: int) -> HeadView | None:
    """These heads as one view; None where they or their key heads are not evenly apart, or share them unevenly."""
    own = _evenly([*heads])
    shared = _evenly(list(dict.fromkeys(head // group for head in heads)))
    if own is None or shared is None or len(own) % len(shared):
        return None
    together = len(own) // len(shared)
    alike = all(head // group == shared[place // together] for place, head in enumerate(own))
    return HeadView(own, shared) if alike else None


def _evenly(numbers: list[int]) -> range | None:
    """Rising numbers as a range, where they are one."""
    step = numbers[1] - numbers[0] if len(numbers) > 1 else 1
    found = range(numbers[0], numbers[-1] + 1, step)
    return found if list(found) == numbers else None
