"""Every rule of interval arithmetic against Python's integers: no value outside, points exact, and nothing that wraps."""

from __future__ import annotations

import operator
import random
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from lacuna.ir.expr import Binary, Const, Expr, K, Kind, Op, Q, Select, Unary
from lacuna.passes.bounds.intervals import Span, spans
from lacuna.passes.bounds.too_wide import MeaninglessShift, TooWide
from lacuna.passes.program.evaluate import evaluate

SIZES = (0, 2**31, 2**53, 2**60, 2**62, 2**63)
LOWEST, HIGHEST = -(2**63), 2**63 - 1


def floor_quotient(a: int, b: int) -> int:
    return 0 if b == 0 else a // b


def remainder(a: int, b: int) -> int:
    return 0 if b == 0 else a % b


BINARY: dict[Op, Callable[[int, int], int]] = {
    Op.ADD: operator.add,
    Op.SUB: operator.sub,
    Op.MUL: operator.mul,
    Op.MIN: min,
    Op.MAX: max,
    Op.FLOORDIV: floor_quotient,
    Op.MOD: remainder,
    Op.BITAND: lambda a, b: a & b,
    Op.BITOR: lambda a, b: a | b,
    Op.BITXOR: lambda a, b: a ^ b,
    Op.SHL: lambda a, b: a << b,
    Op.SHR: lambda a, b: a >> b,
    Op.LT: operator.lt,
    Op.LE: operator.le,
    Op.EQ: operator.eq,
    Op.NE: operator.ne,
}
UNARY: dict[Op, Callable[[int], int]] = {Op.NEG: operator.neg, Op.ABS: abs}
LOGIC: dict[Op, Callable[[int, int], int]] = {Op.AND: lambda a, b: a & b, Op.OR: lambda a, b: a | b, Op.XOR: lambda a, b: a ^ b}
CENTRES = [sign * size for size in SIZES for sign in (-1, 1)]
NUMBERS = st.integers(-9, 9) | st.one_of(*(st.integers(max(at - 9, LOWEST), min(at + 9, HIGHEST)) for at in CENTRES))
AMOUNTS = st.integers(0, 9) | st.integers(55, 70) | st.just(2**40)


@st.composite
def ranges(draw: st.DrawFn, ends: st.SearchStrategy[int] = NUMBERS) -> tuple[int, int]:
    """A short range, whose values can all be tried, a long one, or a point."""
    low = draw(ends)
    high = draw(st.just(low) | st.integers(low, low + 6) | ends)
    return min(low, high), min(max(low, high), HIGHEST)


def members(low: int, high: int) -> list[int]:
    """Every value of a short range; of a long one those at its ends, around 0 and around powers of two."""
    if high - low < 20:
        return list(range(low, high + 1))
    near = {sign * size + by for size in SIZES for sign in (-1, 1) for by in range(-3, 4)}
    return sorted(value for value in {*range(low, low + 4), *range(high - 3, high + 1), *near} if low <= value <= high)


def a_span(ends: tuple[int, int]) -> Span:
    return Span(*(np.array([end]) for end in ends))


def of(expr: Expr, *at: tuple[int, int]) -> tuple[int, int]:
    """The span of one box, which is the same alone and in an array: numpy computes with the two in different ways."""
    where: dict[Expr, Span] = dict(zip((Q, K), map(a_span, at), strict=False))
    alone: dict[Expr, Span] = {side: Span(*(end.reshape(()) for end in ends)) for side, ends in where.items()}
    try:
        found = spans(expr, where, {})
    except TooWide:
        with pytest.raises(TooWide):
            spans(expr, alone, {})
        raise
    one = spans(expr, alone, {})
    assert (one.low.item(), one.high.item()) == (found.low.item(), found.high.item())
    return int(found.low.item()), int(found.high.item())


def check(expr: Expr, at: tuple[tuple[int, int], ...], values: set[int]) -> None:
    """`values` are those of `expr` at some members of the ranges `at`: all of them lie in the span, and a point's is the span."""
    assume(values)
    try:
        found = of(expr, *at)
    except TooWide:
        single = all(low == high for low, high in at)
        assert not single or not all(LOWEST <= value <= HIGHEST for value in values)
        return
    if expr.kind is Kind.BOOL:
        can_be = {value for value, seen in zip((True, False), found, strict=True) if seen}
        assert values <= can_be
        assert can_be == values or any(low < high for low, high in at)
        return
    assert found[0] <= min(values)
    assert max(values) <= found[1]
    assert LOWEST <= found[0] <= found[1] <= HIGHEST
    if all(low == high for low, high in at):
        assert found == (min(values), max(values))


@pytest.mark.parametrize("op", BINARY, ids=lambda op: op.name)
def test_a_span_holds_every_value(op: Op) -> None:
    @given(ranges(), ranges(AMOUNTS if op in (Op.SHL, Op.SHR) else NUMBERS))
    def holds(a: tuple[int, int], b: tuple[int, int]) -> None:
        moved = b if op is not Op.SHL else (b[0], min(b[1], 80))  # Python would build the numbers
        values = {BINARY[op](x, y) for x, y in product(members(*a), members(*moved))}
        check(Binary(op, Q, K), (a, b), values)

    holds()


@pytest.mark.parametrize("op", UNARY, ids=lambda op: op.name)
def test_a_span_of_one_operand_holds_every_value(op: Op) -> None:
    @given(ranges())
    def holds(a: tuple[int, int]) -> None:
        check(Unary(op, Q), (a,), {UNARY[op](x) for x in members(*a)})

    holds()


@given(ranges(), ranges(), NUMBERS)
def test_a_span_of_a_choice_holds_every_value(a: tuple[int, int], b: tuple[int, int], bound: int) -> None:
    values = {x if x < bound else y for x, y in product(members(*a), members(*b))}
    check(Select(Binary(Op.LT, Q, Const(bound)), Q, K), (a, b), values)


@pytest.mark.parametrize("op", BINARY, ids=lambda op: op.name)
def test_a_part_of_a_box_has_no_more_values_than_the_box(op: Op) -> None:
    """So what was proved of a whole launch holds of every tile, and refinement never meets what the proof did not."""

    @given(ranges(), ranges(AMOUNTS if op in (Op.SHL, Op.SHR) else NUMBERS), st.randoms(use_true_random=False))
    def shrinks(a: tuple[int, int], b: tuple[int, int], chance: random.Random) -> None:
        inner = [sorted((chance.choice(members(*ends)), chance.choice(members(*ends)))) for ends in (a, b)]
        try:
            whole = of(Binary(op, Q, K), a, b)
        except TooWide:
            return
        part = of(Binary(op, Q, K), *((low, high) for low, high in inner))
        if op in (Op.LT, Op.LE, Op.EQ, Op.NE):
            assert all(theirs or not ours for ours, theirs in zip(part, whole, strict=True))
        else:
            assert whole[0] <= part[0] <= part[1] <= whole[1]

    shrinks()


@pytest.mark.parametrize("op", [Op.AND, Op.OR, Op.XOR, Op.EQ, Op.NE, Op.LT, Op.LE], ids=lambda op: op.name)
def test_logic_knows_what_can_be(op: Op) -> None:
    """Each side can be true, false or both: `0 <= q` over [-1, 0], [0, 0] and [-1, -1]."""
    logic = {**BINARY, **LOGIC}[op]
    choices = {(-1, 0): (True, False), (0, 0): (True,), (-1, -1): (False,)}
    condition = Binary(op, *(Binary(Op.LE, Const(0), side) for side in (Q, K)))
    for (a, of_a), (b, of_b) in product(choices.items(), choices.items()):
        where: dict[Expr, Span] = {Q: a_span(a), K: a_span(b)}
        found = spans(condition, where, {})
        wanted = {bool(logic(x, y)) for x, y in product(of_a, of_b)}
        assert {value for value, seen in zip((True, False), (found.low, found.high), strict=True) if np.asarray(seen).all()} == wanted


@given(st.lists(NUMBERS, min_size=1, max_size=5), st.lists(NUMBERS, min_size=1, max_size=5))
def test_many_boxes_at_once_are_each_what_they_are_alone(a: list[int], b: list[int]) -> None:
    size = min(len(a), len(b))
    for op in (Op.ADD, Op.MUL, Op.FLOORDIV, Op.MOD, Op.BITXOR):
        at: dict[Expr, Span] = {Q: Span(*(np.array(a[:size]),) * 2), K: Span(*(np.array(b[:size]),) * 2)}
        wanted = [BINARY[op](x, y) for x, y in zip(a, b, strict=False)]
        if all(LOWEST <= value <= HIGHEST for value in wanted):
            assert spans(Binary(op, Q, K), at, {}).low.tolist() == wanted
        else:
            with pytest.raises(TooWide):
                spans(Binary(op, Q, K), at, {})


@given(st.lists(NUMBERS, min_size=1, max_size=5), st.lists(NUMBERS, min_size=1, max_size=5))
def test_values_are_those_of_python(a: list[int], b: list[int]) -> None:
    """Of arrays as of numbers, and of what leaves 64 bits on the way and comes back."""
    size = min(len(a), len(b))
    for op, by_python in BINARY.items():
        right = [abs(y) % 70 for y in b[:size]] if op in (Op.SHL, Op.SHR) else b[:size]
        wanted = [by_python(x, y) for x, y in zip(a[:size], right, strict=True)]
        assert np.asarray(evaluate(Binary(op, Q, K), {Q: np.array(a[:size]), K: np.array(right)})).tolist() == wanted
        assert int(evaluate(Binary(op, Q, K), {Q: a[0], K: right[0]})) == wanted[0]
    there_and_back = Binary(Op.FLOORDIV, Binary(Op.MUL, Q, Const(2**40)), Const(2**40))
    assert np.asarray(evaluate(there_and_back, {Q: np.array(a)})).tolist() == a


def test_a_shift_by_a_negative_number_is_refused() -> None:
    for op in (Op.SHL, Op.SHR):
        with pytest.raises(MeaninglessShift, match=rf"`q {op.value} k` can shift by -3 positions.*\n  write `x {op.value} max\(k, 0\)`"):
            of(Binary(op, Q, K), (1, 2), (-3, 5))
        with pytest.raises(ValueError, match=r"a shift by -1 positions has no meaning.\n  write a shift by 0 or more"):
            evaluate(Binary(op, Q, K), {Q: np.array([1, 2]), K: np.array([1, -1])})


def test_what_leaves_64_bits_is_refused_by_name() -> None:
    with pytest.raises(
        TooWide, match=r"`q \* k` can be .*2 \*\* 126.*which 64 bits do not hold.\n  write smaller numbers: clamp them first"
    ):
        of(Binary(Op.MUL, Q, K), (0, HIGHEST), (0, HIGHEST))
    with pytest.raises(TooWide, match=r"`q << k` can be .*\n  write a shift that stays below 63, such as `x << min\(k, 62\)`"):
        of(Binary(Op.SHL, Q, K), (1, 1), (0, 2**40))
    with pytest.raises(TooWide, match=r"the constant 9223372036854775808 does not fit in 64 bits.\n  write a number between"):
        of(Binary(Op.LT, Q, Const(2**63)), (0, 1))
    with pytest.raises(TooWide, match=r"`abs\(q\)` can be .*\n  write smaller numbers"):
        of(Unary(Op.ABS, Q), (LOWEST, 0))
    assert of(Binary(Op.SHL, Q, K), (0, 0), (0, 2**40)) == (0, 0)
