"""`lacuna schedule`: which tiles a pattern visits, as ranges of the tile index."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .answers import Misuse
from .options import Batch, BlockText, Grid, Heads, Json, KvLen, Looked, PatternName, QLen, Settings, block_of, looked_at, named
from .pattern_given import program_of
from .report import Text, show, show_json
from .terminal import working
from .token_orders import Orders, orders_given

if TYPE_CHECKING:
    from ..ir.pattern import Pattern
    from ..ir.schedule import Schedule
    from ..runtime.views.tile_schedule import TileSchedule

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
    heads:         that it is for, where heads have orders of their own.   order: of their tokens; None is row-major.
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
    heads: tuple[int, ...] | None = None
    order: str | None = None


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
    """Derive the tiles of a pattern and print its schedule.

    Without lengths the schedule is for all of them, where the pattern is a formula.
    """
    given, edges = named(pattern, settings, grid), block_of(block)
    with working("deriving the tiles", short=True):
        everywhere = q_len is None and kv_len is None and not order
        found = [_symbolic(given, edges)] if everywhere else _concrete(looked_at(given, q_len, kv_len), edges, (heads, batch), order)
    if as_json:
        show_json(found[0] if found[0].heads is None else {"heads": found})
    else:
        show([Text(text) for each in found for text in _shown(each)])


def _shown(found: Found) -> Iterator[str]:
    if found.heads is not None:
        yield f"heads {', '.join(map(str, found.heads))} in {found.order or 'row-major tokens'}"
    yield found.text.rstrip("\n")
    if found.tiles is not None:
        yield "tiles: " + ", ".join(f"{count} {name}" for name, count in found.tiles.items())


def _symbolic(pattern: Pattern, block: tuple[int, int]) -> Found:
    from ..passes.program.binding import NeedsValues
    from ..passes.schedules.derive import derive

    try:
        return _found(derive(program_of(pattern), *block).schedule, (None, None), None)
    except NeedsValues as error:
        raise Misuse(f"`{pattern!r}` has no schedule for all lengths: {error}", "`--q-len 4096`, and `--set` for each parameter") from None


def _concrete(at: Looked, block: tuple[int, int], extents: tuple[int, int], order: list[str] | None) -> list[Found]:
    """One, or one for each view of heads that share an order. extents: heads and batch items."""
    from ..runtime.views.inspect import schedule
    from ..runtime.views.tile_schedule import TileSchedule

    wanted = orders_given(order, at.pattern, at.q_len, extents[0])
    made = schedule(at.pattern, at.q_len, at.kv_len, block=block, heads=extents[0], batch=extents[1], order=wanted)
    if isinstance(made, TileSchedule):
        return [_found(made.schedule, (at.q_len, at.kv_len), _counted(made))]
    return [
        replace(
            _found(each.schedule, (at.q_len, at.kv_len), _counted(each)),
            heads=tuple(view.heads),
            order=None if view.order is None else str(view.order),
        )
        for view, each in made.each
    ]


def _counted(made: TileSchedule) -> dict[str, int]:
    from ..ir.schedule import Tile

    tiles = made.tiles()
    return {tile.name.lower(): int((tiles == tile).sum()) for tile in Tile}


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
