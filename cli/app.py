"""The commands under one name. Nothing heavy is imported until a command needs it, so that `--help` answers at once."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from . import bench, build, cache, demo, doctor, explain, opt, plot, schedule, simulate
from .answers import AnsweringGroup
from .terminal import examples, seen

EXIT_CODES = "Exit codes: 0 it worked, 1 the work failed, 2 the command or something it names is wrong."
COMMANDS = (demo, explain, schedule, plot, simulate, opt, bench, build, doctor)

app = typer.Typer(
    cls=AnsweringGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich" if seen(sys.stdout) and seen(sys.stderr) else None,
    epilog=EXIT_CODES,
)
for _module in COMMANDS:
    app.command(_module.__name__.rpartition(".")[2], epilog=examples(*_module.EXAMPLES))(_module.command)
app.add_typer(cache.app, name="cache")


def _version(wanted: bool) -> None:
    if wanted:
        from ..runtime.process.version import VERSION

        typer.echo(f"lacuna {VERSION}")
        raise typer.Exit


@app.callback()
def commands(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version")] = False,
    traceback: Annotated[bool, typer.Option("--traceback", help="where a command fails, show where in the program")] = False,
) -> None:
    """Lacuna compiles sparse attention: a mask written as an index expression becomes a kernel that skips the gaps."""
