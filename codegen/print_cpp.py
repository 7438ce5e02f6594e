"""Expressions as C++ text.

integers       have the type `index` (a template parameter: int32_t where it is proved to fit, else int64_t); reals have the type `real`
shared nodes   get a line of their own, so that text grows with the number of nodes and not of paths
names          a user's symbols and tables become numbered slots (`p0_window`, `t1_doc`); no name can collide with the kernel's
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..ir.expr import Binary, Const, Expr, Kind, Lookup, Op, Select, Symbol, Table, Unary, Var, operands, walk

INFIX: dict[Op, str] = {
    Op.ADD: "+",
    Op.SUB: "-",
    Op.MUL: "*",
    Op.DIV: "/",
    Op.BITAND: "&",
    Op.BITOR: "|",
    Op.BITXOR: "^",
    Op.LT: "<",
    Op.LE: "<=",
    Op.EQ: "==",
    Op.NE: "!=",
    Op.AND: "&",
    Op.OR: "|",
    Op.XOR: "^",
}
CALLS: dict[Op, str] = {
    Op.MIN: "smaller",
    Op.MAX: "larger",
    Op.ABS: "magnitude",
    Op.FLOORDIV: "floor_div",
    Op.MOD: "floor_mod",
    Op.SHL: "shift_left",
    Op.SHR: "shift_right",
    Op.POW: "std::pow",
    Op.EXP: "exponential",
    Op.EXP2: "std::exp2",
    Op.LOG: "std::log",
    Op.LOG2: "std::log2",
    Op.SQRT: "std::sqrt",
    Op.TANH: "hyperbolic_tangent",
    Op.SIN: "std::sin",
    Op.COS: "std::cos",
    Op.SIGMOID: "sigmoid",
    Op.ERF: "std::erf",
}
PREFIX: dict[Op, str] = {Op.NEG: "-", Op.NOT: "!", Op.FLOAT: "real"}
TYPES: dict[Kind, str] = {Kind.INT: "index", Kind.BOOL: "bool", Kind.FLOAT: "real"}
KNOWN = frozenset({"Lq", "Lk", "offset"})
DEEPEST = 24


@dataclass(frozen=True, slots=True)
class Slots:
    """What symbols and tables are called in the kernel. local: symbols that are no members of `at`."""

    symbols: Mapping[str, str]
    tables: Mapping[Table, str]
    local: frozenset[str] = frozenset()


def slots_of(parameters: Iterable[Symbol], tables: Iterable[Table]) -> Slots:
    symbols = {symbol.name: f"p{at}_{symbol.name}" for at, symbol in enumerate(parameters)}
    return Slots(symbols, {table: f"t{at}_{table.name}" for at, table in enumerate(tables)})


@dataclass(frozen=True, slots=True)
class Printed:
    """Declarations to run first, then the text of the value."""

    lines: tuple[str, ...]
    value: str

    def function_body(self, indent: str = "  ") -> str:
        return "\n".join(f"{indent}{line}" for line in (*self.lines, f"return {self.value};"))


def printed(expr: Expr, slots: Slots, index: str = "index") -> Printed:
    """C++ for `expr` over variables in scope under their own names. index: the integer type."""
    uses = Counter(operand for node in walk(expr) for operand in operands(node))
    texts: dict[Expr, str] = {}
    depths: dict[Expr, int] = {}
    lines: list[str] = []
    for node in walk(expr):
        text = _node(node, tuple(texts[operand] for operand in operands(node)), slots, index)
        depth = 1 + max((depths[operand] for operand in operands(node)), default=0)
        if operands(node) and node is not expr and (uses[node] > 1 or depth > DEEPEST):
            name = f"e{len(lines)}"
            lines.append(f"const {_type(node.kind, index)} {name} = {text};")
            text, depth = name, 1
        texts[node], depths[node] = text, depth
    return Printed(tuple(lines), texts[expr])


def _type(kind: Kind, index: str) -> str:
    return index if kind is Kind.INT else TYPES[kind]


def _node(node: Expr, parts: tuple[str, ...], slots: Slots, index: str) -> str:
    kind = _type(node.kind, index)
    match node:
        case Const():
            return _literal(node, index)
        case Var(name=name):
            return name
        case Symbol(name=name):
            owner = "" if name in slots.local else "at."
            return f"{kind}({owner}{name if name in KNOWN else slots.symbols[name]})"
        case Lookup(table=table):
            return f"{kind}(at.{slots.tables[table]}.read({', '.join(parts)}))"
        case Select():
            return f"({parts[0]} ? {kind}({parts[1]}) : {kind}({parts[2]}))"
        case Binary(op=op, b=b) if op in (Op.FLOORDIV, Op.MOD):
            return _division(op, parts, b, index)
        case Unary(op=op) | Binary(op=op):
            return _operation(op, parts)
        case _:
            raise NotImplementedError(f"`{node}` has no C++ form")


def _operation(op: Op, parts: tuple[str, ...]) -> str:
    if op in PREFIX:
        return f"{PREFIX[op]}({parts[0]})" if op is Op.FLOAT else f"({PREFIX[op]}{parts[0]})"
    if op in CALLS:
        return f"{CALLS[op]}({', '.join(parts)})"
    return f"({parts[0]} {INFIX[op]} {parts[1]})"


def _division(op: Op, parts: tuple[str, ...], by: Expr, index: str) -> str:
    """Rounding towards minus infinity; powers of two are shifts and masks, which round that way by themselves."""
    value = int(by.value) if isinstance(by, Const) else 0
    if value > 0 and value & (value - 1) == 0:
        shift = value.bit_length() - 1
        return f"({parts[0]} >> {shift})" if op is Op.FLOORDIV else f"({parts[0]} & {_literal(Const(value - 1), index)})"
    return f"{CALLS[op]}({parts[0]}, {parts[1]})"


def _literal(node: Const, index: str) -> str:
    match node.value:
        case bool(value):
            return "true" if value else "false"
        case int(value):
            return f"{index}({_long(value)})"
        case value:
            return _real(value)


def _long(value: int) -> str:
    return f"{value}LL" if value != -(2**63) else "(-9223372036854775807LL - 1)"


def _real(value: float) -> str:
    if math.isnan(value):
        return "real(NAN)"
    if math.isinf(value):
        return "real(INFINITY)" if value > 0 else "real(-INFINITY)"
    return f"real({value!r})"
