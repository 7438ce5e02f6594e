"""One sequence made of parts with names, such as text and a video, each part on a grid of its own.

>>> from lacuna.ir.given_grid import grid
>>> whole = sequence(text=226, video=grid(30, 48, 80))
>>> whole.tokens, whole["video"].start
(115426, 226)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .build import refusal
from .given_grid import as_grid
from .grid import Grid
from .stretch import Stretch


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a sequence: what `pattern.on(whole["video"])` takes. Outside it nothing is attended.

    total: tokens of the sequence.
    """

    name: str
    stretch: Stretch
    total: int

    @property
    def grid(self) -> Grid:
        return self.stretch.grid

    @property
    def start(self) -> int:
        return self.stretch.start

    @property
    def tokens(self) -> int:
        return self.stretch.size or 0

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
        return self.parts[0].total

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


def sequence(**parts: int | Grid | tuple[int, ...]) -> SequenceOfParts:
    """The parts of one sequence, in their order: each a number of tokens, or the grid that its tokens are on, row-major.

    `lacuna.segments` is another thing: several sequences, packed one after another into a tensor.

    Raises:
        ValueError: there are none, or one has no tokens or extents that are known at a call only.
        TypeError: a part is something else.
    """
    if not parts:
        raise ValueError("a sequence without parts\n  write `lacuna.sequence(text=226, video=lacuna.grid(30, 48, 80))`")
    for name, value in parts.items():
        if value is None:  # pyright: ignore[reportUnnecessaryComparison] (not every caller is typed)
            what = f"the part `{name}` is None, and where the next one starts is not known"
            raise refusal(what, "how many tokens it has at most; `kv_len=`, or a table in its rule, says how many count")
    grids = {name: as_grid(value) for name, value in parts.items()}
    sizes = {name: each.tokens for name, each in grids.items()}
    for name, size in sizes.items():
        if size is None:
            raise ValueError(f"the part `{name}` is on {grids[name]}, and where the next one starts is not known\n  write numbers")
    total, start, found = sum(size or 0 for size in sizes.values()), 0, list[Part]()
    for name, each in grids.items():
        stretch = Stretch(each, start, start + (sizes[name] or 0) == total)
        found.append(Part(name, stretch, total))
        start += sizes[name] or 0
    return SequenceOfParts(tuple(found))
