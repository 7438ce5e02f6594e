"""The soundness check can fail: thirteen mistakes, seeded one at a time, are each caught by a few fixed programs."""

# The faults replace private functions, and the set library's types are partly unknown.
# ruff: noqa: ANN401
# pyright: reportPrivateUsage=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportUnknownLambdaType=false

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from brute_force import Problem, classes, dense
from lacuna.ir.expr import K_LEN, Q_LEN, Binary, Const, Expr, H, K, Lookup, Op, Q, Table, conjunction, disjunction, negated, substitute
from lacuna.ir.expr import names as variables
from lacuna.ir.program import Program
from lacuna.passes.program.call_values import Launch
from lacuna.passes.schedules import derive
from lacuna.passes.schedules.prepare import prepare
from lacuna.passes.schedules.tile_classes import tiles
from lacuna.passes.schedules.transpose import transposed_launch
from lacuna.passes.schedules.transposed_schedule import transposed_schedule
from lacuna.passes.sets import integer_sets, loops, pieces, term_bounds
from lacuna.runtime.launches import term_arrays
from random_programs import Case
from test_soundness import faults

Patch = pytest.MonkeyPatch


def _binary(op: Op, a: Expr | int, b: Expr | int) -> Expr:
    return Binary(op, a if isinstance(a, Expr) else Const(a), b if isinstance(b, Expr) else Const(b))


DISTANCE = _binary(Op.SUB, Q, K)
CAUSAL = _binary(Op.LE, K, Q)
IDS_Q, IDS_K = Table("ids_q", "i64", 2), Table("ids_k", "i64", 2)
LENGTHS = (29, 37)
TABLES = {
    "ids_q": np.stack([np.arange(29) // 9, np.arange(29) // 4]),
    "ids_k": np.stack([np.arange(37) // 9, np.arange(37) // 4]),
}
MASKS: dict[str, Expr] = {
    "window": conjunction(CAUSAL, _binary(Op.LT, DISTANCE, 18)),
    "near": _binary(Op.LE, _binary(Op.FLOORDIV, DISTANCE, 4), -1),
    "before": _binary(Op.LE, K, _binary(Op.ADD, Q, 40)),
    "classes": _binary(Op.EQ, _binary(Op.MOD, _binary(Op.FLOORDIV, K, 8), 3), _binary(Op.MOD, _binary(Op.FLOORDIV, Q, 8), 3)),
    "strided": _binary(Op.EQ, _binary(Op.MOD, _binary(Op.FLOORDIV, K, 4), 3), 1),
    "overlapping": disjunction(_binary(Op.LT, K, 14), _binary(Op.LE, _binary(Op.MUL, 2, K), _binary(Op.ADD, Q, 21))),
    "documents": _binary(Op.EQ, Lookup(IDS_Q, (H, Q)), Lookup(IDS_K, (H, K))),
    "per head": _binary(Op.LE, DISTANCE, _binary(Op.MUL, 7, H)),
}


def case(name: str, block: tuple[int, int]) -> Case:
    read = {"ids_q": IDS_Q, "ids_k": IDS_K} if name == "documents" else {}
    program = Program(name.replace(" ", "_"), MASKS[name], tables=tuple(read.values()))
    launch = Launch(*LENGTHS, heads=2, tables={each: TABLES[each] for each in read})
    return Case(program, launch, block, affine=not read, residue=False)


def found() -> Iterator[str]:
    """What the fixed programs show to be wrong, one by one."""
    yield from transposition_faults()
    for name in MASKS:
        for block in ((8, 4), (5, 7)):
            fault = faults(case(name, block))
            if fault:
                yield f"{name}, tiles of {block}: {fault}"


def transposition_faults() -> list[str]:
    straight = case("window", (8, 4))
    turned = transposed_launch(straight.launch)
    schedule = transposed_schedule(prepare(straight.program, straight.launch, shifted=False), (8, 4), straight.launch)
    want = classes(dense(Problem(MASKS["window"], *LENGTHS)).T, 4, 8)
    return [] if np.array_equal(tiles(schedule, turned, {}), want) else ["the transposed window is wrong"]


# -- the faults -------------------------------------------------------------------------------------------------------


def less_for_at_most(patch: Patch) -> None:
    patch.setitem(integer_sets._OPERATIONS, Op.LE, lambda a, b: a.lt_set(b))


def truncated_division(patch: Patch) -> None:
    def divided(self: Any, op: Op, a: Any, by: int) -> Any:
        exact = a.scale_down_val(self.value(by))
        zero = self.number(0)
        quotient = exact.max(zero).floor().add(exact.min(zero).ceil())
        return quotient if op is Op.FLOORDIV else a.sub(quotient.scale_val(self.value(by)))

    patch.setattr(integer_sets.Builder, "_divided", divided)


def _ranges_changed(patch: Patch, *, whole: bool, by: int) -> None:
    """Let the ranges of whole (or of all) key tiles end `by` tiles later."""
    plain = pieces.pieces

    def moved(relation: Any, reading: pieces.Reading) -> Any:
        of_whole = isinstance(reading.tiles, Binary) and reading.tiles.a is K_LEN
        return plain(relation, replace(reading, tiles=_binary(Op.ADD, reading.tiles, by)) if of_whole is whole else reading)

    patch.setattr(derive, "pieces", moved)


def last_ragged_tile_dropped(patch: Patch) -> None:
    _ranges_changed(patch, whole=False, by=-1)


def ragged_key_tile_full(patch: Patch) -> None:
    patch.setattr(integer_sets.Builder, "whole_key_tile", lambda self: self.grid())
    _ranges_changed(patch, whole=True, by=1)


def _problem_changed(patch: Patch, change: Callable[[Any], Any]) -> None:
    plain = integer_sets.relations
    patch.setattr(derive, "relations", lambda problem, budget: plain(change(problem), budget))


def blocks_swapped(patch: Patch) -> None:
    _problem_changed(patch, lambda problem: replace(problem, block_q=problem.block_k, block_k=problem.block_q))


def lengths_swapped(patch: Patch) -> None:
    plain = integer_sets.relations
    turned: dict[Expr, Expr] = {Q_LEN: K_LEN, K_LEN: Q_LEN}

    def swapped(problem: Any, budget: int) -> Any:
        sets = plain(problem, budget)
        return replace(sets, parameters=tuple(turned.get(each, each) for each in sets.parameters))

    patch.setattr(derive, "relations", swapped)


def union_in_full(patch: Patch) -> None:
    def each_negated(mask: Expr) -> Expr:
        match mask:
            case Binary(op=Op.AND, a=a, b=b):
                return conjunction(each_negated(a), each_negated(b))
            case _:
                return negated(mask)

    patch.setattr(derive, "negated", each_negated)


def _bounds_changed(patch: Patch, change: Callable[[Any, Any], tuple[Any, Any]]) -> None:
    plain = term_arrays.bounds_of
    patch.setattr(term_arrays, "bounds_of", lambda *arguments: change(*plain(*arguments)))


def minimum_for_maximum(patch: Patch) -> None:
    _bounds_changed(patch, lambda low, high: (low, low))


def neighbouring_minima(patch: Patch) -> None:
    _bounds_changed(patch, lambda low, high: (np.roll(low, -1, -1), high))


def stride_phase_off_by_one(patch: Patch) -> None:
    plain = pieces._stride

    def moved(aff: Any, equality: bool, kept: Any, reading: Any) -> bool:
        held = plain(aff, equality, kept, reading)
        kept.phase = pieces.add(kept.phase, Const(1)) if held else kept.phase
        return held

    patch.setattr(pieces, "_stride", moved)


def transposed_without_tiles(patch: Patch) -> None:
    plain = derive.derive_prepared

    def unturned(prepared: Any, block: tuple[int, int], launch: Launch, **others: Any) -> Any:
        return plain(prepared, (block[1], block[0]), launch, **others)

    patch.setattr(derive, "derive_prepared", unturned)


def head_ignored(patch: Patch) -> None:
    patch.setattr(term_bounds, "names", lambda expr: variables(expr) - {"h"})


def head_ignored_in_arithmetic(patch: Patch) -> None:
    _problem_changed(patch, lambda it: replace(it, mask=substitute(it.mask, {H: Const(0)}), unmask=substitute(it.unmask, {H: Const(0)})))


def overlaps_visited_twice(patch: Patch) -> None:
    for module in (derive, loops):
        patch.setattr(module, "visited_once", lambda found, overlaps=None: found)


FAULTS = (
    less_for_at_most,
    truncated_division,
    last_ragged_tile_dropped,
    ragged_key_tile_full,
    blocks_swapped,
    lengths_swapped,
    union_in_full,
    minimum_for_maximum,
    neighbouring_minima,
    stride_phase_off_by_one,
    transposed_without_tiles,
    head_ignored,
    head_ignored_in_arithmetic,
    overlaps_visited_twice,
)


def test_the_fixed_programs_are_right_without_a_fault() -> None:
    assert list(found()) == []


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_seeded_fault_is_caught(fault: Callable[[Patch], None], monkeypatch: Patch) -> None:
    fault(monkeypatch)
    assert next(found(), None), f"`{fault.__name__}` goes unseen"
