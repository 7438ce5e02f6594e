"""One program from a pattern and a score, and the values of both."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor

from ..ir.expr import TRUE, Expr, Lookup, Symbol, Table, fold, rebuilt
from ..ir.program import Program
from .advice import advice

if TYPE_CHECKING:
    from ..ir.pattern import Pattern
    from ..ir.score import Score

Bindings = Mapping[str, object]
DENSE = Program("dense", TRUE)
NOTHING: Bindings = {}


def resolved(pattern: Pattern | None, score: Score | None) -> tuple[Program, Bindings]:
    """The program of a call and the value of everything it declares. No pattern is dense attention.

    Raises:
        TypeError: `pattern` or `score` is something else, such as a plain function.
        ValueError: a parameter or the extents of a grid have no value.
    """
    if pattern is None:
        program, bindings = DENSE, NOTHING
    else:
        _check_bound("pattern", pattern)
        program, bindings = pattern.program, pattern.bindings
    if score is None:
        return program, bindings
    _check_bound("score", score)
    renamed = clashes(program, score.program)
    return merged(program, score.program), {**bindings, **{renamed.get(name, name): value for name, value in score.bindings.items()}}


def _check_bound(role: str, given: Pattern | Score) -> None:
    unbound = getattr(given, "unbound", None)
    if unbound is None:
        raise TypeError(_not_traced(role, given))
    if unbound:
        names = ", ".join(f"`{name}`" for name in unbound)
        called = given.program.name if role == "pattern" else role
        raise ValueError(advice(f"{role} `{called}` has no value for {names}", f"`{called}({unbound[0]}=...)`"))


def _not_traced(role: str, given: object) -> str:
    if callable(given):
        name = getattr(given, "__name__", "function")
        return advice(f"`{role}` is the plain function `{name}`", f"`@lacuna.{role}` above its definition")
    if isinstance(given, Tensor):
        return advice(
            f"`{role}` is a tensor of shape {tuple(given.shape)}",
            f"a function of q and k under `@lacuna.{role}`, which may read the tensor",
        )
    return advice(f"`{role}` is a {type(given).__name__}: {given!r}", f"the result of `@lacuna.{role}`")


def clashes(program: Program, score: Program) -> dict[str, str]:
    """New names for what `score` declares under a name that `program` declares too."""
    taken = {each.name for each in (*program.parameters, *program.tables)}
    return {each.name: f"{each.name}_score" for each in (*score.parameters, *score.tables) if each.name in taken}


@functools.lru_cache(maxsize=256)
def merged(program: Program, score: Program) -> Program:
    """The mask of one and the score of the other, which declare different names."""
    renamed = clashes(program, score)
    mine = _renamed(score, renamed)
    return replace(program, score=mine.score, parameters=program.parameters + mine.parameters, tables=program.tables + mine.tables)


def _renamed(program: Program, names: Mapping[str, str]) -> Program:
    def visit(node: Expr, parts: tuple[Expr, ...]) -> Expr:
        match node:
            case Symbol(name=name, of=kind) if name in names:
                return Symbol(names[name], kind)
            case Lookup(table=table) if table.name in names:
                return Lookup(_table(table), parts)
            case _:
                return rebuilt(node, parts)

    def _table(table: Table) -> Table:
        return replace(table, name=names.get(table.name, table.name))

    return replace(
        program,
        score=fold(program.score, visit),
        parameters=tuple(Symbol(names.get(each.name, each.name), each.kind) for each in program.parameters),
        tables=tuple(_table(table) for table in program.tables),
    )
