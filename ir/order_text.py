"""An order of tokens as text after that of a program: what a call carries where a caller asks for one.

order = boxes(64 x 64, 8 x 8, 1 x 1)        extents, edges of a box, dilation
order = given(64 x 64)                      extents; the table of its tokens comes after those of the program
"""

from __future__ import annotations

import functools
import re

from .expr import Table
from .order import Boxes, Given, Order
from .program import InvalidProgram

TOKENS = Table("tokens_in_order", "i32", 1)
START = "\norder = "
_FORM = re.compile(r"(boxes|given)\((\d+(?: x \d+)*(?:, \d+(?: x \d+)*)*)\)\n?")


def show_order(order: Order) -> str:
    """What `parted` reads, with the line break before it. Queries and keys are in the same order."""
    side = order.rows
    sizes = tuple(side) if isinstance(side, Boxes) else (side.extents,)
    name = "boxes" if isinstance(side, Boxes) else "given"
    return f"{START}{name}({', '.join(' x '.join(map(str, each)) for each in sizes)})"


@functools.lru_cache(maxsize=1024)
def parted(text: str) -> tuple[str, Order | None]:
    """The text of a program, and the order that is asked for after it.

    Raises:
        InvalidProgram: what comes after the program is no order.
    """
    program, start, after = text.partition(START)
    return program, _order(after) if start else None


def _order(text: str) -> Order:
    form = _FORM.fullmatch(text)
    sizes = [tuple(map(int, each.split(" x "))) for each in form[2].split(", ")] if form else []
    name = form[1] if form else ""
    if name == "given" and len(sizes) == 1:
        side = Given(sizes[0], TOKENS)
        return Order(side, side)
    if name == "boxes" and len(sizes) == 3 and len({len(each) for each in sizes}) == 1 and (boxes := Boxes(*sizes)).fit:
        return Order(boxes, boxes)
    forms = "`order = boxes(64 x 64, 8 x 8, 1 x 1)` or `order = given(64 x 64)`"
    raise InvalidProgram(f"`order = {text.strip()}` is no order\n  write {forms}")
