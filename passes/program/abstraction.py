"""Abstract what is not affine: a mask becomes an affine formula over named terms.

Three things a formula over integers cannot hold, and what becomes of each:

    window[h]              reads neither q nor k: one value per program, a symbol
    doc[q], is_global[k]   reads one side: the largest such sub-expression becomes a term, known by its minimum and maximum over a tile
    near[q - k]            a look-up along a diagonal: a term, bounded over the tile's diagonals
    q * k, allowed[q, k]   joins both sides: no formula; the caller must refine
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from ...ir.expr import (
    COMPARISONS,
    INTEGER,
    LOGIC,
    ONE,
    ZERO,
    Binary,
    Const,
    Expr,
    K,
    Kind,
    Lookup,
    Op,
    Select,
    Symbol,
    Unary,
    Var,
    fold,
    names,
    operands,
    rebuilt,
    substitute,
    walk,
)
from .canonicalise import simplified

SIDES = frozenset({"q", "k"})
AFFINE = frozenset({Op.ADD, Op.SUB, Op.NEG, Op.MIN, Op.MAX, Op.ABS}) | COMPARISONS | LOGIC
DIVISIONS = frozenset({Op.FLOORDIV, Op.MOD})


class Joint(Exception):
    """The mask holds a sub-expression that reads both sides and is not affine in them."""

    def __init__(self, expr: Expr) -> None:
        super().__init__(f"`{expr}` joins q and k and is not affine")
        self.expr = expr


@dataclass(frozen=True)
class Abstraction:
    """An affine mask and what its new names stand for.

    scalars: symbol -> integer expression of parameters, b and h.
    terms:   variable -> (integer expression, axis); axis is `q`, `k`, `diagonal`, or `h` for what reads the head alone.
    packed:  several heads share a tile, so that what reads the head has no one value: it is a term.
    """

    mask: Expr
    scalars: dict[Expr, Expr] = field(default_factory=dict[Expr, Expr])
    terms: dict[Expr, tuple[Expr, str]] = field(default_factory=dict[Expr, tuple[Expr, str]])
    packed: bool = False


def powers_rewritten(expr: Expr) -> Expr:
    """Shifts by constants and masks of low bits as multiplications, divisions and remainders, which are affine."""

    def visit(node: Expr, parts: tuple[Expr, ...]) -> Expr:
        node = rebuilt(node, parts)
        match node:
            case Binary(op=Op.SHL, a=a, b=Const(value=int(n))) if 0 <= n < 62:
                return Binary(Op.MUL, a, Const(1 << n))
            case Binary(op=Op.SHR, a=a, b=Const(value=int(n))) if 0 <= n < 62:
                return Binary(Op.FLOORDIV, a, Const(1 << n))
            case Binary(op=Op.BITAND, a=a, b=Const(value=int(m))) if 0 < m < 2**62 and m & (m + 1) == 0:
                return Binary(Op.MOD, a, Const(m + 1))
            case Binary(op=Op.BITAND, a=Const(value=int(m)), b=b) if 0 < m < 2**62 and m & (m + 1) == 0:
                return Binary(Op.MOD, b, Const(m + 1))
            case _:
                return node

    return fold(expr, visit)


def allows(node: Expr) -> bool:
    """Whether `node` itself, whatever stands below it, is an operation of affine formulas."""
    match node:
        case Const() | Var() | Symbol():
            return node.kind is not Kind.FLOAT
        case Select():
            return node.kind is not Kind.FLOAT
        case Binary(op=Op.MUL, a=a, b=b):
            return node.kind is Kind.INT and (isinstance(a, Const) or isinstance(b, Const))
        case Binary(op=op, b=b) if op in DIVISIONS:
            return isinstance(b, Const) and b.value != 0
        case Binary(op=op, a=a) | Unary(op=op, a=a):
            return op in AFFINE and a.kind is not Kind.FLOAT and node.kind is not Kind.FLOAT
        case _:
            return False


def symbols_to_bind(mask: Expr) -> tuple[Symbol, ...]:
    """Symbols that divide, or multiply a position: the formula is affine once they are numbers.

    But for divisors `max(n, 1)`, which extents of a grid are where a call says them: they stay, and a quotient is a term of one side.
    """
    found: set[Symbol] = set()
    for node in walk(mask):
        if not isinstance(node, Binary) or allows(node) or not names(node) & (SIDES | {"h", "b"}):
            continue
        if node.op is Op.MUL:
            factors = [side for side in (node.a, node.b) if not names(side)]
        elif node.op in INTEGER | {Op.POW}:
            factors = [] if node.op in DIVISIONS and _is_positive(node.b) else [node.b]
        else:
            factors = []
        for factor in factors:
            found.update(leaf for leaf in walk(factor) if isinstance(leaf, Symbol))
    return tuple(sorted(found, key=lambda symbol: symbol.name))


def _is_positive(divisor: Expr) -> bool:
    match divisor:
        case Binary(op=Op.MAX, b=Const(value=int(least))):
            return least > 0
        case _:
            return False


def head_divisors(mask: Expr) -> tuple[Expr, ...]:
    """Divisors that are one number per head or batch item (`stride[h]`): the mask is affine once split by their values."""
    found = [
        node.b
        for node in walk(mask)
        if isinstance(node, Binary)
        and node.op in DIVISIONS
        and not isinstance(node.b, Const)
        and names(node.b)
        and not names(node.b) & SIDES
    ]
    return tuple(dict.fromkeys(found))


def split_by_value(mask: Expr, divisor: Expr, values: tuple[int, ...]) -> Expr:
    """`mask` with every use of `divisor` in a division replaced by each of its `values` in turn: any (divisor == v and mask at v)."""
    result: Expr | None = None
    for value in values:
        fixed = substitute(mask, {divisor: Const(value)})
        case = Binary(Op.AND, Binary(Op.EQ, divisor, Const(value)), simplified(fixed))
        result = case if result is None else Binary(Op.OR, result, case)
    return mask if result is None else result


def abstracted(mask: Expr, known: Abstraction | None = None) -> Abstraction:
    """Replace what is not affine by named terms; names in `known` are used again for what they stand for.

    Raises:
        Joint: a sub-expression that reads both sides is not affine.
    """
    found = Abstraction(mask, dict(known.scalars), dict(known.terms), known.packed) if known else Abstraction(mask)
    return replace(found, mask=_Replacement(_affine_nodes(mask), found).of(mask))


def _affine_nodes(mask: Expr) -> frozenset[Expr]:
    good: set[Expr] = set()
    for node in walk(mask):
        if allows(node) and all(operand in good for operand in operands(node)):
            good.add(node)
    return frozenset(good)


@dataclass(frozen=True)
class _Replacement:
    """Top-down: the first node on each path that reads one side and is not affine becomes a term."""

    affine: frozenset[Expr]
    found: Abstraction

    def of(self, root: Expr) -> Expr:
        done: dict[Expr, Expr] = {}
        stack = [root]
        while stack:
            node = stack[-1]
            if node in done:
                stack.pop()
                continue
            leaf = self._leaf(node)
            if leaf is not None:
                done[node] = leaf
                continue
            waiting = [operand for operand in operands(node) if operand not in done]
            if waiting:
                stack.extend(waiting)
            else:
                done[node] = rebuilt(node, tuple(done[operand] for operand in operands(node)))
        return done[root]

    def _leaf(self, node: Expr) -> Expr | None:
        """What `node` becomes as a whole; None when its operands must be looked at."""
        if node in self.affine:
            return node
        sides = names(node) & SIDES
        if not sides and not allows(node):
            if self.found.packed and "h" in names(node):
                return self._named(node, self.found.terms, "h")
            return self._named(node, self.found.scalars, "scalar")
        if not sides:
            return None
        if len(sides) == 1 and not self._scalar_only(node):
            return self._named(node, self.found.terms, next(iter(sides)))
        if allows(node):
            return None
        if on_a_diagonal(node):
            return self._named(node, self.found.terms, "diagonal")
        raise Joint(node)

    def _scalar_only(self, node: Expr) -> bool:
        """Only parameter-wise parts of `node` are not affine, so that it is affine once they are symbols."""
        return allows(node) and all(
            operand in self.affine or not names(operand) & SIDES or self._scalar_only(operand) for operand in operands(node)
        )

    def _named(self, node: Expr, store: dict[Any, Any], axis: str) -> Expr:
        as_integer = node if node.kind is Kind.INT else Select(node, ONE, ZERO)
        meaning = as_integer if axis == "scalar" else (as_integer, axis)
        name = next((name for name, known in store.items() if known == meaning), None)
        if name is None:
            name = Symbol(f"scalar{len(store)}") if axis == "scalar" else Var(f"t{len(store)}")
            store[name] = meaning
        return name if node.kind is Kind.INT else Binary(Op.EQ, name, ONE)


def on_a_diagonal(node: Expr) -> bool:
    """Whether every index of a look-up depends on q and k through q - k alone, or on neither; held inside its table or not."""
    return isinstance(node, Lookup) and all(fold(index, _by_difference) for index in node.indices)


def _by_difference(node: Expr, parts: tuple[bool, ...]) -> bool:
    """Whether the value of a node is the same where q and k grow by the same."""
    if not names(node) & SIDES or (parts and all(parts)):
        return True
    if isinstance(node, Binary) and node.op in COMPARISONS and node.a.kind is Kind.INT:
        return _by_difference(Binary(Op.SUB, node.a, node.b), ())
    form = linear_form(node)
    return form is not None and form.get(Var("q"), 0) + form.get(K, 0) == 0


def linear_form(expr: Expr) -> dict[Expr | None, int] | None:
    """Coefficients of an integer expression over its variables and symbols (None: the constant); None where it is not linear."""

    def visit(node: Expr, parts: tuple[dict[Expr | None, int] | None, ...]) -> dict[Expr | None, int] | None:
        if any(part is None for part in parts):
            return None
        match node:
            case Const(value=value):
                return _nonzero({None: int(value)})
            case Var() | Symbol():
                return {node: 1}
            case Binary(op=Op.ADD):
                return _sum(parts[0], parts[1], 1)
            case Binary(op=Op.SUB):
                return _sum(parts[0], parts[1], -1)
            case Unary(op=Op.NEG):
                return _sum({}, parts[0], -1)
            case Binary(op=Op.MUL, a=Const(value=value)):
                return _sum({}, parts[1], int(value))
            case Binary(op=Op.MUL, b=Const(value=value)):
                return _sum({}, parts[0], int(value))
            case _:
                return None

    return fold(expr, visit)


def _sum(a: dict[Expr | None, int] | None, b: dict[Expr | None, int] | None, factor: int) -> dict[Expr | None, int]:
    assert a is not None
    assert b is not None
    return _nonzero({key: a.get(key, 0) + factor * b.get(key, 0) for key in {**a, **b}})


def _nonzero(form: dict[Expr | None, int]) -> dict[Expr | None, int]:
    return {key: value for key, value in form.items() if value}
