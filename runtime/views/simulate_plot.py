"""The chart of a simulation."""

# matplotlib's types are partial.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...ir.advice import advice

if TYPE_CHECKING:
    from ...passes.costs.box_pair_counts import Tiling

COLOURS = {"boxes": "#1d5b79", "unaligned boxes": "#8fb8c9", "row-major": "#c9b18f"}
WIDTH = 0.27  # of a bar


def draw(tilings: Sequence[Tiling], dense: float, ideal: float, title: str, path: Path) -> None:
    """Bars are bounds by exact counts, dots predicted speed-ups over a time of `dense`, the line the ideal bound."""
    if path.suffix not in (".png", ".svg"):
        raise ValueError(advice(f"a chart cannot be written to `{path.name}`", "a name that ends in .png or .svg"))
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    shapes = list(dict.fromkeys(each.tile for each in tilings))
    for at, (order, colour) in enumerate(COLOURS.items()):
        fastest = [_fastest(tilings, shape, order) for shape in shapes]
        where = [place + WIDTH * (at - 1) for place in range(len(shapes))]
        axes.bar(where, [each.bound for each in fastest], WIDTH, label=order, color=colour)
        predicted = [dense / each.time for each in fastest]
        axes.plot(where, predicted, "o", color="#d1495b", markersize=5, label="predicted" if at == 0 else None)
    axes.axhline(ideal, color="#444444", linewidth=1, linestyle="--", label="ideal")
    axes.set_xticks(range(len(shapes)), [f"{q} x {k}" for q, k in shapes])
    axes.set(
        xlabel="tile, queries x keys",
        ylabel="speed-up over dense",
        title=title,
    )
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=5, frameon=False)
    figure.savefig(path, dpi=150)


def _fastest(tilings: Sequence[Tiling], shape: tuple[int, int], order: str) -> Tiling:
    return min((each for each in tilings if each.tile == shape and each.order == order), key=lambda each: each.time)
