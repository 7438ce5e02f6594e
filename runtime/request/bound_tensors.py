"""The tensor of a table from what is bound to it, at every call: what is made of other tensors is made anew where these changed."""

from __future__ import annotations

import weakref
from collections.abc import Hashable
from typing import Any, cast

import torch
from torch import Tensor

from ...ir.derived import Derived
from ...ir.segments import Segments
from ..tensors.tensor_states import states_of

_made: weakref.WeakKeyDictionary[Derived, tuple[Hashable, Tensor]] = weakref.WeakKeyDictionary()


def tensor_of(value: Any) -> Tensor:  # noqa: ANN401  (whatever a user bound)
    """What is bound: a tensor itself, an array of numpy in its own memory, of segments their offsets."""
    given = value.offsets if isinstance(value, Segments) else value
    if isinstance(given, Tensor):
        return given
    return _current(given) if isinstance(given, Derived) else torch.as_tensor(given)


def _current(given: Derived) -> Tensor:
    """A table as its sources have it. A new tensor where they changed: an earlier forward pass may still need its own."""
    sources = cast("tuple[Tensor, ...]", given.sources)
    if torch.compiler.is_compiling():
        return cast(Tensor, given.make(*sources))
    states = states_of(sources)
    known = _made.get(given)
    if known is not None and states is not None and known[0] == states:
        return known[1]
    made = cast(Tensor, given.make(*sources))
    if states is not None and states == states_of(sources):
        _made[given] = states, made
    return made
