"""Plans for few query rows as Triton kernels: the rows of query heads that share keys fill one tile, the tiles of keys are split.

A second function, `ENTRY_merge`, adds up what the splits left.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace

from ..ir.plan import Plan
from ..ir.source import Source
from .triton import Loop, forward, padded, require_edges, text_of
from .triton_arguments import STRIDES

TEMPLATE = "triton/decode.py.jinja"
OWN = ("sums", "weights", "together", "splits", "all_rows")


@dataclass(frozen=True, kw_only=True, slots=True)
class Decode:
    """For templates/triton/decode.py.jinja; what is not said here is as in `triton.Forward`.

    strides:    declarations, each with a comma.
    block_q:    rows of one head, at most.
    heads_seen: Triton integer: the query head of the tile, or, where no loop depends on it, that of each row.
    bindings:   lines before the loops; `full_tiles` and `partial_tiles` say how often each loop would run.
    """

    title: str
    runtime: str
    entry: str
    strides: str
    arguments: str
    scale_type: str
    real: str
    block_q: int
    block_k: int
    head_dim: int
    value_dim: int
    head: int
    value: int
    unit: str
    heads_seen: str
    bindings: str
    loops: tuple[Loop, ...]


def render(plan: Plan) -> Source:
    """The kernel of `plan`, and the one that merges. Raises NotImplementedError as `triton.render` does."""
    require_edges(plan)
    context = decode(plan)
    digest = hashlib.sha256(text_of(TEMPLATE, asdict(context)).encode()).hexdigest()[:8]
    entry = f"{context.entry}_{digest}"
    return Source("python", entry, text_of(TEMPLATE, asdict(replace(context, entry=entry))))


def decode(plan: Plan) -> Decode:
    own = forward(plan)
    counts = {loop.kind: loop.count for loop in own.loops}
    totals = [f"{kind}_tiles = {counts.get(kind, 'tl.full([], 0, tl.int32)')}" for kind in ("full", "partial")]
    return Decode(
        title=own.title.replace("forward", "of few rows"),
        runtime=f"{list(OWN)} + {own.runtime}",
        entry=f"{own.entry}_decode",
        strides="\n".join(f'{stride}: "i64",' for stride in STRIDES),
        arguments=own.arguments,
        scale_type=own.scale_type,
        real=own.real,
        block_q=own.block_q,
        block_k=own.block_k,
        head_dim=own.head_dim,
        value_dim=own.value_dim,
        head=padded(plan.head_dim),
        value=padded(plan.value_dim),
        unit=own.unit,
        heads_seen="first_head.to(INDEX)" if plan.schedule.heads_differ else "head[:, None].to(INDEX)",
        bindings="\n".join([own.bindings, *totals]),
        loops=own.loops,
    )
