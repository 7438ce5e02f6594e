"""Orders of tokens in bundles: which kernels over positions a specification comes to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from ...ir.head_orders import HeadView, head_views
from ...ir.program import Program
from ...passes.costs.key_buckets import bucket_of
from ...passes.program.call_values import Launch
from ...passes.program.head_program import kinds_of_heads, of_heads
from ..choices import cuts
from ..choices.configurations import ranking, with_configuration
from ..choices.positions import grids_of, of_any_length, over_positions
from ..cpp.token_orders import predicted
from ..kernels.variant import Variant
from ..request.head_orders import OrdersOfHeads, asked
from ..request.token_order import TokenOrder, check_extents

if TYPE_CHECKING:
    from .spec import KernelSpec


def in_boxes(variant: Variant, launch: Launch) -> Variant | None:
    """The kernel over boxes of a grid that calls with these parameters would be compiled to, where that is not the row-major one.

    variant: over row-major tokens; whatever it has of tiles does not matter.
    """
    variant = variant._replace(shifted=False)
    if not grids_of(variant.program) or variant.family == "decode":
        return None
    if variant.target.backend == "triton":
        found = cuts.predicted(variant, launch.integers)
        return None if found is None or found.order is None else cuts.with_cut(variant, found)
    order = predicted(variant, launch.integers)
    return None if order is None else variant._replace(program=over_positions(variant.program, order), order=order)


# -- orders that calls ask for ----------------------------------------------------------------------------------------


class Asked(NamedTuple):
    """A program and the order that calls ask for; None leaves it to kernels."""

    program: Program
    launch: Launch
    order: TokenOrder | None


def of_orders(spec: KernelSpec, program: Program, launch: Launch) -> Iterator[Asked]:
    """The program, or that of each view of heads where these have orders of their own. launch: of all heads.

    Raises:
        ValueError: an order is one of other tokens than the program.
    """
    given = asked(spec.order, spec.heads)
    orders = given.orders if isinstance(given, OrdersOfHeads) else (given,)
    for order in dict.fromkeys(orders):
        if order is not None:
            check_extents(program.space, order.order.rows, None)
    if not isinstance(given, OrdersOfHeads):
        yield Asked(program, launch, given)
        return
    common = tuple(zip(given.of_head, kinds_of_heads(program, launch), strict=True))
    for view in head_views(common, spec.kv_heads or spec.heads):
        yield _of_view(program, launch, view, given.orders[view.heads[0]])


def _of_view(program: Program, launch: Launch, view: HeadView, order: TokenOrder | None) -> Asked:
    own, moved = of_heads(program, view.heads, launch)
    return Asked(own, launch._replace(heads=len(view.heads), parameters={**launch.parameters, **moved}), order)


def over_order(variant: Variant, order: TokenOrder) -> Variant:
    """The variant over the positions of an order, but for its tiles."""
    placed = of_any_length(order.order, variant.program)
    return variant._replace(program=over_positions(variant.program, order.order), order=placed, shifted=False)


def with_tokens(launch: Launch, order: TokenOrder) -> Launch:
    """The launch that stands for calls in an order: over its positions, with its table."""
    positions = order.order.rows.positions
    tables = {table.name: given.cpu().numpy() for table, given in zip(order.order.tables, order.tables, strict=True)}
    return launch._replace(q_len=positions, k_len=positions, shifted=False, tables={**launch.tables, **tables})


def with_tiles_of_order(variant: Variant, launch: Launch) -> Variant:
    """The variant over positions with the tiles that calls give it. launch: over positions."""
    if variant.target.backend != "triton":
        return variant
    bucket = bucket_of(variant.program, launch)
    return cuts.in_tiles_of_boxes(variant, bucket) or with_configuration(variant, ranking(variant, bucket)[0])
