"""Pictures of tiles: characters for a terminal, PNG or SVG for a page."""

# matplotlib's types are partial.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...ir.pattern import Pattern
from ..request.head_orders import OrderGiven
from .inspect import schedule
from .lengths_given import block_given
from .tile_schedule import TileSchedule

if TYPE_CHECKING:
    from .by_head import SchedulesOfHeads

CHARACTERS = "./#"
COLOURS = ("#f4f1ea", "#8fb8c9", "#1d5b79")
NAMES = ("empty", "partial", "full")


def picture(tiles: np.ndarray, most: int = 64) -> str:
    """Tiles as text: `.` empty, `/` partial, `#` full. More than `most` rows or columns are pooled: a group of unlike tiles is partial."""
    return "\n".join("".join(CHARACTERS[int(tile)] for tile in row) for row in pooled(tiles, most))


def pooled(tiles: np.ndarray, most: int) -> np.ndarray:
    """Groups of tiles as one: their class where all share it, else partial."""
    for axis in (0, 1):
        starts: np.ndarray = np.arange(0, tiles.shape[axis], -(-tiles.shape[axis] // most))
        low, high = np.minimum.reduceat(tiles, starts, axis), np.maximum.reduceat(tiles, starts, axis)
        tiles = np.where(low == high, low, 1)
    return tiles


def plot(
    pattern: Pattern | None,
    q_len: int | None = None,
    kv_len: int | None = None,
    path: str | Path | None = None,
    *,
    block: tuple[int, int] = (128, 64),
    heads: int = 1,
    h: int = 0,
    most: int = 64,
    order: OrderGiven = None,
) -> str:
    """The tile map of a pattern: returned as text and, with `path` (.png or .svg), written as a picture.

    Query tiles run downwards, key tiles to the right, which is the order in which a kernel visits them. most: rows and columns of text.
    The rest is as in `schedule`, and `h` the head whose tiles are shown.

    Raises:
        ValueError: `path` ends in something else. FileNotFoundError: its folder is not there.
    """
    block = block_given(block)
    if path is not None:
        _require_folder(Path(path))
    found = schedule(pattern, q_len, kv_len, block=block, heads=heads, order=order)
    tiles = found.tiles(h=h)
    if path is not None:
        _draw(tiles, Path(path), f"{block[0]} x {block[1]} tokens per tile, {_route(found)}")
    return picture(tiles, most)


def _route(found: TileSchedule | SchedulesOfHeads) -> str:
    return found.route if isinstance(found, TileSchedule) else ", ".join(dict.fromkeys(each.route for _, each in found.each))


def _require_folder(path: Path) -> None:
    if path.suffix not in (".png", ".svg"):
        raise ValueError(f"a picture cannot be written to `{path.name}`\n  write a name that ends in .png or .svg")
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"there is no folder `{path.parent}` for the picture\n  write `mkdir -p {path.parent}`, or a path in a folder that is there"
        )


def _draw(tiles: np.ndarray, path: Path, title: str) -> None:
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    figure = Figure(figsize=(7, 7), layout="constrained")
    axes = figure.subplots()
    axes.imshow(tiles, cmap=ListedColormap(COLOURS), vmin=0, vmax=2, interpolation="nearest", aspect="auto")
    axes.set(xlabel="key tile", ylabel="query tile", title=title)
    patches = [Patch(facecolor=colour, edgecolor="#888888", label=name) for colour, name in zip(COLOURS, NAMES, strict=True)]
    axes.legend(handles=patches, loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=3, frameon=False)
    figure.savefig(path, dpi=150)
