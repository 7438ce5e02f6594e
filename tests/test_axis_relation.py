"""Conditions along one axis: windows, steps, and how ranges see each other, against brute force."""

# Patterns are written without types.
from __future__ import annotations

import itertools
import os
from typing import Any

import numpy as np
import pytest
from brute_force import Problem, compiled
from hypothesis import given, settings
from hypothesis import strategies as st
from lacuna.ir.expr import Binary, Const, Expr, K, Op, Q, Symbol
from lacuna.ir.trace import Traced
from lacuna.passes.grids import axis_windows
from lacuna.passes.grids.axis_relation import Reach, Relation
from lacuna.passes.grids.axis_windows import windows
from lacuna.passes.grids.steps import step
from lacuna.passes.program.evaluate import evaluate
from lacuna.patterns.gna import seen as neighbors  # pyright: ignore[reportUnknownVariableType]

PROVE = os.environ.get("LACUNA_TEST_PROFILE") == "prove"


def axis(extent: int, window: int, stride: int, dilation: int, causal: bool) -> Expr:
    on_axis: Any = neighbors  # pyright: ignore[reportUnknownVariableType]
    return on_axis(Traced(Q), Traced(K), extent, window, stride, dilation, causal).expr


@st.composite
def axes(draw: st.DrawFn) -> tuple[int, Expr]:
    """An extent and a condition along it: a neighborhood, or one that has no windows."""
    extent = draw(st.integers(2, 20))
    if draw(st.integers(0, 3)) == 0:
        by = draw(st.integers(1, 5))
        op = draw(st.sampled_from([Op.FLOORDIV, Op.MOD]))
        shift = draw(st.integers(0, 3))
        near = Binary(Op.LE, Binary(Op.SUB, Q, K), Const(draw(st.integers(0, 9))))
        moved = Binary(Op.ADD, Q, Const(shift))
        return extent, Binary(Op.AND, near, Binary(Op.EQ, Binary(op, moved, Const(by)), Binary(op, K, Const(by))))
    dilation = draw(st.integers(1, min(6, extent // 2)))
    window = draw(st.integers(1, extent // dilation))
    return extent, axis(extent, window, draw(st.integers(1, window)), dilation, draw(st.booleans()))


@settings(max_examples=400 if PROVE else 15)
@given(axes(), st.data())
def test_ranges_of_an_axis_see_each_other_as_their_pairs_do(problem: tuple[int, Expr], data: st.DataObject) -> None:
    extent, condition = problem
    relation = Relation.of(condition, Const(extent), Const(extent))
    seen = compiled(condition, Problem(condition, extent, extent))
    pairs = np.array([[seen({"q": q, "k": k}) for k in range(extent)] for q in range(extent)], bool)
    names = [Symbol(name) for name in ("a", "b", "c", "d")]
    kinds = [
        (Reach(names[at], names[at]), Reach(names[at], names[at + 1]), Reach(Const(0), Const(extent - 1), whole=True)) for at in (0, 2)
    ]
    for q, k in itertools.product(*kinds):
        some, full = relation.some(q, k), relation.full(q, k)
        for _ in range(12):
            a, b, c, d = (data.draw(st.integers(0, extent - 1)) for _ in range(4))
            place: dict[Expr, int] = dict(zip(names, (min(a, b), max(a, b), min(c, d), max(c, d)), strict=True))
            (q0, q1), (k0, k1) = ([int(evaluate(end, place)) for end in (reach.low, reach.high)] for reach in (q, k))
            here = pairs[q0 : q1 + 1, k0 : k1 + 1]
            assert bool(evaluate(some, place)) == here.any()
            assert bool(evaluate(full, place)) == here.all()
    for mirrored in (False, True):
        start, stop = relation.reached((names[0], names[1]), Symbol("count"), mirrored=mirrored)
        for a, b in ((0, 0), (0, extent - 1), (extent // 2, extent - 1), (extent // 3, extent // 2)):
            met = np.flatnonzero((pairs.T if mirrored else pairs)[a : b + 1].any(0))
            place: dict[Expr, int] = {names[0]: a, names[1]: b, Symbol("count"): extent}
            first, last = int(evaluate(start, place)), int(evaluate(stop, place))
            assert not len(met) or (first <= met[0] and met[-1] < last)


def test_neighborhoods_have_windows_and_blocks_have_none() -> None:
    for dilation, stride, causal in itertools.product((1, 2, 5), (1, 3), (False, True)):
        assert windows(axis(32, 5, stride, dilation, causal)) is not None
    blocks = Binary(Op.EQ, Binary(Op.FLOORDIV, Q, Const(4)), Binary(Op.FLOORDIV, K, Const(4)))
    assert windows(blocks) is None


def test_ends_that_move_back_or_runs_that_leave_gaps_are_no_windows() -> None:
    def between(start: Expr, width: int) -> Expr:
        return Binary(Op.AND, Binary(Op.LE, start, K), Binary(Op.LT, K, Binary(Op.ADD, start, Const(width))))

    thrice = Binary(Op.MUL, Const(3), Q)
    assert windows(between(thrice, 3)) is not None
    assert windows(between(thrice, 2)) is None  # every third key is seen by nobody
    assert windows(between(Binary(Op.SUB, Const(9), Q), 2)) is None
    assert windows(between(Binary(Op.MOD, Q, Const(4)), 2)) is None


def assumed(start: Expr, stop: Expr) -> bool:
    """A proof that is none."""
    return start is not stop


@pytest.mark.parametrize("fault", [0, 1])
def test_a_gap_that_is_overlooked_is_seen_here(fault: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A seeded fault: were the proof that runs touch left out, ranges would see keys between them."""
    start = Binary(Op.MUL, Const(4), Q)
    gaps = Binary(Op.AND, Binary(Op.LE, start, K), Binary(Op.LT, K, Binary(Op.ADD, start, Const(2))))
    if fault:
        monkeypatch.setattr(axis_windows, "_touching", assumed)
    relation = Relation.of(gaps, Const(4), Const(16))
    some = relation.some(Reach(Const(0), Symbol("b")), Reach(Symbol("c"), Symbol("d")))
    found = bool(evaluate(some, {Symbol("b"): 1, Symbol("c"): 2, Symbol("d"): 3}))
    assert found is bool(fault)


@settings(max_examples=400 if PROVE else 60)
@given(st.data())
def test_steps_hold_everywhere(data: st.DataObject) -> None:
    def drawn(depth: int) -> Expr:
        kind = data.draw(st.sampled_from(["leaf", "sum", "less", "least", "most", "scaled", "part"])) if depth else "leaf"
        if kind == "leaf":
            return data.draw(st.sampled_from([Q, K, Const(data.draw(st.integers(-5, 5)))]))
        if kind in ("scaled", "part"):
            by = Const(data.draw(st.integers(-3, 3)) if kind == "scaled" else data.draw(st.integers(1, 4)))
            return Binary(Op.MUL if kind == "scaled" else Op.FLOORDIV, drawn(depth - 1), by)
        op = {"sum": Op.ADD, "less": Op.SUB, "least": Op.MIN, "most": Op.MAX}[kind]
        return Binary(op, drawn(depth - 1), drawn(depth - 1))

    expr = drawn(3)
    found = step(expr, Q)
    assert found is not None
    at = np.arange(-40, 40)
    for key in (-7, 0, 11):
        values = np.broadcast_to(np.asarray(evaluate(expr, {Q: at, K: key})), at.shape)
        assert (np.diff(values) >= found.low).all()
        assert (np.diff(values) <= found.high).all()
