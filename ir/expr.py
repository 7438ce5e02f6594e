"""Expressions: what a mask or a score is made of.

Six node classes. Nodes are immutable and interned, so equality is identity and a common subexpression is one object. They carry no
operators: `lacuna.ir.trace` builds them for users, the functions at the end of this file build them for passes.

    expr  = Const(value)                      3, true, 0.5
          | Var(name)                         q, k, b, h; s in a score; i, j in a schedule
          | Symbol(name, kind)                a parameter, a length; one value for a whole launch (or a whole batch item)
          | Lookup(table, indices)            doc[q], slopes[h]
          | Unary(op, a) | Binary(op, a, b) | Select(condition, a, b)
"""

from __future__ import annotations

import enum
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import ClassVar, TypeVar, cast

T = TypeVar("T")
E = TypeVar("E", bound="Expr")


class Kind(enum.Enum):
    """What a node evaluates to: a mathematical integer, a truth value or a real number."""

    INT = "i64"
    BOOL = "bool"
    FLOAT = "f64"


class Op(enum.Enum):
    """Every operation; the value is its spelling in the textual form."""

    # on integers or reals
    ADD = "+"
    SUB = "-"
    MUL = "*"
    MIN = "min"
    MAX = "max"
    NEG = "neg"
    ABS = "abs"
    # on integers; division and remainder round towards minus infinity, as Python's do
    FLOORDIV = "//"
    MOD = "%"
    BITAND = "&"
    BITOR = "|"
    BITXOR = "^"
    SHL = "<<"
    SHR = ">>"
    # comparisons; `>` and `>=` are written with the sides exchanged
    LT = "<"
    LE = "<="
    EQ = "=="
    NE = "!="
    # on truth values
    AND = "and"
    OR = "or"
    XOR = "xor"
    NOT = "not"
    # on reals
    DIV = "/"
    POW = "**"
    EXP = "exp"
    EXP2 = "exp2"
    LOG = "log"
    LOG2 = "log2"
    SQRT = "sqrt"
    TANH = "tanh"
    SIN = "sin"
    COS = "cos"
    SIGMOID = "sigmoid"
    ERF = "erf"
    FLOAT = "float"  # integer or truth value to real


ARITHMETIC = frozenset({Op.ADD, Op.SUB, Op.MUL, Op.MIN, Op.MAX, Op.NEG, Op.ABS})
INTEGER = frozenset({Op.FLOORDIV, Op.MOD, Op.BITAND, Op.BITOR, Op.BITXOR, Op.SHL, Op.SHR})
COMPARISONS = frozenset({Op.LT, Op.LE, Op.EQ, Op.NE})
LOGIC = frozenset({Op.AND, Op.OR, Op.XOR, Op.NOT})
REAL = frozenset({Op.DIV, Op.POW, Op.EXP, Op.EXP2, Op.LOG, Op.LOG2, Op.SQRT, Op.TANH, Op.SIN, Op.COS, Op.SIGMOID, Op.ERF})


@dataclass(frozen=True, slots=True)
class Table:
    """The declaration of a tensor that expressions read; the tensor itself is bound at launch.

    dtype:    `i8 i16 i32 i64 u8 u16 u32 u64 bool f16 bf16 f32 f64`; entries of `u64` are below 2 ** 63.
    monotone: the values never decrease along the last axis, by construction (`lacuna.segments`).
    """

    name: str
    dtype: str
    rank: int
    monotone: bool = False

    @property
    def kind(self) -> Kind:
        if self.dtype == "bool":
            return Kind.BOOL
        return Kind.FLOAT if "f" in self.dtype else Kind.INT


class Interned(type):
    """One object per structure: constructing the same node twice returns the same object."""

    _nodes: ClassVar[weakref.WeakValueDictionary[tuple[object, ...], Expr]] = weakref.WeakValueDictionary()
    _adding: ClassVar[threading.Lock] = threading.Lock()

    def __call__(cls: type[E], *arguments: object) -> E:  # pyright: ignore[reportGeneralTypeIssues] (a metaclass: cls is the node class)
        if cls is Symbol and len(arguments) == 1:
            arguments = (*arguments, Kind.INT)  # the default, spelled out: Symbol("Lq") is Symbol("Lq", Kind.INT)
        key = (cls, *(_constant(arguments[0]) if cls is Const else arguments))
        node = Interned._nodes.get(key)
        if node is None:
            made: Expr = type.__call__(cls, *arguments)
            with Interned._adding:
                node = Interned._nodes.setdefault(key, made)
        return cast(E, node)


def _constant(value: object) -> tuple[object, ...]:
    """What tells constants apart: 1 == True == 1.0, 0.0 == -0.0, and nan is not itself."""
    return type(value), value.hex() if isinstance(value, float) else value


@dataclass(frozen=True, slots=True, eq=False, repr=False, weakref_slot=True)
class Expr(metaclass=Interned):
    """One node. Equality is identity, so `is` decides structural equality in O(1)."""

    kind: Kind = field(init=False)

    def __reduce__(self) -> tuple[type[Expr], tuple[object, ...]]:
        return type(self), tuple(getattr(self, each.name) for each in fields(self) if each.init)  # copies intern too

    def __repr__(self) -> str:
        from .expr_text import show  # the printer needs the nodes, the nodes need it only when read by a person

        return show(self)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Const(Expr):
    value: int | bool | float

    def __post_init__(self) -> None:
        kinds = {bool: Kind.BOOL, int: Kind.INT, float: Kind.FLOAT}
        object.__setattr__(self, "kind", kinds[type(self.value)])


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Var(Expr):
    """`q`, `k`, `b`, `h` (integers), `s` (a score, real), `i`, `j` (tile indices)."""

    name: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", Kind.FLOAT if self.name == "s" else Kind.INT)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Symbol(Expr):
    """A value that is one number per launch, or per batch item (`Lq`, `Lk`, `offset`)."""

    name: str
    of: Kind = Kind.INT

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", self.of)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Lookup(Expr):
    table: Table
    indices: tuple[Expr, ...]

    def __post_init__(self) -> None:
        if len(self.indices) != self.table.rank:
            raise TypeError(f"table `{self.table.name}` has rank {self.table.rank} and is read with {len(self.indices)} indices")
        object.__setattr__(self, "kind", self.table.kind)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Unary(Expr):
    op: Op
    a: Expr

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", result_kind(self.op, self.a.kind))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Binary(Expr):
    op: Op
    a: Expr
    b: Expr

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", result_kind(self.op, self.a.kind, self.b.kind))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Select(Expr):
    """`a` where `condition` holds, else `b`."""

    condition: Expr
    a: Expr
    b: Expr

    def __post_init__(self) -> None:
        if self.condition.kind is not Kind.BOOL:
            raise TypeError(f"the condition of a selection must be a truth value, got `{self.condition}`")
        object.__setattr__(self, "kind", joined(self.a.kind, self.b.kind))


def joined(*kinds: Kind) -> Kind:
    """The kind of a value that may come from any of `kinds`; truth values and numbers do not mix."""
    if len(set(kinds)) == 1:
        return kinds[0]
    if Kind.BOOL in kinds:
        raise TypeError("a truth value and a number cannot be combined; compare the number, or write `where(condition, 1, 0)`")
    return Kind.FLOAT


def result_kind(op: Op, *kinds: Kind) -> Kind:
    """The kind that `op` yields on operands of `kinds`; TypeError where it is not defined on them."""
    if op in COMPARISONS:
        joined(*kinds)
        return Kind.BOOL
    if op in LOGIC:
        if set(kinds) != {Kind.BOOL}:
            raise TypeError(f"`{op.value}` needs truth values on both sides")
        return Kind.BOOL
    if op is Op.FLOAT:
        return Kind.FLOAT
    if Kind.BOOL in kinds:
        raise TypeError(f"`{op.value}` needs numbers, not truth values")
    if op in INTEGER:
        if set(kinds) != {Kind.INT}:
            raise TypeError(f"`{op.value}` needs integers on both sides")
        return Kind.INT
    if op in REAL:
        return Kind.FLOAT
    return joined(*kinds)


# -- reading ----------------------------------------------------------------------------------------------------------


def operands(expr: Expr) -> tuple[Expr, ...]:
    if isinstance(expr, Binary):  # not a match: every pass spends its time here
        return (expr.a, expr.b)
    if isinstance(expr, Unary):
        return (expr.a,)
    if isinstance(expr, Select):
        return (expr.condition, expr.a, expr.b)
    return expr.indices if isinstance(expr, Lookup) else ()


def walk(*roots: Expr) -> Iterator[Expr]:
    """Every node under `roots` once, operands before the node that uses them. Not recursive: depth is bounded by memory only."""
    seen: set[Expr] = set()
    stack: list[tuple[Expr, bool]] = [(root, False) for root in reversed(roots)]
    while stack:
        node, ready = stack.pop()
        if ready:
            yield node
        elif node not in seen:
            seen.add(node)
            below = operands(node)
            if below:
                stack.append((node, True))
                stack.extend([(operand, False) for operand in reversed(below)])
            else:
                yield node


def fold(root: Expr, visit: Callable[[Expr, tuple[T, ...]], T]) -> T:
    """Compute a value bottom-up: `visit(node, values of its operands)`, once per distinct node."""
    values: dict[Expr, T] = {}
    for node in walk(root):
        values[node] = visit(node, tuple([values[operand] for operand in operands(node)]))
    return values[root]


def names(expr: Expr) -> frozenset[str]:
    """Names of the variables (`q`, `k`, `b`, `h`, ...) that `expr` reads; symbols and tables not included."""
    return frozenset(node.name for node in walk(expr) if isinstance(node, Var))


def symbols(*roots: Expr) -> tuple[Symbol, ...]:
    """The symbols that `roots` read, by name."""
    found = {node for node in walk(*roots) if isinstance(node, Symbol)}
    return tuple(sorted(found, key=lambda symbol: (symbol.name, symbol.of.value)))


def tables(*roots: Expr) -> tuple[Table, ...]:
    """The tables that `roots` read, by name."""
    found = {node.table for node in walk(*roots) if isinstance(node, Lookup)}
    return tuple(sorted(found, key=lambda table: (table.name, table.dtype, table.rank, table.monotone)))


# -- building ---------------------------------------------------------------------------------------------------------

TRUE = Const(True)
FALSE = Const(False)
ZERO = Const(0)
ONE = Const(1)
Q, K, B, H, S, I, J = (Var(name) for name in "qkbhsij")  # noqa: E741 (the tile index is called i everywhere)
Q_LEN, K_LEN, OFFSET = Symbol("Lq"), Symbol("Lk"), Symbol("offset")


def rebuilt(node: Expr, parts: tuple[Expr, ...]) -> Expr:
    """`node` with other operands; the same object when they are the same."""
    if parts == operands(node):
        return node
    match node:
        case Binary(op=op):
            return Binary(op, *parts)
        case Unary(op=op):
            return Unary(op, *parts)
        case Select():
            return Select(*parts)
        case Lookup(table=table):
            return Lookup(table, parts)
        case _:
            return node


def substitute(expr: Expr, replacement: Mapping[Expr, Expr]) -> Expr:
    """Replace nodes by others, all at once; what is put in is not searched again."""
    return fold(expr, lambda node, parts: replacement.get(node) or rebuilt(node, parts))


def constant(value: int | bool | float | Expr) -> Expr:
    return value if isinstance(value, Expr) else Const(value)


def conjunction(*parts: Expr) -> Expr:
    """All of `parts`; TRUE where there are none."""
    return _chain(Op.AND, TRUE, FALSE, parts)


def conjuncts(expr: Expr) -> Iterator[Expr]:
    """The conditions that all hold where `expr` does, in the order of the text; itself where it is no conjunction."""
    stack = [expr]
    while stack:
        node = stack.pop()
        if isinstance(node, Binary) and node.op is Op.AND:
            stack += (node.b, node.a)
        else:
            yield node


def disjunction(*parts: Expr) -> Expr:
    """Any of `parts`; FALSE where there are none."""
    return _chain(Op.OR, FALSE, TRUE, parts)


def _chain(op: Op, neutral: Expr, absorbing: Expr, parts: tuple[Expr, ...]) -> Expr:
    kept = dict.fromkeys(part for part in parts if part is not neutral)
    if absorbing in kept:
        return absorbing
    result = neutral
    for part in kept:
        result = part if result is neutral else Binary(op, result, part)
    return result


def negated(expr: Expr) -> Expr:
    """`not expr`, with comparisons turned round rather than wrapped."""
    turned = {Op.EQ: Op.NE, Op.NE: Op.EQ}
    match expr:
        case Const(value=value):
            return Const(not value)
        case Unary(op=Op.NOT, a=a):
            return a
        case Binary(op=op, a=a, b=b) if op in turned:
            return Binary(turned[op], a, b)
        case Binary(op=Op.LT, a=a, b=b) if joined(a.kind, b.kind) is Kind.INT:
            return Binary(Op.LE, b, a)
        case Binary(op=Op.LE, a=a, b=b) if joined(a.kind, b.kind) is Kind.INT:
            return Binary(Op.LT, b, a)
        case _:
            return Unary(Op.NOT, expr)
