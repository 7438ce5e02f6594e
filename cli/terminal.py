"""Whether a person is looking: colours and tables for a terminal, plain lines for a pipe."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Generator, Sequence
from typing import TextIO

import typer


def seen(stream: TextIO | None) -> bool:
    """Whether what is written to `stream` appears in a terminal that can do more than text; None is one that was closed."""
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"


def examples(*lines: str) -> str:
    """The end of a help text. Each example is one line, whoever lays it out: the tests read them there and run them."""
    heading = "Example:" if len(lines) == 1 else "Examples:"
    if seen(sys.stdout):
        return "\n\n".join((heading, *lines))
    return "\b\n" + "\n".join((heading, *(f"  {line}" for line in lines)))  # `\b` is typer's word for a paragraph left as it is


Report = Callable[[str], None]


@contextlib.contextmanager
def working(what: str, *, short: bool = False) -> Generator[Report]:
    """Say on standard error what takes so long; call what it gives to say more. short: a pipe is told nothing."""
    if seen(sys.stderr):
        from rich.console import Console

        with Console(stderr=True).status(what) as status:
            yield status.update
        return

    def line(text: str) -> None:
        typer.echo(f"{text} ...", err=True)  # nowhere, where standard error was closed

    if not short:
        line(what)
    yield (lambda text: None) if short else line


@contextlib.contextmanager
def counting(what: str) -> Generator[Callable[[int, int, str], None]]:
    """A bar on standard error where a person looks, else one line for each step: call it with what is done, of how many, and the next."""
    if not seen(sys.stderr):
        yield lambda done, total, name: typer.echo(f"{what} {done}/{total}: {name}", err=True)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total, name: bar.update(task, completed=done, total=total, description=f"{what}: {name}")


def counted(items: Sequence[str], what: str) -> Generator[str]:
    """The items one after another, told of while each is worked on."""
    with counting(what) as tell:
        for at, name in enumerate(items):
            tell(at, len(items), name)
            yield name
