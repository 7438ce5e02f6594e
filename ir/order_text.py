"""An order of tokens as text after that of a program: what a call carries where a caller asks for one.

order = boxes(64 x 64, 8 x 8, 1 x 1)        extents, edges of a box, dilation
order = given(64 x 64)                      extents; the table of its tokens comes after those of the program
order = heads(0 0 1 2): boxes(64 x 64, 8 x 8, 1 x 1); given(64 x 64); any
                                            which of these each query head has; any leaves it to kernels; each given has its own table
"""

from __future__ import annotations

import functools
import re

from .expr import Table
from .head_orders import HeadOrders
from .order import Boxes, Given, Order
from .program import InvalidProgram

TOKENS = Table("tokens_in_order", "i32", 1)
START = "\norder = "
ANY = "any"
_FORM = re.compile(r"(boxes|given)\((\d+(?: x \d+)*(?:, \d+(?: x \d+)*)*)\)\n?")
_HEADS = re.compile(r"heads\((\d+(?: \d+)*)\): ([^\n]*)\n?")


def tokens_table(number: int) -> Table:
    """What the tokens of a given order are looked up in, those of a call counted from 0."""
    return TOKENS if number == 0 else Table(f"{TOKENS.name}_{number}", TOKENS.dtype, TOKENS.rank)


def show_order(asked: Order | HeadOrders) -> str:
    """What `parted` reads, with the line break before it. Queries and keys are in the same order."""
    if isinstance(asked, Order):
        return START + _shown(asked)
    alternatives = "; ".join(ANY if each is None else _shown(each) for each in asked.orders)
    return f"{START}heads({' '.join(map(str, asked.of_head))}): {alternatives}"


def _shown(order: Order) -> str:
    side = order.rows
    sizes = tuple(side) if isinstance(side, Boxes) else (side.extents,)
    name = "boxes" if isinstance(side, Boxes) else "given"
    return f"{name}({', '.join(' x '.join(map(str, each)) for each in sizes)})"


def order_text(text: str) -> str:
    """What comes after a program, as it is."""
    return "".join(text.partition(START)[1:])


@functools.lru_cache(maxsize=1024)
def parted(text: str) -> tuple[str, Order | HeadOrders | None]:
    """The text of a program, and the order that is asked for after it.

    Raises:
        InvalidProgram: what comes after the program is no order.
    """
    program, start, after = text.partition(START)
    return program, _asked(after) if start else None


def _asked(text: str) -> Order | HeadOrders:
    form = _HEADS.fullmatch(text)
    if form is None:
        return _order(text, TOKENS)
    of_head, found = tuple(map(int, form[1].split(" "))), list[Order | None]()
    given = 0
    for each in form[2].split("; "):
        found.append(None if each == ANY else _order(each, tokens_table(given)))
        given += each.startswith("given")
    if set(of_head) != set(range(len(found))):
        raise _no_order(text)
    return HeadOrders(of_head, tuple(found))


def _order(text: str, table: Table) -> Order:
    form = _FORM.fullmatch(text)
    sizes = [tuple(map(int, each.split(" x "))) for each in form[2].split(", ")] if form else []
    name = form[1] if form else ""
    if name == "given" and len(sizes) == 1:
        side = Given(sizes[0], table)
        return Order(side, side)
    if name == "boxes" and len(sizes) == 3 and len({len(each) for each in sizes}) == 1 and (boxes := Boxes(*sizes)).fit:
        return Order(boxes, boxes)
    raise _no_order(text)


def _no_order(text: str) -> InvalidProgram:
    forms = "`order = boxes(64 x 64, 8 x 8, 1 x 1)`, `order = given(64 x 64)` or `order = heads(0 1): given(64 x 64); any`"
    return InvalidProgram(f"`order = {text.strip()}` is no order\n  write {forms}")
