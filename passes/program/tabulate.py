"""What reads one number a*q + b*k, evaluated once for all its values: `(q - k) & (q - k - 1)` becomes a look-up at `q - k`.

Interval arithmetic knows the extrema of a table over any range of its index exactly, where it knows little of remainders, products and
bits. A mask of `q - k` alone becomes a single look-up, so that its tiles are told from the diagonals they hold: the work is linear in the
length. What reads one side alone is the case of a or b being 0.
"""

# Numpy's arrays carry no element type here.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from ...ir.expr import COMPARISONS, B, Binary, Const, Expr, H, K, Kind, Lookup, Op, Q, Table, Unary, fold, operands, substitute, walk
from .call_values import Launch
from .canonicalise import simplified
from .evaluate import Read, evaluate, reader

Array = np.ndarray
Direction = tuple[int, int]

FEWEST_NODES = 6  # of what becomes a table: interval arithmetic is exact on `k <= q` and `q - k < W`
STEEPEST = 8  # a and b at most
MOST_ENTRIES = 1 << 24  # of all tables together
CHUNK = 1 << 24  # values of nodes that are held at a time
NEITHER: Direction = (0, 0)
STEEP: Direction = (STEEPEST, STEEPEST)


class Tabulated(NamedTuple):
    """A mask with the same values at every pair inside the lengths, and the tables that it reads beside the program's.

    told: interval arithmetic decides every rectangle, since the mask is one look-up whose indices are all those between the least and the
          largest: what can be true of a rectangle is true somewhere in it.
    """

    mask: Expr
    tables: Mapping[str, Array]
    told: bool


def tabulated(mask: Expr, launch: Launch, place: tuple[int, int]) -> Tabulated:
    """`mask` at `place` = (b, h), its largest parts that read one number as look-ups at that number."""
    found: dict[str, Array] = {}
    replaced: dict[Expr, Expr] = {}
    left, read = MOST_ENTRIES, reader(launch.tables)
    for node, direction in _parts(mask):
        line = _Line.of(direction, launch)
        if line.entries > left:
            continue
        left -= line.entries
        name = f"along {len(found)}"  # no name of a user has a blank
        found[name] = _values(node, line, {**launch.environment(), B: place[0], H: place[1]}, read)
        replaced[node] = Lookup(Table(name, "bool" if node.kind is Kind.BOOL else "i64", 1), (line.place,))
    told = mask in replaced and max(map(abs, _directions(mask)[mask] or STEEP)) == 1
    return Tabulated(substitute(mask, replaced), found, told)


class _Line(NamedTuple):
    """The values `least ... least + entries - 1` of a*q + b*k, and one pair (q, k) = value * step at which each is taken, inside or not.

    place: of the value of a pair among them.
    """

    place: Expr
    least: int
    entries: int
    step: tuple[int, int]

    @staticmethod
    def of(direction: Direction, launch: Launch) -> _Line:
        reach = [factor * (length - 1) for factor, length in zip(direction, (launch.q_len, launch.k_len), strict=True)]
        least, most = sum(min(0, each) for each in reach), sum(max(0, each) for each in reach)
        terms = [Binary(Op.MUL, Const(factor), side) for factor, side in zip(direction, (Q, K), strict=True)]
        index = simplified(Binary(Op.ADD, Binary(Op.ADD, terms[0], terms[1]), Const(-least)))
        return _Line(index, least, most - least + 1, _unit(direction))


def _unit(direction: Direction) -> tuple[int, int]:
    """Integers (x, y) with a*x + b*y == 1, for a and b without a common factor."""
    a, b = direction
    if b == 0:
        return a, 0
    x = next(x for x in range(abs(b)) if (a * x - 1) % b == 0)
    return x, (1 - a * x) // b


def _values(node: Expr, line: _Line, values: Mapping[Expr, object], read: Read) -> Array:
    found = np.empty(line.entries, bool if node.kind is Kind.BOOL else np.int64)
    size = min(max(CHUNK // sum(1 for _ in walk(node)), 1 << 10), 1 << 16)
    for at in range(0, line.entries, size):
        number = line.least + np.arange(at, min(at + size, line.entries), dtype=np.int64)
        found[at : at + size] = evaluate(node, {**values, Q: number * line.step[0], K: number * line.step[1]}, read)
    return found


# -- which parts ------------------------------------------------------------------------------------------------------


def _parts(mask: Expr) -> Iterator[tuple[Expr, Direction]]:
    """The largest nodes that read one number, and are worth a table."""
    directions = _directions(mask)
    seen: set[Expr] = set()
    stack = [mask]
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        direction = directions[node]
        if direction is None:
            stack.extend(operands(node))
        elif direction != NEITHER and max(map(abs, direction)) <= STEEPEST and _is_worth_it(node):
            yield node, direction


def _is_worth_it(node: Expr) -> bool:
    return node.kind is not Kind.FLOAT and any(at + 1 >= FEWEST_NODES for at, _ in enumerate(walk(node)))


class _Reading(NamedTuple):
    """How a node reads positions.

    direction: (a, b) without common factors where it reads a*q + b*k alone; NEITHER where it reads none; None where it reads more.
    factors:   of q and k where it is their sum and something that reads neither; None where it is not.
    """

    direction: Direction | None
    factors: Direction | None


def _directions(mask: Expr) -> dict[Expr, Direction | None]:
    found: dict[Expr, Direction | None] = {}

    def visit(node: Expr, parts: tuple[_Reading, ...]) -> _Reading:
        factors, difference = _factors(node, parts), _difference(node, parts)
        if factors is not None:
            reading = _Reading(_primitive(factors), factors)
        else:
            reading = _Reading(_joined(parts) if difference is None else _primitive(difference), None)
        if reading.direction == NEITHER:
            reading = _Reading(NEITHER, NEITHER)
        found[node] = reading.direction
        return reading

    fold(mask, visit)
    return found


def _factors(node: Expr, parts: tuple[_Reading, ...]) -> Direction | None:
    inner = [part.factors for part in parts]
    match node, inner:
        case _ if node is Q:
            return (1, 0)
        case _ if node is K:
            return (0, 1)
        case Binary(op=Op.ADD), [(a, b), (c, d)]:
            return a + c, b + d
        case Binary(op=Op.SUB), [(a, b), (c, d)]:
            return a - c, b - d
        case Unary(op=Op.NEG), [(a, b)]:
            return -a, -b
        case Binary(op=Op.MUL, a=Const(value=int(by))), [_, (a, b)]:
            return by * a, by * b
        case Binary(op=Op.MUL, b=Const(value=int(by))), [(a, b), _]:
            return by * a, by * b
        case _:
            return None


def _difference(node: Expr, parts: tuple[_Reading, ...]) -> Direction | None:
    """What a comparison of two sums reads: the truth of `k <= q` is one of `q - k`."""
    match node, [part.factors for part in parts]:
        case Binary(op=op), [(a, b), (c, d)] if op in COMPARISONS:
            return a - c, b - d
        case _:
            return None


def _primitive(factors: Direction) -> Direction:
    """The same direction without common factors, its first entry that is not 0 positive."""
    common = math.gcd(*factors)
    if common == 0:
        return NEITHER
    sign = 1 if factors > NEITHER else -1
    return sign * factors[0] // common, sign * factors[1] // common


def _joined(parts: tuple[_Reading, ...]) -> Direction | None:
    directions = {part.direction for part in parts} - {NEITHER}
    if not directions:
        return NEITHER
    return next(iter(directions)) if len(directions) == 1 else None
