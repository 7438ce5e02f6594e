"""NAR: shells of equal distance from the first token, each seeing itself and those before it."""

# Patterns are written without annotations.
# ruff: noqa: ANN001, ANN202
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
from __future__ import annotations

from ..ir.grid import Grid
from ..ir.pattern import Pattern, pattern
from .causal import causal
from .checks import grid_extents, open_extents, wholes
from .gna import MOST_AXES, placed
from .segmented import segmented


def _shells(q, k):
    return sum(k[1:], k[0]) <= sum(q[1:], q[0])


_ON_GRID = {rank: pattern(rank=rank)(_shells) for rank in range(2, MOST_AXES + 1)}


def neighboring_ar(extents: tuple[int, ...] | Grid, *, prefix: int = 0) -> Pattern:
    """The sum of k's coordinates is at most that of q's: tokens of one shell see each other and every shell before.

    extents: tokens along each axis, two at least, or a `lacuna.grid`: without a prefix its extents may be known at a call only.
    prefix: class tokens in front, causal among themselves, seen by every shell.
    A video of (T, H, W) has T + H + W - 2 shells. Source: Y. He et al., Neighboring Autoregressive Modeling, 2025.
    """
    sizes = open_extents(extents)
    (prefix,) = wholes(0, prefix=prefix)
    if len(sizes) < 2:
        raise ValueError(f"`extents` is {extents!r}, a sequence\n  write `lacuna.patterns.causal()`, which is the same there")
    if not prefix:
        return placed(_ON_GRID[len(sizes)], extents, sizes)
    known = grid_extents(extents)
    shells = _ON_GRID[len(known)].on(*known)
    rules = {("classes", "classes"): causal(), ("classes", "tokens"): False, ("tokens", "tokens"): shells}
    return segmented({"classes": prefix, "tokens": known}, rules)
