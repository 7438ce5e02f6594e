"""What rows see beside the pattern, in C++ kernels: functions, and the statements around the tiles that call them."""

from __future__ import annotations

from typing import NamedTuple

from ..ir.plan import Plan
from .cpp_text import part
from .environment import NO_LINE


class Beside(NamedTuple):
    """Of a plan whose rows see nothing else, lines that are left out.

    functions:   before what handles a row.
    sees:        truth value: whether a tile of rows has anything to see.
    after_tiles: a statement; of a forward kernel for a tile of rows, of a decode kernel for one row.
    parameter, argument: more of the function that merges a row, and of its call.
    """

    functions: str = NO_LINE
    sees: str = "at.Lk > 0"
    after_tiles: str = NO_LINE
    parameter: str = ""
    argument: str = ""


def arguments(plan: Plan) -> str:
    """The structures of a call."""
    names = ("arguments.h", "beside_arguments.h") if plan.zero_keys else ("arguments.h",)
    return "\n\n".join(map(part, names))


def of_tiles(plan: Plan) -> Beside:
    """Of a forward kernel, which handles tiles of rows."""
    if not plan.zero_keys:
        return Beside()
    functions = f"{part('zero_keys.h')}\n\n{part('count_zero_keys.h')}\n"
    return Beside(functions, "true", "count_zero_keys(w, rows_at.at, count, zero_counts_of(a, b, h));")


COUNTS = "q < it.count ? zero_counts_of(a, it.b, it.h + g)(q) : real(0)"


def of_rows(plan: Plan) -> Beside:
    """Of a decode kernel, which merges what units left of each row."""
    if not plan.zero_keys:
        return Beside()
    counted = "const real shrink = with_zero_keys(zero_keys, top, sum);\n  for (int64_t d = 0; d < VALUE_WIDTH; ++d) total[d] *= shrink;"
    return Beside(f"{part('zero_keys.h')}\n", after_tiles=counted, parameter=", real zero_keys", argument=f", {COUNTS}")
