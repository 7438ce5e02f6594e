"""Nouns as text: Python's precedence, as few parentheses as it allows, the same bytes in every process.

>>> from lacuna.ir.expr import K, Q, Binary, Op
>>> show(Binary(Op.SUB, Q, Binary(Op.SUB, K, Q)))
'q - (k - q)'
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from .expr import TRUE, Binary, Const, Expr, Lookup, Op, Select, Symbol, Table, Unary, Var, symbols, tables
from .program import Program, Space
from .schedule import Piece, Schedule, Term

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


def show_space(space: Space) -> str:
    """` on 64 x 64`, ` on ? x ?` before the extents are known, nothing for flat positions; ` on 9 x 9 and ? x cols` of both sides."""
    if space.grids is not None:
        return f" on {' and '.join(map(str, space.grids))}"
    if space.extents:
        return f" on {' x '.join(str(extent) for extent in space.extents)}"
    return f" on {' x '.join('?' * space.rank)}" if space.rank > 1 else ""


def show_program(program: Program) -> str:
    declared = [f"{symbol.name}: {symbol.of.value}" for symbol in program.parameters]
    declared += [show_table(table) for table in program.tables]
    head = "; ".join(["q < Lq, k < Lk", *([", ".join(declared)] if declared else [])])
    lines = [
        f"program @{program.name}({head}){show_space(program.space)} {{",
        f"  mask = {show(program.mask)}",
        f"  score = {show(program.score)}",
        f"  normalise = {program.normalise}",
        "}",
    ]
    return "\n".join(lines) + "\n"


def show_piece(piece: Piece) -> str:
    bounds = [show(piece.start), show(piece.stop), *([str(piece.step)] if piece.step != 1 else [])]
    through = f" through {piece.through.name}" if piece.through else ""
    where = f" where {show(piece.where)}" if piece.where is not TRUE else ""
    return f"range({', '.join(bounds)}){through}{where}"


def show_term(term: Term) -> str:
    return f"term {term.name} along {term.axis} = {show(term.expr)} within {show_table(term.low)}, {show_table(term.high)}"


def show_schedule(schedule: Schedule) -> str:
    """Everything but the counters, which are not part of what a schedule is."""
    facts = {
        "block_q": schedule.block_q,
        "block_k": schedule.block_k,
        "route": schedule.route,
        "order": schedule.order,
        "exact": schedule.exact,
        "closed_form": schedule.closed_form,
        **({"together": schedule.together} if schedule.together > 1 else {}),
    }
    lines = [f"schedule({', '.join(f'{name} = {json.dumps(value)}' for name, value in facts.items())}) {{"]
    lines += [f"  {line}" for line in show_program(schedule.program).splitlines()]
    lines += [f"  {line}" for line in _undeclared(schedule)]
    lines += [f"  {show_term(term)}" for term in schedule.terms]
    for name in ("some", "full", "full_loops", "partial_loops"):
        lines += [f"  {name} {show_piece(piece)}" for piece in getattr(schedule, name)]
    return "\n".join([*lines, "}"]) + "\n"


def _undeclared(schedule: Schedule) -> Iterator[str]:
    """Symbols and tables that only the pieces and terms read: lists and their pointers."""
    pieces = (*schedule.some, *schedule.full, *schedule.full_loops, *schedule.partial_loops)
    roots = [root for piece in pieces for root in (piece.start, piece.stop, piece.where)] + [term.expr for term in schedule.terms]
    known = {table for term in schedule.terms for table in (term.low, term.high)} | set(schedule.program.tables)
    read = {table: None for table in (*tables(*roots), *(piece.through for piece in pieces if piece.through))}
    for symbol in symbols(*roots):
        if symbol not in schedule.program.parameters and symbol.name not in IMPLICIT_SYMBOLS:
            yield f"symbol {symbol.name}: {symbol.of.value}"
    for table in sorted(read, key=lambda table: table.name):
        if table not in known:
            yield f"table {show_table(table)}"


IMPLICIT_SYMBOLS = ("Lq", "Lk", "offset")
"""Known to every program, never declared."""
