"""Requests on grids in an order of their tokens that suits the tiles."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from ..ir.expr import Symbol
from ..ir.program import Program
from . import materialise
from .request import Request

if TYPE_CHECKING:
    from ..ir.order import Order


def ordered(request: Request) -> Request:
    """The request over positions of the best order; itself where that is the row-major one."""
    if request.program.space.rank < 2 or not request.fills_tensors or request.offset != 0 or request.q_len != request.k_len:
        return request
    values = materialise.parameters(request.program, request.bindings)
    integers = tuple((Symbol(name), value) for name, value in values.items() if isinstance(value, int))
    order = _best_order(request.program, integers, request.head_dim + request.value_dim, request.query.element_size())
    return request if order is None else request._replace(program=_boxed(request.program, order), order=order)


def _best_order(program: Program, values: tuple[tuple[Symbol, int], ...], width: int, stored_bytes: int) -> Order | None:
    from ..passes.box_order import best_order  # few patterns need it, and every start would load it
    from ..passes.tile_shape import Problem

    real_bytes = max(4, stored_bytes)
    return best_order(program, values, Problem(program.space.extents, width, real_bytes, 64 // real_bytes))


@functools.lru_cache(maxsize=1024)
def _boxed(program: Program, order: Order) -> Program:
    from ..passes.box_order import boxed

    return boxed(program, order)
