"""What a catalogue function says of a parameter that has no meaning in it."""

from __future__ import annotations


def at_least(least: int, **named: object) -> None:
    """Raise ValueError unless each named value is an integer of at least `least`. Tensors, known at the call, are not looked at."""
    for name, value in named.items():
        if isinstance(value, bool | float | str | None):
            raise ValueError(f"`{name}` is {value!r}, which is no integer\n  write an integer of at least {least}")
        if isinstance(value, int) and value < least:
            raise ValueError(f"`{name}` is {value}, which has no meaning here\n  write an integer of at least {least}")
