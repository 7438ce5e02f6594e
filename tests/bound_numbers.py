"""The numbers that a pattern binds, such as windows of neighborhoods, as launches and passes take them."""

from __future__ import annotations

from dataclasses import replace

from lacuna.ir.expr import Const, Expr, Symbol
from lacuna.ir.pattern import Pattern
from lacuna.ir.program import Program
from lacuna.runtime.request.materialise import parameters


def numbers_of(pattern: Pattern) -> dict[str, int]:
    """Integer parameters by name."""
    return {name: value for name, value in parameters(pattern.program, pattern.bindings).items() if isinstance(value, int)}


def values_of(pattern: Pattern) -> tuple[tuple[Symbol, int], ...]:
    """Integer parameters by symbol."""
    return tuple((Symbol(name), value) for name, value in numbers_of(pattern).items())


def with_numbers(pattern: Pattern) -> Program:
    """The program of a pattern whose parameters are all integers, with the numbers in their place."""
    known: dict[Expr, Expr] = {symbol: Const(value) for symbol, value in values_of(pattern)}
    return replace(pattern.program.substituted(known), parameters=())
