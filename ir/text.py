"""Nouns as text, the same bytes in every process. Expressions in them are written by `expr_text`."""

from __future__ import annotations

import json
from collections.abc import Iterator

from .expr import TRUE, symbols, tables
from .expr_text import show, show_table
from .program import Program, Space
from .schedule import Piece, Schedule, Term


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
