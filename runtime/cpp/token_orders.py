"""Requests on grids in the order of their tokens that suits the tiles: from memory, from the cache, or from the cost model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...ir.order import Boxes, Given, Order, Parts
from ...ir.program import Program
from ..choices.choice_cache import MEASURED, Choice, Question, Subject, keep, keep_predicted, kept
from ..choices.positions import Values, grids_of, in_order, is_plain, values_of_mask, written
from ..choices.shapes import problem_of
from ..compilers.cpp_compiler import CompilerMissing, find_compiler
from ..kernels.shelves import orders_found, remade_with_bundles
from ..request.request import Request
from .variants import BOXES_BLOCK, target_here, variant_of

if TYPE_CHECKING:
    from ...passes.costs.box_order import Considered
    from ..kernels.variant import Variant

_chosen: dict[tuple[Variant, Values], Order | None] = {}


def ordered(request: Request, family: str = "forward") -> Request:
    """The request over positions of the order that is asked for, or of the best one for a pass; itself where that is row-major."""
    if isinstance(request.asked, Order):  # one for each head is one for each part
        return in_order(request, request.asked)
    return in_order(request, order_of(request, family)) if is_plain(request) else request


def order_of(request: Request, family: str) -> Order | None:
    """The order in use for a pass."""
    variant, values = _asked(request, family)
    if (variant, values) not in _chosen:
        shipped = orders_found(variant, request.q_len)  # a machine with a bundle can perhaps build nothing else
        _chosen[variant, values] = _best_of(shipped, variant, values) if shipped else _kept(variant, values)
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
    return tuple(_order(each.boxes) for each in _considered(*_asked(request, family))) if is_plain(request) else ()


def _asked(request: Request, family: str) -> tuple[Variant, Values]:
    return variant_of(request, target_here())._replace(family=family), values_of_mask(request)


@remade_with_bundles
def forget_orders() -> None:
    """Drop every choice of this process, as a new one would start."""
    _chosen.clear()


def predicted(variant: Variant, values: Values) -> Order | None:
    """The order that the model takes; None is row-major."""
    return _order(next((each.boxes for each in _considered(variant, values)), None))


def _best_of(offered: tuple[Order | None, ...], variant: Variant, values: Values) -> Order | None:
    """The one of some orders that the model likes best; None is row-major and one of them."""
    boxes = tuple(order.rows for order in offered if order is not None and not isinstance(order.rows, Given))
    return _order(next((each.boxes for each in _considered(variant, values, boxes)), None)) if boxes else None


def _order(boxes: Boxes | Parts | None) -> Order | None:
    return None if boxes is None else Order(boxes, boxes)


def _kept(variant: Variant, values: Values) -> Order | None:
    try:
        question = _question(variant, values)
    except CompilerMissing:  # there is nothing to keep it for
        return None
    found = kept(question)
    if found is not None:
        return _order_of(found.numbers, variant.program)
    order = predicted(variant, values)
    keep_predicted(question, _numbers(order))
    return order


def _question(variant: Variant, values: Values) -> Question:
    """Raises CompilerMissing as `find_compiler` does."""
    return Question("token order", Subject.of(variant, written(values)), find_compiler().identity)


def _numbers(order: Order | None) -> tuple[int, ...]:
    if order is None:
        return (0,)
    side = order.rows
    assert not isinstance(side, Given)  # a table is nobody's choice but the caller's
    return tuple(number for boxes in (side.boxes if isinstance(side, Parts) else (side,)) for number in (*boxes.box, *boxes.dilation))


def possible(numbers: tuple[int, ...], program: Program) -> bool:
    """Whether kernels of a program on a grid can take its tokens in the order that these numbers stand for."""
    return numbers == (0,) or _order_of(numbers, program) is not None


def _order_of(numbers: tuple[int, ...], program: Program) -> Order | None:
    grids = grids_of(program)
    if len(numbers) != 2 * sum(map(len, grids)):
        return None
    boxes, rest = list[Boxes](), numbers
    for extents in grids:
        rank = len(extents)
        boxes.append(Boxes(extents, rest[:rank], rest[rank : 2 * rank]))
        rest = rest[2 * rank :]
    side = boxes[0] if program.space.rank > 1 else Parts(tuple(boxes))
    return _order(side) if side.fit and side.tokens == BOXES_BLOCK[0] else None


def _considered(variant: Variant, values: Values, offered: tuple[Boxes | Parts, ...] | None = None) -> tuple[Considered, ...]:
    from ...passes.costs.box_order import considered  # what the cache holds is not predicted again

    return considered(variant.program, values, problem_of(variant), offered)
