"""What a catalogue function says of a parameter that has no meaning in it."""

from __future__ import annotations

import numbers
import operator
from collections.abc import Iterable
from typing import cast

from ..ir.grid import Grid
from ..ir.trace import is_tensor

MOST = 2**31 - 1
"""Of numbers that are part of a program's text, so that sums and products of two of them fit 64 bits."""


def at_least(least: int, **named: object) -> None:
    """Raise ValueError unless each named value is an integer of at least `least`, known now: no tensor."""
    for name, value in named.items():
        whole(name, value, least)


def whole(name: str, value: object, least: int, most: int = MOST) -> int:
    """An integer from `least` to `most` as Python's own.

    Raises:
        ValueError: it is no integer, or another one.
    """
    found = _integer(value)
    if found is None and is_tensor(value):
        raise ValueError(f"`{name}` is a tensor, and it is one number for the whole call\n  write an integer, `int({name})`")
    if found is None:
        raise ValueError(f"`{name}` is {value!r:.60}, which is no integer\n  write an integer of at least {least}")
    if found < least:
        raise ValueError(f"`{name}` is {found}, which has no meaning here\n  write an integer of at least {least}")
    if found > most:
        raise ValueError(f"`{name}` has {found.bit_length()} bits\n  write an integer of at most {most}")
    return found


def wholes(least: int, **named: object) -> tuple[int, ...]:
    """`whole` of each, in their order."""
    return tuple(whole(name, value, least) for name, value in named.items())


def truth(**named: object) -> None:
    """Raise ValueError unless each named value is True or False."""
    for name, value in named.items():
        if not isinstance(value, bool):
            raise ValueError(f"`{name}` is {value!r:.60}, which is no truth value\n  write True or False")


def grid_extents(extents: object, most: int = 4, name: str = "extents") -> tuple[int, ...]:
    """Tokens along each axis, outermost first: a positive integer, a tuple of one to `most` of them, or a `lacuna.grid` of numbers.

    Raises:
        ValueError: it is something else.
    """
    sizes = open_extents(extents, most, name)
    known = [size for size in sizes if size is not None]
    if len(known) != len(sizes):
        raise ValueError(f"`{name}` is {extents}, and these windows need every extent\n  write numbers, `(rows, columns)`")
    return tuple(known)


def open_extents(extents: object, most: int = 4, name: str = "extents") -> tuple[int | None, ...]:
    """`grid_extents`, with None for an extent of a `lacuna.grid` that only a call tells."""
    grid = extents.extents if isinstance(extents, Grid) else ()
    entries = grid or _entries(extents)
    sizes = [None if each is None or isinstance(each, str) else _integer(each) for each in entries]
    told = [isinstance(extents, Grid) if size is None else 0 < size <= MOST for size in sizes]
    if not 1 <= len(sizes) <= most or not all(told):
        raise ValueError(f"`{name}` is {extents!r}\n  write one to {most} positive integers, outermost first, `(rows, columns)`")
    return tuple(sizes)


def plane(name: str, extents: object) -> tuple[int, int]:
    """Rows and columns.

    Raises:
        ValueError: they are something else.
    """
    sizes = grid_extents(extents, 2, name)
    if len(sizes) != 2:
        raise ValueError(f"`{name}` is {extents!r}\n  write `(rows, columns)` of the image")
    return sizes[0], sizes[1]


def per_axis(name: str, value: object, axes: int, least: int = 1) -> tuple[int, ...]:
    """`value` for each of `axes` axes: itself if it is a tuple of that many integers from `least` on, else repeated.

    Raises:
        ValueError: it is no integer of that kind, nor a tuple of as many as there are axes.
    """
    entries = _for_each(value, axes)
    found = [_integer(each) for each in entries]  # in two steps: torch.compile cannot follow `:=` in a comprehension
    values = [number for number in found if number is not None]
    if len(values) != axes or len(entries) != axes:
        raise ValueError(f"`{name}` is {value!r}, on {_counted(axes)}\n  write one integer, or {axes} in a tuple")
    at_least(least, **{name: min(values)})
    whole(name, max(values), least)
    return tuple(values)


def truth_per_axis(name: str, value: object, axes: int) -> tuple[bool, ...]:
    """`per_axis` of truth values."""
    entries = _for_each(value, axes)
    values = [each for each in entries if isinstance(each, bool)]
    if len(values) != axes or len(entries) != axes:
        raise ValueError(f"`{name}` is {value!r}, on {_counted(axes)}\n  write one truth value, or {axes} in a tuple")
    return tuple(values)


def _for_each(value: object, axes: int) -> tuple[object, ...]:
    return _entries(value) * (1 if isinstance(value, tuple | list) else axes)


def _entries(value: object) -> tuple[object, ...]:
    return tuple(cast(Iterable[object], value)) if isinstance(value, tuple | list) else (value,)


def _counted(axes: int) -> str:
    return "1 axis" if axes == 1 else f"{axes} axes"


def _integer(value: object) -> int | None:
    """Python's or numpy's integer; None for anything else, truth values and tensors too."""
    if isinstance(value, int):
        return None if isinstance(value, bool) else value
    if is_tensor(value) and not isinstance(value, numbers.Integral):
        return None
    return operator.index(value) if isinstance(value, numbers.Integral) else None
