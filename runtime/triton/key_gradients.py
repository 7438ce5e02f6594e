"""Room for gradients of keys and values where several launches have rows of the same keys: one sum for each, added up at the end.

A launch writes the gradients of its keys, so that the same call gives the same bits; it cannot add to what another one wrote.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Room = tuple[Tensor, Tensor, Tensor]
"""For gradients of query, key and value: dtypes and shapes of the request's tensors, those of key and value with an axis of places first
where there are several."""


def with_places(room: Room, count: int) -> Room:
    """The room with a sum for each of so many places; itself where there is one."""
    query, key, value = room
    return room if count == 1 else (query, _places(key, count), _places(value, count))


def at_place(whole: Tensor, query: Tensor, place: int) -> Tensor:
    """Of key or value in a room, the sum of one place. query: of the same room."""
    return whole if whole.dim() == query.dim() else whole[place]


def without_places(room: Room, likes: Sequence[Tensor]) -> Room:
    """The gradients that `with_places` made room for. likes: shaped and laid out as those of key and value."""
    query, key, value = room
    return room if key.dim() == query.dim() else (query, _added(key, likes[0]), _added(value, likes[1]))


def _places(like: Tensor, count: int) -> Tensor:
    """[count, ...] of what is shaped as `like`, zero, each laid out like it."""
    one = torch.empty_like(like)
    room = one.new_zeros((count, one.numel()))
    return room.as_strided((count, *one.shape), (one.numel(), *one.stride()))


def _added(room: Tensor, like: Tensor) -> Tensor:
    return torch.sum(room, 0, out=torch.empty_like(like))
