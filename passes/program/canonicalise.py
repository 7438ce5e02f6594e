"""Put a mask of flat positions into the one form the analyses read: rows placed, constants folded, negations at the leaves."""

# Tables of one-line functions.
# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from ...ir.expr import (
    COMPARISONS,
    FALSE,
    OFFSET,
    ONE,
    TRUE,
    ZERO,
    Binary,
    Const,
    Expr,
    Kind,
    Lookup,
    Op,
    Q,
    Select,
    Unary,
    conjunction,
    disjunction,
    fold,
    negated,
    rebuilt,
    substitute,
)
from ...ir.program import Program
from .evaluate import evaluate
from .exact_integers import fits


@dataclass(frozen=True)
class Place:
    """Let `q` stand for the query row: its position is the row plus `offset`.

    Needs: flat positions. Keeps: pairs, for every offset. `shifted` False leaves the program alone (offset 0).
    """

    shifted: bool = True
    name: ClassVar[str] = "place"
    needs: ClassVar[tuple[str, ...]] = ("flatten-grid",)

    def __call__(self, program: Program) -> Program:
        return program.substituted({Q: Binary(Op.ADD, Q, OFFSET)}) if self.shifted else program


@dataclass(frozen=True)
class Simplify:
    """Fold constants and neutral elements, and push `not` down to comparisons.

    Needs: nothing. Keeps: the value of mask and score for every assignment.
    """

    name: ClassVar[str] = "simplify"
    needs: ClassVar[tuple[str, ...]] = ("flatten-grid", "place")

    def __call__(self, program: Program) -> Program:
        return replace(program, mask=negation_free(simplified(program.mask)), score=simplified(program.score))


def simplified(expr: Expr) -> Expr:
    return fold(expr, lambda node, parts: _simplify_node(rebuilt(node, parts)))


def combined(op: Op, a: Expr, b: Expr) -> Expr:
    """`a op b`, simplified as far as that takes no look inside of operands."""
    return _simplify_node(Binary(op, a, b))


def filled(template: Expr, values: Mapping[Expr, Expr]) -> Expr:
    """A small expression with `values` in it, simplified down to them."""
    return fold(template, lambda node, parts: values.get(node) or _simplify_node(rebuilt(node, parts)))


def _simplify_node(node: Expr) -> Expr:
    match node:
        case Binary(op=op, a=Const(), b=Const()) | Unary(op=op, a=Const()) if _foldable(node, op):
            return _folded(node)
        case Binary(op=Op.AND, a=a, b=b):
            return conjunction(a, b)
        case Binary(op=Op.OR, a=a, b=b):
            return disjunction(a, b)
        case Unary(op=Op.NOT, a=a):
            return negated(a)
        case Select(condition=Const(value=value), a=a, b=b):
            return a if value else b
        case Select(a=a, b=b) if a is b:
            return a
        case Binary(op=op, a=a, b=b) if node.kind is Kind.INT:
            return _neutral(op, a, b) or node
        case Binary(op=op, a=a, b=b) if op in COMPARISONS and a is b and a.kind is not Kind.FLOAT:
            return TRUE if op in (Op.LE, Op.EQ) else FALSE
        case Lookup():
            return _held(node)
        case _:
            return node


def _held(node: Expr) -> Expr:
    """A look-up whose index has turned out to be negative reads the first entry, as kernels do: no pair that counts asks for it."""
    if isinstance(node, Lookup) and any(isinstance(index, Const) and index.value < 0 for index in node.indices):
        return Lookup(node.table, tuple(ZERO if isinstance(index, Const) and index.value < 0 else index for index in node.indices))
    return node


def _foldable(node: Expr, op: Op) -> bool:
    if isinstance(node, Binary) and op in (Op.FLOORDIV, Op.MOD, Op.SHL, Op.SHR):
        b = node.b
        return isinstance(b, Const) and (0 < b.value < 63 if op in (Op.SHL, Op.SHR) else b.value != 0)
    return node.kind is not Kind.FLOAT and all(part.kind is not Kind.FLOAT for part in (getattr(node, "a", node), getattr(node, "b", node)))


def _folded(node: Expr) -> Expr:
    value = evaluate_exactly(node)
    if node.kind is Kind.BOOL:
        return Const(bool(value))
    return Const(int(value)) if fits(int(value)) else node  # which is refused by name


def evaluate_exactly(node: Expr) -> int | bool | float:
    """The value of a node whose operands are constants, in Python's unbounded integers."""
    match node:
        case Binary(op=op, a=Const(value=a), b=Const(value=b)):
            return _EXACT[op](int(a), int(b)) if not isinstance(a, bool) else _EXACT[op](a, b)
        case _:
            return np.asarray(evaluate(node, {})).item()


_EXACT = {
    Op.ADD: lambda a, b: a + b,
    Op.SUB: lambda a, b: a - b,
    Op.MUL: lambda a, b: a * b,
    Op.MIN: min,
    Op.MAX: max,
    Op.FLOORDIV: lambda a, b: a // b,
    Op.MOD: lambda a, b: a % b,
    Op.BITAND: lambda a, b: a & b,
    Op.BITOR: lambda a, b: a | b,
    Op.BITXOR: lambda a, b: a ^ b,
    Op.SHL: lambda a, b: a << b,
    Op.SHR: lambda a, b: a >> b,
    Op.LT: lambda a, b: a < b,
    Op.LE: lambda a, b: a <= b,
    Op.EQ: lambda a, b: a == b,
    Op.NE: lambda a, b: a != b,
    Op.AND: lambda a, b: a and b,
    Op.OR: lambda a, b: a or b,
    Op.XOR: lambda a, b: a != b,
}


def _neutral(op: Op, a: Expr, b: Expr) -> Expr | None:
    """`x + 0`, `x * 1`, `x // 1`, `x // 0` and their like; None where nothing applies."""
    if b is ZERO and op in (Op.ADD, Op.SUB):
        return a
    if a is ZERO and op is Op.ADD:
        return b
    if b is ONE and op in (Op.MUL, Op.FLOORDIV):
        return a
    if a is ONE and op is Op.MUL:
        return b
    if op is Op.MUL and (a is ZERO or b is ZERO):
        return ZERO
    if b is ZERO and op in (Op.FLOORDIV, Op.MOD):
        return ZERO  # as everywhere: a divisor that is seen to be 0 only now, such as `k - k`, is no error
    if b is ONE and op is Op.MOD:
        return ZERO
    if a is b and op in (Op.MIN, Op.MAX):
        return a
    if a is b and op is Op.SUB:
        return ZERO
    return None


def negation_free(mask: Expr) -> Expr:
    """The same mask with `not` and `xor` expanded into `and`, `or` and turned comparisons (tables of truth values keep their `not`)."""
    pair = fold(mask, _polarities)
    return pair[0]


def _polarities(node: Expr, parts: tuple[tuple[Expr, Expr], ...]) -> tuple[Expr, Expr]:
    """(node, not node), both without inner negations."""
    if node.kind is not Kind.BOOL:
        same = rebuilt(node, tuple(part[0] for part in parts))
        return same, same
    match node:
        case Binary(op=Op.AND):
            (a, not_a), (b, not_b) = parts
            return conjunction(a, b), disjunction(not_a, not_b)
        case Binary(op=Op.OR):
            (a, not_a), (b, not_b) = parts
            return disjunction(a, b), conjunction(not_a, not_b)
        case Binary(op=op, a=left) if op is Op.XOR or (op in (Op.EQ, Op.NE) and left.kind is Kind.BOOL):
            (a, not_a), (b, not_b) = parts
            differ = disjunction(conjunction(a, not_b), conjunction(not_a, b))
            agree = disjunction(conjunction(a, b), conjunction(not_a, not_b))
            return (agree, differ) if op is Op.EQ else (differ, agree)
        case Binary(op=op, a=left) if op in (Op.LT, Op.LE) and left.kind is Kind.BOOL:
            (a, not_a), (b, not_b) = parts
            below = conjunction(not_a, b) if op is Op.LT else disjunction(not_a, b)
            return below, (disjunction(a, not_b) if op is Op.LT else conjunction(a, not_b))
        case Unary(op=Op.NOT):
            return parts[0][1], parts[0][0]
        case Select():
            (c, not_c), (a, not_a), (b, not_b) = parts
            return disjunction(conjunction(c, a), conjunction(not_c, b)), disjunction(conjunction(c, not_a), conjunction(not_c, not_b))
        case _:
            same = rebuilt(node, tuple(part[0] for part in parts))
            return same, negated(same)


def with_values(program: Program, values: dict[Expr, Expr]) -> Program:
    """Some symbols replaced by their values; they are no parameters any more, but where a grid is named by them."""
    named = program.space.extent_symbols
    kept = tuple(symbol for symbol in program.parameters if symbol not in values or symbol in named)
    mask, score = (_legal(substitute(root, values)) for root in (program.mask, program.score))
    return replace(program, mask=mask, score=score, parameters=kept)


def _legal(expr: Expr) -> Expr:
    """A divisor that is bound to 0 gives 0, as everywhere, and an index bound to a negative number is held: written, both are refused."""

    def visit(node: Expr, parts: tuple[Expr, ...]) -> Expr:
        made = rebuilt(node, parts)
        match made:
            case Binary(op=Op.FLOORDIV | Op.MOD, b=Const(value=0)):
                return ZERO
            case _:
                return _held(made)

    return fold(expr, visit)
