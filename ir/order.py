"""Token orders: which token of memory has which position in a tiling.

A tile is a run of positions. On a grid, a run of row-major tokens is a strip, and the tokens that a strip sees are many more than those
that a box of as many tokens sees; in a box order, every run of as many positions as a box has tokens is a box of the grid. Where a mask
only joins tokens that are a multiple of `dilation` apart along an axis, a box holds such tokens, and dilated attention is dense in it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from .digits import digits, multiple, quotient, total
from .expr import FALSE, TRUE, ZERO, Binary, Const, Expr, Lookup, Op, Select, Table, conjunction, disjunction


class Residues(NamedTuple):
    """Residue classes of an axis, `first` to `stop`, of `length` tokens each."""

    first: int
    stop: int
    length: int

    def holds(self, residue: Expr, dilation: int) -> Expr:
        """Whether a residue is that of one of these classes."""
        low = TRUE if self.first == 0 else Binary(Op.LE, Const(self.first), residue)
        return conjunction(low, TRUE if self.stop == dilation else Binary(Op.LT, residue, Const(self.stop)))


class Boxes(NamedTuple):
    """Positions count the tokens of one box after the other, boxes and the tokens in them in row-major order.

    Boxes that hang over the grid, and classes with a token less than others, leave positions that no token has.

    extents:  of the grid, outermost first.
    box:      edges of a box in tokens. dilation: from one token of a box to the next, along each axis; boxes of one residue class, along
              all axes, come before those of the next.
    """

    extents: tuple[int, ...]
    box: tuple[int, ...]
    dilation: tuple[int, ...]

    @property
    def tokens(self) -> int:
        """Positions of one box."""
        return math.prod(self.box)

    @property
    def positions(self) -> int:
        """Of all boxes: tokens, and what no token has."""
        return self.classes * math.prod(self.counts) * self.tokens

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens of the longest residue class along each axis."""
        return tuple(-(-extent // apart) for extent, apart in zip(self.extents, self.dilation, strict=True))

    @property
    def counts(self) -> tuple[int, ...]:
        """Boxes of a residue class along each axis; a shorter class has as many."""
        return tuple(-(-length // edge) for length, edge in zip(self.lengths, self.box, strict=True))

    @property
    def classes(self) -> int:
        """Residue classes, along all axes."""
        return math.prod(self.dilation)

    @property
    def fit(self) -> bool:
        """Whether there are such boxes: neither edge nor dilation is longer than it takes to reach every token."""
        sizes = zip(self.extents, self.box, self.dilation, strict=True)
        return all(0 < apart <= extent and 0 < edge < 2 * -(-extent // apart) for extent, edge, apart in sizes)

    def residues(self, axis: int) -> tuple[Residues, ...]:
        """The classes of an axis, those of one length together, the longest first; those without a token are left out."""
        extent, apart = self.extents[axis], self.dilation[axis]
        longer, length = extent % apart, extent // apart
        found = (Residues(0, longer, length + 1), Residues(longer, apart, length))
        return tuple(each for each in found if each.first < each.stop and each.length)

    def valid(self, position: Expr) -> Expr:
        """Whether a token has a position; TRUE where each of them has one."""
        along = zip(*self, self.coordinates(position), strict=True)
        return conjunction(*(Binary(Op.LT, at, Const(extent)) for extent, edge, apart, at in along if extent % (edge * apart)))

    def coordinates(self, position: Expr) -> tuple[Expr, ...]:
        """Where on the grid the token at a position is; past the end of an axis where no token has it."""
        return tuple(total(multiple(a, apart), residue) for (a, residue), apart in zip(self.within(position), self.dilation, strict=True))

    def within(self, position: Expr) -> tuple[tuple[Expr, Expr], ...]:
        """Of the token at a position, along each axis: its place among those of its residue class, and the residue."""
        outer = digits(quotient(position, self.tokens), [*self.dilation, *self.counts])
        inner = digits(position, self.box, whole=False)
        residues, places = outer[: len(self.extents)], outer[len(self.extents) :]
        return tuple(
            (total(multiple(place, edge), rest), residue)
            for place, edge, rest, residue in zip(places, self.box, inner, residues, strict=True)
        )

    def tile(self, number: Expr) -> tuple[tuple[Expr, Expr], ...]:
        """Of a tile, which is a box: its number in its residue class along each axis, and the residue."""
        parts = digits(number, [*self.dilation, *self.counts])
        return tuple(zip(parts[len(self.extents) :], parts[: len(self.extents)], strict=True))

    def token(self, position: Expr) -> Expr:
        """The row-major token at a position that is valid."""
        found: Expr = ZERO
        for extent, coordinate in zip(self.extents, self.coordinates(position), strict=True):
            found = total(multiple(found, extent), coordinate)
        return found

    def __str__(self) -> str:
        apart = "" if set(self.dilation) == {1} else f", {' x '.join(map(str, self.dilation))} apart"
        return " x ".join(map(str, self.box)) + apart


class Parts(NamedTuple):
    """Positions count the tokens of one part of a sequence after the other, those of each part in boxes on its own grid.

    Boxes of all parts have as many tokens, so that no tile holds tokens of two of them; what hangs over a grid is no token.

    boxes: of the parts, in the order of the sequence. A part on a line is taken in runs, boxes of one axis.
    """

    boxes: tuple[Boxes, ...]

    @property
    def tokens(self) -> int:
        """Positions of one box."""
        return self.boxes[0].tokens

    @property
    def positions(self) -> int:
        """Of all boxes of all parts."""
        return sum(each.positions for each in self.boxes)

    @property
    def extents(self) -> tuple[int, ...]:
        """Of the sequence, which is a line."""
        return (sum(math.prod(each.extents) for each in self.boxes),)

    @property
    def fit(self) -> bool:
        """Whether there are such boxes: parts on a line may be shorter than one."""
        whole = (len(each.extents) == 1 == each.dilation[0] or each.fit for each in self.boxes)
        return bool(self.boxes) and {each.tokens for each in self.boxes} == {self.tokens} and all(whole)

    @property
    def placed(self) -> tuple[Placed, ...]:
        """The parts and where they are."""
        found, token, position = list[Placed](), 0, 0
        for at, each in enumerate(self.boxes, start=1):
            found.append(Placed(each, token, position, at == len(self.boxes)))
            token, position = token + math.prod(each.extents), position + each.positions
        return tuple(found)

    def valid(self, position: Expr) -> Expr:
        """Whether a token has a position; TRUE where each of them has one."""
        return conjunction(*(each.valid(position) for each in self.placed))

    def coordinates(self, position: Expr) -> tuple[Expr, ...]:
        """The token: a sequence is a line."""
        return (self.token(position),)

    def token(self, position: Expr) -> Expr:
        """The token at a position that is valid."""
        *before, last = self.placed
        found = _moved(last, position)
        for each in reversed(before):
            found = Select(Binary(Op.LT, position, Const(each.stop)), _moved(each, position), found)
        return found

    def __str__(self) -> str:
        return " beside ".join(map(str, self.boxes))


def _moved(part: Placed, position: Expr) -> Expr:
    return total(part.token(part.local(position)), Const(part.first) if part.first else ZERO)


class Placed(NamedTuple):
    """A part in boxes. first: its first token; start: its first position; last: no part comes after it."""

    boxes: Boxes
    first: int
    start: int
    last: bool

    @property
    def stop(self) -> int:
        """After its last position."""
        return self.start + self.boxes.positions

    @property
    def size(self) -> int:
        """Tokens."""
        return math.prod(self.boxes.extents)

    @property
    def is_line(self) -> bool:
        """Whether positions here are the tokens, one after the other."""
        return self.boxes.dilation == (1,)

    def holds(self, position: Expr) -> Expr:
        """Whether a position is here; the ends of the sequence are not asked for."""
        after = Binary(Op.LE, Const(self.start), position) if self.start else TRUE
        return after if self.last else conjunction(after, Binary(Op.LT, position, Const(self.stop)))

    def local(self, position: Expr) -> Expr:
        """A position here, counted from the first one."""
        return Binary(Op.SUB, position, Const(self.start)) if self.start else position

    def coordinates(self, local: Expr) -> tuple[Expr, ...]:
        """Where on its grid the token is at a position counted from the first one here."""
        return (local,) if self.is_line else self.boxes.coordinates(local)

    def token(self, local: Expr) -> Expr:
        """Which token of the part is there."""
        return local if self.is_line else self.boxes.token(local)

    def is_token(self, local: Expr) -> Expr:
        """Whether one is there."""
        if self.is_line:
            return TRUE if self.size == self.boxes.positions else Binary(Op.LT, local, Const(self.size))
        return self.boxes.valid(local)

    def valid(self, position: Expr) -> Expr:
        """Whether a position of the sequence is elsewhere, or that of a token."""
        here = self.is_token(self.local(position))
        before = Binary(Op.LT, position, Const(self.start)) if self.start else FALSE
        after = FALSE if self.last else Binary(Op.LE, Const(self.stop), position)
        return TRUE if here is TRUE else disjunction(before, after, here)


class Given(NamedTuple):
    """Positions count the tokens of a permutation: a look-up says which token has a position.

    extents: of the grid that the tokens are row-major on, outermost first; one number is a line, none a line of any length.
    table:   i32[positions], the token at each position.
    """

    extents: tuple[int, ...]
    table: Table

    @property
    def positions(self) -> int:
        """As many as there are tokens."""
        return math.prod(self.extents)

    def valid(self, position: Expr) -> Expr:
        """TRUE: every position is that of a token."""
        del position
        return TRUE

    def coordinates(self, position: Expr) -> tuple[Expr, ...]:
        """Where on the grid the token at a position is."""
        return tuple(digits(self.token(position), self.extents))

    def token(self, position: Expr) -> Expr:
        """The row-major token at a position."""
        return Lookup(self.table, (position,))

    def __str__(self) -> str:
        return f"table {self.table.name}"


class Order(NamedTuple):
    """Of queries and of keys."""

    rows: Boxes | Parts | Given
    keys: Boxes | Parts | Given

    @property
    def tables(self) -> tuple[Table, ...]:
        """What the tokens of positions are looked up in."""
        return tuple(dict.fromkeys(side.table for side in self if isinstance(side, Given)))

    def __str__(self) -> str:
        kind = "" if isinstance(self.rows, Given) else "boxes of "
        return f"{kind}{self.rows} queries" + (f" and {self.keys} keys" if self.keys != self.rows else " and keys")
