"""Orders of tokens in a manifest: queries and keys as text."""

from __future__ import annotations

from collections.abc import Mapping

from ...ir.advice import advice
from ...ir.order import Given, Order, Parts
from ...ir.order_text import show_side, side_of

Sides = Mapping[str, str]
"""Queries and keys of an order, under `rows` and `keys`."""


def sides_of(order: Order | None) -> Sides | None:
    return None if order is None else {"rows": show_side(order.rows), "keys": show_side(order.keys)}


def words_of(order: Order | None) -> list[str]:
    """Of an order in the name of a kernel."""
    if order is None:
        return []
    sides = [side for side in dict.fromkeys(order) if not isinstance(side, Given)]
    boxes = [each for side in sides for each in (side.boxes if isinstance(side, Parts) else (side,))]
    return ["boxes", *("x".join(map(str, each.box)) for each in boxes)] if boxes else ["ordered"]


def order_of_sides(sides: Sides | None) -> Order | None:
    """The order that `sides_of` wrote.

    Raises:
        ValueError: there is none of this text.
    """
    if sides is None:
        return None
    rows, keys = side_of(sides["rows"]), side_of(sides["keys"])
    if rows is None or keys is None:
        raise ValueError(
            advice(f"`{sides['rows']}` and `{sides['keys']}` are no order of queries and keys", "`boxes(8 x 8, 4 x 4, 1 x 1)`")
        )
    return Order(rows, keys)
