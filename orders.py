"""Orders of the tokens of a grid or of a graph, for `order=`: which tokens share a tile. They change how long a call takes, nothing else.

    lacuna.attention(query, key, value, pattern, order=lacuna.orders.hilbert((64, 64)))

Where none is given, C++ and Triton kernels on grids choose among boxes and row-major tokens themselves.
"""

# torch's annotations are partial.
# pyright: reportUnknownMemberType=false
from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from .ir.advice import advice
from .ir.given_grid import is_count
from .ir.order import Boxes, Parts
from .ir.sequence import SequenceOfParts
from .passes.orders import permutations
from .runtime.request.head_orders import ByHead, OrdersOfHeads, asked
from .runtime.request.token_order import TokenOrder, check_order, check_permutation

__all__ = [
    "TokenOrder",
    "axes",
    "boxes",
    "hilbert",
    "morton",
    "of_heads",
    "parts",
    "permutation",
    "reverse_cuthill_mckee",
    "row_major",
    "shells",
]

TILE = 64  # tokens of a tile of a C++ kernel
MOST_TOKENS = 2**31 - 1


def boxes(extents: Sequence[int], box: Sequence[int], dilation: Sequence[int] | int = 1) -> TokenOrder:
    """One box after the other, boxes and the tokens in them row-major: window-major, where the boxes are the windows.

    extents:  of the grid, outermost first.   box: edges of a box in tokens; those at the end of an axis may hold less.
    dilation: from one token of a box to the next, along each axis or all; boxes of one residue class come before those of the next.
    """
    sizes, edges = _extents(extents), _integers("box", box)
    apart = (dilation,) * len(sizes) if isinstance(dilation, int) else _integers("dilation", dilation)
    made = Boxes(sizes, edges, apart)
    if not len(sizes) == len(edges) == len(apart) or not made.fit:
        wrong = f"there are no boxes of {edges} tokens, {apart} apart, on {sizes}"
        raise ValueError(advice(wrong, "an edge for each axis, shorter than twice the axis, and a dilation within it"))
    name = f"boxes of {made}"
    tokens = _tensor(permutations.in_boxes(made))
    return TokenOrder(name, sizes, tokens, made if made.tokens == TILE else None)


def hilbert(extents: Sequence[int], box: Sequence[int] | None = None) -> TokenOrder:
    """Along the Hilbert curve; with `box` from box to box, row-major in each. Any extents: what lies outside is left out."""
    return _curve("hilbert", permutations.hilbert, extents, box)


def morton(extents: Sequence[int], box: Sequence[int] | None = None) -> TokenOrder:
    """Along the Morton curve (Z order); with `box` from box to box, row-major in each."""
    return _curve("morton", permutations.morton, extents, box)


def shells(extents: Sequence[int], centre: Sequence[int] | None = None) -> TokenOrder:
    """By the distance from `centre` in steps along the axes; None is the first token, as in `lacuna.patterns.neighboring_ar`."""
    sizes = _extents(extents)
    at = (0,) * len(sizes) if centre is None else _integers("centre", centre)
    if len(at) != len(sizes):
        raise ValueError(advice(f"`centre` is {at}, on {len(sizes)} axes", "one coordinate for each axis"))
    return TokenOrder(f"shells around {at}", sizes, _tensor(permutations.shells(sizes, at)))


def axes(extents: Sequence[int], order: Sequence[int]) -> TokenOrder:
    """Row-major with the axes exchanged: axis `order[0]` outermost."""
    sizes, turned = _extents(extents), _integers("order", order)
    if sorted(turned) != list(range(len(sizes))):
        raise ValueError(advice(f"`order` is {turned}, on {len(sizes)} axes", f"each of 0 to {len(sizes) - 1} once"))
    return TokenOrder(f"axes {turned}", sizes, _tensor(permutations.axes(sizes, turned)))


def row_major(extents: Sequence[int]) -> TokenOrder:
    """As tokens lie: asks kernels on grids to leave boxes alone."""
    sizes = _extents(extents)
    return TokenOrder("row-major", sizes, torch.arange(math.prod(sizes), dtype=torch.int32))


def permutation(tokens: Tensor, extents: Sequence[int] | None = None) -> TokenOrder:
    """As a tensor says.

    tokens:  int32 or int64 [tokens], the token at each position. It is copied.
    extents: of the grid that the tokens are row-major on; None is a line.

    Raises:
        TypeError, ValueError: `tokens` is no permutation.
    """
    check_permutation(tokens, "tokens")
    sizes = (len(tokens),) if extents is None else _extents(extents)
    if math.prod(sizes) != len(tokens):
        raise ValueError(
            advice(f"`tokens` holds {len(tokens)} tokens, and the grid {sizes} {math.prod(sizes)}", "one entry for each token")
        )
    return TokenOrder("permutation", sizes, tokens.to(torch.int32, copy=True).contiguous())


def of_heads(orders: Sequence[TokenOrder | None] | ByHead, heads: int) -> OrdersOfHeads:
    """One for each query head, as `order=` takes them, made once: for graphs of torch, which do not trace ranges in a mapping.

    orders: of each head, or by head; None leaves it to kernels.

    Raises:
        TypeError, ValueError: there are not so many, or something is no order, or for no head.
    """
    if not is_count(heads) or heads == 0:
        raise TypeError(advice(f"`heads` is {heads!r}", "how many query heads there are"))
    found = asked(orders, heads)
    if not isinstance(found, OrdersOfHeads) or len(found.orders) != heads:
        raise ValueError(advice(f"`orders` are not one for each of {heads} heads", "a sequence of as many, or a mapping from heads"))
    return found


def parts(sequence: SequenceOfParts, **within: TokenOrder) -> TokenOrder:
    """The tokens of a `lacuna.sequence`, those of parts with an order in that order: a video in boxes, beside text as it lies.

    Where all orders are `boxes` of as many tokens as a tile has, no tile holds tokens of two parts, and schedules are found part by part.
    Else parts with an order come first, so that the first of them has boxes where tiles are; the others follow.

    Raises:
        ValueError: there is no such part, or its order is one of other tokens.
        TypeError: what is given for a part is no order.
    """
    for name, order in within.items():
        check_order(order)
        if name not in sequence:
            raise ValueError(advice(f"there is no part `{name}` of {sequence}", f"one of {', '.join(sequence)}"))
        part = sequence[name]
        if order.extents != part.grid.fixed and order.extents != (part.tokens,):
            wrong = f"the order of `{name}` is one of {order.extents} tokens, not of {part.grid}"
            raise ValueError(advice(wrong, "one of the same extents"))
    boxes = _boxes_of(sequence, within)
    first = sequence if boxes else dict.fromkeys((*within, *sequence))
    lines = {name: torch.arange(part.tokens, dtype=torch.int32) for name, part in sequence.items()}
    tokens = [(within[name].tokens if name in within else lines[name]) + sequence[name].start for name in first]
    shown = ", ".join(f"{name} in {order.name}" for name, order in within.items()) or "row-major"
    return TokenOrder(f"parts: {shown}", (sequence.tokens,), torch.cat(tokens).contiguous(), boxes)


def _boxes_of(sequence: SequenceOfParts, within: Mapping[str, TokenOrder]) -> Parts | None:
    """Parts without an order in runs of as many tokens as a tile has; None where one with an order has other boxes, or none.

    None too where no part has an order, or there is only one part.
    """
    found = [within[name].boxes if name in within else Boxes((part.tokens,), (TILE,), (1,)) for name, part in sequence.items()]
    boxes = tuple(each for each in found if isinstance(each, Boxes))
    return Parts(boxes) if within and 1 < len(boxes) == len(found) else None


def reverse_cuthill_mckee(graph: object, tokens: int | None = None) -> TokenOrder:
    """Proposed for a mask that is a graph: tokens that see each other come close. `tiles` of it says what that saves.

    graph:  who sees whom: a sparse tensor [tokens, tokens] of any layout, a scipy.sparse matrix, a boolean table, or edges int64[2, pairs].
    tokens: of an edge list whose last tokens may have no edge.

    Raises:
        TypeError, ValueError: `graph` is none of these.
    """
    from .passes.orders.graph_order import reverse_cuthill_mckee as ordering  # with it comes networkx
    from .passes.orders.graph_order import tiles_met
    from .runtime.request.pair_graphs import graph_of

    found = graph_of(graph, tokens)
    if not found.tokens:
        raise ValueError(advice("`graph` is one of no tokens", "a row and a column for each token"))
    order = ordering(*found)
    counts = tuple(tiles_met(found.queries, found.keys, each, TILE) for each in (np.arange(found.tokens), order))
    return TokenOrder("reverse Cuthill-McKee", (found.tokens,), _tensor(order), tiles=(counts[0], counts[1]))


def _curve(name: str, curve: Callable[[tuple[int, ...]], np.ndarray], extents: Sequence[int], box: Sequence[int] | None) -> TokenOrder:
    sizes = _extents(extents)
    if box is None:
        return TokenOrder(name, sizes, _tensor(curve(sizes)))
    edges = _integers("box", box)
    if len(edges) != len(sizes) or min(edges) < 1:
        raise ValueError(advice(f"`box` is {edges}, on {len(sizes)} axes", "a positive edge for each axis"))
    found = permutations.by_box(sizes, edges, curve)
    return TokenOrder(f"{name} over boxes of {' x '.join(map(str, edges))}", sizes, _tensor(found))


def _extents(extents: Sequence[int]) -> tuple[int, ...]:
    sizes = _integers("extents", extents)
    if not sizes or min(sizes) < 1 or math.prod(sizes) > MOST_TOKENS:
        raise ValueError(advice(f"`extents` is {sizes}", "a positive number of tokens for each axis, outermost first"))
    return sizes


def _integers(name: str, values: Sequence[int]) -> tuple[int, ...]:
    try:
        return tuple(operator.index(each) for each in values)
    except TypeError:
        raise TypeError(advice(f"`{name}` is {values!r}", "an integer for each axis, outermost first, in a tuple")) from None


def _tensor(tokens: np.ndarray) -> Tensor:
    return torch.as_tensor(tokens).to(torch.int32).contiguous()
