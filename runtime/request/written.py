"""Recipes as tuples of what `torch.compile` knows for constants: one that is made inside a compiled region is no object yet."""

from __future__ import annotations

import dataclasses
import operator
from typing import Any, cast

from ...ir.binding import Unbound
from ...ir.recipe import FromFunction, Given
from ...ir.trace import Traced

Written = tuple[Any, ...]
"""("kept", number), ("made", class, fields), ("all", entries) or ("is", constant)."""


def written(value: object, kept: list[object]) -> Written:
    """`value` in Python that `torch.compile` traces through. kept: what is there already, and guarded by identity; added to."""
    if isinstance(value, FromFunction | Given | Traced | Unbound):
        kept.append(value)
        return "kept", len(kept) - 1
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value) if field.init]
        return "made", type(value), tuple([written(getattr(value, name), kept) for name in names])
    if isinstance(value, tuple):
        return "all", tuple([written(each, kept) for each in cast("tuple[object, ...]", value)])
    if isinstance(value, int) and not isinstance(value, bool):
        return "is", operator.index(value)  # which is one number in a graph, and guarded, where another may come at another call
    return "is", value


def read(note: Written, kept: tuple[object, ...]) -> object:
    """What was written, made anew."""
    kind, *rest = note
    match kind:
        case "kept":
            return kept[rest[0]]
        case "made":
            return rest[0](*[read(each, kept) for each in rest[1]])
        case "all":
            return tuple([read(each, kept) for each in rest[0]])
        case _:
            return rest[0]
