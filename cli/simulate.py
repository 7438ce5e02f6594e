"""`lacuna simulate`: how fast a pattern on a grid can be on a device, without that device."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Grid, Json, PatternName, QLen, Settings, named
from .report import Text, show, show_json
from .terminal import working

EXAMPLES = (
    'lacuna simulate patterns.gna --set "extents=(30,48,80)" --set "window=(18,24,24)"',
    "lacuna simulate patterns.gna --set extents=4096 --set window=256 --device a100 --json",
)


def command(
    pattern: PatternName,
    settings: Settings = None,
    grid: Grid = None,
    q_len: QLen = None,
    device: Annotated[str, typer.Option("--device", help="`h200`, `a100`, `mi300x`, `cpu` and others")] = "h200",
    dtype: Annotated[str, typer.Option("--dtype", help="f16, bf16, f32 or f64")] = "bf16",
    dim: Annotated[int, typer.Option("--dim", min=1, help="head dimension")] = 128,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="write a chart too: a name that ends in .png or .svg")] = None,
    as_json: Json = False,
) -> None:
    """Predict how fast a pattern on a grid can be, for every shape of tiles and order of tokens.

    Pairs are counted exactly, padding included; times are predicted. Nothing is run, and no GPU is needed. Neighborhoods are also told
    which windows and strides near theirs tiles fit perfectly.
    """
    given = named(pattern, settings, grid)
    with working("counting the tiles", short=True):
        from ..runtime.views.simulate import simulate

        found = simulate(given, device=device, dtype=dtype, head_dim=dim, length=q_len)
        if out is not None:
            found.plot(out)
    if as_json:
        show_json(found)
    else:
        show([Text(str(found)), *([Text(f"written to {out}")] if out else [])])
