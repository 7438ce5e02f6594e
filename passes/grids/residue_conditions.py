"""What a mask on a grid says within one residue class of each axis."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ...ir.expr import Binary, Const, Expr, K, Kind, Op, Q, Symbol, Var, conjunction, conjuncts, fold, rebuilt, substitute, walk
from ...ir.order import Boxes, Residues
from ...ir.program import Program
from ..bounds.intervals import spans
from ..bounds.range_table import Span
from ..bounds.too_wide import MeaninglessShift, TooWide
from ..program.abstraction import linear_form
from ..program.canonicalise import simplified
from ..program.exact_integers import HIGHEST, LOWEST
from .tile_axes import conditions_along


class ClassCondition(NamedTuple):
    """What a mask says along an axis within residue classes of one length, over the places `q` and `k` in a class."""

    of: Residues
    condition: Expr


def class_conditions(program: Program, boxes: Boxes, values: Mapping[Symbol, int]) -> tuple[tuple[ClassCondition, ...], ...] | None:
    """What a mask says along each axis between tokens of one residue class, for the classes of each length.

    None where the mask is no product of axes, where it also joins tokens of different classes, and where classes of one length differ.
    """
    along = conditions_along(program, values)
    if along is None:
        return None
    found: list[tuple[ClassCondition, ...]] = []
    for axis, (part, apart) in enumerate(zip(along, boxes.dilation, strict=True)):
        conditions = [_of_class(part, axis, residues, apart) for residues in boxes.residues(axis)]
        alike = [ClassCondition(of, each) for of, each in zip(boxes.residues(axis), conditions, strict=True) if each is not None]
        if len(alike) < len(conditions):
            return None
        found.append(tuple(alike))
    return tuple(found)


def _of_class(part: Expr, axis: int, residues: Residues, apart: int) -> Expr | None:
    q, k = Var(f"q{axis}"), Var(f"k{axis}")
    if apart == 1:
        return substitute(part, {q: Q, k: K})
    of_q, of_k = Symbol("residue of q"), Symbol("residue of k")
    part = simplified(part)
    place: dict[Expr, Expr] = {}
    for whole, within, residue in ((q, Q, of_q), (k, K, of_k)):
        place |= {whole: Binary(Op.ADD, Binary(Op.MUL, within, Const(apart)), residue), **_divided(part, whole, within, (residue, apart))}
    places, classes = range(residues.length), range(residues.first, residues.stop)
    ranges: dict[Expr, range] = {Q: places, K: places, of_q: classes, of_k: classes}
    parts = list(conjuncts(simplified(substitute(part, place))))
    same = (Binary(Op.EQ, of_k, of_q), Binary(Op.EQ, of_q, of_k))
    kept = _with_known_values(conjunction(*(each for each in parts if each not in same)), ranges)
    rest = _cancelled(substitute(kept, {of_k: of_q}))
    joins_others = len(parts) == sum(each not in same for each in parts)
    return None if joins_others or of_q in walk(rest) else rest


def _divided(part: Expr, whole: Expr, within: Expr, of: tuple[Expr, int]) -> dict[Expr, Expr]:
    """Quotients and remainders of `whole`, which is apart * within + residue, by multiples of `apart`. of: residue, apart."""
    residue, apart = of
    found: dict[Expr, Expr] = {}
    for node in walk(part):
        match node:
            case Binary(op=Op.FLOORDIV, a=a, b=Const(value=int(by))) if a is whole and by > 0 and by % apart == 0:
                found[node] = simplified(Binary(Op.FLOORDIV, within, Const(by // apart)))
            case Binary(op=Op.MOD, a=a, b=Const(value=int(by))) if a is whole and by > 0 and by % apart == 0:
                inner = Binary(Op.MUL, Binary(Op.MOD, within, Const(by // apart)), Const(apart))
                found[node] = residue if by == apart else Binary(Op.ADD, inner, residue)
            case _:
                pass
    return found


def _cancelled(expr: Expr) -> Expr:
    """Sums without the terms that cancel in them."""

    def visit(node: Expr, parts: tuple[Expr, ...]) -> Expr:
        made = rebuilt(node, parts)
        if not isinstance(made, Binary) or made.op not in (Op.ADD, Op.SUB):
            return made
        form = linear_form(made)
        if form is None or {part for part in walk(made) if isinstance(part, Var | Symbol)} <= form.keys():
            return made
        terms = [Const(factor) if key is None else Binary(Op.MUL, key, Const(factor)) for key, factor in form.items()]
        return functools.reduce(functools.partial(Binary, Op.ADD), terms) if terms else Const(0)

    return simplified(fold(expr, visit))


def _with_known_values(expr: Expr, ranges: Mapping[Expr, range]) -> Expr:
    """`expr` with every node that can have one value only replaced by it."""
    anything = Span(np.asarray(LOWEST), np.asarray(HIGHEST))
    environment = {node: anything for node in walk(expr) if isinstance(node, Symbol | Var)}
    environment |= {node: Span(np.asarray(each.start), np.asarray(each.stop - 1)) for node, each in ranges.items()}
    known: dict[Expr, Expr] = {}

    def observe(node: Expr, found: Span) -> None:
        if node.kind is Kind.INT and not isinstance(node, Const) and found.low.item() == found.high.item():
            known[node] = Const(int(found.low.item()))

    with contextlib.suppress(TooWide, MeaninglessShift):  # by a shift of anything; what was seen before it holds
        spans(expr, environment, {}, observe, in_64_bits=False)
    return simplified(substitute(expr, known))
