"""A program for some of its heads: what they agree on is decided, and head 0 is the first of them.

    h < 4 and q0 == k0 or h >= 4 and q1 == k1        of heads 4 to 7 is        q1 == k1

so that heads with masks of different kinds have kernels that hold their own mask alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ...ir.expr import Binary, Const, Expr, H, Kind, Op, Symbol, Table, fold, names, rebuilt, symbols, tables, walk
from ...ir.program import Program
from .call_values import Launch
from .canonicalise import simplified
from .evaluate import evaluate, reader

HEADS = frozenset({"h"})
MOST_KINDS = 4


def of_heads(program: Program, heads: range, launch: Launch) -> tuple[Program, Mapping[str, int]]:
    """The program of `heads`, whose first is its head 0, and values of parameters that it has beside its own.

    A condition on heads alone is decided where it has one value for all of them; which head is the first stays a number of the call.

    Needs: the tables of `read_by_conditions`, and parameters, in `launch`. Keeps: the attended pairs and scores of these heads.
    """
    mask = mask_of_heads(program, heads, launch)
    first = _first(program)
    place = Binary(Op.ADD, first, H if heads.step == 1 else Binary(Op.MUL, Const(heads.step), H))
    moved = replace(program, mask=mask).substituted({} if (heads.start, heads.step) == (0, 1) else {H: place})
    read = {*symbols(moved.mask, moved.score), *moved.space.extent_symbols}
    parameters = tuple(each for each in (*program.parameters, first) if each in read)
    kept = set(tables(moved.mask, moved.score))
    found = replace(moved, parameters=parameters, tables=tuple(each for each in program.tables if each in kept))
    return found, {first.name: heads.start} if first in read else {}


def mask_of_heads(program: Program, heads: range, launch: Launch) -> Expr:
    """The mask with conditions on heads alone decided, where they have one value for all of these."""
    return simplified(_decided(program.mask, heads, launch))


def kinds_of_heads(program: Program, launch: Launch) -> tuple[int, ...]:
    """For each head of a launch a number: heads of one have the same mask, once conditions on heads alone are decided.

    One kind where there would be more than MOST_KINDS: each is kernels and launches of its own.
    """
    if "h" not in names(program.mask):
        return (0,) * launch.heads
    masks = [mask_of_heads(program, range(head, head + 1), launch) for head in range(launch.heads)]
    numbers = {mask: number for number, mask in enumerate(dict.fromkeys(masks))}
    return tuple(numbers[mask] if len(numbers) <= MOST_KINDS else 0 for mask in masks)


def read_by_conditions(program: Program) -> tuple[Table, ...]:
    """Tables that conditions on heads alone read: what `launch` must have."""
    return tables(*(node for node in walk(program.mask) if _is_condition(node)))


def _is_condition(node: Expr) -> bool:
    return node.kind is Kind.BOOL and names(node) == HEADS


def _first(program: Program) -> Symbol:
    """What the first head is called: a name that the program does not use."""
    taken = {each.name for each in (*program.parameters, *program.tables)}
    name = "first_head"
    while name in taken:
        name += "_"
    return Symbol(name)


def _decided(mask: Expr, heads: range, launch: Launch) -> Expr:
    """The mask with conditions that read nothing but `h` as truth values, where they are the same for all heads."""
    environment = {**launch.environment(), H: np.asarray(heads)}
    read = reader(launch.tables)

    def visit(node: Expr, parts: tuple[Expr, ...]) -> Expr:
        if not _is_condition(node):
            return rebuilt(node, parts)
        values = np.unique(np.asarray(evaluate(node, environment, read)))
        return Const(bool(values[0])) if len(values) == 1 else rebuilt(node, parts)

    return fold(mask, visit)
