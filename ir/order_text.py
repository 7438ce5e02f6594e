"""An order of tokens as text after that of a program: what a call carries where a caller asks for one.

order = boxes(64 x 64, 8 x 8, 1 x 1)        extents, edges of a box, dilation
order = boxes(7, 64, 1) beside boxes(64 x 64, 8 x 8, 1 x 1)         of parts of a sequence, one after the other
order = given(64 x 64)                      extents; the table of its tokens comes after those of the program
order = heads(0 0 1 2): boxes(64 x 64, 8 x 8, 1 x 1); given(64 x 64); any
                                            which of these each query head has; any leaves it to kernels; each given has its own table
"""

from __future__ import annotations

import functools
import re

from .expr import Table
from .head_orders import HeadOrders
from .order import Boxes, Given, Order, Parts
from .program import InvalidProgram

TOKENS = Table("tokens_in_order", "i32", 1)
START = "\norder = "
ANY, BESIDE = "any", " beside "
_FORM = re.compile(r"(boxes|given)\(((?:\d+(?: x \d+)*(?:, \d+(?: x \d+)*)*)?)\)")
_HEADS = re.compile(r"heads\((\d+(?: \d+)*)\): ([^\n]*)\n?")


def tokens_table(number: int) -> Table:
    """What the tokens of a given order are looked up in, those of a call counted from 0."""
    return TOKENS if number == 0 else Table(f"{TOKENS.name}_{number}", TOKENS.dtype, TOKENS.rank)


def show_order(asked: Order | HeadOrders) -> str:
    """What `parted` reads, with the line break before it. Queries and keys are in the same order."""
    if isinstance(asked, Order):
        return START + show_side(asked.rows)
    alternatives = "; ".join(ANY if each is None else show_side(each.rows) for each in asked.orders)
    return f"{START}heads({' '.join(map(str, asked.of_head))}): {alternatives}"


def show_side(side: Boxes | Parts | Given) -> str:
    """Queries or keys in an order, as `side_of` reads them."""
    if isinstance(side, Parts):
        return BESIDE.join(map(show_side, side.boxes))
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
    side = side_of(text, table)
    if side is None or not side.extents:
        raise _no_order(text)
    return Order(side, side)


def side_of(text: str, table: Table = TOKENS) -> Boxes | Parts | Given | None:
    """Queries or keys in an order, of their text; None where it is no such text. `given()` is a line of any length."""
    sides = [_one_side(each, table) for each in text.rstrip("\n").split(BESIDE)]
    if len(sides) == 1:
        return sides[0] if isinstance(sides[0], Given) or (sides[0] is not None and sides[0].fit) else None
    boxes = tuple(side for side in sides if isinstance(side, Boxes))
    return parts if len(boxes) == len(sides) and (parts := Parts(boxes)).fit else None


def _one_side(text: str, table: Table) -> Boxes | Given | None:
    """Whether boxes fit their grid is not asked."""
    form = _FORM.fullmatch(text)
    if form is None or any(int(number) == 0 for number in re.findall(r"\d+", text)):
        return None
    sizes = [tuple(map(int, each.split(" x "))) for each in form[2].split(", ")] if form[2] else [()]
    if form[1] == "given":
        return Given(sizes[0], table) if len(sizes) == 1 else None
    return Boxes(*sizes) if len(sizes) == 3 and sizes[0] and len({len(each) for each in sizes}) == 1 else None


def _no_order(text: str) -> InvalidProgram:
    forms = "`order = boxes(64 x 64, 8 x 8, 1 x 1)`, `order = given(64 x 64)` or `order = heads(0 1): given(64 x 64); any`"
    return InvalidProgram(f"`order = {text.strip()}` is no order\n  write {forms}")
