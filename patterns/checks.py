"""What a catalogue function says of a parameter that has no meaning in it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeGuard, cast


def at_least(least: int, **named: object) -> None:
    """Raise ValueError unless each named value is an integer of at least `least`. Tensors, known at the call, are not looked at."""
    for name, value in named.items():
        if isinstance(value, bool | float | str | None):
            raise ValueError(f"`{name}` is {value!r}, which is no integer\n  write an integer of at least {least}")
        if isinstance(value, int) and value < least:
            raise ValueError(f"`{name}` is {value}, which has no meaning here\n  write an integer of at least {least}")


def grid_extents(extents: object, most: int = 4) -> tuple[int, ...]:
    """Tokens along each axis, outermost first: a positive integer, or a tuple of one to `most` of them.

    Raises:
        ValueError: it is something else.
    """
    sizes = [size for size in _entries(extents) if _is_integer(size) and size > 0]
    if not 1 <= len(sizes) <= most or len(sizes) != len(_entries(extents)):
        raise ValueError(f"`extents` is {extents!r}\n  write one to {most} positive integers, outermost first, `(rows, columns)`")
    return tuple(sizes)


def per_axis(name: str, value: object, axes: int, least: int = 1) -> tuple[int, ...]:
    """`value` for each of `axes` axes: itself if it is a tuple of that many integers from `least` on, else repeated.

    Raises:
        ValueError: it is no integer of that kind, nor a tuple of as many as there are axes.
    """
    entries = _for_each(value, axes)
    values = [each for each in entries if _is_integer(each)]
    if len(values) != axes or len(entries) != axes:
        raise ValueError(f"`{name}` is {value!r}, on {_counted(axes)}\n  write one integer, or {axes} in a tuple")
    at_least(least, **{name: min(values)})
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


def _is_integer(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
