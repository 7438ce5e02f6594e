"""Fewer combinations of parameters in the quick profile: every value of each is met, not every value with every other."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from conftest import PROFILE


def crossed(*axes: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Every combination under `make prove`; else as many as the longest axis is long, the n-th begun anew n values further each time."""
    if PROFILE == "prove":
        return list(itertools.product(*axes))
    rows = range(max(map(len, axes)))
    return [tuple(axis[(row + n * (row // len(axis))) % len(axis)] for n, axis in enumerate(axes)) for row in rows]
