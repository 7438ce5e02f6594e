"""Tile relations as integer sets: the mask is projected onto the tile grid, symbolically, by the Integer Set Library.

    some     = { (i, j) : exists q in tile i, k in tile j, both inside their lengths: mask }
    unfilled = { (i, j) : exists q in tile i inside its length, k in tile j: not mask }
    full     = { (i, j) : tile j inside the key length } - unfilled

The projection is exact for affine masks with quotients and remainders by constants. It can be expensive, so each derivation has a context
of its own with a budget of library operations.
"""

# The set library's types are partly unknown.
# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false
from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import islpy as isl

from ...ir.expr import COMPARISONS, K_LEN, Q_LEN, Binary, Const, Expr, Kind, Op, Select, Symbol, Unary, Var, fold, walk
from .coalesce import coalesced

BUDGET = 200_000  # of the projection, which everything rests on: about a second of the dearest operations
SMALL_BUDGET = 100_000  # of what has a cheaper way out
EVEN_BUDGET = 15_000  # of full tiles without their ragged rows: where they are simpler at all, they are quickly found
HEAD = Var("head")
_SET, _PARAM, _DIV = isl.dim_type.set, isl.dim_type.param, isl.dim_type.div


class OverBudget(Exception):
    """The derivation would take more library operations than it is allowed."""


@dataclass(frozen=True)
class Bounds:
    """The interval of a term over its tile, by the names of its two parameters in the formula."""

    low: Symbol
    high: Symbol


@dataclass(frozen=True)
class Problem:
    """What to project.

    mask, unmask: affine truth values over `q`, `k`, the terms, symbols, `b` and `h`; `unmask` is the negation of the mask.
    terms:        bounds of each term variable; `low <= term <= high` in the tile at hand.
    together:     heads that share a tile, from `h` on; the masks read the one at hand as HEAD.
    """

    mask: Expr
    unmask: Expr
    block_q: int
    block_k: int
    terms: Mapping[Expr, Bounds] = field(default_factory=dict)
    together: int = 1

    @property
    def heads(self) -> tuple[Expr, ...]:
        """The head at hand as a variable, where the masks read it."""
        return (HEAD,) if self.together > 1 and HEAD in set(walk(self.mask, self.unmask)) else ()


@dataclass
class Sets:
    """The relations over [i, j], and how to read their dimensions back as expressions.

    even_full: `full` without the rows past `Lq` that a ragged last query tile leaves out; a subset, given where it is a simpler set.
    full is None where subtracting would pass the budget; then a tile is full iff it is inside the key length and not in `unfilled`.
    """

    some: isl.Set
    unfilled: isl.Set
    full: isl.Set | None
    even_full: isl.Set | None
    grid: isl.Set
    parameters: tuple[Expr, ...]

    @property
    def fast_full(self) -> isl.Set | None:
        """What the full loops are made of."""
        return self.full if self.even_full is None else self.even_full


@contextmanager
def budgeted(context: isl.Context, operations: int) -> Generator[None]:
    """Raise OverBudget when the library does more than `operations` steps inside."""
    context.set_max_operations(operations)
    context.reset_operations()
    try:
        yield
    except isl.Error as error:
        if "maximal number of operations" not in str(error) and "quota" not in str(error):
            raise
        raise OverBudget(f"more than {operations} integer-set operations") from None
    finally:
        context.set_max_operations(0)
        context.reset_operations()


def relations(problem: Problem, budget: int = BUDGET) -> Sets:
    """Project the mask and its negation onto tiles.

    Raises:
        OverBudget: `some` or `unfilled` takes more than `budget` operations.
    """
    builder = Builder(problem)
    with budgeted(builder.context, budget):
        grid = builder.on_tiles(builder.grid())
        some = coalesced(builder.projected(builder.tile(keys_inside=True), problem.mask).gist(grid))
        unfilled = coalesced(builder.projected(builder.tile(), problem.unmask))
    small = min(budget, SMALL_BUDGET)
    full = builder.filled(unfilled, small)
    even = _even_full(builder, min(budget, EVEN_BUDGET), full.n_basic_set()) if full is not None and full.n_basic_set() > 1 else None
    return Sets(some, unfilled, full, even, grid, builder.parameters)


def is_empty(condition: Expr, budget: int = SMALL_BUDGET) -> bool:
    """Whether an affine condition over `i`, `j`, `q`, `k` and symbols is proved to hold nowhere."""
    builder = Builder(Problem(condition, condition, 1, 1))
    try:
        with budgeted(builder.context, budget):
            return bool(builder.set_of(condition).is_empty())
    except OverBudget:
        return False


def _even_full(builder: Builder, budget: int, pieces: int) -> isl.Set | None:
    """Tiles all of whose `block_q` rows see every key, past `Lq` or not; None unless that takes fewer than `pieces` basic sets."""
    try:
        with budgeted(builder.context, budget):
            unfilled = coalesced(builder.projected(builder.tile(rows_inside=False), builder.problem.unmask))
        found = builder.filled(unfilled, budget)
    except OverBudget:
        return None
    return found if found is not None and found.n_basic_set() < pieces else None


class Builder:
    """Affine expressions to sets over [i, j, q, k, terms...]."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.context = isl.Context()
        self.context.set_on_error(isl.on_error.CONTINUE) if hasattr(isl, "on_error") else None
        self.dims: list[Expr] = [Var("i"), Var("j"), Var("q"), Var("k"), *problem.terms, *problem.heads]
        self.parameters = self._parameters()
        names = {"set": [f"x{n}" for n in range(len(self.dims))], "params": [f"p{n}" for n in range(len(self.parameters))]}
        self.space = isl.LocalSpace.from_space(isl.Space.create_from_names(self.context, **names))

    def _parameters(self) -> tuple[Expr, ...]:
        bounds = [end for each in self.problem.terms.values() for end in (each.low, each.high)]
        read = [node for node in walk(self.problem.mask, self.problem.unmask) if isinstance(node, Symbol) or node in (Var("b"), Var("h"))]
        return tuple(dict.fromkeys([Q_LEN, K_LEN, *bounds, *read, *(Var("h") for _ in self.problem.heads)]))

    # -- affine values

    def number(self, value: int) -> isl.PwAff:
        return isl.PwAff.from_aff(isl.Aff.val_on_domain(self.space, self.value(value)))

    def value(self, value: int) -> isl.Val:
        return isl.Val.read_from_str(self.context, str(value)) if abs(value) >= 2**31 else isl.Val.int_from_si(self.context, value)

    def leaf(self, node: Expr) -> isl.PwAff:
        where, at = (_SET, self.dims.index(node)) if node in self.dims else (_PARAM, self.parameters.index(node))
        return isl.PwAff.from_aff(isl.Aff.var_on_domain(self.space, where, at))

    def set_of(self, expr: Expr) -> isl.Set:
        result = fold(expr, self._visit)
        assert isinstance(result, isl.Set)
        return result

    def _visit(self, node: Expr, parts: tuple[Any, ...]) -> Any:  # noqa: ANN401 (a set or an affine function)
        match node:
            case Const(value=bool() as value):
                universe = isl.Set.universe(self.space.get_space())
                return universe if value else isl.Set.empty(self.space.get_space())
            case Const(value=value):
                return self.number(int(value))
            case Var() | Symbol():
                return self.leaf(node)
            case Select():
                return self._select(node, parts)
            case Binary(op=op, b=Const(value=by)) if op in (Op.FLOORDIV, Op.MOD):
                return self._divided(op, parts[0], int(by))
            case Binary(op=Op.MUL, a=Const(value=by)):
                return parts[1].scale_val(self.value(int(by)))
            case Binary(op=Op.MUL, b=Const(value=by)):
                return parts[0].scale_val(self.value(int(by)))
            case Binary(op=op, a=a) if op in COMPARISONS and a.kind is Kind.BOOL:
                raise AssertionError(f"`{node}` compares truth values: simplify first")
            case Binary(op=op) | Unary(op=op):
                return _OPERATIONS[op](*parts)
            case _:
                raise AssertionError(f"`{node}` is not affine: abstract first")

    def _select(self, node: Select, parts: tuple[Any, ...]) -> Any:  # noqa: ANN401 (a set or an affine function)
        condition, a, b = parts
        if node.kind is Kind.BOOL:
            return condition.intersect(a).union(condition.complement().intersect(b))
        return a.intersect_domain(condition).union_add(b.intersect_domain(condition.complement()))

    def _divided(self, op: Op, a: isl.PwAff, by: int) -> isl.PwAff:
        """Quotient and remainder that round towards minus infinity, for a divisor of either sign."""
        upright = a if by > 0 else a.neg()
        quotient = upright.scale_down_val(self.value(abs(by))).floor()
        return quotient if op is Op.FLOORDIV else a.sub(quotient.scale_val(self.value(by)))

    # -- domains

    def between(self, low: isl.PwAff, value: isl.PwAff, stop: isl.PwAff) -> isl.Set:
        """low <= value < stop."""
        return low.le_set(value).intersect(value.lt_set(stop))

    def grid(self) -> isl.Set:
        """Tiles that hold a query row and a key, and the facts every launch guarantees: lengths at least 1, minima below maxima."""
        i, j = self.leaf(Var("i")), self.leaf(Var("j"))
        zero, q_len, k_len = self.number(0), self.leaf(Q_LEN), self.leaf(K_LEN)
        rows = zero.le_set(i).intersect(i.scale_val(self.value(self.problem.block_q)).lt_set(q_len))
        keys = zero.le_set(j).intersect(j.scale_val(self.value(self.problem.block_k)).lt_set(k_len))
        tiles = rows.intersect(keys).intersect(self.number(1).le_set(q_len)).intersect(self.number(1).le_set(k_len))
        for bounds in self.problem.terms.values():
            tiles = tiles.intersect(self.leaf(bounds.low).le_set(self.leaf(bounds.high)))
        return tiles

    def whole_key_tile(self) -> isl.Set:
        block = self.problem.block_k
        return self.leaf(Var("j")).scale_val(self.value(block)).add(self.number(block)).le_set(self.leaf(K_LEN))

    def filled(self, unfilled: isl.Set, budget: int) -> isl.Set | None:
        """Whole key tiles that are not in `unfilled`; None past the budget, or where the negation is the shorter description."""
        whole = self.on_tiles(self.whole_key_tile().intersect(self.grid()))
        try:
            with budgeted(self.context, budget):
                full = coalesced(coalesced(whole.subtract(unfilled).compute_divs()).gist(whole))
        except OverBudget:
            return None
        return None if full.n_basic_set() > 4 * max(1, unfilled.n_basic_set()) else full

    def tile(self, *, keys_inside: bool = False, rows_inside: bool = True) -> isl.Set:
        """q in tile i and below `Lq` when `rows_inside`; k in tile j and below `Lk` when `keys_inside`; each term between its bounds."""
        q, k = self.leaf(Var("q")), self.leaf(Var("k"))
        start_q = self.leaf(Var("i")).scale_val(self.value(self.problem.block_q))
        start_k = self.leaf(Var("j")).scale_val(self.value(self.problem.block_k))
        pairs = self.between(start_q, q, start_q.add(self.number(self.problem.block_q)))
        pairs = pairs.intersect(self.between(start_k, k, start_k.add(self.number(self.problem.block_k))))
        pairs = pairs.intersect(self.grid())
        if rows_inside:
            pairs = pairs.intersect(q.lt_set(self.leaf(Q_LEN)))
        if keys_inside:
            pairs = pairs.intersect(k.lt_set(self.leaf(K_LEN)))
        for term, bounds in self.problem.terms.items():
            value = self.leaf(term)
            pairs = pairs.intersect(self.leaf(bounds.low).le_set(value)).intersect(value.le_set(self.leaf(bounds.high)))
        for head in self.problem.heads:
            first = self.leaf(Var("h"))
            pairs = pairs.intersect(self.between(first, self.leaf(head), first.add(self.number(self.problem.together))))
        return pairs

    def projected(self, domain: isl.Set, condition: Expr) -> isl.Set:
        return self.on_tiles(domain.intersect(self.set_of(condition)))

    def on_tiles(self, pairs: isl.Set) -> isl.Set:
        return pairs.project_out(_SET, 2, len(self.dims) - 2).compute_divs()


_OPERATIONS: dict[Op, Callable[..., isl.PwAff | isl.Set]] = {
    Op.ADD: lambda a, b: a.add(b),
    Op.SUB: lambda a, b: a.sub(b),
    Op.NEG: lambda a: a.neg(),
    Op.ABS: lambda a: a.max(a.neg()),
    Op.MIN: lambda a, b: a.min(b),
    Op.MAX: lambda a, b: a.max(b),
    Op.LT: lambda a, b: a.lt_set(b),
    Op.LE: lambda a, b: a.le_set(b),
    Op.EQ: lambda a, b: a.eq_set(b),
    Op.NE: lambda a, b: a.ne_set(b),
    Op.AND: lambda a, b: a.intersect(b),
    Op.OR: lambda a, b: a.union(b),
    Op.XOR: lambda a, b: a.subtract(b).union(b.subtract(a)),
    Op.NOT: lambda a: a.complement(),
}
