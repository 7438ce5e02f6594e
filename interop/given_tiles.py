"""Patterns from block bitmaps: which tiles are visible, and what hides pairs inside some of them.

A table of truth values read at (q // block_q, k // block_k) is exact for the compiler: tiles of an aligned grid read the entries they
cover, empty ones are skipped, and full ones run without mask arithmetic.
"""

# Patterns are written without annotations.
# ruff: noqa: ANN001, ANN202
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor

from .. import pattern
from ..ir.derived import derived
from ..ir.pattern import Pattern
from ..ir.trace import TensorLike

Per = tuple[bool, bool]
"""Whether tables differ between batch items, and between heads. With neither they have no axes for them."""


@pattern
def _visible(b, h, q, k, *, blocks, block, per):
    return blocks[at(per, b, h, q // block[0], k // block[1])]


def at(per: Per, b: object, h: object, *place: object) -> tuple[object, ...]:
    """The index of `place` in a table with leading axes [batch or 1, heads or 1], if it has any."""
    return ((b if per[0] else 0, h if per[1] else 0) if any(per) else ()) + place


def per_axes(table: TensorLike) -> Per:
    """Which of the leading axes of [batch or 1, heads or 1, ...] are more than one."""
    return table.shape[0] > 1, table.shape[1] > 1


def without_axes(table: Tensor) -> Tensor:
    """[batch or 1, heads or 1, ...] as a table that `at` indexes: a view of its memory, without leading axes where both are one."""
    return table if any(per_axes(table)) else table[0, 0]


def given_tiles(visible: Tensor, block: tuple[int, int]) -> Pattern:
    """The pattern of tiles `visible`, bool[batch or 1, heads or 1, q_tiles, k_tiles], of `block` = (rows, keys) tokens.

    It holds for lengths up to q_tiles * rows and k_tiles * keys.
    """
    return _visible(blocks=without_axes(visible), block=block, per=per_axes(visible))


def derived_tiles(make: Callable[..., Tensor], sources: tuple[Tensor, ...], block: tuple[int, int]) -> Pattern:
    """`given_tiles` of `make(*sources)`, at every call of what the sources hold then."""
    return _visible(blocks=derived(partial(_made, make), *sources), block=block, per=per_axes(make(*sources)))


def _made(make: Callable[..., Tensor], *sources: Tensor) -> Tensor:
    return without_axes(make(*sources))
