"""`lacuna schedule`: which tiles a pattern visits, as ranges of the tile index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .answers import Misuse
from .options import Batch, BlockText, Grid, Heads, Json, KvLen, PatternName, QLen, Settings, block_of, looked_at, named
from .pattern_given import program_of
from .report import Text, show, show_json
from .terminal import working

if TYPE_CHECKING:
    from ..ir.pattern import Pattern
    from ..ir.schedule import Schedule

EXAMPLES = (
    "lacuna schedule patterns.sliding_window --set window=256",
    "lacuna schedule patterns.sliding_window --set window=256 --q-len 4096 --json",
)


@dataclass(frozen=True)
class Found:
    """What is known of a schedule.

    full, partial: loops over key tiles, of the tiles that run without and with the mask.
    tiles:         of each class, of head 0 of batch item 0; None where no lengths are given, and the schedule is for all of them.
    text:          the whole schedule, which the library reads back.
    """

    program: str
    block: tuple[int, int]
    exact: bool
    closed_form: bool
    route: str
    full: tuple[str, ...]
    partial: tuple[str, ...]
    fallbacks: tuple[str, ...]
    q_len: int | None
    kv_len: int | None
    tiles: dict[str, int] | None
    text: str


def command(
    pattern: PatternName,
    settings: Settings = None,
    grid: Grid = None,
    q_len: QLen = None,
    kv_len: KvLen = None,
    block: BlockText = "128x64",
    heads: Heads = 1,
    batch: Batch = 1,
    as_json: Json = False,
) -> None:
    """Derive the tiles of a pattern and print its schedule.

    Without lengths the schedule is for all of them, where the pattern is a formula.
    """
    given, edges = named(pattern, settings, grid), block_of(block)
    with working("deriving the tiles", short=True):
        found = _symbolic(given, edges) if q_len is None and kv_len is None else _concrete(given, (q_len, kv_len), edges, (heads, batch))
    if as_json:
        show_json(found)
    else:
        show([Text(found.text.rstrip("\n")), *([Text(_counted(found.tiles))] if found.tiles else [])])


def _symbolic(pattern: Pattern, block: tuple[int, int]) -> Found:
    from ..passes.binding import NeedsValues
    from ..passes.derive import derive

    try:
        return _found(derive(program_of(pattern), *block).schedule, (None, None), None)
    except NeedsValues as error:
        raise Misuse(f"`{pattern!r}` has no schedule for all lengths: {error}", "`--q-len 4096`, and `--set` for each parameter") from None


def _concrete(pattern: Pattern, lengths: tuple[int | None, int | None], block: tuple[int, int], extents: tuple[int, int]) -> Found:
    from ..ir.schedule import Tile
    from ..runtime.views.inspect import schedule

    at = looked_at(pattern, *lengths)
    made = schedule(at.pattern, at.q_len, at.kv_len, block=block, heads=extents[0], batch=extents[1])
    tiles = made.tiles()
    return _found(made.schedule, (at.q_len, at.kv_len), {tile.name.lower(): int((tiles == tile).sum()) for tile in Tile})


def _found(made: Schedule, lengths: tuple[int | None, int | None], tiles: dict[str, int] | None) -> Found:
    from ..ir.text import show_piece

    return Found(
        program=str(made.program),
        block=(made.block_q, made.block_k),
        exact=made.exact,
        closed_form=made.closed_form,
        route=made.route,
        full=tuple(show_piece(piece) for piece in made.full_loops),
        partial=tuple(show_piece(piece) for piece in made.partial_loops),
        fallbacks=made.counters.fallbacks,
        q_len=lengths[0],
        kv_len=lengths[1],
        tiles=tiles,
        text=str(made),
    )


def _counted(tiles: dict[str, int]) -> str:
    return "tiles: " + ", ".join(f"{count} {name}" for name, count in tiles.items())
