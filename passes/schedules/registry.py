"""Passes by the names that the command line and dumps know them by."""

from __future__ import annotations

from collections.abc import Iterable

from ..program.canonicalise import Place, Simplify
from ..program.flatten_grid import FlattenGrid
from ..program.pipeline import Pass
from .prepare import RewritePowers

PASSES: dict[str, Pass] = {each.name: each for each in (FlattenGrid(), Place(), RewritePowers(), Simplify())}


def named_passes(names: Iterable[str]) -> tuple[Pass, ...]:
    """The passes of these names.

    Raises:
        ValueError: there is no such pass.
    """
    chosen = [name.strip() for name in names]
    for name in chosen:
        if name not in PASSES:
            raise ValueError(f"there is no pass `{name}`\n  write one of {', '.join(f'`{each}`' for each in PASSES)}")
    return tuple(PASSES[name] for name in chosen)
