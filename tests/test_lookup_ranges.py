"""Look-ups are refused where a pair that counts reads outside of its table, and nowhere else: random programs against brute force."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from lacuna.ir.parse import parse_program
from lacuna.passes.lookups import ranges
from lacuna.passes.lookups.ranges import OutOfRange
from lacuna.passes.lookups.search import Search
from lacuna.passes.schedules.derive import derive
from lacuna.passes.schedules.tile_classes import tiles
from lacuna.runtime.launches.term_arrays import term_arrays
from lacuna.runtime.request.lookups import check_reads
from lacuna.runtime.views.oracle import dense_mask
from random_lookups import Problem, random_problem, value

# numpy's and torch's types are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false


def bindings_of(problem: Problem) -> dict[str, object]:
    return {"W": problem.number, **{name: torch.from_numpy(array) for name, array in problem.tables.items()}}


def refused(problem: Problem) -> str:
    """What the check says; nothing where it finds nothing wrong."""
    program = parse_program(problem.program())
    try:
        check_reads(program, bindings_of(problem), problem.launch())
    except OutOfRange as error:
        return str(error)
    return ""


def test_look_ups_are_refused_where_brute_force_finds_a_pair_that_reads_outside(prove: bool) -> None:
    harmless = harmful = unproved = 0
    for seed in range(4000 if prove else 80):
        problem = random_problem(seed)
        if not problem.tables:
            continue
        bad, said = problem.harmful(), refused(problem)
        assert bool(bad) <= bool(said), (seed, problem.program(), problem.items, bad[:1])
        if not bad and said:
            assert "nothing proves that" in said, (seed, problem.program(), problem.items, said)
        harmful, harmless, unproved = harmful + bool(bad), harmless + (not bad), unproved + (not bad and bool(said))
    assert min(harmful, harmless) > 15
    assert unproved == 0  # lengths are small enough for every pair to be looked at


def test_what_affine_conditions_let_through_is_proved_without_looking_at_pairs(monkeypatch: pytest.MonkeyPatch, prove: bool) -> None:
    looked: list[object] = []

    def looking(*arguments: Any) -> Search:  # noqa: ANN401
        looked.append(arguments)
        return Search()

    monkeypatch.setattr(ranges, "searched", looking)
    proved = asked = 0
    for seed in range(10_000, 12_000 if prove else 10_080):
        problem = random_problem(seed)
        if len(problem.tables) != 1 or problem.harmful():
            continue
        looked.clear()
        assert not refused(problem)
        proved, asked = proved + (not looked), asked + 1
    assert asked > 10
    assert proved >= 0.75 * asked  # the rest joins what the sets take apart: guards that nothing meets, rows that are part of a grid


def test_tiles_of_guarded_look_ups_hold_every_pair_and_full_ones_nothing_else(prove: bool) -> None:
    seen = 0
    for seed in range(20_000, 20_600 if prove else 20_060):
        problem = random_problem(seed)
        if len(problem.items) > 1 or not problem.tables or problem.harmful():
            continue
        seen += 1
        launch, program = problem.launch(), parse_program(problem.program())
        wanted = np.zeros((1, problem.heads, launch.q_len, launch.k_len), bool)
        for at in problem.pairs():
            wanted[0, at["h"], at["row"], at["col"]] = value(problem.mask, at, problem.tables)
        found = dense_mask(program, launch.q_len, launch.k_len, bindings_of(problem), 1, problem.heads, launch.offset)
        assert np.array_equal(found.numpy(), wanted), (seed, problem.program())
        derivation = derive(program, 2, 2, launch)
        arrays = {**derivation.arrays, **term_arrays(derivation.schedule, launch)}
        for h in range(problem.heads):
            classes = tiles(derivation.schedule, launch, arrays, 0, h)
            for i, j in np.ndindex(classes.shape):
                tile = wanted[0, h, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
                assert classes[i, j] == 1 or tile.any() == tile.all() == (classes[i, j] == 2), (seed, problem.program(), h, i, j)
    assert seen > 10
