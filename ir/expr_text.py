"""Expressions as text: Python's precedence, as few parentheses as it allows, the same bytes in every process.

>>> from lacuna.ir.expr import K, Q, Binary, Op
>>> show(Binary(Op.SUB, Q, Binary(Op.SUB, K, Q)))
'q - (k - q)'
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .expr import Binary, Const, Expr, Lookup, Op, Select, Symbol, Table, Unary, Var

# how tightly an operator binds; a value that never needs parentheses is ATOM
OR, XOR, AND, NOT, COMPARE, BITOR, BITXOR, BITAND, SHIFT, SUM, PRODUCT, SIGN, POWER, ATOM = range(1, 15)

INFIX: dict[Op, int] = {
    Op.OR: OR,
    Op.XOR: XOR,
    Op.AND: AND,
    Op.LT: COMPARE,
    Op.LE: COMPARE,
    Op.EQ: COMPARE,
    Op.NE: COMPARE,
    Op.BITOR: BITOR,
    Op.BITXOR: BITXOR,
    Op.BITAND: BITAND,
    Op.SHL: SHIFT,
    Op.SHR: SHIFT,
    Op.ADD: SUM,
    Op.SUB: SUM,
    Op.MUL: PRODUCT,
    Op.DIV: PRODUCT,
    Op.FLOORDIV: PRODUCT,
    Op.MOD: PRODUCT,
    Op.POW: POWER,
}
PREFIX: dict[Op, tuple[str, int]] = {Op.NOT: ("not ", NOT), Op.NEG: ("-", SIGN)}

Part = str | tuple[Expr, int]  # finished text, or a node and how tightly it must bind to stand without parentheses


def show(expr: Expr) -> str:
    """The text of an expression; `parse_expression` gives back the same object."""
    return "".join(_written(expr))


def _written(root: Expr) -> Iterator[str]:
    """Text from left to right. Its stack is a list: depth is bounded by memory only."""
    stack: list[Part] = [(root, 0)]
    while stack:
        part = stack.pop()
        if isinstance(part, str):
            yield part
            continue
        node, needed = part
        binds, parts = _parts(node)
        stack.extend(reversed(("(", *parts, ")") if binds < needed else parts))


def _parts(node: Expr) -> tuple[int, tuple[Part, ...]]:
    """How tightly `node` binds, and what it is written as."""
    match node:
        case Binary(op=op, a=a, b=b) if op in INFIX:
            left, right = _sides(INFIX[op])
            return INFIX[op], ((a, left), f" {op.value} ", (b, right))
        case Unary(op=op, a=a) if op in PREFIX:
            prefix, binds = PREFIX[op]
            return binds, (prefix, (a, _below_sign(a) if op is Op.NEG else binds))
        case Binary(op=op, a=a, b=b):
            return ATOM, _call(op.value, (a, b))
        case Unary(op=op, a=a):
            return ATOM, _call(op.value, (a,))
        case Select(condition=condition, a=a, b=b):
            return ATOM, _call("where", (condition, a, b))
        case Lookup(table=table, indices=indices):
            return ATOM, (f"{table.name}[", *_listed(indices), "]")
        case Var(name=name) | Symbol(name=name):
            return ATOM, (name,)
        case Const(value=value):
            text = show_number(value)
            return SIGN if text.startswith("-") else ATOM, (text,)
        case _:
            raise AssertionError(f"unknown node {type(node).__name__}")


def _sides(binds: int) -> tuple[int, int]:
    """How tightly the operands of an infix operator must bind: comparisons do not chain, powers group to the right."""
    if binds == COMPARE:
        return COMPARE + 1, COMPARE + 1
    if binds == POWER:
        return ATOM, SIGN
    return binds, binds + 1


def _below_sign(a: Expr) -> int:
    """`-3` is a constant, so the negation of the constant 3 is written `-(3)`."""
    return ATOM + 1 if isinstance(a, Const) and not show_number(a.value).startswith("-") else SIGN


def _call(name: str, arguments: tuple[Expr, ...]) -> tuple[Part, ...]:
    return (f"{name}(", *_listed(arguments), ")")


def _listed(parts: Iterable[Expr]) -> Iterator[Part]:
    for position, part in enumerate(parts):
        if position:
            yield ", "
        yield (part, 0)


def show_number(value: int | bool | float) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value)  # of a float: the shortest digits that read back as the same number, or inf, -inf, nan


def show_table(table: Table) -> str:
    """`doc: i32[*]`, with a star per axis."""
    return f"{table.name}: {table.dtype}[{', '.join('*' * table.rank)}]{' monotone' if table.monotone else ''}"
