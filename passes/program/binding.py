"""Which values a program must be bound to before it is a formula of integers, and those values in a launch.

Light on purpose: a warm start asks this and nothing else of the passes, and of most masks nothing that takes an analysis.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import numpy as np

from ...ir.expr import INTEGER, B, Binary, Const, Expr, H, Op, Symbol, substitute, walk
from ...ir.program import Program
from .call_values import Launch
from .flatten_grid import FlattenGrid

MOST_DIVISOR_VALUES = 64
Bound = Mapping[str, int | tuple[int, ...]]
_COUPLING = INTEGER | {Op.MUL, Op.POW}


class NeedsValues(Exception):
    """The tiles can be found at concrete values only, and there are none here."""


@functools.lru_cache(maxsize=1024)
def _is_plain(program: Program) -> bool:
    """Whether nothing is multiplied or divided but by constants, so that nothing need be bound. Flattening a grid adds constants only."""
    return not any(
        isinstance(node, Binary)
        and node.op in _COUPLING
        and not isinstance(node.b, Const)
        and not (node.op is Op.MUL and isinstance(node.a, Const))
        for node in walk(program.mask)
    )


@functools.lru_cache(maxsize=1024)
def symbols_needed(program: Program) -> tuple[Symbol, ...]:
    """Symbols that divide or multiply a position."""
    if _is_plain(program):
        return ()
    from .abstraction import powers_rewritten, symbols_to_bind

    return symbols_to_bind(powers_rewritten(FlattenGrid()(program).mask))


@functools.lru_cache(maxsize=1024)
def _divisors(program: Program, values: tuple[tuple[Symbol, int], ...]) -> tuple[Expr, ...]:
    if _is_plain(program):
        return ()
    from .abstraction import head_divisors, powers_rewritten
    from .canonicalise import simplified

    mask = substitute(FlattenGrid()(program).mask, {symbol: Const(value) for symbol, value in values})
    return head_divisors(powers_rewritten(simplified(mask)))


def symbol_values(program: Program, launch: Launch | None) -> tuple[tuple[Symbol, int], ...]:
    """Values of the symbols that must be bound.

    Raises:
        NeedsValues: there are some and there is no launch.
    """
    needed = symbols_needed(program)
    if needed and launch is None:
        raise NeedsValues(f"`{needed[0].name}` divides or multiplies a position and has no value here")
    known = launch.environment() if launch is not None else {}
    return tuple((symbol, int(known[symbol])) for symbol in needed)


def divisor_values(divisor: Expr, launch: Launch | None) -> tuple[int, ...]:
    """Every value but 0 that a per-head or per-batch divisor takes in this launch, ascending; empty where there are too many to split by.

    Raises:
        NeedsValues: there is no launch.
    """
    from .evaluate import evaluate, reader

    if launch is None:
        raise NeedsValues(f"`{divisor}` divides a position and has no values here")
    grid = {B: np.arange(launch.batch)[:, None], H: np.arange(launch.heads)[None, :]}
    found = np.unique(np.asarray(evaluate(divisor, {**launch.environment(), **grid}, reader(launch.tables))))
    return tuple(int(value) for value in found if value) if len(found) <= MOST_DIVISOR_VALUES else ()


def bound_values(program: Program, launch: Launch | None) -> Bound:
    """Everything a schedule of `program` is bound to before its derivation starts, by name."""
    values = symbol_values(program, launch)
    bound: dict[str, int | tuple[int, ...]] = {symbol.name: value for symbol, value in values}
    for divisor in _divisors(program, values):
        split = divisor_values(divisor, launch)
        if split:
            bound[str(divisor)] = split
    return bound
