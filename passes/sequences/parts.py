"""Sequences by their parts: where a flat program says that one begins, the grids that tokens are on, and what is left of it on two parts.

    q < 226 or 226 <= q and (k < 226 or 226 <= k and abs((q - 226) // 320 - (k - 226) // 320) <= 2 and ...)

has a part of 226 tokens and one of rows of 320; between tokens of the first part and any others nothing of it is left but `true`.
Calls read this, so it loads nothing but nouns.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from ...ir.expr import (
    FALSE,
    TRUE,
    Binary,
    Const,
    Expr,
    K,
    Kind,
    Op,
    Q,
    Select,
    Unary,
    conjunction,
    disjunction,
    fold,
    negated,
    operands,
    rebuilt,
    substitute,
    walk,
)
from ...ir.order import Placed
from ...ir.program import Program
from ...ir.space import Space

Extents = tuple[int, ...]
MOST_PARTS = 8


@functools.lru_cache(maxsize=1024)
def parts_of(program: Program) -> tuple[Extents, ...] | None:
    """The grid of each part of a sequence that queries and keys are both tokens of; None where there are not two parts, one with axes."""
    if program.space.rank > 1 or len(program.space.extents) != 1:
        return None
    tokens = program.space.extents[0]
    nodes = list(walk(program.mask))
    found = tuple(_grid(nodes, start, stop - start) for start, stop in pairwise(_cuts(nodes, tokens)))
    return found if 2 <= len(found) <= MOST_PARTS and max(map(len, found)) > 1 else None


def _cuts(nodes: Sequence[Expr], tokens: int) -> list[int]:
    """Where parts begin, and the end: where tokens are counted from, or where one rule ends and another begins.

    A comparison with any other number is part of a rule, but for the one that says where a grid ends.
    """
    below, above = ({cut for node in nodes if (cut := _bound(node, low=low)) and cut < tokens} for low in (False, True))
    counted = {each.b.value for each in nodes if _is_difference(each) and isinstance(each, Binary) and isinstance(each.b, Const)}
    found = sorted({0, tokens, *(below & above), *(int(cut) for cut in counted & (below | above))})
    ends = (_end(nodes, (start, stop), below - set(found)) for start, stop in pairwise(found))
    return sorted({*found, *(end for end in ends if end)})


def _bound(node: Expr, *, low: bool) -> int:
    """The number that a position is compared with: the first that is not below it, or with `low` the first that is not less; else 0."""
    match node:
        case Binary(op=Op.LE | Op.LT as op, a=Const(value=int(number)), b=b) if low and b in (Q, K):
            return number + (op is Op.LT)
        case Binary(op=Op.LE | Op.LT as op, a=a, b=Const(value=int(number))) if not low and a in (Q, K):
            return number + (op is Op.LE)
        case _:
            return 0


def _is_difference(node: Expr) -> bool:
    return isinstance(node, Binary) and node.op is Op.SUB and node.a in (Q, K)


def _end(nodes: Sequence[Expr], part: tuple[int, int], cuts: Collection[int]) -> int:
    """Where the grid ends that begins a part, if it is no whole number of its slices; 0 where there is none, or it ends with the part."""
    start, stop = part
    slices = max(_steps(nodes, start, stop - start), default=1)
    whole = [cut for cut in cuts if start < cut < stop and (cut - start) % slices == 0]
    return max(whole, default=0) if (stop - start) % slices else 0


def _grid(nodes: Sequence[Expr], start: int, size: int) -> Extents:
    """The extents of a part, by what tokens counted from its start are divided by; its size alone where it is a line."""
    strides = (*sorted(_steps(nodes, start, size), reverse=True), 1) if size > 1 else (1,)
    if any(outer % inner for outer, inner in pairwise((size, *strides))):
        return (size,)
    return tuple(outer // inner for outer, inner in pairwise((size, *strides)))


def _steps(nodes: Sequence[Expr], start: int, size: int) -> set[int]:
    """Tokens from one coordinate to the next, along all axes of the grid that begins at a token but the innermost."""
    places = {Q, K} if start == 0 else {Binary(Op.SUB, side, Const(start)) for side in (Q, K)}
    places |= {Binary(Op.MIN, Binary(Op.MAX, place, Const(0)), Const(size - 1)) for place in places}
    steps, whole = set[int](), set[int]()
    for node in nodes:
        found = _digit(node, places)
        if found is not None:
            steps.add(found[0] * found[1])
        whole |= {step for each in operands(node) if (step := _quotient(each, places)) and not _is_remainder_of(node, each)}
    outermost = max(whole, default=size)  # a quotient that is no digit of its own; a remainder of it is a residue, not another axis
    return {step for step in steps | whole if 1 < step <= outermost and step < size}


def _digit(node: Expr, places: Collection[Expr]) -> tuple[int, int] | None:
    """Step and size of what a remainder counts."""
    match node:
        case Binary(op=Op.MOD, a=a, b=Const(value=int(size))) if size > 0:
            step = 1 if a in places else _quotient(a, places)
            return (step, size) if step else None
        case _:
            return None


def _quotient(node: Expr, places: Collection[Expr]) -> int:
    """What a place is divided by; 0 where it is not."""
    match node:
        case Binary(op=Op.FLOORDIV, a=a, b=Const(value=int(step))) if a in places and step > 0:
            return step
        case _:
            return 0


def _is_remainder_of(node: Expr, operand: Expr) -> bool:
    return isinstance(node, Binary) and node.op is Op.MOD and node.a is operand


# -- of two parts -----------------------------------------------------------------------------------------------------


class Part(NamedTuple):
    """A part of a sequence. first: its first token."""

    extents: Extents
    first: int

    @property
    def size(self) -> int:
        """Tokens."""
        return math.prod(self.extents)


def laid_out(extents: Iterable[Extents]) -> tuple[Part, ...]:
    """Parts one after another."""
    found, first = list[Part](), 0
    for each in extents:
        found.append(Part(each, first))
        first += found[-1].size
    return tuple(found)


def on_coordinates(expr: Expr, query: Part, key: Part) -> Expr:
    """What is left of an expression over tokens of a sequence for those of two parts, over coordinates on the grid of each."""
    places: dict[Expr, Expr] = {}
    for side, part in ((Q, query), (K, key)):
        token = _counted(side, part.first)
        if len(part.extents) > 1:
            places |= {at: coordinate for coordinate, at in Space(len(part.extents), part.extents).places(side.name, token).items()}
        else:
            places |= {side: Binary(Op.ADD, side, Const(part.first)) if part.first else side, token: side}
    return substitute(_of_tokens(expr, query, key), places)


def on_places(expr: Expr, query: Part, key: Part) -> Expr:
    """The same over the places of tokens in their part, `q` and `k` counted from its first one."""
    places: dict[Expr, Expr] = {}
    for side, part in ((Q, query), (K, key)):
        places |= {side: Binary(Op.ADD, side, Const(part.first)) if part.first else side, _counted(side, part.first): side}
    return substitute(_of_tokens(expr, query, key), places)


def on_tokens(expr: Expr, query: Placed, key: Placed) -> Expr:
    """What is left of an expression over tokens of a sequence for those of two parts, over the positions of both in the order."""
    places: dict[Expr, Expr] = {}
    for side, part in ((Q, query), (K, key)):
        token, local = _counted(side, part.first), part.local(side)
        here = part.token(local)
        places |= {side: Binary(Op.ADD, here, Const(part.first)) if part.first else here, token: here}
        space = Space(len(part.boxes.extents), part.boxes.extents)
        on_grid = space.places(side.name, token)
        places |= dict(zip((on_grid[each] for each in space.coordinates(side.name)), part.coordinates(local), strict=True))
    return substitute(_of_tokens(expr, query, key), places)


def _of_tokens(expr: Expr, query: Part | Placed, key: Part | Placed) -> Expr:
    return decided(expr, {side: range(part.first, part.first + part.size) for side, part in ((Q, query), (K, key))})


def _counted(side: Expr, first: int) -> Expr:
    return Binary(Op.SUB, side, Const(first)) if first else side


def on_positions(expr: Expr, query: Placed, key: Placed) -> Expr:
    """What is left of an expression over positions of an order for those of two parts, `q` and `k` counted from the first in each."""
    left = decided(expr, {Q: range(query.start, query.stop), K: range(key.start, key.stop)})
    return substitute(left, {query.local(Q): Q, key.local(K): K})


_Decided = tuple[Expr, range | None]


def decided(expr: Expr, ranges: Mapping[Expr, range]) -> Expr:
    """An expression without the comparisons of sums that are always, or never, true where variables are in `ranges`."""

    def visit(node: Expr, parts: tuple[_Decided, ...]) -> _Decided:
        whole, known = rebuilt(node, tuple(part for part, _ in parts)), [found for _, found in parts]
        made = _folded(whole, known)
        if made is not whole:
            return made, next((found for part, found in parts if part is made), None)
        return made, ranges.get(made) or _range(made, known)

    return fold(expr, visit)[0]


def _range(node: Expr, parts: list[range | None]) -> range | None:
    """Values of a number, a variable, or a sum."""
    match node, parts:
        case Const(value=int(value)), _ if node.kind is Kind.INT:
            return range(value, value + 1)
        case Binary(op=Op.ADD), [range() as a, range() as b]:
            return range(a[0] + b[0], a[-1] + b[-1] + 1)
        case Binary(op=Op.SUB), [range() as a, range() as b]:
            return range(a[0] - b[-1], a[-1] - b[0] + 1)
        case _:
            return None


def _folded(node: Expr, parts: list[range | None]) -> Expr:
    match node, parts:
        case Binary(op=Op.LE | Op.LT as op), [range() as a, range() as b]:
            below, above = (a[-1] <= b[0], a[0] > b[-1]) if op is Op.LE else (a[-1] < b[0], a[0] >= b[-1])
            return TRUE if below else FALSE if above else node
        case Binary(op=Op.MAX | Op.MIN as op, a=left, b=right), [range() as a, range() as b]:
            first, second = (left, right) if op is Op.MIN else (right, left)
            return first if a[-1] <= b[0] else second if b[-1] <= a[0] else node
        case Binary(op=Op.AND, a=left, b=right), _:
            return conjunction(left, right)
        case Binary(op=Op.OR, a=left, b=right), _:
            return disjunction(left, right)
        case Unary(op=Op.NOT, a=Const() as inner), _:
            return negated(inner)
        case Select(condition=Const(value=value), a=left, b=right), _:
            return left if value else right
        case _:
            return node
