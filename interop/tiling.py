"""A pattern at given lengths as other libraries' formats need it: classes of tiles, and maximal runs of visible tokens."""

# torch's and numpy's types are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch

from .. import schedule
from ..ir.build import refusal
from ..ir.expr import Expr, names
from ..ir.pattern import Pattern
from .block_edges import edges_of
from .mask_mod import MaskMod, Values, mask_mod

Array = np.ndarray

EMPTY, PARTIAL, FULL = 0, 1, 2
MOST_PAIRS = 1 << 22  # of partial tiles, evaluated at once


class Runs(NamedTuple):
    """Maximal runs of visible tokens along lines: keys of a row, or rows of a key. In order of line, then of start.

    line, start, stop: int64[runs]; stop is exclusive.
    """

    line: Array
    start: Array
    stop: Array

    def counts(self, lines: int) -> Array:
        """int64[lines]: how many runs each line has."""
        return np.bincount(self.line, minlength=lines)

    def of(self, line: int) -> list[tuple[int, int]]:
        at = self.line == line
        return list(zip(self.start[at].tolist(), self.stop[at].tolist(), strict=True))


@dataclass(frozen=True)
class Tiling:
    """Tiles of a pattern. Only pairs of partial tiles are ever looked at.

    lengths: (q_len, kv_len); block: (rows, keys) of a tile.
    extents: (batch, heads) that masks differ over: 1 where they do not.
    classes: of (b, h), uint8[q_tiles, k_tiles]: 0 empty, 1 partial, 2 full.
    """

    lengths: tuple[int, int]
    block: tuple[int, int]
    extents: tuple[int, int]
    mask: Expr
    values: Values
    classes: Callable[[int, int], Array]

    @cached_property
    def mask_mod(self) -> MaskMod:
        return mask_mod(self.mask, self.values)

    def each(self) -> Iterator[tuple[int, int]]:
        """Every (b, h) with a mask of its own."""
        return ((b, h) for b in range(self.extents[0]) for h in range(self.extents[1]))

    def visible(self, at: tuple[int, int], q: Array, k: Array) -> Array:
        """bool of the broadcast shape of `q` and `k`, int64 positions."""
        b, h = (torch.tensor(each) for each in at)
        found = self.mask_mod(b, h, torch.from_numpy(q), torch.from_numpy(k))
        return np.broadcast_to(found.numpy(), np.broadcast_shapes(q.shape, k.shape))

    def runs(self, at: tuple[int, int] = (0, 0), *, of: str = "q") -> Runs:
        """Runs of keys in each row (`of="q"`), or of rows at each key (`of="k"`), of one (b, h)."""
        side = 0 if of == "q" else 1
        classes = self.classes(*at) if side == 0 else self.classes(*at).T
        found = [part for line in range(len(classes)) for part in self._tile_runs(classes[line], (line, side), at)]
        if not found:
            return Runs(*(np.zeros(0, np.int64) for _ in range(3)))
        return Runs(*(np.concatenate(parts) for parts in zip(*found, strict=True)))

    def _tile_runs(self, classes: Array, tile: tuple[int, int], at: tuple[int, int]) -> Iterator[Runs]:
        """The runs of the lines of one tile: units along it are the tokens of partial tiles, and full tiles as they are."""
        number, side = tile
        length, block = self.lengths[1 - side], self.block[1 - side]
        live = np.flatnonzero(classes)
        if not len(live):
            return
        size = np.minimum((live + 1) * block, length) - live * block
        full = classes[live] == FULL
        counts = np.where(full, 1, size)
        nth = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)
        start = np.repeat(live * block, counts) + nth
        units = _Units(start, start + np.repeat(np.where(full, size, 1), counts), np.repeat(full, counts))
        first, last = number * self.block[side], min((number + 1) * self.block[side], self.lengths[side])
        height = max(1, MOST_PAIRS // len(start))
        for top in range(first, last, height):
            lines = np.arange(top, min(top + height, last))
            yield units.runs(lines, self._lines(units, lines, side, at))

    def _lines(self, units: _Units, lines: Array, side: int, at: tuple[int, int]) -> Array:
        """bool[lines, units]."""
        values = np.ones((len(lines), len(units.start)), bool)
        single = ~units.full
        if single.any():
            mine, other = lines[:, None], units.start[single][None, :]
            values[:, single] = self.visible(at, mine, other) if side == 0 else self.visible(at, other, mine)
        return values


class _Units(NamedTuple):
    """Half-open ranges along a line that are visible or hidden as a whole; `full` are visible on every line."""

    start: Array
    stop: Array
    full: Array

    def runs(self, lines: Array, values: Array) -> Runs:
        gap = np.concatenate([[True], self.start[1:] != self.stop[:-1], [True]])
        hidden = np.zeros((len(lines), 1), bool)
        before, after = np.hstack([hidden, values[:, :-1]]), np.hstack([values[:, 1:], hidden])
        line, first = np.nonzero(values & (gap[:-1] | ~before))
        last = np.nonzero(values & (gap[1:] | ~after))[1]
        return Runs(lines[line], self.start[first], self.stop[last])


def tiling(
    pattern: Pattern | None, lengths: tuple[int, int | None], block: tuple[int, int], extents: tuple[int | None, int | None] = (None, None)
) -> Tiling:
    """The tiles of `pattern` at `lengths` (q_len, kv_len or None for the same), for `extents` (batch size, query heads).

    Raises:
        TypeError: a length or an edge of `block` is no integer.
        ValueError: the mask reads `b` or `h`, and there is no batch size or number of heads.
    """
    q_len, k_len = lengths[0], lengths[0] if lengths[1] is None else lengths[1]
    _require_integers(q_len, k_len)
    edges = edges_of("block", block)
    read = names(pattern.program.mask) if isinstance(pattern, Pattern) and not pattern.unbound else frozenset[str]()
    counted = [_extent(read, extents[axis], *words) for axis, words in enumerate((("b", "batch"), ("h", "heads")))]
    found = schedule(pattern, q_len, k_len, block=edges, batch=counted[0], heads=counted[1])
    launch = found.launch
    values = Values({"q": q_len, "k": k_len, "b": counted[0], "h": counted[1]}, launch.environment(), launch.tables)
    return Tiling((q_len, k_len), edges, (counted[0], counted[1]), found.schedule.program.mask, values, found.tiles)


def _require_integers(q_len: object, k_len: object) -> None:
    for name, value in (("q_len", q_len), ("kv_len", k_len)):
        if not _is_integer(value):
            raise refusal(f"`{name}` is {value!r}", "a number of tokens")


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _extent(read: frozenset[str], given: int | None, name: str, word: str) -> int:
    if name not in read:
        return 1
    if given is None:
        what = "batch item to batch item" if name == "b" else "head to head"
        raise ValueError(f"the mask differs from {what}: it reads `{name}`.\n  write `{word}=...`, how many there are")
    return given


def one_mask(pattern: Pattern | None, what: str) -> None:
    """ValueError where `pattern` differs between heads or batch items, which the format `what` cannot say."""
    read = names(pattern.program.mask) & {"b", "h"} if isinstance(pattern, Pattern) and not pattern.unbound else set[str]()
    if read:
        listed = " and ".join(f"`{name}`" for name in sorted(read))
        raise ValueError(f"{what} hold one mask for all heads and batch items, and this one reads {listed}.\n  write one export for each")
