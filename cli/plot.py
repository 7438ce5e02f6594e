"""`lacuna plot`: the tile map of a pattern."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .answers import Misuse
from .options import BlockText, Grid, Heads, KvLen, PatternName, QLen, Settings, block_of, looked_at, named
from .report import Text, show
from .terminal import working
from .token_orders import Orders, orders_given

EXAMPLES = (
    "lacuna plot patterns.sliding_window --set window=200 --q-len 1024 --block 64x64",
    "lacuna plot patterns.causal --q-len 4096 --out tiles.png",
)
LEGEND = "query tiles downwards, key tiles to the right; . empty, / partial or mixed, # full"


def command(
    pattern: PatternName,
    settings: Settings = None,
    grid: Grid = None,
    q_len: QLen = None,
    kv_len: KvLen = None,
    block: BlockText = "128x64",
    heads: Heads = 1,
    head: Annotated[int, typer.Option(min=0, help="the head whose tiles are shown")] = 0,
    most: Annotated[int, typer.Option(min=1, help="rows and columns of text; more tiles than that are pooled")] = 64,
    order: Orders = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="write a picture too: a name that ends in .png or .svg")] = None,
) -> None:
    """Print the tile map of a pattern, or write it as a picture."""
    at, edges = looked_at(named(pattern, settings, grid), q_len, kv_len), block_of(block)
    if head >= heads:
        raise Misuse(f"`--head {head}` of {heads} heads", f"`--heads {head + 1}`, or a smaller number")
    wanted = orders_given(order, at.pattern, at.q_len, heads)
    with working("deriving the tiles", short=True):
        from ..runtime.views.plot import plot

        drawn = plot(at.pattern, at.q_len, at.kv_len, out, block=edges, heads=heads, h=head, most=most, order=wanted)
    show([Text(f"{drawn}\n{LEGEND}" + (f"\nwritten to {out}" if out else ""))])
