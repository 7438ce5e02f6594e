"""Two programs in one: names that collide are changed, declarations are joined."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import replace

from .binding import Argument
from .build import refusal
from .expr import Expr, K, Lookup, Q, Symbol, Table, fold, rebuilt
from .program import Program, Space
from .reserved import LONGEST_NAME


def free_name(name: str, taken: Container[str]) -> str:
    """`name`, or `name_2`, `name_3`, ...: the first that is not taken. A number that it ends in already is counted on."""
    if name not in taken:
        return name
    stem, _, number = name.rpartition("_")
    numbered = stem and number.isdecimal() and number[0] != "0"
    stem, start = (stem, int(number) + 1) if numbered else (name, 2)
    found = _with_number(stem, start)
    while found in taken:
        start += 1
        found = _with_number(stem, start)
    return found


def _with_number(stem: str, number: int) -> str:
    return f"{stem[: LONGEST_NAME - 1 - len(str(number))]}_{number}"


def names_beside(taken: Mapping[str, Argument], added: Mapping[str, Argument]) -> dict[str, str]:
    """What the arguments `added` are called beside those of `taken`: the name the same argument has there, or a free one."""
    held = dict(taken)
    names: dict[str, str] = {}
    for name, argument in added.items():
        names[name] = next((each for each, known in held.items() if known is argument), None) or free_name(name, held)
        held[names[name]] = argument
    return names


def renamed(program: Program, names: Mapping[str, str]) -> Program:
    """The same program with parameters and tables renamed, all at once."""
    if all(old == new for old, new in names.items()):
        return program
    parameters = {symbol: Symbol(names.get(symbol.name, symbol.name), symbol.of) for symbol in program.parameters}
    tables = {table: replace(table, name=names.get(table.name, table.name)) for table in program.tables}

    def visit(node: Expr, parts: tuple[Expr, ...]) -> Expr:
        match node:
            case Symbol():
                return parameters.get(node, node)
            case Lookup(table=table):
                return Lookup(tables.get(table, table), parts)
            case _:
                return rebuilt(node, parts)

    return replace(
        program,
        mask=fold(program.mask, visit),
        score=fold(program.score, visit),
        parameters=tuple(parameters.values()),
        tables=tuple(tables.values()),
    )


def joined_declarations(left: Program, right: Program) -> tuple[tuple[Symbol, ...], tuple[Table, ...]]:
    """Parameters and tables of both, the left ones first; what both declare is declared once."""
    return tuple(dict.fromkeys((*left.parameters, *right.parameters))), tuple(dict.fromkeys((*left.tables, *right.tables)))


def on_grid(program: Program, space: Space) -> Program:
    """A program of flat positions, on a grid that counts them row-major."""
    if not space.sizes("q"):
        raise refusal(f"`{program.name}` has flat positions and meets a grid of unknown extents", "`.on(rows, columns)` for the grid first")
    if program.space.met(space) is None:
        raise refusal(f"`{program.name}` is for other numbers of tokens than the grid it meets", "both on spaces of as many tokens")
    return replace(program.substituted({Q: space.position("q"), K: space.position("k")}), space=space)
