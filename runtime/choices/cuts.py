"""How Triton kernels cut a grid, into boxes or runs of tokens: from memory, a loaded bundle, the cache, or the model, in this order."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

from ...ir.configuration import Configuration, Cut
from ...ir.order import Boxes, Given, Order, Parts
from ...ir.program import Program
from ..kernels.shelves import orders_found, remade_with_bundles, tiling_found
from ..kernels.variant import Variant
from ..request.request import Request
from .choice_cache import MEASURED, Choice, Question, Subject, instead, keep, keep_predicted, kept
from .configurations import INTERPRETED, bucket_for, chosen, compiler_identity, configured, problem_of, ranking, tried, with_configuration
from .configurations import keep as keep_configuration
from .configurations import possible as possible_configuration
from .positions import Values, grids_of, in_order, is_plain, of_any_length, over_positions, values_of_mask, written

if TYPE_CHECKING:
    from ...passes.costs.gpu_orders import Considered

FIELDS = len(Configuration._fields)
ROW_MAJOR = (0,)

_chosen: dict[Subject, Cut | None] = {}


def cut(variant: Variant, request: Request) -> tuple[Request, Variant]:
    """The request over positions of the best order for a kernel, and the kernel with its tiles.

    Where row-major tokens are best, the request itself, and the configuration that calls off grids get.

    variant: of the program of the request; whatever it has of tiles does not matter.
    """
    if isinstance(request.asked, Order):  # one for each head is one for each part
        return _as_asked(variant, request, request.asked)
    found = _cut_of(variant, request) if is_cut(variant, request) else None
    if found is None or found.order is None:
        return request, configured(variant, request)
    boxed = with_cut(variant, found)
    shipped = tiling_found(boxed, request.q_len)
    return in_order(request, found.order), boxed if shipped is None else boxed._replace(**shipped._asdict())


def is_cut(variant: Variant, request: Request) -> bool:
    """Whether there is a choice for a kernel of a request."""
    return variant.family != "decode" and is_plain(request)


def _as_asked(variant: Variant, request: Request, order: Order) -> tuple[Request, Variant]:
    """In the order that a caller wants."""
    placed = in_order(request, order)
    boxed = variant._replace(program=placed.program, order=of_any_length(order, request.program), shifted=False)
    shipped = tiling_found(boxed, placed.q_len)
    if shipped is not None:
        return placed, boxed._replace(**shipped._asdict())
    return placed, in_tiles_of_boxes(boxed, bucket_for(boxed, placed)) or configured(boxed, placed)


def in_tiles_of_boxes(boxed: Variant, bucket: str) -> Variant | None:
    """The variant over positions in tiles of one box, where its order has boxes and the target such tiles."""
    order = boxed.order
    if order is None or isinstance(order.rows, Given) or isinstance(order.keys, Given):
        return None
    block = order.rows.tokens * boxed.together, order.keys.tokens
    interpreted = INTERPRETED._replace(block_q=block[0], block_k=block[1])
    offered = (interpreted,) if boxed.target.name == "interpreter" else ranking(boxed, bucket)
    fitting = next((each for each in offered if each.block == block), None)
    return None if fitting is None else with_configuration(boxed, fitting)


def with_cut(variant: Variant, found: Cut) -> Variant:
    """The variant of a program on a grid as a kernel over positions."""
    if found.order is None:
        return with_configuration(variant, found.configuration)
    boxed = variant._replace(program=over_positions(variant.program, found.order), order=found.order, shifted=False)
    return with_configuration(boxed, found.configuration)


def _cut_of(variant: Variant, request: Request) -> Cut | None:
    known = _asked(variant, request)
    if known not in _chosen:
        _chosen[known] = _shipped(variant, request.q_len) or _kept(variant, known, values_of_mask(request))
    return _chosen[known]


def _asked(variant: Variant, request: Request) -> Subject:
    """A choice goes for the values of what the mask reads, and for the query heads in a tile."""
    return Subject.of(variant, f"{written(values_of_mask(request))} together={variant.together}".strip())


def chosen_here() -> tuple[tuple[Subject, Cut | None], ...]:
    """Every choice of this process; None is row-major."""
    return tuple(_chosen.items())


@remade_with_bundles
def forget_cuts() -> None:
    """Drop every choice of this process, as a new one would start."""
    _chosen.clear()


# -- from elsewhere ---------------------------------------------------------------------------------------------------


def _shipped(variant: Variant, rows: int) -> Cut | None:
    """As the kernels of a loaded bundle are cut, those in boxes first: a machine with a bundle can perhaps build nothing else."""
    offered = orders_found(variant._replace(order=None), rows)
    for order in (*(each for each in offered if each is not None), *(None for each in offered if each is None)):
        boxed = variant if order is None else variant._replace(program=over_positions(variant.program, order), order=order)
        tiling = tiling_found(boxed, rows)
        if tiling is not None:
            block = tiling.block[0] * tiling.together, tiling.block[1]
            return Cut(Configuration(*block, tiling.warps, tiling.stages, tiling.registers), order)
    return None


def _kept(variant: Variant, known: Subject, values: Values) -> Cut | None:
    if variant.target.name == "interpreter":
        return predicted(variant, values)
    question = _question(known)
    found = kept(question)
    if found is not None and possible(found.numbers, variant.program):
        return cut_of_numbers(found.numbers, variant.program)
    best = predicted(variant, values)
    keep_predicted(question, numbers_of(best))
    return best


def _question(subject: Subject) -> Question:
    return Question("cut", subject, compiler_identity())


def numbers_of(found: Cut | None) -> tuple[int, ...]:
    """As the cache holds them: a configuration, edges of boxes of queries and of keys, their dilation."""
    if found is None or not isinstance(order := found.order, Order):
        return ROW_MAJOR
    rows, keys = (_boxes_of(side) for side in order)
    parts = ([each.box for each in rows], [each.box for each in keys], [each.dilation for each in rows])
    return (*found.configuration, *(number for part in parts for sizes in part for number in sizes))


def _boxes_of(side: Boxes | Parts | Given) -> tuple[Boxes, ...]:
    assert not isinstance(side, Given)  # a table is nobody's choice but the caller's
    return side.boxes if isinstance(side, Parts) else (side,)


def cut_of_numbers(numbers: tuple[int, ...], program: Program) -> Cut | None:
    """None is row-major, and what no cut of the program has."""
    grids = grids_of(program)
    rank = sum(map(len, grids))
    if len(numbers) != FIELDS + 3 * rank:
        return None
    configuration, *parts = (numbers[start:stop] for start, stop in pairwise((0, *(FIELDS + at * rank for at in range(4)))))
    rows, keys, dilation = (list(_by_grid(part, grids)) for part in parts)
    sides = (tuple(map(Boxes, grids, boxes, dilation)) for boxes in (rows, keys))
    of_sequence = program.space.rank == 1
    return Cut(Configuration(*configuration), Order(*(Parts(boxes) if of_sequence else boxes[0] for boxes in sides)))


def _by_grid(numbers: tuple[int, ...], grids: tuple[tuple[int, ...], ...]) -> Iterator[tuple[int, ...]]:
    start = 0
    for extents in grids:
        yield numbers[start : start + len(extents)]
        start += len(extents)


def possible(numbers: tuple[int, ...], program: Program) -> bool:
    """Whether kernels of a program on a grid can be cut as these numbers say."""
    if numbers == ROW_MAJOR:
        return True
    found = cut_of_numbers(numbers, program)
    if found is None or found.order is None or not possible_configuration(tuple(found.configuration)):
        return False
    rows, keys = found.order
    assert not isinstance(rows, Given)
    assert not isinstance(keys, Given)
    whole = keys.fit and rows.fit and keys.tokens == found.configuration.block_k
    return whole and found.configuration.block_q % rows.tokens == 0


# -- predicted --------------------------------------------------------------------------------------------------------


def predicted(variant: Variant, values: Values) -> Cut | None:
    """The cut that the model takes; None where the mask is no product of axes."""
    return next((each.cut for each in considered(variant, values)), None)


def considered(variant: Variant, values: Values) -> tuple[Considered, ...]:
    """What the model ranks, the best first. The interpreter has small tiles."""
    from ...passes.costs.gpu_orders import considered as ranked  # what the cache holds is not predicted again

    offered = (INTERPRETED,) if variant.target.name == "interpreter" else None
    return ranked(variant.program, values, problem_of(variant), variant.together, offered)


def cuts_considered(variant: Variant, request: Request) -> tuple[Cut, ...]:
    """What the model ranks, the best first, one row-major cut among them; nothing where it has no say."""
    return tuple(each.cut for each in considered(variant, values_of_mask(request))) if is_cut(variant, request) else ()


def cut_in_use(variant: Variant, request: Request) -> Cut:
    """The cut of a kernel; a row-major one with the configuration that is in use."""
    found = _cut_of(variant, request)
    if found is not None and found.order is not None:
        return found
    return Cut(chosen(variant, bucket_for(variant, request), request.q_len))


@contextlib.contextmanager
def tried_cut(variant: Variant, request: Request, found: Cut) -> Generator[None]:
    """Let this be the choice of this process for a while."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(instead(_chosen, _asked(variant, request), found))
        if found.order is None:
            stack.enter_context(tried(variant, bucket_for(variant, request), found.configuration))
        yield


def keep_cut(variant: Variant, request: Request, found: Cut) -> None:
    """Let this be the choice from now on, here and in every process that starts with this cache.

    Raises:
        CacheUnwritable: the cache folder takes no files.
    """
    known = _asked(variant, request)
    keep(_question(known), Choice(numbers_of(found), MEASURED))
    if found.order is None:
        keep_configuration(variant, bucket_for(variant, request), found.configuration)
    _chosen[known] = found
