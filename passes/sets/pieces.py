"""Integer sets over [i, j] as pieces: ranges of key tiles and predicates, in the language of expressions.

A basic set becomes one range: constraints that bound j become start and stop, `j = r (mod m)` becomes the step, and whatever is left
becomes `where`. Nothing is dropped, so a piece is exactly its set.
"""

# The set library's types are partly unknown.
# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce

import islpy as isl

from ...ir.expr import FALSE, TRUE, ZERO, Binary, Const, Expr, J, Op, Select, Var, conjunction, disjunction, names, substitute
from ...ir.schedule import Piece
from ..program.canonicalise import combined, simplified
from .integer_sets import OverBudget, budgeted

_SET, _PARAM, _DIV = isl.dim_type.in_, isl.dim_type.param, isl.dim_type.div  # of an affine function over the set
MOST_RANGES = 6
OVERLAP_BUDGET = 20_000


@dataclass(frozen=True)
class Reading:
    """How to read a set's dimensions.

    parameters: expression of each parameter dimension.
    tiles:      exclusive end of the key tiles this relation may hold.
    meanings:   what placeholders (scalars, term bounds) stand for.
    """

    parameters: tuple[Expr, ...]
    tiles: Expr
    meanings: Mapping[Expr, Expr]

    @property
    def per_tile(self) -> tuple[int, ...]:
        """Positions of the parameters that stand for something that reads j."""
        return tuple(at for at, leaf in enumerate(self.parameters) if "j" in names(self.meanings.get(leaf, leaf)))


def add(a: Expr, b: Expr) -> Expr:
    """a + b, with trailing constants gathered into one."""
    match a, b:
        case Binary(op=Op.ADD | Op.SUB as op, a=inner, b=Const(value=int(first))), Const(value=int(second)):
            return add(inner, Const((first if op is Op.ADD else -first) + second))
        case Const(value=0), _:
            return b
        case _, Const(value=int(value)) if value < 0:
            return simplified(Binary(Op.SUB, a, Const(-value)))
        case _:
            return simplified(Binary(Op.ADD, a, b))


def times(factor: int, a: Expr) -> Expr:
    return a if factor == 1 else simplified(Binary(Op.MUL, Const(factor), a))


def affine(aff: isl.Aff, reading: Reading, factor: int = 1) -> Expr:
    """`factor * aff` as an expression; quotients become `//`. The factor clears the denominator of a quotient's argument."""
    return _linear(*_terms(aff, reading, factor))


def _terms(aff: isl.Aff, reading: Reading, factor: int = 1) -> tuple[list[tuple[int, Expr]], int]:
    """What `factor * aff` adds up: expressions with their coefficients, and a constant."""
    plus: list[tuple[int, Expr]] = []
    for kind, leaves in ((_SET, (Var("i"), J)), (_PARAM, reading.parameters)):
        for at, leaf in enumerate(leaves):
            plus.append((_integer(aff.get_coefficient_val(kind, at), factor), leaf))
    for at in range(aff.dim(_DIV)):
        coefficient = _integer(aff.get_coefficient_val(_DIV, at), factor)
        if coefficient:
            plus.append((coefficient, quotient(aff.get_div(at), reading)))
    return [(c, leaf) for c, leaf in plus if c], _integer(aff.get_constant_val(), factor)


def quotient(div: isl.Aff, reading: Reading) -> Expr:
    denominator = div.get_denominator_val().to_python()
    return Binary(Op.FLOORDIV, affine(div, reading, denominator), Const(denominator))


def _integer(value: isl.Val, factor: int) -> int:
    numerator, _, divisor = str(value).partition("/")  # the numbers may have any size
    denominator = int(divisor or 1)
    assert (int(numerator) * factor) % denominator == 0
    return int(numerator) * factor // denominator


def _linear(plus: Sequence[tuple[int, Expr]], constant: int) -> Expr:
    """A sum, positive coefficients first so that it reads without unary minus."""
    result: Expr | None = None
    if constant and plus and all(coefficient < 0 for coefficient, _ in plus):
        result, constant = Const(constant), 0
    for coefficient, leaf in sorted(plus, key=lambda each: each[0] < 0):
        if result is None:
            result = times(coefficient, leaf)
        elif coefficient < 0:
            result = Binary(Op.SUB, result, times(-coefficient, leaf))
        else:
            result = Binary(Op.ADD, result, times(coefficient, leaf))
    return Const(constant) if result is None else add(result, Const(constant))


@dataclass
class _Range:
    """The constraints of one basic set, sorted by what they say about j."""

    starts: list[Expr]
    stops: list[Expr]
    guards: list[Expr]
    tests: list[Expr]
    step: int = 1
    phase: Expr = ZERO


def pieces(relation: isl.Set, reading: Reading) -> tuple[Piece, ...]:
    """A union of pieces equal to `relation` on the tile grid; they may overlap."""
    relation = relation.compute_divs()
    found = tuple(piece(basic, reading) for basic in relation.get_basic_sets())
    if len(found) <= MOST_RANGES:
        return found
    hull = piece(relation.remove_divs().simple_hull(), reading)
    return (Piece(hull.start, hull.stop, 1, conjunction(_residual(hull), disjunction(*(member(each) for each in found)))),)


def overlaps(relation: isl.Set) -> frozenset[tuple[int, int]]:
    """Pairs (earlier, later) of the pieces of `relation` that may share a tile; the others are proved not to."""
    basics = relation.compute_divs().get_basic_sets()
    if len(basics) > MOST_RANGES:
        return frozenset()  # one piece
    pairs = [(a, b) for b in range(len(basics)) for a in range(b)]
    try:
        with budgeted(relation.get_ctx(), OVERLAP_BUDGET):
            return frozenset((a, b) for a, b in pairs if not basics[a].is_disjoint(basics[b]))
    except OverBudget:
        return frozenset(pairs)


def _residual(hull: Piece) -> Expr:
    return FALSE if hull.where is FALSE else TRUE  # the members say everything else


def piece(basic: isl.BasicSet, reading: Reading) -> Piece:
    """One basic set as a range with a predicate."""
    found = _Range([ZERO], [reading.tiles], [], [])
    for constraint in basic.get_constraints():
        if not constraint.is_div_constraint():  # says only that a quotient is one
            _sort(constraint, found, reading)
    start = reduce(lambda a, b: simplified(Binary(Op.MAX, a, b)), found.starts)
    stop = reduce(lambda a, b: simplified(Binary(Op.MIN, a, b)), found.stops)
    if found.step > 1:
        start = add(start, simplified(Binary(Op.MOD, Binary(Op.SUB, found.phase, start), Const(found.step))))
    if found.guards:
        stop = Select(conjunction(*found.guards), stop, ZERO)
    where = conjunction(*found.tests)
    start, stop, where = (substitute(part, reading.meanings) for part in (start, stop, where))
    return Piece(start, stop, found.step, where)


def _sort(constraint: isl.Constraint, found: _Range, reading: Reading) -> None:
    aff = constraint.get_aff()
    equality = constraint.is_equality()
    if any(not aff.get_coefficient_val(_PARAM, at).is_zero() for at in reading.per_tile) or _quotients_of(aff, reading.per_tile):
        found.tests.append(holds(aff, equality, reading))  # a bound that differs from tile to tile
        return
    coefficient = _integer(aff.get_coefficient_val(_SET, 1), 1)
    inner = _quotients_of_j(aff)
    if inner:
        if not _stride(aff, equality, found, reading):
            found.tests.append(holds(aff, equality, reading))
    elif coefficient == 0:
        found.guards.append(holds(aff, equality, reading))
    else:
        _bound(aff, coefficient, equality, found, reading)


def _bound(aff: isl.Aff, coefficient: int, equality: bool, found: _Range, reading: Reading) -> None:
    """coefficient * j + rest >= 0 (or == 0) as a start or a stop (or both)."""
    size = abs(coefficient)
    low = affine(aff.set_coefficient_val(_SET, 1, isl.Val.zero(aff.get_ctx())), reading, -1 if coefficient > 0 else 1)
    if equality:
        exact = low if size == 1 else Binary(Op.FLOORDIV, low, Const(size))
        found.starts.append(exact)
        found.stops.append(add(exact, Const(1)))
        if size > 1:
            found.guards.append(Binary(Op.EQ, Binary(Op.MOD, low, Const(size)), ZERO))
    elif coefficient > 0:
        found.starts.append(low if size == 1 else Binary(Op.FLOORDIV, add(low, Const(size - 1)), Const(size)))
    else:
        found.stops.append(add(low if size == 1 else Binary(Op.FLOORDIV, low, Const(size)), Const(1)))


def _stride(aff: isl.Aff, equality: bool, found: _Range, reading: Reading) -> bool:
    """Recognise c*j - c*m*floor((a*j + r)/m)/a + rest == 0, that is j = -rest/c (mod m), with a and c one or minus one."""
    inner = _quotients_of_j(aff)
    if not equality or found.step > 1 or len(inner) != 1:
        return False
    at = inner[0]
    div = aff.get_div(at)
    modulus = div.get_denominator_val().to_python()
    a = _integer(div.get_coefficient_val(_SET, 1), modulus)
    c = _integer(aff.get_coefficient_val(_SET, 1), 1)
    n = _integer(aff.get_coefficient_val(_DIV, at), 1)
    if abs(a) != 1 or abs(c) != 1 or n != -c * a * modulus or _quotients_of_j(div):
        return False
    zero = isl.Val.zero(aff.get_ctx())
    rest = affine(aff.set_coefficient_val(_SET, 1, zero).set_coefficient_val(_DIV, at, zero), reading)
    inside = affine(div.set_coefficient_val(_SET, 1, zero), reading, modulus)
    # (a*j + inside) mod m = inside - (c*a)*rest must be one of 0 ... m - 1
    remainder = simplified(Binary(Op.SUB, inside, times(c * a, rest)))
    if not isinstance(remainder, Const) or not 0 <= remainder.value < modulus:
        found.guards.append(Binary(Op.LE, ZERO, remainder))
        found.guards.append(Binary(Op.LT, remainder, Const(modulus)))
    found.step, found.phase = modulus, times(-c, rest)
    return True


def _quotients_of_j(aff: isl.Aff) -> list[int]:
    """Positions of the quotients in `aff` whose argument reads j, directly or through another quotient."""
    return [at for at in range(aff.dim(_DIV)) if not aff.get_coefficient_val(_DIV, at).is_zero() and _reads_j(aff.get_div(at))]


def _quotients_of(aff: isl.Aff, parameters: Sequence[int]) -> bool:
    """Whether a quotient in `aff` reads one of the parameters at these positions."""
    inner = [aff.get_div(at) for at in range(aff.dim(_DIV)) if not aff.get_coefficient_val(_DIV, at).is_zero()]
    return any(
        any(not div.get_coefficient_val(_PARAM, at).is_zero() for at in parameters) or _quotients_of(div, parameters) for div in inner
    )


def _reads_j(aff: isl.Aff) -> bool:
    return not aff.get_coefficient_val(_SET, 1).is_zero() or bool(_quotients_of_j(aff))


def holds(aff: isl.Aff, equality: bool, reading: Reading) -> Expr:
    """`aff == 0` or `aff >= 0`, as a comparison of two sums: their difference may not fit where they do."""
    terms, constant = _terms(aff, reading)
    high = _linear([(c, leaf) for c, leaf in terms if c > 0], max(constant, 0))
    low = _linear([(-c, leaf) for c, leaf in terms if c < 0], max(-constant, 0))
    return Binary(Op.EQ if equality else Op.LE, low, high)


def hull_of(ranges: Sequence[tuple[Expr, Expr]]) -> tuple[Expr, Expr]:
    """The range from the first start to the last stop of some ranges; an empty one of none."""
    if not ranges:
        return ZERO, ZERO
    starts, stops = zip(*ranges, strict=True)
    return reduce(partial(combined, Op.MIN), starts), reduce(partial(combined, Op.MAX), stops)


def member(piece: Piece) -> Expr:
    """Whether tile j, which is never negative, belongs to the piece."""
    inside = Binary(Op.LT, J, piece.stop)
    if not (isinstance(piece.start, Const) and piece.start.value <= 0):
        inside = conjunction(Binary(Op.LE, piece.start, J), inside)
    if piece.step > 1:
        phase = Binary(Op.MOD, Binary(Op.SUB, J, piece.start), Const(piece.step))
        inside = conjunction(inside, Binary(Op.EQ, phase, ZERO))
    return conjunction(inside, piece.where)
