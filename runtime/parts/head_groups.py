"""A call whose query heads have orders of their own, as one request for each view of heads that share one and are of one kind."""

from __future__ import annotations

from collections.abc import Iterator

from ...ir.head_orders import HeadOrders, HeadView, head_views
from ...ir.order import Given, Order
from ...ir.order_text import TOKENS
from ...passes.program.call_values import Launch
from ...passes.program.head_program import kinds_of_heads, of_heads, read_by_conditions
from ..request import materialise
from ..request.request import Request
from ..tensors.host_numbers import numbers_of


def head_requests(request: Request, asked: HeadOrders) -> Iterator[tuple[HeadView, Request]]:
    """Requests over views of the tensors. Every table of tokens has one name in them, so that one kernel serves them all."""
    launch = _launch(request)
    common = tuple(zip(asked.of_head, kinds_of_heads(request.program, launch), strict=True))
    for view in head_views(common, request.kv_heads):
        program, moved = of_heads(request.program, view.heads, launch)
        order = asked.orders[asked.of_head[view.heads[0]]]
        heads, kv_heads = (slice(each.start, each.stop, each.step) for each in (view.heads, view.kv_heads))
        yield (
            view,
            request._replace(
                query=request.query[:, heads],
                key=request.key[:, kv_heads],
                value=request.value[:, kv_heads],
                program=program,
                bindings={**request.bindings, **moved, **_tokens(request, order)},
                asked=_alike(order),
            ),
        )


def _tokens(request: Request, order: Order | None) -> dict[str, object]:
    """The table of a view's order under the name that kernels know it by."""
    if order is None or not isinstance(order.rows, Given):
        return {}
    return {TOKENS.name: request.bindings[order.rows.table.name]}


def _alike(order: Order | None) -> Order | None:
    if order is None or not isinstance(order.rows, Given):
        return order
    side = order.rows._replace(table=TOKENS)
    return Order(side, side)


def _launch(request: Request) -> Launch:
    """What conditions on heads read."""
    program, bindings = request.program, request.bindings
    tables = {
        table.name: numbers_of(table.name, materialise.entries(table, materialise.bound(bindings, table.name), request.heads))
        for table in read_by_conditions(program)
    }
    return Launch(request.q_len, request.k_len, heads=request.heads, parameters=materialise.parameters(program, bindings), tables=tables)
