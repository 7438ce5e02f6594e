"""Plans for few query rows as Triton kernels: the rows of query heads that share keys fill one tile, the tiles of keys are split.

A second function, `ENTRY_merge`, adds up what the splits left.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from ..ir.plan import Plan
from ..ir.source import Source
from .triton import PHASES, at_once, forward
from .triton_beside import Beside
from .triton_kernel import Kernel, padded, rendered
from .triton_loops import FULL, PARTIAL, count_of

TEMPLATE = "triton/decode.py.jinja"
SPANS = {kind: (f"{kind}_first", f"{kind}_last") for kind in (FULL, PARTIAL)}
OWN = ("sums", "weights", "together", "splits", "all_rows")


@dataclass(frozen=True, kw_only=True, slots=True)
class Decode(Kernel):
    """For templates/triton/decode.py.jinja.

    strides:    declarations, each with a comma.
    block_q:    rows of one head, at most.
    unit, more: as in `triton.Forward`.
    again, times_again: as in `triton.Forward`.
    heads_seen: Triton integer: the query head of the tile, or, where no loop depends on it, that of each row.
    bindings:   lines before the loops; `full_tiles` and `partial_tiles` say how often each loop would run.
    """

    strides: str
    more: Beside
    unit: str
    heads_seen: str
    again: int
    times_again: int


def render(plan: Plan) -> Source:
    """The kernel of `plan`, and the one that merges. Raises NotImplementedError as `told` does."""
    return rendered(TEMPLATE, decode(plan))


def decode(plan: Plan) -> Decode:
    own, (again, _) = forward(plan, SPANS), at_once(plan, padded(plan.value_dim))
    schedule = plan.schedule
    counts = {kind: count_of(kind, pieces) for kind, pieces in ((FULL, schedule.full_loops), (PARTIAL, schedule.partial_loops))}
    totals = [f"{kind}_tiles = {count}" for kind, count in counts.items()]
    common: dict[str, Any] = {
        **{each.name: getattr(own, each.name) for each in fields(Kernel)},
        "title": own.title.replace("forward", "of few rows"),
        "runtime": f"{list(OWN)} + {own.runtime}",
        "entry": f"{own.entry}_decode",
        "head": padded(plan.head_dim),
        "value": padded(plan.value_dim),
        "bindings": "\n".join([own.casts, own.bindings, *totals]),
    }
    return Decode(
        **common,
        strides=own.strides,
        more=own.more,
        unit=own.unit,
        again=again,
        times_again=PHASES * -(-plan.value_dim // again),
        heads_seen="first_head.to(INDEX)" if plan.schedule.heads_differ else "head[:, None].to(INDEX)",
    )
