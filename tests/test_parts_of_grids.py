"""Calls that see a part of a grid, or that begin inside of it: how many pairs there are, and which tiles hold them."""

from __future__ import annotations

from typing import Any

import lacuna
import numpy as np
import pytest
from brute_force import classes
from lacuna.passes.program.call_values import Launch
from lacuna.passes.schedules.count import live_pairs
from lacuna.passes.schedules.derive import derive
from lacuna.passes.schedules.tile_classes import tiles
from lacuna.runtime.launches.term_arrays import term_arrays

COLS = 5


@lacuna.pattern(rank=2)
def near(q: Any, k: Any) -> Any:  # noqa: ANN401 (patterns are written without types)
    return (abs(q[0] - k[0]) <= 1) & (abs(q[1] - k[1]) <= 1)


def dense(q_len: int, k_len: int, offset: int) -> np.ndarray:
    q, k = np.arange(offset, offset + q_len)[:, None], np.arange(k_len)[None, :]
    return (abs(q // COLS - k // COLS) <= 1) & (abs(q % COLS - k % COLS) <= 1)


@pytest.mark.parametrize("lengths", [(30, 30, 0), (17, 17, 0), (30, 17, 0), (17, 30, 0), (13, 30, 17), (30, 30, 5)])
def test_the_pairs_of_part_of_a_grid_are_counted(lengths: tuple[int, int, int]) -> None:
    q_len, k_len, offset = lengths
    program = near.on(6, COLS).program  # the outermost coordinate goes on past the grid
    assert live_pairs(program, Launch(q_len, k_len, offset)) == dense(q_len, k_len, offset).sum()


@pytest.mark.parametrize("lengths", [(6, 30, 20), (7, 31, 24), (1, 22, 21), (30, 30, 0), (12, 40, 3)])
@pytest.mark.parametrize("block", [(4, 4), (8, 3), (1, 7)])
def test_rows_that_begin_inside_an_open_grid_lose_no_pair(lengths: tuple[int, int, int], block: tuple[int, int]) -> None:
    """The outermost extent is where queries stop, their offset included."""
    q_len, k_len, offset = lengths
    launch = Launch(q_len, k_len, offset, shifted=True)
    found = derive(near.on(None, COLS).program, *block, launch)
    got = tiles(found.schedule, launch, {**found.arrays, **term_arrays(found.schedule, launch)})
    want = classes(dense(*lengths), *block)
    assert not ((got == 0) & (want != 0)).any()
    assert not ((got == 2) & (want != 2)).any()
