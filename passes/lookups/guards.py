"""Where a look-up counts: every place in a program where a table is read, and the conditions beside it that must hold there.

A pair that the mask hides may ask a table for anything: kernels hold the index inside. What must be inside is read where nothing beside
the look-up has decided the answer already, in whichever order the two are written:

    (k <= q) & near[q - k]             `near` counts where k <= q
    (q < k) | near[q - k]              where k <= q
    where(q < n, bias[q], 0)           where q < n
    a score                            where the mask shows the pair

A condition that reads a table itself has decided nothing where that read is outside.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ...ir.expr import (
    COMPARISONS,
    FALSE,
    TRUE,
    ZERO,
    Binary,
    Const,
    Expr,
    Kind,
    Lookup,
    Op,
    Select,
    Symbol,
    Table,
    Unary,
    conjunction,
    conjuncts,
    disjunction,
    names,
    negated,
    operands,
    walk,
)
from ...ir.program import Program

MOST_PLACES = 2048


class Hazard(NamedTuple):
    """One place where `look` is read, along one axis of its table.

    guards: conditions that all hold where it counts; they may hold elsewhere too.
    shown:  whether the mask is among them.
    """

    look: Lookup
    axis: int
    guards: tuple[Expr, ...]
    shown: bool

    @property
    def read_at(self) -> Expr:
        return self.look.indices[self.axis]

    @property
    def outside(self) -> Expr:
        return outside(self.look, self.axis)

    @property
    def condition(self) -> Expr:
        """Where the table is read outside and it counts."""
        return conjunction(*self.guards, self.outside)

    @property
    def nearby(self) -> Expr:
        """The same but for guards that say nothing of the index, not through others either: where it holds nowhere, `condition` does not.

        One axis of a grid, where a mask asks for each axis alone.
        """
        return conjunction(*self._connected(), self.outside)

    def _connected(self) -> tuple[Expr, ...]:
        reached, kept, left = set(names(self.read_at)), list[Expr](), list(self.guards)
        while True:
            near = [guard for guard in left if not names(guard) - {"b"} or (names(guard) - {"b"}) & reached]
            if not near:
                return tuple(kept)
            kept += near
            reached.update(*(names(guard) for guard in near))
            left = [guard for guard in left if guard not in near]


def size_of(table: Table, axis: int) -> Symbol:
    """Stands for the entries of a table along an axis; no symbol of a user has a point in its name."""
    return Symbol(f"{table.name}.{axis}")


def outside(look: Lookup, axis: int) -> Expr:
    index = look.indices[axis]
    return disjunction(Binary(Op.LT, index, ZERO), Binary(Op.LE, size_of(look.table, axis), index))


@functools.lru_cache(maxsize=256)
def hazards(program: Program) -> tuple[Hazard, ...]:
    """Every place where mask or score reads a table, but for segments, which answer everywhere."""
    if not any(isinstance(node, Lookup) for node in walk(program.mask, program.score)):
        return ()
    chances = _chances(program.mask, program.score)
    shown = _added((), chances[program.mask][0])
    found = dict.fromkeys(_places(program.mask, (), chances, shown=False))
    found |= dict.fromkeys(_places(program.score, shown, chances, shown=True))
    return tuple(found)


# -- what a condition can be, counting what is read outside as anything ------------------------------------------------

Chance = tuple[Expr, Expr]
"""Of a truth value: where it can be true, where it can be false. Of a number: where it reads outside, twice."""


def _chances(*roots: Expr) -> dict[Expr, Chance]:
    found: dict[Expr, Chance] = {}
    for node in walk(*roots):
        found[node] = _chance(node, tuple(found[operand] for operand in operands(node)))
    return found


def _chance(node: Expr, parts: tuple[Chance, ...]) -> Chance:
    if node.kind is not Kind.BOOL:
        wrong = FALSE if node.kind is Kind.FLOAT else _undefined(node, parts)
        return wrong, wrong
    match node:
        case Unary(op=Op.NOT):
            return parts[0][1], parts[0][0]
        case Select():
            return _selected(*parts)
        case Binary(op=op, a=a) if a.kind is Kind.BOOL:
            return _joined(op, *parts)
        case Binary(op=op, a=a, b=b) if op in COMPARISONS and Kind.FLOAT in (a.kind, b.kind):
            return TRUE, TRUE  # a score decides
        case Const():
            return node, negated(node)
        case _:
            wrong = _undefined(node, parts)
            return disjunction(node, wrong), disjunction(negated(node), wrong)


def _undefined(node: Expr, parts: tuple[Chance, ...]) -> Expr:
    """Where the value of a node is read outside of a table."""
    if isinstance(node, Select):
        condition, a, b = parts
        return disjunction(conjunction(*condition), conjunction(condition[0], a[0]), conjunction(condition[1], b[0]))
    own = (outside(node, axis) for axis in range(node.table.rank)) if isinstance(node, Lookup) and not node.table.monotone else ()
    return disjunction(*own, *(part[0] for part in parts))


def _selected(condition: Chance, a: Chance, b: Chance) -> Chance:
    either = (disjunction(conjunction(condition[0], x), conjunction(condition[1], y)) for x, y in zip(a, b, strict=True))
    return next(either), next(either)


def _joined(op: Op, a: Chance, b: Chance) -> Chance:
    (a_true, a_false), (b_true, b_false) = a, b
    match op:
        case Op.AND:
            return conjunction(a_true, b_true), disjunction(a_false, b_false)
        case Op.OR:
            return disjunction(a_true, b_true), conjunction(a_false, b_false)
        case Op.LT:
            return conjunction(a_false, b_true), disjunction(a_true, b_false)
        case Op.LE:
            return disjunction(a_false, b_true), conjunction(a_true, b_false)
        case _:
            differ = disjunction(conjunction(a_true, b_false), conjunction(a_false, b_true))
            agree = disjunction(conjunction(a_true, b_true), conjunction(a_false, b_false))
            return (agree, differ) if op is Op.EQ else (differ, agree)


# -- from the root to the look-ups -------------------------------------------------------------------------------------


def _places(root: Expr, guards: tuple[Expr, ...], chances: dict[Expr, Chance], *, shown: bool) -> Iterator[Hazard]:
    reading = _reading(root)
    seen: set[tuple[Expr, tuple[Expr, ...]]] = set()
    stack = [(root, guards)]
    while stack:
        node, known = stack.pop()
        if node not in reading or (node, known) in seen:
            continue
        if len(seen) > MOST_PLACES:
            known = ()  # sound: it counts everywhere
        seen.add((node, known))
        if isinstance(node, Lookup) and not node.table.monotone:
            yield from (Hazard(node, axis, known, shown) for axis in range(node.table.rank))
        stack += [(below, _added(known, more)) for below, more in reversed(_below(node, chances))]


def _reading(root: Expr) -> frozenset[Expr]:
    """The nodes that are look-ups or hold one."""
    found: set[Expr] = set()
    for node in walk(root):
        if isinstance(node, Lookup) or any(operand in found for operand in operands(node)):
            found.add(node)
    return frozenset(found)


def _below(node: Expr, chances: dict[Expr, Chance]) -> Sequence[tuple[Expr, Expr]]:
    """What stands below a node, with the condition under which it counts there."""
    match node:
        case Binary(op=Op.AND, a=a, b=b):
            return (a, chances[b][0]), (b, chances[a][0])
        case Binary(op=Op.OR, a=a, b=b):
            return (a, chances[b][1]), (b, chances[a][1])
        case Select(condition=condition, a=a, b=b):
            return (condition, TRUE), (a, chances[condition][0]), (b, chances[condition][1])
        case _:
            return [(operand, TRUE) for operand in operands(node)]


def _added(guards: tuple[Expr, ...], more: Expr) -> tuple[Expr, ...]:
    return guards if more is TRUE else tuple(dict.fromkeys((*guards, *conjuncts(more))))
