"""Arguments and options that several commands share, and what their text means."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

import typer

from ..ir.pattern import Pattern
from .answers import Misuse
from .pattern_given import CATALOGUE, catalogue, pattern_given
from .place import Place


def _completed(incomplete: str) -> Iterable[str]:
    return [name for name in catalogue() if name.startswith(incomplete)] if CATALOGUE.startswith(incomplete[: len(CATALOGUE)]) else []


PatternName = Annotated[
    str,
    typer.Argument(
        metavar="PATTERN",
        help="`patterns.NAME` of the catalogue, `file.py:name`, `module:name`, the path of a program's text, or `-` for standard input",
        autocompletion=_completed,
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="bind a parameter: a number, a tuple `(8, 8)`, a table `[0, 1]` or `@file.npy`"),
]
Grid = Annotated[
    str | None,
    typer.Option("--on", metavar="ROWSxCOLS", help="extents of the grid, for a pattern on one; `?,rows,cols`, `queries=16x16,keys=8x8`"),
]
QLen = Annotated[int | None, typer.Option("--q-len", min=1, help="query tokens; on a grid its size where it is not given")]
KvLen = Annotated[int | None, typer.Option("--kv-len", min=1, help="key tokens; as many as queries where it is not given")]
BlockText = Annotated[str, typer.Option("--block", metavar="QxK", help="edges of a tile, in tokens")]
Heads = Annotated[int, typer.Option("--heads", min=1, help="query heads, for a pattern that reads `h`")]
Batch = Annotated[int, typer.Option("--batch", min=1, help="batch items, for a pattern that reads `b`")]
Json = Annotated[bool, typer.Option("--json", help="print JSON, for a program to read")]


@dataclass(frozen=True)
class Looked:
    """A pattern and the lengths, in tokens, at which to look at it."""

    pattern: Pattern
    q_len: int
    kv_len: int


def numbers(option: str, text: str, count: int | None = None) -> tuple[int, ...]:
    """The positive integers of `128x64`, or with commas.

    Raises:
        Misuse: they are none, or another number of them.
    """
    parts = re.split(r"[x,]", text.replace(" ", ""))
    if not all(re.fullmatch("[0-9]{1,10}", part) and 0 < int(part) < 2**31 for part in parts) or count not in (None, len(parts)):
        wanted = "x".join(("128", "64", "64")[: count or 2])
        raise Misuse(f"`{option} {text:.60}` is not {count or 'a list of'} positive integers", f"`{option} {wanted}`")
    return tuple(int(part) for part in parts)


def block_of(text: str) -> tuple[int, int]:
    first, second = numbers("--block", text, 2)
    return first, second


def named(name: str, settings: list[str] | None, grid: str | None) -> Pattern:
    """The pattern of the arguments that every command about one takes."""
    return pattern_given(name, settings or [], Place.of(grid) if grid else None)


def looked_at(pattern: Pattern, q_len: int | None, kv_len: int | None) -> Looked:
    """With lengths; on a grid its size is the one that is not given.

    Raises:
        Misuse: there is no length, or a parameter without a value.
    """
    if pattern.unbound:
        missing = ", ".join(f"`{name}`" for name in pattern.unbound)
        raise Misuse(f"`{pattern!r}` has no value for {missing}", " ".join(f"--set {name}=..." for name in pattern.unbound))
    if pattern.space.rank > 1 and not pattern.space.extents:
        raise Misuse(f"`{pattern!r}` is on a grid whose extents are not given", f"`--on {'x'.join(['64'] * pattern.space.rank)}`")
    length = q_len or pattern.space.tokens("q")
    if length is None:
        raise Misuse(f"how many tokens `{pattern!r}` is looked at with is not said", "`--q-len 4096`")
    return Looked(pattern, length, kv_len or pattern.space.tokens("k") or length)
