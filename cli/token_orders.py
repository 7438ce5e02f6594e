"""What `--order` says: the order of tokens in tiles, of all heads or of some."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from .answers import Misuse
from .setting import table_of_file

if TYPE_CHECKING:
    from ..ir.pattern import Pattern
    from ..runtime.request.head_orders import OrderGiven
    from ..runtime.request.token_order import TokenOrder

FORMS = "`row-major`, `hilbert`, `morton`, `shells`, `boxes 8x8`, `axes 1,2,0`, `@tokens.npy`, and `on 64x64` after it off grids"
Orders = Annotated[
    list[str] | None,
    typer.Option(
        "--order", metavar="[HEADS=]ORDER", help="of tokens in tiles: `hilbert`, `boxes 8x8`, `axes 1,2,0` and others; `0-3,6=...` of heads"
    ),
]
_SIZES = "[0-9]{1,9}(?:[x,][0-9]{1,9})*"
_FORM = re.compile(rf"(?P<name>[a-z-]+|@\S+)(?: (?P<sizes>{_SIZES}))?(?: apart (?P<apart>{_SIZES}))?(?: on (?P<grid>{_SIZES}))?")
_HEADS = re.compile(r"\s*([0-9]{1,9}(?:-[0-9]{1,9})?(?:,[0-9]{1,9}(?:-[0-9]{1,9})?)*)=(.*)")


def orders_given(texts: list[str] | None, pattern: Pattern, tokens: int, heads: int) -> OrderGiven:
    """The order of the options, for so many tokens and query heads.

    Raises:
        Misuse: an option is no order, or for heads that there are not, or there are two for all heads.
    """
    whole = [text for text in texts or () if _HEADS.fullmatch(text) is None]
    if len(whole) > 1:
        raise Misuse(f"`--order {whole[1]:.60}` is a second order of all heads", "`--order 0-3=hilbert --order 4-7=morton`")
    extents = pattern.space.extents if pattern.space.rank > 1 else (tokens,)
    common = _order(whole[0], extents) if whole else None
    if len(whole) == len(texts or ()):
        return common
    own: dict[int, TokenOrder | None] = dict.fromkeys(range(heads), common)
    given = set[int]()
    for text in texts or ():
        form = _HEADS.fullmatch(text)
        if form is not None:
            found = _heads(form[1], heads)
            twice = next((head for at, head in enumerate(found) if head in given or head in found[:at]), None)
            if twice is not None:
                raise Misuse(f"`--order {text:.60}` is a second order of head {twice}", "each head once")
            given.update(found)
            own |= dict.fromkeys(found, _order(form[2].strip(), extents))
    return own


def _heads(text: str, heads: int) -> list[int]:
    """Of `0-3,6`."""
    ends = [[int(end) for end in each.split("-")] for each in text.split(",")]
    if any(end >= heads for each in ends for end in each):
        raise Misuse(f"`--order {text:.60}=...` is for heads past the last of {heads}", f"`--heads {1 + max(map(max, ends))}`")
    if any(each[0] > each[-1] for each in ends):
        raise Misuse(f"`--order {text:.60}=...` has a range that ends before it starts", "`3-7`")
    return [head for each in ends for head in range(each[0], each[-1] + 1)]


def _order(text: str, extents: tuple[int, ...]) -> TokenOrder:
    from .. import orders

    form = _FORM.fullmatch(text)
    if form is None:
        raise _no_order(text)
    grid = _numbers(form["grid"]) or extents
    sizes, apart = _numbers(form["sizes"]), _numbers(form["apart"])
    plain: dict[str, Callable[[tuple[int, ...]], TokenOrder]] = {
        "row-major": orders.row_major,
        "hilbert": orders.hilbert,
        "morton": orders.morton,
        "shells": orders.shells,
    }
    if form["name"].startswith("@"):
        return orders.permutation(table_of_file("--order ", form["name"][1:]), grid)
    if form["name"] == "boxes" and sizes:
        return orders.boxes(grid, sizes, apart or 1)
    if form["name"] == "axes" and sizes:
        return orders.axes(grid, sizes)
    if form["name"] not in plain or sizes or apart:
        raise _no_order(text)
    return plain[form["name"]](grid)


def _numbers(text: str | None) -> tuple[int, ...]:
    """Of `8x8`, or with commas; nothing where there are none."""
    return tuple(int(part) for part in re.split("[x,]", text) if part) if text else ()


def _no_order(text: str) -> Misuse:
    return Misuse(f"`--order {text:.60}` is no order", f"one of {FORMS}")
