"""Requests on grids in the order of their tokens that suits the tiles: from memory, from the cache, or from the cost model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..codegen.cpp_targets import VECTOR_BYTES
from ..ir.expr import Symbol
from ..ir.order import Boxes, Order
from ..ir.target import SHORT_ROWS
from . import materialise
from .bundle_registry import block_found
from .choices import MEASURED, Choice, Question, keep, keep_predicted, kept
from .cpp_launch import target_here, variant_of
from .request import Request
from .toolchain import CompilerMissing, find_compiler

if TYPE_CHECKING:
    from ..passes.box_order import Considered
    from .kernels import Variant

Values = tuple[tuple[Symbol, int], ...]
_chosen: dict[tuple[Variant, Values], Order | None] = {}


def ordered(request: Request, family: str = "forward") -> Request:
    """The request over positions of the best order for a pass; itself where that is the row-major one."""
    if request.program.space.rank < 2 or not _is_plain(request):
        return request
    return in_order(request, order_of(request, family))


def in_order(request: Request, order: Order | None) -> Request:
    return request if order is None else request._replace(order=order)


def _is_plain(request: Request) -> bool:
    """Whether tokens are those of the grid, all of them, on both sides."""
    whole = request.fills_tensors and request.offset == 0 and request.q_len == request.k_len
    return whole and request.q_len > SHORT_ROWS


def order_of(request: Request, family: str) -> Order | None:
    """The order in use for a pass."""
    variant, values = _asked(request, family)
    if (variant, values) not in _chosen:
        # a bundle was built for row-major tokens, perhaps for a machine that can build nothing else
        served = block_found(variant, request.q_len) is not None
        _chosen[variant, values] = None if served else _kept(variant, values)
    return _chosen[variant, values]


def keep_order(request: Request, family: str, order: Order | None) -> None:
    """Let `order` be the choice from now on, here and in every process that starts with this cache.

    Raises:
        CacheUnwritable: the cache folder takes no files.
    """
    asked = _asked(request, family)
    keep(_question(*asked), Choice(_numbers(order), MEASURED))
    _chosen[asked] = order


def orders_considered(request: Request, family: str) -> tuple[Order | None, ...]:
    """What the model ranks, the best first; None is row-major. Nothing where it has no say."""
    if request.program.space.rank < 2 or not _is_plain(request):
        return ()
    return tuple(None if each.boxes is None else Order(each.boxes, each.boxes) for each in _considered(*_asked(request, family)))


def _asked(request: Request, family: str) -> tuple[Variant, Values]:
    parameters = materialise.parameters(request.program, request.bindings)
    values = tuple((Symbol(name), value) for name, value in sorted(parameters.items()) if isinstance(value, int))
    return variant_of(request, target_here())._replace(family=family), values


def forget_orders() -> None:
    """Drop every choice of this process, as a new one would start."""
    _chosen.clear()


def _kept(variant: Variant, values: Values) -> Order | None:
    try:
        question = _question(variant, values)
    except CompilerMissing:  # there is nothing to keep it for
        return None
    found = kept(question)
    if found is not None:
        return _order_of(found.numbers, variant.program.space.extents)
    boxes = next((each.boxes for each in _considered(variant, values)), None)
    order = None if boxes is None else Order(boxes, boxes)
    keep_predicted(question, _numbers(order))
    return order


def _question(variant: Variant, values: Values) -> Question:
    """Raises CompilerMissing as `find_compiler` does."""
    meant = (variant.program, variant.target, variant.dtype, variant.dims, variant.family)
    return Question("token order", *meant, " ".join(f"{symbol.name}={value}" for symbol, value in values), find_compiler().identity)


def _numbers(order: Order | None) -> tuple[int, ...]:
    return (0,) if order is None else (*order.rows.box, *order.rows.dilation)


def _order_of(numbers: tuple[int, ...], extents: tuple[int, ...]) -> Order | None:
    if len(numbers) != 2 * len(extents):
        return None
    boxes = Boxes(extents, numbers[: len(extents)], numbers[len(extents) :])
    return Order(boxes, boxes) if boxes.fit else None


def _considered(variant: Variant, values: Values) -> tuple[Considered, ...]:
    from ..passes.box_order import considered  # what the cache holds is not predicted again
    from ..passes.tile_shape import Problem

    real_bytes = 8 if variant.dtype == "f64" else 4
    lanes = VECTOR_BYTES[variant.target.name] // real_bytes
    return considered(variant.program, values, Problem(variant.program.space.extents, sum(variant.dims), real_bytes, lanes))
