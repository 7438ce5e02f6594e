"""`lacuna opt`: a program in, passes, its text out."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import Grid, PatternName, Settings, named
from .pattern_given import program_of
from .report import Fact, Facts, show

EXAMPLES = (
    "lacuna opt patterns.sliding_window --set window=256 --passes simplify",
    "lacuna opt --list",
)


def _names(incomplete: str) -> list[str]:
    from ..passes.schedules.registry import PASSES

    begun, comma, last = incomplete.rpartition(",")
    return [f"{begun}{comma}{name}" for name in PASSES if name.startswith(last)]


def command(
    pattern: PatternName = "-",
    settings: Settings = None,
    grid: Grid = None,
    passes: Annotated[str, typer.Option(help="names of passes, with commas between them", autocompletion=_names)] = "flatten-grid,simplify",
    listed: Annotated[bool, typer.Option("--list", help="list the passes instead")] = False,
) -> None:
    """Read a program, run passes on it, print it.

    What is printed can be read again: `lacuna opt - --passes simplify` takes the text from standard input.
    """
    from ..passes.program.pipeline import run
    from ..passes.schedules.registry import PASSES, named_passes

    if listed:
        show([Facts("passes", [Fact(name, _purpose(each)) for name, each in PASSES.items()])])
        return
    chosen = named_passes(passes.split(",")) if passes.strip() else ()
    typer.echo(str(run(program_of(named(pattern, settings, grid)), chosen)), nl=False)


def _purpose(of: object) -> str:
    return (type(of).__doc__ or "").strip().partition("\n")[0]
