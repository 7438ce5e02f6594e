"""Programs seen from the keys: queries and keys exchanged, for what a backward pass for keys and values walks."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ...ir.expr import K_LEN, Q_LEN, Expr, K, Q
from ...ir.program import Program
from ..program.call_values import Launch

if TYPE_CHECKING:
    from .prepare import Prepared


def transposed(program: Program) -> Program:
    """The inverse mask: queries and keys, and their lengths, exchanged.

    Needs: a canonical program (flat, placed). Keeps: the set of attended pairs, mirrored. Deriving it on the grid (block_k, block_q)
    gives the transposed schedule; there a tile is full only when it lies inside the *query* length.
    """
    return program.substituted({Q: K, K: Q, Q_LEN: K_LEN, K_LEN: Q_LEN})


def transposed_launch(launch: Launch) -> Launch:
    """The launch of a transposed program."""
    exchanged: dict[Expr, Expr] = {Q_LEN: K_LEN, K_LEN: Q_LEN}
    ragged = {exchanged.get(symbol, symbol): values for symbol, values in launch.ragged.items()}
    return launch._replace(q_len=launch.k_len, k_len=launch.q_len, ragged=ragged)


def transposed_prepared(prepared: Prepared) -> Prepared:
    """A prepared program seen from the keys."""
    mask = transposed(replace(prepared.program, mask=prepared.mask)).mask
    grid = None if prepared.grid is None else prepared.grid.transposed
    sequence = None if prepared.sequence is None else prepared.sequence.transposed
    written = None if prepared.written is None else prepared.written.transposed
    return replace(prepared, program=transposed(prepared.program), mask=mask, grid=grid, sequence=sequence, written=written)
