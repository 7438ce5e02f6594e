"""What rows see beside the pattern, in C++ kernels: functions, and the statements around the tiles that call them."""

from __future__ import annotations

from typing import NamedTuple

from ..ir.plan import Plan
from .cpp_text import part
from .environment import NO_LINE


class Beside(NamedTuple):
    """Of a plan whose rows see nothing else, what leaves a template as it is.

    extra:        functions for extra keys; counted: for zero keys.
    sees:         truth value: whether a tile of rows has anything to see.
    tokens, any_tokens: type of what says where keys lie, and one more type of a template.
    before_tiles, after_tiles: statements; the second of a decode kernel for one row.
    starts, start: one more parameter of what attends to tiles, whether they are the first ones, and its argument.
    parameter, argument: one more of what merges a row.
    """

    extra: str = NO_LINE
    counted: str = NO_LINE
    sees: str = "at.Lk > 0"
    tokens: str = "key_rows"
    any_tokens: str = ""
    before_tiles: str = NO_LINE
    after_tiles: str = NO_LINE
    starts: str = ""
    start: str = ""
    parameter: str = ""
    argument: str = ""


def arguments(plan: Plan) -> str:
    """The structures of a call."""
    names = ("arguments.h", "beside_arguments.h") if plan.zero_keys or plan.extra_keys else ("arguments.h",)
    return "\n\n".join(map(part, names))


def of_tiles(plan: Plan) -> Beside:
    """Of a forward kernel, which handles tiles of rows."""
    found = Beside(sees="true") if plan.zero_keys or plan.extra_keys else Beside()
    if plan.zero_keys:
        counted = "count_zero_keys(w, rows_at.at, count, zero_counts_of(a, b, h));"
        found = found._replace(counted=_functions("zero_keys.h", "count_zero_keys.h"), after_tiles=counted)
    if plan.extra_keys:
        attended = "attend_extra(w, extra_planes_of(a, b, shared));"
        found = found._replace(extra=_functions("extra_keys.h", "attend_extra_tiles.h"), before_tiles=attended)
        found = found._replace(tokens="At", any_tokens=", typename At")
    return found


COUNTS = "q < it.count ? zero_counts_of(a, it.b, it.h + g)(q) : real(0)"
COUNTED = """\
const real shrink = with_zero_keys(zero_keys, top, sum);
  for (int64_t d = 0; d < VALUE_WIDTH; ++d) total[d] *= shrink;"""


def of_rows(plan: Plan) -> Beside:
    """Of a decode kernel, whose units each leave a part of every row: the first one has the extra keys, the last word the zero keys."""
    found = Beside()
    if plan.zero_keys:
        found = found._replace(counted=_functions("zero_keys.h"), after_tiles=COUNTED, parameter=", real zero_keys", argument=f", {COUNTS}")
    if plan.extra_keys:
        attended = "if (starts) attend_extra(w, it, to, extra_planes_of(a, it.b, it.shared));"
        found = found._replace(extra=_functions("extra_keys.h", "attend_extra_rows.h"), before_tiles=attended)
        found = found._replace(starts=", bool starts", start=", skipped == 0")
    return found


def _functions(*names: str) -> str:
    return "\n\n".join([*map(part, names), ""])
