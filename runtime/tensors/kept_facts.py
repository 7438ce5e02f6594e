"""What was found out about tables, by what it depends on: the states of the tables, see `tensor_states`, are part of that."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TypeVar, cast

REMEMBERED = 1024
Fact = TypeVar("Fact")
_kept: OrderedDict[Hashable, object] = OrderedDict()


def kept(known: Hashable, find: Callable[[], Fact]) -> Fact:
    """What `find` gives, asked once while `known` is the same."""
    if known not in _kept:
        _kept[known] = find()
        while len(_kept) > REMEMBERED:
            _kept.popitem(last=False)
    return cast(Fact, _kept[known])


def forget_facts() -> None:
    """Find everything anew, as a new process would."""
    _kept.clear()
