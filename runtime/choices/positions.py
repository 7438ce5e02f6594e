"""Requests on grids over positions of an order: which ones can be, and what they are then."""

from __future__ import annotations

import functools
import math

from ...ir.expr import Symbol, walk
from ...ir.order import Given, Order
from ...ir.program import Program
from ...ir.target import SHORT_ROWS
from ...passes.sequences.parts import parts_of
from ..request import materialise
from ..request.request import Request

Values = tuple[tuple[Symbol, int], ...]
"""Of the symbols that a mask reads."""


def is_plain(request: Request) -> bool:
    """Whether tokens are those of a grid, or of a sequence with grids in it, all of them, on both sides."""
    if not grids_of(request.program):
        return False
    tokens = math.prod(request.program.space.extents)
    whole = request.fills_tensors and request.offset == 0 and request.q_len == request.k_len == tokens
    return whole and tokens > SHORT_ROWS


def grids_of(program: Program) -> tuple[tuple[int, ...], ...]:
    """The extents of a grid of two axes or more, or of every part of a sequence with such a grid; else nothing."""
    space = program.space
    if space.rank > 1:
        return (space.extents,) if space.extents else ()
    return (parts_of(program) if space.extents else None) or ()


def in_order(request: Request, order: Order | None) -> Request:
    """The request over positions of an order; itself where that is the row-major one."""
    if order is None:
        return request
    return request._replace(program=over_positions(request.program, order), order=order, grid=request.program)


@functools.lru_cache(maxsize=1024)
def over_positions(program: Program, order: Order) -> Program:
    """The program over positions of an order."""
    from ...passes.orders.permuted_program import boxed  # few patterns need it, and every start would load it

    return boxed(program, order)


def of_any_length(order: Order | None, grid: Program | None) -> Order | None:
    """An order as kernels know it: the text of one that looks tokens up on a line holds for every length.

    grid: the program over tokens.
    """
    if order is None or grid is None or grid.space.rank > 1:
        return order
    return Order(*(side._replace(extents=()) if isinstance(side, Given) else side for side in order))


def values_of_mask(request: Request) -> Values:
    """Integers that the mask turns on."""
    parameters = materialise.parameters(request.program, request.bindings)
    return tuple((Symbol(name), value) for name in _read_by_mask(request.program) if isinstance(value := parameters[name], int))


def written(values: Values) -> str:
    """As a choice names the calls that it goes for."""
    return " ".join(f"{symbol.name}={value}" for symbol, value in values)


@functools.lru_cache(maxsize=1024)
def _read_by_mask(program: Program) -> tuple[str, ...]:
    """Names of parameters: those of a score decide no order."""
    read = set(walk(program.mask))
    return tuple(sorted(symbol.name for symbol in program.parameters if symbol in read))
