"""What a catalogue function says of a parameter that has no meaning in it."""

from __future__ import annotations


def at_least(least: int, **named: object) -> None:
    """Raise ValueError unless each named integer is at least `least`. What is no integer, such as a tensor, is not looked at."""
    for name, value in named.items():
        if isinstance(value, int) and value < least:
            raise ValueError(f"`{name}` is {value}, which has no meaning here\n  write an integer of at least {least}")
