"""Requests on grids in the order of their tokens that suits the tiles: from memory, from the cache, or from the cost model."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from ..codegen.cpp_targets import VECTOR_BYTES
from ..ir.expr import Symbol
from ..ir.program import Program
from ..ir.target import SHORT_ROWS
from . import materialise
from .bundle_registry import block_found
from .choices import Question, keep_predicted, kept
from .cpp_launch import target_here, variant_of
from .request import Request
from .toolchain import CompilerMissing, find_compiler

if TYPE_CHECKING:
    from ..ir.order import Order
    from .kernels import Variant

Values = tuple[tuple[Symbol, int], ...]
_chosen: dict[tuple[Variant, Values], Order | None] = {}


def ordered(request: Request) -> Request:
    """The request over positions of the best order; itself where that is the row-major one."""
    if request.program.space.rank < 2 or not _is_plain(request):
        return request
    order = _order(variant_of(request, target_here()), request)
    return request if order is None else request._replace(program=_boxed(request.program, order), order=order)


def _is_plain(request: Request) -> bool:
    """Whether tokens are those of the grid, all of them, on both sides."""
    whole = request.fills_tensors and request.offset == 0 and request.q_len == request.k_len
    return whole and request.q_len > SHORT_ROWS


def _order(variant: Variant, request: Request) -> Order | None:
    parameters = materialise.parameters(request.program, request.bindings)
    values = tuple((Symbol(name), value) for name, value in sorted(parameters.items()) if isinstance(value, int))
    if (variant, values) not in _chosen:
        # a bundle was built for row-major tokens, perhaps for a machine that can build nothing else
        served = block_found(variant, request.q_len) is not None
        _chosen[variant, values] = None if served else _kept(variant, values)
    return _chosen[variant, values]


def forget_orders() -> None:
    """Drop every choice of this process, as a new one would start."""
    _chosen.clear()


def _kept(variant: Variant, values: Values) -> Order | None:
    from ..ir.order import Boxes, Order  # few patterns need it, and every start would load it

    extents = variant.program.space.extents
    try:
        bucket = " ".join(f"{symbol.name}={value}" for symbol, value in values)
        question = Question(
            "token order", variant.program, variant.target, variant.dtype, variant.dims, "", bucket, find_compiler().identity
        )
    except CompilerMissing:  # there is nothing to keep it for
        return None
    found = kept(question)
    if found is None:
        order = _predicted(variant, values)
        keep_predicted(question, (0,) if order is None else (*order.rows.box, *order.rows.dilation))
        return order
    if len(found.numbers) != 2 * len(extents):
        return None
    boxes = Boxes(extents, found.numbers[: len(extents)], found.numbers[len(extents) :])
    return Order(boxes, boxes) if boxes.fit else None


def _predicted(variant: Variant, values: Values) -> Order | None:
    from ..passes.box_order import best_order
    from ..passes.tile_shape import Problem

    real_bytes = 8 if variant.dtype == "f64" else 4
    lanes = VECTOR_BYTES[variant.target.name] // real_bytes
    return best_order(variant.program, values, Problem(variant.program.space.extents, sum(variant.dims), real_bytes, lanes))


@functools.lru_cache(maxsize=1024)
def _boxed(program: Program, order: Order) -> Program:
    from ..passes.box_order import boxed

    return boxed(program, order)
