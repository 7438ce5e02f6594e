"""The two loops of a Triton kernel: over full tiles and over partial ones.

Two bodies whatever the number of pieces: pieces of a kind share one counter that is mapped to the key tile `j`. Where some tile is met only
on a condition, the conditions of SURVEYED tiles at a time are looked at before the loop, and the loop runs over those that hold: an `if` in
the loop would be one that Triton's pipeliner does not see through.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..ir.expr import TRUE, Expr, H, J, Symbol, substitute
from ..ir.plan import Plan
from ..ir.schedule import Piece
from .print_triton import Names, bind
from .triton_kernel import Loop

SURVEYED = 64  # tiles whose conditions fit one integer
AHEAD_J = Symbol("%ahead_j")  # the key tiles that a survey looks at
FIRST_HEAD = Symbol("%first_h")  # the first of the query heads that share a tile of rows
FULL, PARTIAL = "full", "partial"
Spans = Mapping[str, tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Scores:
    """Lines before the loops, and the lines of each loop."""

    before: tuple[str, ...]
    full: tuple[str, ...]
    partial: tuple[str, ...]


def loops_of(plan: Plan, names: Names, scores: Scores, spans: Spans | None = None) -> tuple[list[str], tuple[Loop, ...]]:
    """Lines that compute the bounds of every piece, and the loops that have pieces.

    spans: names of the first and the last counter, exclusive, that a program takes of the tiles of each kind; by default it takes all.
    """
    pieces = {FULL: plan.schedule.full_loops, PARTIAL: plan.schedule.partial_loops}
    if plan.schedule.together > 1:
        pieces = {kind: tuple(map(_of_first_head, of_kind)) for kind, of_kind in pieces.items()}
    known = replace(names, parameters={**names.parameters, **{each.name: each.name[1:] for each in (AHEAD_J, FIRST_HEAD)}})
    lines = _bounds(pieces, known)
    body = {FULL: scores.full, PARTIAL: scores.partial}
    loops: list[Loop] = []
    for kind, of_kind in pieces.items():
        if of_kind:
            span = ("0", count_of(kind, of_kind)) if spans is None else spans[kind]
            loops.append(_loop(_Counter(kind, of_kind, known), span, body[kind]))
    return lines, tuple(loops)


def _of_first_head(piece: Piece) -> Piece:
    start, stop, where = (substitute(part, {H: FIRST_HEAD}) for part in (piece.start, piece.stop, piece.where))
    return piece._replace(start=start, stop=stop, where=where)


def _bounds(pieces: Mapping[str, Sequence[Piece]], names: Names) -> list[str]:
    every = [(f"{kind}_start{n}", f"{kind}_stop{n}", piece) for kind, of_kind in pieces.items() for n, piece in enumerate(of_kind)]
    bound = bind([bound for _, _, piece in every for bound in (piece.start, piece.stop)], names, "bound")
    targets = [target for start, stop, _ in every for target in (start, stop)]
    lines = [*bound.lines, *(f"{target} = {text}" for target, text in zip(targets, bound.texts, strict=True))]
    for kind, of_kind in pieces.items():
        lines += [_count(kind, n, piece) for n, piece in enumerate(of_kind)]
    return lines


def _count(kind: str, n: int, piece: Piece) -> str:
    """Piece n of a kind is met while the counter is below `KIND_end{n}`."""
    before = f"{kind}_end{n - 1} + " if n else ""
    return f"{kind}_end{n} = {before}counted({kind}_start{n}, {kind}_stop{n}, {piece.step}, live)"


def count_of(kind: str, pieces: Sequence[Piece]) -> str:
    """How many tiles of a kind there are, whether their conditions hold or not."""
    return f"{kind}_end{len(pieces) - 1}" if pieces else "tl.full([], 0, tl.int32)"


def guarded(pieces: Sequence[Piece]) -> bool:
    """Whether some tile is met only on a condition."""
    return any(piece.where is not TRUE for piece in pieces)


@dataclass(frozen=True, slots=True)
class _Counter:
    """How the counter of a loop is read."""

    kind: str
    pieces: Sequence[Piece]
    names: Names

    def tile(self, j: str, counter: str) -> list[str]:
        """Lines that compute the key tile `j` at a counter."""
        lines = [f"{j} = {self._entry(0, counter)}"]
        for n in range(1, len(self.pieces)):
            lines.append(f"{j} = tl.where({counter} < {self.kind}_end{n - 1}, {j}, {self._entry(n, counter)})")
        return lines

    def _entry(self, n: int, counter: str) -> str:
        piece = self.pieces[n]
        number = f"({counter} - {self.kind}_end{n - 1})" if n else counter
        entry = f"{self.kind}_start{n} + {number}" + (f" * {piece.step}" if piece.step != 1 else "")
        if piece.through is None:
            return entry
        table = self.names.tables[piece.through]
        return f"tl.load({table} + clamped({entry}, {table}_size0) * {table}_stride0).to(INDEX)"

    def condition(self) -> tuple[tuple[str, ...], str]:
        """Lines, and then the condition of each tile `ahead_j` at a counter `ahead`."""
        guards = bind([self._ahead(piece.where) for piece in self.pieces], self.names, "guard")
        where = guards.texts[-1]
        for n, text in reversed(list(enumerate(guards.texts[:-1]))):
            where = f"tl.where(ahead < {self.kind}_end{n}, {text}, {where})"
        return guards.lines, where

    @staticmethod
    def _ahead(where: Expr) -> Expr:
        return substitute(where, {J: AHEAD_J})


def _loop(counter: _Counter, span: tuple[str, str], scores: Sequence[str]) -> Loop:
    first, last = span
    common = {"kind": counter.kind, "ragged": str(counter.kind == PARTIAL), "scores": "\n".join(scores) or "# scores stay as they are"}
    if not guarded(counter.pieces):
        select = "\n".join(counter.tile("j", "n"))
        return Loop(surveys="0, 1", survey="# every tile is met", tiles=f"{first}, {last}", select=select, **common)
    lines, where = counter.condition()
    ahead = [f"ahead = onset + tl.arange(0, {SURVEYED})", *counter.tile("ahead_j", "ahead"), *lines]
    return Loop(
        surveys=f"{first}, {last}, {SURVEYED}",
        survey="\n".join([*ahead, f"left, hits = surveyed({where}, ahead, {last})"]),
        tiles="0, hits",
        select="\n".join(["spot = onset + lowest(left)", "left = left & (left - 1)", *counter.tile("j", "spot")]),
        **common,
    )
