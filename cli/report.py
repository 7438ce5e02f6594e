"""How a finding is printed: parts as tables in a terminal and aligned lines in a pipe, or the finding itself as JSON."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import typer

from .terminal import seen

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

COLOURS = {"good": "green", "bad": "red", "": ""}
Row = tuple[str, ...]
UNBOUNDED = 2**15  # columns: what a table would take if it could


@dataclass(frozen=True)
class Text:
    """Lines as they are."""

    text: str


@dataclass(frozen=True)
class Fact:
    """state: `good`, `bad` or empty; the value says it in words too, since a pipe has no colours."""

    name: str
    value: str
    state: str = ""


@dataclass(frozen=True)
class Facts:
    """Names and values under a title."""

    title: str
    facts: Sequence[Fact]


@dataclass(frozen=True)
class Listing:
    """Rows under a header. right: columns from this one on hold figures and end together."""

    header: Row
    rows: Sequence[Row]
    right: int = 1


Part = Text | Facts | Listing


def show(parts: Iterable[Part]) -> None:
    """Print the parts on standard output, an empty line between two."""
    cleaned = (_cleaned(part) for part in parts)
    if not seen(sys.stdout):
        typer.echo("\n\n".join(_plain(part) for part in cleaned))
        return
    from rich.console import Console

    console = Console(highlight=False)
    for at, part in enumerate(cleaned):
        if at:
            console.print()
        if isinstance(part, Text):
            console.print(part.text, markup=False, soft_wrap=True)
        else:
            _print_table(console, part)


def size_text(count: int) -> str:
    """Bytes as a person reads them."""
    return f"{count / 2**20:.1f} MiB" if count >= 2**20 else f"{count / 2**10:.1f} KiB"


def show_json(value: object) -> None:
    typer.echo(json.dumps(as_json(value), indent=2))


def as_json(value: object) -> object:
    """Dataclasses and named tuples as objects, other sequences as arrays, paths as text; numbers that are not finite as null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: as_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): as_json(each) for key, each in cast("Mapping[object, object]", value).items()}
    if hasattr(value, "_asdict"):
        return as_json(cast("Any", value)._asdict())
    if isinstance(value, list | tuple):
        return [as_json(each) for each in cast("Sequence[object]", value)]
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    return str(value) if isinstance(value, Path) else value


def printable(text: str) -> str:
    """The text with what a terminal would obey, and what is no character, as escapes: a file may have any name."""
    return "".join(each if each.isprintable() or each == "\n" else ascii(each)[1:-1] for each in text)


def _cleaned(part: Part) -> Part:
    match part:
        case Text(text=text):
            return Text(printable(text))
        case Facts(title=title, facts=facts):
            return Facts(printable(title), [Fact(printable(fact.name), printable(fact.value), fact.state) for fact in facts])
        case Listing(header=header, rows=rows, right=right):
            return Listing(header, [tuple(printable(cell).replace("\n", "\\n") for cell in row) for row in rows], right)


# -- a pipe -----------------------------------------------------------------------------------------------------------


def _plain(part: Part) -> str:
    match part:
        case Text(text=text):
            return text
        case Facts(title=title, facts=facts):
            width = max((len(fact.name) for fact in facts), default=0)
            return "\n".join([title, *(_hanging(fact, width) for fact in facts)])
        case Listing():
            return _aligned(part)


def _hanging(fact: Fact, width: int) -> str:
    """A name and its value, whose later lines start where the first does."""
    return f"  {fact.name:{width}}  {fact.value}".rstrip().replace("\n", "\n" + " " * (width + 4))


def _aligned(listing: Listing) -> str:
    lines = [listing.header, *listing.rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(listing.header))]

    def cell(text: str, column: int) -> str:
        return text.rjust(widths[column]) if column >= listing.right else text.ljust(widths[column])

    return "\n".join("  ".join(cell(text, column) for column, text in enumerate(line)).rstrip() for line in lines)


# -- a terminal -------------------------------------------------------------------------------------------------------


def _print_table(console: Console, part: Facts | Listing) -> None:
    """A listing whose words do not fit beside each other is printed row by row, each under its first cell."""
    if isinstance(part, Facts):
        console.print(_facts(part))
    elif console.measure(_listing(part), options=console.options.update_width(UNBOUNDED)).minimum <= console.width:
        console.print(_listing(part))
    else:
        for row in part.rows:
            console.print(_facts(Facts(row[0], [Fact(name, cell) for name, cell in zip(part.header[1:], row[1:], strict=True)])))


def _listing(part: Listing) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text as Styled

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column, name in enumerate(part.header):
        table.add_column(name, justify="right" if column >= part.right else "left", overflow="fold")
    for row in part.rows:
        table.add_row(*(Styled(cell) for cell in row))
    return table


def _facts(part: Facts) -> Table:
    from rich.table import Table
    from rich.text import Text as Styled

    table = Table(box=None, show_header=False, title=Styled(part.title, style="bold"), title_justify="left", pad_edge=False)
    table.add_column(style="cyan", overflow="fold")
    table.add_column(overflow="fold")
    for fact in part.facts:
        table.add_row(Styled(f"  {fact.name}"), Styled(fact.value, style=COLOURS[fact.state]))
    return table
