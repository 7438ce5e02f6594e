"""The values of one call, where a pass may or must look at them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from ...ir.expr import K_LEN, OFFSET, Q_LEN, Expr, Symbol

_NOTHING: Mapping[Any, Any] = MappingProxyType({})


class Launch(NamedTuple):
    """Lengths in tokens, parameters and tables of one call.

    q_len, k_len: of the longest batch item.
    offset:       position of query row 0.
    shifted:      offsets differ between batch items or calls: derive for every offset, not for 0.
    ragged:       i64[batch] of `Lq`, `Lk` or `offset`, where they differ between batch items.
    parameters:   value of every declared symbol.
    tables:       integer or boolean array of every declared table.
    """

    q_len: int
    k_len: int
    offset: int = 0
    batch: int = 1
    heads: int = 1
    parameters: Mapping[str, int | float] = _NOTHING
    tables: Mapping[str, np.ndarray] = _NOTHING
    shifted: bool = False
    ragged: Mapping[Expr, np.ndarray] = _NOTHING

    @property
    def moves(self) -> bool:
        return self.shifted or self.offset != 0

    @property
    def integers(self) -> tuple[tuple[Symbol, int], ...]:
        """The parameters that are no reals, in the order of their names."""
        return tuple((Symbol(name), value) for name, value in sorted(self.parameters.items()) if isinstance(value, int))

    def environment(self) -> dict[Expr, int | float]:
        """The value of every symbol, lengths and offset included."""
        values: dict[Expr, int | float] = {Q_LEN: self.q_len, K_LEN: self.k_len, OFFSET: self.offset}
        for name, value in self.parameters.items():
            values[Symbol(name)] = value
        return values
