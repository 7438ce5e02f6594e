"""The command line: programs as text in, text out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .ir.parse import parse_program
from .ir.program import InvalidProgram

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Lacuna compiles sparse attention.")


@app.callback()
def commands() -> None:
    """Lacuna compiles sparse attention: a mask written as an index expression becomes a kernel that skips the gaps."""


@app.command()
def opt(
    file: Annotated[Path, typer.Argument(help="a program in its textual form")],
    passes: Annotated[str, typer.Option(help="names of passes, with commas between them")] = "flatten-grid,simplify",
) -> None:
    """Read a program, run passes, print it."""
    from .passes.pipeline import run
    from .passes.registry import named_passes

    try:
        program = parse_program(file.read_text(encoding="utf-8"))
        typer.echo(str(run(program, named_passes(passes.split(",")))))
    except (InvalidProgram, OSError, ValueError) as error:
        raise typer.BadParameter(str(error)) from None


@app.command()
def schedule(
    file: Annotated[Path, typer.Argument(help="a program in its textual form")],
    block_q: Annotated[int, typer.Option(help="tile edge along the queries, in tokens")] = 128,
    block_k: Annotated[int, typer.Option(help="tile edge along the keys, in tokens")] = 64,
) -> None:
    """Derive the tiles of a program and print its schedule."""
    from .passes.binding import NeedsValues
    from .passes.derive import derive

    try:
        typer.echo(str(derive(parse_program(file.read_text(encoding="utf-8")), block_q, block_k).schedule))
    except (InvalidProgram, OSError, NeedsValues) as error:
        raise typer.BadParameter(str(error)) from None


def main() -> None:
    app()


if __name__ == "__main__":
    main()
