"""How a score moves with `s` and with the table entries it reads. With this module comes sympy, so it is imported where one is derived.

The chain rule runs over the nodes of the score. Each node is one symbol to sympy, which differentiates the single operations and keeps the
products in order; what comes back is made of the nodes of the score itself, so a kernel that computes both computes them once.

    cap * tanh(s / cap)      by s          1.0 - tanh(s / cap) * tanh(s / cap)
    s + slopes[h] * d        by slopes[h]  d
"""

# sympy's types are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingTypeArgument=false, reportMissingTypeStubs=false
from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import sympy

from ...ir.build import as_real, power, quoted
from ...ir.expr import Binary, Const, Expr, Kind, Lookup, Op, S, Select, Unary, conjunction, fold, operands, walk

Value = Any  # a sympy expression; sympy's own types do not say of what


@dataclass(frozen=True, slots=True)
class Derivatives:
    """Real expressions over what the score reads.

    by_score:  by `s`.
    by_lookup: by each distinct look-up of a float table, in the order in which the score reads them.
    """

    by_score: Expr
    by_lookup: tuple[tuple[Lookup, Expr], ...]


def derivatives(score: Expr) -> Derivatives:
    """The derivatives of a real expression.

    Conditions and integers do not move. At kinks torch's conventions hold: `abs` has slope 0 at 0, `min` and `max` share equally between
    equal operands, `x ** 0` has slope 0, `0 ** y` does not move with y >= 0, `sqrt` rises infinitely at 0. Unlike torch's, the slope of a
    selection is that of the chosen side alone, whatever the other one's is.

    Raises:
        NotImplementedError: an operation has no derivative here.
    """
    lookups = [node for node in walk(score) if isinstance(node, Lookup) and node.kind is Kind.FLOAT]
    algebra = Algebra()
    by_score = _derivative(algebra, score, S)
    return Derivatives(by_score, tuple((lookup, _derivative(algebra, score, lookup)) for lookup in lookups))


def _derivative(algebra: Algebra, score: Expr, by: Expr) -> Expr:
    def visit(node: Expr, slopes: tuple[Value, ...]) -> Value:
        if node is by:
            return sympy.S.One
        if node.kind is not Kind.FLOAT or all(slope is sympy.S.Zero for slope in slopes):
            return sympy.S.Zero
        return _slope(algebra, node, slopes)

    return algebra.expression(fold(score, visit))


def _slope(algebra: Algebra, node: Expr, slopes: tuple[Value, ...]) -> Value:
    """The derivative of a node, given those of its operands."""
    if isinstance(node, Select):
        return algebra.selected(node.condition, slopes[1], slopes[2])
    assert isinstance(node, Unary | Binary)
    if node.op in RULES:
        return RULES[node.op](algebra, node, slopes)
    if node.op not in FUNCTIONS:
        raise NotImplementedError(f"`{node.op.value}` in the score `{quoted(node)}` has no derivative\n  write it with other functions")
    places = dict(zip((X, Y), (algebra.value(operand) for operand in operands(node)), strict=False)) | {V: algebra.value(node)}
    partials = [partial.xreplace(places) for partial in _partials(node.op)]
    return sympy.Add(*(algebra.product(*each) for each in zip(partials, slopes, strict=False)))


# -- single operations ------------------------------------------------------------------------------------------------

X, Y, V = sympy.symbols("x y v", real=True)
FUNCTIONS: dict[Op, Value] = {
    Op.ADD: X + Y,
    Op.SUB: X - Y,
    Op.MUL: X * Y,
    Op.DIV: X / Y,
    Op.NEG: -X,
    Op.FLOAT: X,
    Op.EXP: sympy.exp(X),
    Op.EXP2: 2**X,
    Op.LOG: sympy.log(X),
    Op.LOG2: sympy.log(X) / sympy.log(2),
    Op.SQRT: sympy.sqrt(X),
    Op.TANH: sympy.tanh(X),
    Op.SIN: sympy.sin(X),
    Op.COS: sympy.cos(X),
    Op.ERF: sympy.erf(X),
}


@functools.cache
def _partials(op: Op) -> tuple[Value, Value]:
    """Derivatives by the first and the second operand, over X, Y and the result V."""
    function = FUNCTIONS[op]
    by_x, by_y = (sympy.diff(function, operand).subs(function, V) for operand in (X, Y))
    return by_x, by_y


def _sigmoid(algebra: Algebra, node: Expr, slopes: tuple[Value, ...]) -> Value:
    """By its value: sympy's quotient of exponentials overflows."""
    value = algebra.value(node)
    return algebra.product(value * (1 - value), slopes[0])


def _abs(algebra: Algebra, node: Expr, slopes: tuple[Value, ...]) -> Value:
    a = operands(node)[0]
    sign = Select(_below(ZERO, a), ONE, Select(_below(a, ZERO), Const(-1.0), ZERO))
    return algebra.product(algebra.value(sign), slopes[0])


def _extreme(algebra: Algebra, node: Expr, slopes: tuple[Value, ...]) -> Value:
    """Of `min` and `max`: that of the operand that is chosen, or half of each."""
    a, b = operands(node)
    low, high = (a, b) if isinstance(node, Binary) and node.op is Op.MIN else (b, a)
    of_a, of_b = slopes
    return algebra.selected(_below(low, high), of_a, algebra.selected(_below(high, low), of_b, algebra.product(sympy.S.Half, of_a + of_b)))


def _power(algebra: Algebra, node: Expr, slopes: tuple[Value, ...]) -> Value:
    base, exponent = map(as_real, operands(node))
    return _power_by_base(algebra, base, exponent, slopes[0]) + _power_by_exponent(algebra, node, base, slopes[1])


def _power_by_base(algebra: Algebra, base: Expr, exponent: Expr, slope: Value) -> Value:
    if isinstance(exponent, Const) and math.isfinite(exponent.value):
        number = algebra.value(exponent)
        return algebra.product(number * algebra.value(base) ** (number - 1), slope)
    lowered = Binary(Op.POW, base, Binary(Op.SUB, exponent, ONE))
    rate = algebra.value(Binary(Op.MUL, exponent, lowered))
    return algebra.selected(Binary(Op.EQ, exponent, ZERO), sympy.S.Zero, algebra.product(rate, slope))


def _power_by_exponent(algebra: Algebra, node: Expr, base: Expr, slope: Value) -> Value:
    if isinstance(base, Const) and 0 < base.value < math.inf:
        return algebra.product(algebra.value(node) * sympy.log(algebra.value(base)), slope)
    still = conjunction(Binary(Op.EQ, base, ZERO), Binary(Op.LE, ZERO, as_real(operands(node)[1])))
    rate = algebra.value(node) * algebra.value(Unary(Op.LOG, base))
    return algebra.selected(still, sympy.S.Zero, algebra.product(rate, slope))


RULES: dict[Op, Callable[[Algebra, Expr, tuple[Value, ...]], Value]] = {
    Op.SIGMOID: _sigmoid,
    Op.ABS: _abs,
    Op.MIN: _extreme,
    Op.MAX: _extreme,
    Op.POW: _power,
}
ZERO, ONE = Const(0.0), Const(1.0)


def _below(a: Expr, b: Expr) -> Expr:
    return Binary(Op.LT, as_real(a), as_real(b))


# -- nodes as symbols -------------------------------------------------------------------------------------------------


@dataclass
class Algebra:
    """Nodes as sympy's symbols, numbered in the order in which they are met, and sympy's expressions as nodes again."""

    symbols: dict[Expr, Value] = field(default_factory=dict[Expr, Value])
    nodes: dict[Value, Expr] = field(default_factory=dict[Value, Expr])
    selections: dict[Value, tuple[Expr, Value, Value]] = field(default_factory=dict[Value, tuple[Expr, Value, Value]])

    def value(self, node: Expr) -> Value:
        """A finite constant as the exact number, powers as powers, anything else as a symbol."""
        if isinstance(node, Const) and math.isfinite(node.value):
            return sympy.Rational(node.value)
        if node not in self.symbols:
            value = self._as_power(node) or sympy.Symbol(f"n{len(self.symbols):06d}", real=True)
            self.symbols[node] = value
            self.nodes[value] = as_real(node)
        return self.symbols[node]

    def _as_power(self, node: Expr) -> Value | None:
        """What a chain of products of one node with itself is a power of."""
        if not isinstance(node, Binary) or node.op is not Op.MUL or node.kind is not Kind.FLOAT:
            return None
        product = self.value(node.a) * self.value(node.b)
        return product if product.is_Pow and product.exp.is_Integer else None

    def selected(self, condition: Expr, a: Value, b: Value) -> Value:
        if a == b:
            return a
        found = self.value(Select(condition, self.expression(a), self.expression(b)))
        self.selections[found] = (condition, a, b)
        return found

    def product(self, rate: Value, slope: Value) -> Value:
        """What does not move stays still at any rate, be it infinite: a selection with zeros in it takes the rate inside."""
        if slope == 0:
            return slope
        if slope.is_Add and any(map(self._may_vanish, slope.args)):
            return sympy.Add(*(self.product(rate, term) for term in slope.args))
        if not self._may_vanish(slope):
            return rate * slope
        condition, a, b = self.selections[slope]
        return self.selected(condition, self.product(rate, a), self.product(rate, b))

    def _may_vanish(self, slope: Value) -> bool:
        return slope in self.selections and any(each == 0 or self._may_vanish(each) for each in self.selections[slope][1:])

    def expression(self, value: Value) -> Expr:
        """A node for what sympy made of symbols; equal parts are one node."""
        if value not in self.nodes:
            self.nodes[value] = self._expression(value)
        return self.nodes[value]

    def _expression(self, value: Value) -> Expr:
        if value.is_number:
            return Const(_number(value))
        if value.is_Add:
            return self._sum(value.args)
        if value.is_Mul:
            return self._product(value.args)
        if isinstance(value, sympy.exp):  # sympy counts it among the powers
            return Unary(Op.EXP, self.expression(value.args[0]))
        if value.is_Pow:
            return self._power(*value.args)
        return Unary(CALLS[value.func], self.expression(value.args[0]))

    def _sum(self, terms: tuple[Value, ...]) -> Expr:
        added = [term for term in terms if term.as_coeff_Mul()[0] >= 0]
        taken = [term for term in terms if term.as_coeff_Mul()[0] < 0]
        if not added:
            return Unary(Op.NEG, self.expression(sympy.Add(*(-term for term in taken))))
        total = _chain(Op.ADD, [self.expression(term) for term in added])
        return _chain(Op.SUB, [total, *(self.expression(-term) for term in taken)])

    def _product(self, factors: tuple[Value, ...]) -> Expr:
        number = _number(sympy.Mul(*(factor for factor in factors if factor.is_number)))
        rest = [factor for factor in factors if not factor.is_number]
        below = [1 / factor for factor in rest if _divides(factor)]
        above = [self.expression(factor) for factor in rest if not _divides(factor)]
        top = _times(number, _chain(Op.MUL, above)) if above else Const(number)
        return Binary(Op.DIV, top, _chain(Op.MUL, [self.expression(factor) for factor in below])) if below else top

    def _power(self, base: Value, exponent: Value) -> Expr:
        if exponent < 0:
            return Binary(Op.DIV, ONE, self.expression(base**-exponent))
        if exponent.is_Integer and exponent <= 64:
            return power(self.expression(base), Const(int(exponent)))
        if exponent == sympy.S.Half:
            return Unary(Op.SQRT, self.expression(base))
        return Binary(Op.POW, self.expression(base), self.expression(exponent))


CALLS: dict[Any, Op] = {sympy.sin: Op.SIN, sympy.cos: Op.COS, sympy.Abs: Op.ABS}  # the root of a square is an absolute value


def _divides(factor: Value) -> bool:
    return factor.is_Pow and factor.exp < 0


def _chain(op: Op, parts: list[Expr]) -> Expr:
    return functools.reduce(lambda a, b: Binary(op, a, b), parts)


def _times(number: float, node: Expr) -> Expr:
    if number == 1:
        return node
    return Unary(Op.NEG, node) if number == -1 else Binary(Op.MUL, Const(number), node)


def _number(value: Value) -> float:
    """The nearest real; NaN where there is none."""
    if value.is_Rational:
        return value.p / value.q if abs(value) < 2**1000 else float(value)
    if value is sympy.zoo:
        return math.nan
    found = complex(value)
    return found.real if found.imag == 0 else math.nan
