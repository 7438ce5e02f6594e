"""Orders that a caller asks for, one for each query head: what `order=` takes beside a single one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from ...ir.advice import advice
from ...ir.order_text import ANY, START
from .token_order import TokenOrder, check_order

HEADS = "heads from 0 on, each once: `{0: order, range(4, 8): other}`"


@dataclass(frozen=True, eq=False)
class OrdersOfHeads:
    """What a call carries.

    orders: of each query head; None leaves it to kernels.   of_head: heads with the same number have the same order.
    text:   after that of the program.   tables: after those of the program, one for each order that is no order of boxes.
    """

    orders: tuple[TokenOrder | None, ...]
    of_head: tuple[int, ...]
    text: str
    tables: tuple[Tensor, ...]

    def to(self, device: torch.device | str) -> OrdersOfHeads:
        """The same with its tables on a device; a call needs them where the query is."""
        moved = {order: order.to(device) for order in self.orders if order is not None}
        return OrdersOfHeads.of([None if order is None else moved[order] for order in self.orders])

    def __str__(self) -> str:
        return ", ".join(f"{head}: {'any' if order is None else order.name}" for head, order in enumerate(self.orders))

    @staticmethod
    def of(orders: Sequence[TokenOrder | None]) -> OrdersOfHeads:
        """Heads share an order where it is the same object. In Python that `torch.compile` traces through."""
        distinct: list[TokenOrder | None] = []
        of_head: list[int] = []
        for order in orders:
            known = [number for number, other in enumerate(distinct) if other is order]
            if not known:
                distinct.append(order)
            of_head.append(known[0] if known else len(distinct) - 1)
        shown = [ANY if order is None else order.text.removeprefix(START) for order in distinct]
        tables = [table for order in distinct if order is not None for table in order.tables]
        numbers = " ".join([str(number) for number in of_head])
        return OrdersOfHeads(tuple(orders), tuple(of_head), f"{START}heads({numbers}): {'; '.join(shown)}", tuple(tables))


def asked(order: object, heads: int | None) -> TokenOrder | OrdersOfHeads | None:
    """An argument `order=` as a call carries it.

    heads: of the query; None where it has no such axis.

    Raises:
        TypeError: it holds something that is no order, or is for no head, or for one head twice.
        ValueError: it is an order for each head, and names none, or heads that there are not.
    """
    if isinstance(order, OrdersOfHeads):
        return order
    if isinstance(order, Mapping):
        own = _of_each(cast("Mapping[object, object]", order), heads)
        return OrdersOfHeads.of(own) if own else None
    if isinstance(order, Sequence) and not isinstance(order, str):
        given = cast("Sequence[object]", order)
        if not given:
            raise ValueError(advice("`order` is an empty sequence", "one order for each query head, or None"))
        return OrdersOfHeads.of([_checked(each, f"order[{head}]") for head, each in enumerate(given)])
    return _checked(order, "order")


def _of_each(given: Mapping[object, object], heads: int | None) -> list[TokenOrder | None]:
    own: dict[int, TokenOrder | None] = {}
    for key, order in given.items():
        for head in cast("Iterable[object]", key) if isinstance(key, (tuple, range, frozenset)) else (key,):
            if not isinstance(head, int) or isinstance(head, bool) or head in own:
                twice = isinstance(head, int) and head in own
                wrong = f"`order` has two orders for head {head}" if twice else f"`order` has an order for {head!r}, which is no head"
                raise TypeError(advice(wrong, HEADS))
            own[head] = _checked(order, f"order[{key}]")
    if not own and heads:
        raise ValueError(advice("`order` is a mapping that names no head", HEADS))
    count = 1 + max(own, default=0) if heads is None else heads
    for head in own:
        if not 0 <= head < count:
            raise ValueError(advice(f"`order` has an order for head {head}, and the query has {count} heads", HEADS))
    return [own.get(head) for head in range(count)]


def _checked(order: object, name: str) -> TokenOrder | None:
    check_order(order, name)
    return cast("TokenOrder | None", order)


ByHead = Mapping[Any, TokenOrder | None]
"""By the number of a head, or several."""
OrderGiven = TokenOrder | OrdersOfHeads | Sequence[TokenOrder | None] | ByHead | None
"""One order for all query heads, one for each, or those of some heads; None leaves it to kernels."""
