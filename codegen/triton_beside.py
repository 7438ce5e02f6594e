"""What rows see beside the pattern, in Triton kernels: functions, arguments, and the lines around the tiles that use them."""

from __future__ import annotations

from typing import NamedTuple

from ..ir.plan import Plan
from .environment import ENVIRONMENT, NO_LINE
from .triton_arguments import ZERO_STRIDES


class Beside(NamedTuple):
    """Of a plan whose rows see nothing else, lines that are left out.

    functions:   before the kernel.
    arguments:   declarations, each with a comma; names: of them.
    level:       the highest score of each row in octaves, after the tiles.
    after_tiles: lines where every tile is done.
    merged, merging, merged_level: names of arguments, declarations and lines of the function that merges; its level.
    """

    functions: str = NO_LINE
    arguments: tuple[str, ...] = ()
    level: str = "m * unit"
    after_tiles: str = NO_LINE
    merged: str = ""
    merging: str = NO_LINE
    after_splits: str = NO_LINE

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(each.partition(":")[0].rstrip(",") for each in self.arguments)


COUNTED = """\
zero_rows = zero_keys + {place}
level, total, shrink = with_zero_keys(tl.load(zero_rows, mask=counts, other=0.0), {m}, total)
acc = acc * shrink[:, None]"""
REST = """
if VALUE_REST:
    more_acc = more_acc * shrink[:, None]"""
PLACE = "{item} * zero_batch + {head} * zero_head + (first_row + {row}) * zero_token"


def beside(plan: Plan) -> Beside:
    """Of a forward or decode kernel."""
    if not plan.zero_keys:
        return Beside()
    helper = ENVIRONMENT.get_template("triton/zero_keys.py.jinja").render()
    arguments = ("zero_keys,", *(f'{stride}: "i64",' for stride in ZERO_STRIDES))
    decodes = plan.family == "decode"
    place = PLACE.format(item="item_number", head="head", row="row" if decodes else "row_tokens")
    lines = COUNTED.format(place=place, m="m * unit") + ("" if decodes else REST)
    merging = COUNTED.format(place=PLACE.format(item="b", head="h", row="row"), m="m").replace("level, ", "m, ")
    names = "".join(f', "{each}"' for each in ("zero_keys", *ZERO_STRIDES))
    return Beside(f"{helper}\n", arguments, "level", lines, names, "\n".join(arguments), merging)
