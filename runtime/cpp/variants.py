"""Which C++ kernel serves a request."""

from __future__ import annotations

import functools

from ...ir.target import Target
from ..choices.positions import of_any_length
from ..choices.shapes import chosen
from ..compilers.cpp_compiler import cpu_target
from ..kernels.variant import Variant
from ..request.extra_keys import seeing_beside
from ..request.request import NAMES, Request

FEW_ROWS = 16
DECODE_BLOCK = (FEW_ROWS, 64)
BOXES_BLOCK = (64, 64)  # as many tokens as a box of an order has


def variant_of(request: Request, target: Target) -> Variant:
    moved = request.offset != 0 or request.ragged.offsets is not None
    dtype, dims = NAMES[request.query.dtype], (request.head_dim, request.value_dim)
    if request.q_len <= FEW_ROWS and request.order is None:
        # A cache that grows from one key passes offset 0 on its way: one kernel serves every offset.
        variant = Variant(request.program, target, dtype, dims, DECODE_BLOCK, shifted=True, family="decode")
        return seeing_beside(variant, request)
    variant = Variant(request.program, target, dtype, dims, BOXES_BLOCK, moved, order=of_any_length(request.order, request.grid))
    variant = seeing_beside(variant, request)
    if request.order is not None:
        return variant  # an order is made for this shape
    return variant._replace(block=chosen(variant, request.q_len))


@functools.cache
def target_here() -> Target:
    return cpu_target()
