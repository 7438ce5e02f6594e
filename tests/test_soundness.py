"""EMPTY hides no pair and FULL covers no false one: random programs against brute force."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from brute_force import Problem, classes, dense
from lacuna.ir.expr import Binary, Const, Expr, K, Op, Q, Symbol, conjunction, disjunction
from lacuna.ir.parse import parse_schedule
from lacuna.ir.program import Program
from lacuna.ir.schedule import Piece, Schedule
from lacuna.passes.program.call_values import Launch
from lacuna.passes.schedules.derive import Derivation, derive
from lacuna.passes.schedules.tile_classes import Visits, tiles
from lacuna.passes.schedules.transpose import transposed, transposed_launch
from lacuna.passes.sets.integer_sets import BUDGET
from lacuna.runtime.launches.term_arrays import term_arrays
from random_programs import HEADS, Case, random_case, wanted_classes

Array = np.ndarray
QUICK, FULL_COUNT = 80, 5000


def arrays_of(derivation: Derivation, launch: Launch) -> dict[str, Array]:
    return {**derivation.arrays, **term_arrays(derivation.schedule, launch)}


def wrong_tiles(schedule: Schedule, got: Array, want: Array) -> int:
    """Tiles whose class loses a pair or covers a false one; where the schedule says exact, tiles that differ at all."""
    wrong = ((got == 0) & (want != 0)) | ((got == 2) & (want != 2))
    return int((got != want).sum()) if schedule.exact else int(wrong.sum())


def loop_faults(derivation: Derivation, launch: Launch, got: Array, h: int) -> str:
    """What is wrong with the loops of one head; empty where they visit each tile once and only full tiles unmasked."""
    schedule, arrays = derivation.schedule, arrays_of(derivation, launch)
    for i in range(got.shape[0]):
        visits = Visits(schedule, launch, arrays, (0, h, i))
        fast = _listed(visits, schedule.full_loops)
        if not set(fast) <= set(np.flatnonzero(got[i] == 2)):
            return f"query tile {i}: full loops visit {fast}, full tiles are {np.flatnonzero(got[i] == 2)}"
        if sorted(fast + _listed(visits, schedule.partial_loops)) != list(np.flatnonzero(got[i])):
            return f"query tile {i}: the loops do not visit each of {np.flatnonzero(got[i])} once"
    return ""


def _listed(visits: Visits, loops: tuple[Piece, ...]) -> list[int]:
    return [int(tile) for piece in loops for tile in visits.listed(piece)]


def faults(case: Case, budget: int = BUDGET) -> str:
    """What is wrong with the derivation of one case; empty where nothing is. A budget of 1 leaves refinement only."""
    derivation = derive(case.program, *case.block, case.launch, budget=budget)
    schedule, arrays = derivation.schedule, arrays_of(derivation, case.launch)
    for h in range(HEADS):
        got, want = tiles(schedule, case.launch, arrays, 0, h), wanted_classes(case, h)
        if wrong_tiles(schedule, got, want):
            return f"{wrong_tiles(schedule, got, want)} wrong tiles at head {h} by {schedule.route}"
        if fault := loop_faults(derivation, case.launch, got, h):
            return fault
        if (tiles(parse_schedule(str(schedule)), case.launch, arrays, 0, h) != got).any():
            return "the schedule's text reads back as another schedule"
    if case.affine and not schedule.exact:
        return f"an affine program is not exact, by {schedule.route}"
    return ""


def test_random_programs_have_no_wrong_tile(prove: bool, capsys: pytest.CaptureFixture[str]) -> None:
    found: Counter[str] = Counter()
    for seed in range(FULL_COUNT if prove else QUICK):
        case = random_case(seed)
        fault = faults(case)
        assert not fault, f"seed {seed}: {fault}\n{case.program}\n{case.launch}, tiles of {case.block}"
        found[f"{len(np.unique(wanted_classes(case)))} classes"] += 1
        found["both-sided residue"] += case.residue
        found["programs"] += 1
    with capsys.disabled():
        print("\n" + ", ".join(f"{name}: {count}" for name, count in sorted(found.items())))
    assert found["3 classes"] >= 0.3 * found["programs"]
    assert found["both-sided residue"] >= 0.33 * found["programs"]


def test_refinement_alone_has_no_wrong_tile(prove: bool) -> None:
    for seed in range(10_000, 10_000 + (500 if prove else 40)):
        case = random_case(seed)
        fault = faults(case, budget=1)
        assert not fault, f"seed {seed}: {fault}\n{case.program}\n{case.launch}, tiles of {case.block}"


def _binary(op: Op, a: Expr | int, b: Expr | int) -> Expr:
    return Binary(op, a if isinstance(a, Expr) else Const(a), b if isinstance(b, Expr) else Const(b))


W = Symbol("W")
CAUSAL = _binary(Op.LE, K, Q)
NEAR = _binary(Op.LT, _binary(Op.SUB, Q, K), W)
MASKS = {
    "window": conjunction(CAUSAL, NEAR),
    "sink": conjunction(CAUSAL, disjunction(_binary(Op.LT, K, 4), NEAR)),
    "strided": conjunction(CAUSAL, _binary(Op.EQ, _binary(Op.MOD, K, 3), _binary(Op.MOD, Q, 3))),
    "twice": _binary(Op.LE, _binary(Op.MUL, 2, K), Q),
}


@pytest.mark.parametrize("name", ["window", "sink"])
def test_the_tile_map_reads_as_drawn(name: str, golden: Callable[[str, str], None]) -> None:
    launch = Launch(45, 53, parameters={"W": 18})
    derivation = derive(Program(name, MASKS[name], parameters=(W,)), 4, 3, launch)
    picture = tiles(derivation.schedule, launch, arrays_of(derivation, launch))
    golden(f"{name}.tiles", "\n".join("".join(".+#"[each] for each in row) for row in picture))


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("block", [(8, 4), (5, 7), (1, 1)])
def test_a_transposed_schedule_is_the_transpose(name: str, block: tuple[int, int]) -> None:
    program, launch = Program(name, MASKS[name], parameters=(W,)), Launch(37, 29, parameters={"W": 11})
    mirrored, turned = transposed(program), transposed_launch(launch)
    derivation = derive(mirrored, block[1], block[0], turned)
    got = tiles(derivation.schedule, turned, arrays_of(derivation, turned))
    pairs = dense(Problem(program.mask, 37, 29, 0, {"W": 11})).T
    assert (got == classes(pairs, block[1], block[0])).all()
    straight = derive(program, *block, launch)
    forward = tiles(straight.schedule, launch, arrays_of(straight, launch)).T
    assert ((got == 0) == (forward == 0)).all()
    inside = np.s_[: 29 // block[1], : 37 // block[0]]
    assert ((got == 2) == (forward == 2))[inside].all()
