"""Programs and schedules from text. What `text` prints, this reads back; what it cannot read is an InvalidProgram with line and column."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar, cast

from .expr import TRUE, Expr, Kind, Symbol, Table
from .grid import Extent, Grid
from .parse_expression import Scope, parse_expression, read_expression
from .program import Program, Space
from .schedule import Piece, Schedule, Term
from .tokens import Cursor

__all__ = ["parse_expression", "parse_program", "parse_schedule"]

T = TypeVar("T")
D = TypeVar("D", bound=Symbol | Table)
F = TypeVar("F", int, str, bool)
_KINDS = {kind.value: kind for kind in Kind}
_LARGEST_RANK = 64


def parse_program(text: str) -> Program:
    """The program that `text` writes. It is not verified: `verify(parse_program(text))` is."""
    return _whole(text, _program)


def parse_schedule(text: str) -> Schedule:
    """The schedule that `text` writes, with empty counters."""
    return _whole(text, _schedule)


def _whole(text: str, read: Callable[[Cursor], T]) -> T:
    cursor = Cursor(text)
    result = read(cursor)
    if cursor.token.kind != "end":
        cursor.refuse(f"expected the end, found `{cursor.token.text}`")
    return result


@dataclass(slots=True)
class _Declared:
    """Symbols and tables in the order they are declared; a name means one thing."""

    symbols: list[Symbol] = field(default_factory=list[Symbol])
    tables: list[Table] = field(default_factory=list[Table])

    def add(self, cursor: Cursor, read: Callable[[Cursor], D]) -> D:
        """Read one declaration."""
        token = cursor.token
        entry = read(cursor)
        if any(entry.name == each.name for each in (*self.symbols, *self.tables)):
            cursor.refuse(f"`{entry.name}` is declared twice", token)
        if isinstance(entry, Table):
            self.tables.append(entry)
        else:
            self.symbols.append(entry)
        return entry

    def scope(self) -> Scope:
        return Scope.of(self.symbols, self.tables)


# -- programs


def _program(cursor: Cursor) -> Program:
    cursor.expect("program", "@")
    name = cursor.take("name", "the name of the program")
    cursor.expect("(", "q", "<", "Lq", ",", "k", "<", "Lk")
    declared = _declarations(cursor)
    cursor.expect(")")
    space = _space(cursor)
    cursor.expect("{")
    scope = declared.scope()
    mask = _field(cursor, "mask", scope)
    score = _field(cursor, "score", scope)
    cursor.expect("normalise", "=")
    normalise = cursor.take("name", "how weights are normalised")
    cursor.expect("}")
    return Program(name, mask, score, tuple(declared.symbols), tuple(declared.tables), space, normalise)


def _declarations(cursor: Cursor) -> _Declared:
    declared = _Declared()
    if cursor.accept(";"):
        declared.add(cursor, _declaration)
        while cursor.accept(","):
            declared.add(cursor, _declaration)
    return declared


def _declaration(cursor: Cursor) -> Symbol | Table:
    """`W: i64` or `doc: i32[*]`."""
    start = cursor.place
    name = cursor.take("name", "a name")
    cursor.expect(":")
    of = cursor.take("name", "a type")
    if cursor.at("["):
        cursor.place = start
        return _table(cursor)
    if of not in _KINDS:
        cursor.refuse(f"`{of}` is no type of a parameter; write `i64` or `f64`, or `{of}[*]` for a table")
    return Symbol(name, _KINDS[of])


def _table(cursor: Cursor) -> Table:
    name = cursor.take("name", "the name of a table")
    cursor.expect(":")
    dtype = cursor.take("name", "a type")
    cursor.expect("[")
    rank = 0
    while not cursor.at("]"):
        cursor.expect(*([","] if rank else []), "*")
        rank += 1
    cursor.expect("]")
    return Table(name, dtype, rank, cursor.accept("monotone"))


def _space(cursor: Cursor) -> Space:
    if not cursor.accept("on"):
        return Space()
    extents = _extents(cursor)
    if cursor.accept("and"):
        return Space(grids=(Grid(extents), Grid(_extents(cursor))))
    known = tuple(extent for extent in extents if isinstance(extent, int))
    if len(extents) > _LARGEST_RANK or len(known) not in (0, len(extents)) or len(known) + extents.count(None) < len(extents):
        cursor.refuse("a grid has at most 64 axes, all known or all `?`")
    return Space(len(extents), known)


def _extents(cursor: Cursor) -> tuple[Extent, ...]:
    extents = [_extent(cursor)]
    while cursor.accept("x"):
        extents.append(_extent(cursor))
    return tuple(extents)


def _extent(cursor: Cursor) -> Extent:
    if cursor.accept("?"):
        return None
    return cursor.advance().text if cursor.token.kind == "name" else cursor.natural("an extent")


def _field(cursor: Cursor, name: str, scope: Scope) -> Expr:
    cursor.expect(name, "=")
    return read_expression(cursor, scope)


# -- schedules


def _schedule(cursor: Cursor) -> Schedule:
    cursor.expect("schedule", "(")
    block_q = _fact(cursor, "block_q", int)
    block_k = _fact(cursor, "block_k", int)
    route = _fact(cursor, "route", str)
    order = _fact(cursor, "order", str)
    exact = _fact(cursor, "exact", bool)
    closed_form = _fact(cursor, "closed_form", bool, last=True)
    together = _fact(cursor, "together", int, last=True) if cursor.accept(",") else 1
    cursor.expect(")", "{")
    program = _program(cursor)
    declared = _Declared(list(program.parameters), list(program.tables))
    while cursor.at("symbol", "table"):
        keyword = cursor.advance().text
        declared.add(cursor, _table if keyword == "table" else _declaration)
    terms = _terms(cursor, declared)
    some, full, full_loops, partial_loops = (_pieces(cursor, name, declared) for name in ("some", "full", "full_loops", "partial_loops"))
    cursor.expect("}")
    return Schedule(program, block_q, block_k, some, full, full_loops, partial_loops, terms, exact, closed_form, route, order, together)


def _fact(cursor: Cursor, name: str, kind: type[F], last: bool = False) -> F:
    """`name = value`, the value written as JSON."""
    cursor.expect(name, "=")
    token = cursor.advance()
    try:
        value: object = json.loads(token.text)
    except ValueError:
        value = None
    if type(value) is not kind or (isinstance(value, int) and kind is int and not 0 < value < 2**31):
        cursor.refuse(f"`{name}` must be {_FACTS[kind]}, found `{token.text}`", token)
    if not last:
        cursor.expect(",")
    return cast(F, value)


_FACTS: dict[type, str] = {int: "an integer from 1 to 2**31 - 1", str: "a string in double quotes", bool: "true or false"}


def _terms(cursor: Cursor, declared: _Declared) -> tuple[Term, ...]:
    terms: list[Term] = []
    while cursor.accept("term"):
        name = cursor.take("name", "the name of a term")
        cursor.expect("along")
        axis = cursor.take("name", "`q`, `k`, `h` or `diagonal`")
        cursor.expect("=")
        expr = read_expression(cursor, declared.scope())
        cursor.expect("within")
        low = declared.add(cursor, _table)
        cursor.expect(",")
        terms.append(Term(name, expr, axis, low, declared.add(cursor, _table)))
    return tuple(terms)


def _pieces(cursor: Cursor, name: str, declared: _Declared) -> tuple[Piece, ...]:
    pieces: list[Piece] = []
    while cursor.accept(name):
        pieces.append(_piece(cursor, declared))
    return tuple(pieces)


def _piece(cursor: Cursor, declared: _Declared) -> Piece:
    scope = declared.scope()
    cursor.expect("range", "(")
    start = read_expression(cursor, scope)
    cursor.expect(",")
    stop = read_expression(cursor, scope)
    step = _positive(cursor, "a step") if cursor.accept(",") else 1
    cursor.expect(")")
    through = _through(cursor, scope) if cursor.accept("through") else None
    where = read_expression(cursor, scope) if cursor.accept("where") else TRUE
    return Piece(start, stop, step, where, through)


def _positive(cursor: Cursor, what: str) -> int:
    token = cursor.token
    value = cursor.natural(what)
    if not 0 < value < 2**31:  # a kernel steps by it
        cursor.refuse(f"expected {what} from 1 to 2**31 - 1, found `{token.text}`", token)
    return value


def _through(cursor: Cursor, scope: Scope) -> Table:
    name = cursor.take("name", "the name of a table")
    if name not in scope.tables:
        cursor.refuse(f"no table `{name}` is declared")
    return scope.tables[name]
