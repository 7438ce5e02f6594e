"""`lacuna explain`: how the tiles of a pattern are found, and how sparse it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .options import Batch, BlockText, Grid, Heads, Json, KvLen, PatternName, QLen, Settings, block_of, looked_at, named
from .report import Text, show, show_json
from .terminal import working
from .token_orders import Orders, orders_given

if TYPE_CHECKING:
    from ..runtime.views.explanation import Explanation, ExplanationOfHeads

EXAMPLES = (
    "lacuna explain patterns.sliding_window --set window=256 --q-len 4096",
    "lacuna explain examples/grid_neighborhood.py:near --set radius=3 --on 32x32",
)


def command(
    pattern: PatternName,
    settings: Settings = None,
    grid: Grid = None,
    q_len: QLen = None,
    kv_len: KvLen = None,
    block: BlockText = "128x64",
    heads: Heads = 1,
    batch: Batch = 1,
    order: Orders = None,
    as_json: Json = False,
) -> None:
    """Tell how the tiles of a pattern are found.

    Printed are the program, the passes, the loops, the exact sparsity and the predicted speed-up. Counts are of head 0 of batch item 0.
    """
    at, edges = looked_at(named(pattern, settings, grid), q_len, kv_len), block_of(block)
    wanted = orders_given(order, at.pattern, at.q_len, heads)
    with working("deriving the tiles", short=True):
        from ..runtime.views.explanation import Explanation, explain

        told = explain(at.pattern, at.q_len, at.kv_len, block=edges, heads=heads, batch=batch, order=wanted)
    if as_json:
        show_json(_fields(told) if isinstance(told, Explanation) else _of_heads(told))
    else:
        show([Text(str(told))])


def _of_heads(told: ExplanationOfHeads) -> dict[str, object]:
    """With what is explained of each view of heads under `heads`."""
    return {"tiles": _classes(told.classes), "heads": [{"heads": list(view.heads), **_fields(each)} for view, each in told.each]}


def _fields(told: Explanation) -> dict[str, object]:
    """The explanation for a program to read; loops and terms are in `lacuna schedule --json`."""
    made = told.schedule.schedule
    return {
        "program": str(told.program),
        "q_len": told.schedule.launch.q_len,
        "kv_len": told.schedule.launch.k_len,
        "block": (made.block_q, made.block_k),
        "exact": made.exact,
        "closed_form": made.closed_form,
        "route": made.route,
        "fallbacks": made.counters.fallbacks,
        "point_evaluations": made.counters.point_evaluations,
        "rectangles": made.counters.boxes,
        "untold_tiles": made.counters.untold,
        "passes": [{"name": name, "changed": bool(difference), "ms": 1e3 * seconds} for name, difference, seconds in told.steps],
        "tiles": _classes(told.classes),
        "residues": told.residues and {"modulus": told.residues[0], "tiles": _classes(told.residues[1])},
        "live_pairs": told.live_pairs,
        "live_pairs_counted": told.counted,
        "density": told.density,
        "speedup": told.speedup,
        "order": None if told.order is None else str(told.order),
        "kinds": told.kinds,
    }


def _classes(counts: tuple[int, int, int]) -> dict[str, int]:
    return dict(zip(("empty", "partial", "full"), counts, strict=True))
