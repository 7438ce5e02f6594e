"""One sequence made of parts with names, such as text and a video, each part on a grid of its own.

>>> from lacuna.ir.given_grid import grid
>>> whole = sequence(text=226, video=grid(30, 48, 80))
>>> whole.tokens, whole["video"].start
(115426, 226)

One part may have as many tokens as the keys of a call leave it; parts behind it are counted from the end.

>>> print(sequence(text=None, video=grid(30, 48, 80)))
text of ?, video of 30 x 48 x 80
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .advice import advice
from .given_grid import as_grid
from .grid import Grid
from .stretch import Stretch


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a sequence: what `pattern.on(whole["video"])` takes. Outside it nothing is attended.

    total: tokens of the sequence; None where only a call knows.

    Raises:
        ValueError: `start`, `tokens` or `slice` is asked for where only a call knows it.
    """

    name: str
    stretch: Stretch
    total: int | None

    @property
    def grid(self) -> Grid:
        return self.stretch.grid

    @property
    def start(self) -> int:
        return _known(self.stretch.start, f"where the part `{self.name}` starts")

    @property
    def tokens(self) -> int:
        return _known(self.stretch.size, f"how many tokens the part `{self.name}` has")

    @property
    def slice(self) -> slice:
        """Of the tokens of the sequence, for indexing tensors."""
        return slice(self.start, self.start + self.tokens)

    def __str__(self) -> str:
        return f"{self.name} of {self.grid}"


@dataclass(frozen=True)
class SequenceOfParts(Mapping[str, Part]):
    """Parts by name, in their order, one after another."""

    parts: tuple[Part, ...]

    @property
    def tokens(self) -> int:
        """Raises ValueError where only a call knows how many there are."""
        return _known(self.parts[0].total, f"how many tokens the sequence of {self} has")

    def __getitem__(self, name: str) -> Part:
        found = next((part for part in self.parts if part.name == name), None)
        if found is None:
            raise KeyError(f"a sequence of {', '.join(self)} has no part `{name}`")
        return found

    def __iter__(self) -> Iterator[str]:
        return (part.name for part in self.parts)

    def __len__(self) -> int:
        return len(self.parts)

    def __str__(self) -> str:
        return ", ".join(str(part) for part in self.parts)


def _known(number: int | None, what: str) -> int:
    if number is None:
        raise ValueError(advice(f"{what} is known only at a call", "a number of tokens for every part of `lacuna.sequence`"))
    return number


def sequence(**parts: int | Grid | tuple[int, ...] | None) -> SequenceOfParts:
    """The parts of one sequence, in their order: each a number of tokens, or the grid that its tokens are on, row-major.

    None, for at most one part, is as many tokens as the others leave of the keys of a call, or of those that count of a batch item: one
    kernel then serves every text beside a video. What comes after it is counted from the end of the keys, so that of a shorter sequence
    the first tokens of the last parts are missing; rows behind the last key are tokens of no part. Tiles are those of row-major tokens.

    `lacuna.segments` is another thing: several sequences, packed one after another into a tensor.

    Raises:
        ValueError: there are none, one has no tokens or extents that are known at a call only, or two are None.
        TypeError: a part is something else.
    """
    if not parts:
        raise ValueError("a sequence without parts\n  write `lacuna.sequence(text=226, video=lacuna.grid(30, 48, 80))`")
    grids = {name: Grid((None,)) if value is None else as_grid(value) for name, value in parts.items()}
    unknown = [name for name, value in parts.items() if value is None]
    if len(unknown) > 1:
        raise ValueError(advice(f"the parts `{unknown[0]}` and `{unknown[1]}` are both None", "how many tokens one of them has"))
    for name, each in grids.items():
        if each.tokens is None and name not in unknown:
            raise ValueError(f"the part `{name}` is on {each}, and where the next one starts is not known\n  write numbers")
    total = None if unknown else sum(each.tokens or 0 for each in grids.values())
    return SequenceOfParts(tuple(Part(name, stretch, total) for name, stretch in _one_after_another(grids)))


def _one_after_another(grids: Mapping[str, Grid]) -> Iterator[tuple[str, Stretch]]:
    before, behind, is_open = 0, sum(each.tokens or 0 for each in grids.values()), False
    for number, (name, each) in enumerate(grids.items(), 1):
        behind -= each.tokens or 0
        is_open = is_open or each.tokens is None
        yield name, Stretch(each, before, number == len(grids), behind if is_open else None)
        before += each.tokens or 0
