"""Plans for few query rows as C++: keys are split among threads, and each is read once for all heads that share it."""

from __future__ import annotations

from dataclasses import dataclass

from ..ir.plan import Plan
from ..ir.source import Source
from .cpp_beside import Beside, of_rows
from .cpp_kernel import Kernel, rendered, told
from .cpp_targets import REGISTERS
from .cpp_text import function, loops, part
from .print_cpp import slots_of

MOST_ROWS = 128


@dataclass(frozen=True, kw_only=True, slots=True)
class Decode(Kernel):
    """For templates/cpp/decode.cpp.jinja.

    vectors:    the text of vectors.h.
    block_k:    a multiple of lanes.
    most_rows:  query rows, of all heads that share a key head, that one work item holds.
    key_lanes, value_lanes: reals in a vector along D and along Dv.
    sums:       vectors of output that a product keeps in registers.
    heads_differ: `true` where the tiles of a query head depend on the head; else heads share one list of tiles.
    more:       what rows see beside the pattern.
    loops:      note every scheduled tile.
    """

    vectors: str
    most_rows: int
    key_lanes: int
    value_lanes: int
    sums: int
    heads_differ: str
    more: Beside


def render(plan: Plan) -> Source:
    """The kernel of `plan`. Its name carries a digest of its text.

    Raises:
        ValueError: a tile of keys is no multiple of the vector.
    """
    name = f"{plan.schedule.program.name}_decode_{plan.dtype}_d{plan.head_dim}_k{plan.block_k}"
    return rendered("cpp/decode.cpp.jinja", context(plan), name)


def context(plan: Plan) -> Decode:
    slots = slots_of(plan.parameters, plan.tables)
    common = told(plan, slots)
    lanes: int = common["lanes"]
    if plan.block_k % lanes:
        raise ValueError(f"block_k is {plan.block_k}, which is no multiple of {lanes} lanes\n  write a multiple of {lanes}")
    return Decode(
        **common,
        title=f"{plan.schedule.program.name}, {plan.dtype}, few rows, for {plan.target.name}",
        vectors=part("vectors.h"),
        block_k=plan.block_k,
        most_rows=MOST_ROWS,
        key_lanes=_lanes(plan.head_dim, lanes),
        value_lanes=_lanes(plan.value_dim, lanes),
        sums=REGISTERS[plan.target.name] // 2,
        more=of_rows(plan),
        heads_differ="true" if plan.schedule.heads_differ else "false",
        functions="\n\n".join(
            (
                function("modified", "real", plan.score, "const real s, ", slots),
                function("allowed", "bool", plan.partial, "", slots),
            )
        ),
        loops=loops(plan, slots, call="note<{full}>(to, at, j);"),
    )


def _lanes(width: int, most: int) -> int:
    """Reals of the widest vector that fits into a row of `width`: a power of two."""
    return min(most, 1 << (width.bit_length() - 1))
