"""An order of tokens that a caller asks for: how positions in tiles stand for the tokens of query, key and value."""

# torch's annotations are partial.
# pyright: reportUnknownMemberType=false
from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...ir.advice import advice
from ...ir.head_orders import HeadOrders
from ...ir.order import Boxes, Given, Order, Parts
from ...ir.order_text import TOKENS, show_order

if TYPE_CHECKING:
    from ...ir.program import Space
    from .request import Request


@dataclass(frozen=True, eq=False)
class TokenOrder:
    """What `lacuna.orders` makes and `order=` takes. It decides which tokens share a tile, never a result.

    name:    as `explain` prints it.
    extents: of the grid whose row-major tokens are put in order; one number is a line.
    tokens:  int32[tokens], the token at each position that has one.
    boxes:   where the order is one of boxes of as many tokens as a tile has, of a grid or of the parts of a sequence: kernels compute it,
             and read no table.
    text:    of it in a call, after that of the program.
    tiles:   of 64 x 64 tokens that hold an attended pair, row-major and in this order, where it was made for a graph.
    """

    name: str
    extents: tuple[int, ...]
    tokens: Tensor
    boxes: Boxes | Parts | None = None
    tiles: tuple[int, int] | None = None

    text: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", show_order(self.order))  # torch.compile traces no cached property

    @property
    def order(self) -> Order:
        """Of queries and of keys."""
        side = Given(self.extents, TOKENS) if self.boxes is None else self.boxes
        return Order(side, side)

    @property
    def tables(self) -> tuple[Tensor, ...]:
        """For a call, after the tables of its program."""
        return (self.tokens,) if self.boxes is None else ()

    def then(self, other: TokenOrder) -> TokenOrder:
        """This order, its positions put in another: position p is that of token `other.tokens[p]` here.

        Raises:
            ValueError: they are of different numbers of tokens.
        """
        if len(other.tokens) != len(self.tokens):
            raise ValueError(
                advice(f"an order of {len(self.tokens)} tokens and one of {len(other.tokens)} do not join", "two orders of as many tokens")
            )
        return TokenOrder(f"{self.name}, then {other.name}", self.extents, self.tokens[other.tokens.long()].contiguous())

    def to(self, device: torch.device | str) -> TokenOrder:
        """The same with its table on a device; a call needs it where the query is."""
        return TokenOrder(self.name, self.extents, self.tokens.to(device), self.boxes, self.tiles)

    def __str__(self) -> str:
        saved = "" if self.tiles is None else f": {self.tiles[1]} tiles of 64 x 64, {self.tiles[0]} before"
        return f"{self.name} of {_grid(self.extents)} tokens{saved}"


def check_order(order: object, name: str = "order") -> None:
    """Raise TypeError unless it is one of `lacuna.orders`, or None. name: what the message calls it."""
    if order is not None and not isinstance(order, TokenOrder):
        hint = "`lacuna.orders.permutation(tensor)`" if isinstance(order, Tensor) else "one of `lacuna.orders`, or nothing"
        raise TypeError(advice(f"`{name}` is a {type(order).__name__}", hint))


def check_fits(request: Request) -> None:
    """Raise unless the orders that a request asks for are ones of its tokens, all of which it attends with.

    Raises:
        ValueError: a table is no permutation; tokens of the call are others than those of an order, or not all of them count; there are
                    more or fewer orders than query heads.
    """
    asked = request.asked
    if isinstance(asked, HeadOrders) and len(asked.of_head) != request.heads:
        wrong = f"`order` has {len(asked.of_head)} orders, and the query has {request.heads} heads"
        raise ValueError(advice(wrong, "one order for each query head, None where kernels may choose"))
    for order in asked.orders if isinstance(asked, HeadOrders) else (asked,):
        if order is not None:
            _check_fits(request, order)


def _check_fits(request: Request, order: Order) -> None:
    side = order.rows
    if not request.fills_tensors or request.offset or request.q_len != request.k_len:
        wrong = "`order` is for calls whose queries and keys are the same tokens, all of them"
        raise ValueError(advice(wrong, "the call without `order`, or without lengths and offset"))
    check_extents(request.program.space, side, request.q_len)
    if isinstance(side, Given):
        check_permutation(request.bindings[side.table.name], "order")


def check_extents(space: Space, side: Boxes | Parts | Given, tokens: int | None) -> None:
    """Raise ValueError unless an order is one of the tokens of a space. tokens: of a call; None where there is none.

    Flat positions may be in the order of a grid.
    """
    extents = space.extents if space.rank > 1 else ()
    if tokens not in (None, math.prod(side.extents)) or (extents and extents != side.extents):
        told = "the pattern has" if tokens is None else "the call has"
        wrong = f"`order` is one of {_grid(side.extents)} tokens, and {told} {_grid(extents or (tokens or 0,))}"
        hint = f"an order with the extents of the pattern; of a permutation, `permutation(tokens, extents={extents})`"
        raise ValueError(advice(wrong, hint if len(extents) > 1 and len(side.extents) == 1 else "an order with the extents of the pattern"))


def _grid(extents: tuple[int, ...]) -> str:
    return " x ".join(map(str, extents))


def check_permutation(tokens: object, name: str) -> None:
    """Raise unless `tokens` is an integer tensor that holds 0 to its length less one, each once."""
    if not isinstance(tokens, Tensor) or tokens.dim() != 1 or tokens.layout is not torch.strided:
        found = (
            f"a tensor of shape {tuple(tokens.shape)} and layout {tokens.layout}"
            if isinstance(tokens, Tensor)
            else f"a {type(tokens).__name__}"
        )
        raise TypeError(advice(f"`{name}` is {found}, no permutation", "an int32 or int64 tensor [tokens]: the token at each position"))
    if tokens.dtype not in (torch.int32, torch.int64):
        raise TypeError(advice(f"`{name}` is of {tokens.dtype}", f"`{name}.int()`, the token at each position"))
    if tokens.is_meta or not len(tokens):
        raise ValueError(
            advice(f"`{name}` holds no tokens: it is {'on the meta device' if tokens.is_meta else 'empty'}", "the token at each position")
        )
    if not torch.equal(tokens.sort().values, torch.arange(len(tokens), dtype=tokens.dtype, device=tokens.device)):
        raise ValueError(
            advice(
                f"`{name}` is no permutation: it does not hold each of 0 to {len(tokens) - 1} once",
                f"the token at each position, `torch.argsort(...)` or `torch.randperm({len(tokens)})`",
            )
        )
