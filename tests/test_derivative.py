"""Derivatives of scores: against torch's, against differences, and as a person would write them."""

# users write their functions without types, and so do these tests:
# ruff: noqa: ANN001, ANN201
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false
from __future__ import annotations

import math
import os
import random
import subprocess
import sys
import timeit
from collections.abc import Callable, Mapping
from typing import Any

import lacuna
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lacuna.codegen.print_cpp import printed, slots_of
from lacuna.ir.expr import B, Binary, Const, Expr, H, K, Kind, Lookup, Op, Q, S, Select, Symbol, Table, Unary, Var, fold, tables, walk
from lacuna.passes.program import derivative
from lacuna.passes.program.derivative import Derivatives, derivatives
from torch import Tensor

SLOPES, BIAS = Table("slopes", "f32", 1), Table("bias", "f32", 2)
LOOKUPS = (Lookup(SLOPES, (H,)), Lookup(BIAS, (H, Binary(Op.ADD, Binary(Op.SUB, Q, K), Const(7)))), Lookup(SLOPES, (B,)))
REAL_UNARY = (Op.EXP, Op.EXP2, Op.LOG, Op.LOG2, Op.SQRT, Op.TANH, Op.SIN, Op.COS, Op.SIGMOID, Op.ERF, Op.NEG, Op.ABS)
REAL_BINARY = (Op.ADD, Op.SUB, Op.MUL, Op.DIV, Op.MIN, Op.MAX, Op.POW)


# -- values, by a table of torch functions of this file's own ----------------------------------------------------------

FUNCTIONS: dict[Op, Callable[..., Tensor]] = {
    **{op: getattr(torch, op.value) for op in REAL_UNARY if op not in (Op.NEG,)},
    Op.NEG: torch.neg,
    Op.ADD: torch.add,
    Op.SUB: torch.sub,
    Op.MUL: torch.mul,
    Op.DIV: torch.div,
    Op.MIN: torch.minimum,
    Op.MAX: torch.maximum,
    Op.POW: torch.pow,
    Op.FLOORDIV: lambda a, b: torch.div(a, b, rounding_mode="floor"),
    Op.MOD: torch.remainder,
    Op.FLOAT: lambda a: a.double(),
    Op.LT: torch.lt,
    Op.LE: torch.le,
    Op.EQ: torch.eq,
    Op.NE: torch.ne,
    Op.AND: torch.logical_and,
    Op.NOT: torch.logical_not,
}


def value(expr: Expr, at: Mapping[Expr, Tensor]) -> Tensor:
    def visit(node: Expr, parts: tuple[Tensor, ...]) -> Tensor:
        if node in at:
            return at[node]
        if isinstance(node, Const):
            return torch.tensor(node.value, dtype=torch.float64 if node.kind is Kind.FLOAT else None)
        if isinstance(node, Select):
            return torch.where(*parts)
        assert isinstance(node, Unary | Binary), f"{node} has no value here"
        return FUNCTIONS[node.op](*parts)

    return fold(expr, visit)


def places(seed: int, count: int = 40) -> dict[Expr, Tensor]:
    """Values of everything that a random score reads, `count` of each."""
    torch.manual_seed(seed)
    found: dict[Expr, Tensor] = {each: torch.randint(0, 6, (count,)) for each in (Q, K, B, H, Symbol("n"))}
    special = torch.tensor([0.0, 1.0, -1.0, 2.0, 0.5])
    for each in (S, Symbol("cap", Kind.FLOAT), *LOOKUPS):
        found[each] = torch.where(torch.rand(count) < 0.3, special[torch.randint(0, 5, (count,))], 2 * torch.randn(count)).double()
    return found


def torch_gradients(score: Expr, by: tuple[Expr, ...], at: Mapping[Expr, Tensor]) -> list[Tensor]:
    moving = {each: at[each].clone().requires_grad_() for each in by}
    total = value(score, {**at, **moving}).expand_as(at[S]).sum()
    if not total.requires_grad:
        return [torch.zeros_like(at[S]) for _ in by]
    return list(torch.autograd.grad(total, list(moving.values()), allow_unused=True, materialize_grads=True))


def assert_as_torch(score: Expr, at: Mapping[Expr, Tensor]) -> int:
    """Everywhere where torch's gradient is a number and no part of the score is infinite; how many places those are."""
    found = derivatives(score)
    parts = torch.stack([value(part, at).double().expand_as(at[S]) for part in walk(score) if part.kind is Kind.FLOAT])
    expected = torch_gradients(score, (S, *(lookup for lookup, _ in found.by_lookup)), at)
    compared = 0
    for (by, derived), theirs in zip(((S, found.by_score), *found.by_lookup), expected, strict=True):
        ours = value(derived, at).expand_as(theirs)
        counts = theirs.isfinite() & (theirs.abs() < 1e12) & parts.isfinite().all(0)
        compared += int(counts.sum())
        off, scale = (ours - theirs).abs()[counts], (1e-7 * theirs.abs() + 1e-9 * (1 + parts[-1].abs()))[counts]  # terms may cancel
        assert bool((off <= scale).all()), f"{score} by {by}: {derived} is off by {off.max():.3g}"
    return compared


# -- random scores ----------------------------------------------------------------------------------------------------


def random_score(seed: int) -> Expr:
    choose = random.Random(seed)

    def real(depth: int) -> Expr:
        if depth == 0:
            return choose.choice((S, S, S, *LOOKUPS, Symbol("cap", Kind.FLOAT), Const(choose.choice((0.5, 2.0, -3.0))), integer()))
        shape = choose.randrange(5)
        if shape == 0:
            return Select(condition(depth - 1), real(depth - 1), real(depth - 1))
        if shape < 3:
            return Unary(choose.choice(REAL_UNARY), real(depth - 1))
        return Binary(choose.choice(REAL_BINARY), real(depth - 1), real(choose.randrange(depth)))

    def integer() -> Expr:
        return Unary(Op.FLOAT, choose.choice((Q, Binary(Op.SUB, Q, K), Binary(Op.MOD, Q, Const(3)), Symbol("n"))))

    def condition(depth: int) -> Expr:
        return choose.choice((Binary(Op.LT, K, Q), Binary(Op.LE, real(depth), Const(0.5)), Binary(Op.EQ, Q, Const(2))))

    return real(choose.randrange(1, 5))


@given(st.integers(0, 10**6))
def test_random_scores_move_as_torch_says(seed: int) -> None:
    assert_as_torch(random_score(seed), places(seed))


def test_random_scores_are_compared_where_it_counts() -> None:
    compared = [assert_as_torch(random_score(seed), places(seed)) for seed in range(60)]
    assert sum(each > 0 for each in compared) > 50  # a score such as log(-s * s) has no gradient to compare


@pytest.mark.parametrize("op", [*REAL_UNARY, *REAL_BINARY], ids=lambda op: op.name.lower())
def test_every_operation_follows_torch_also_at_its_kinks(op: Op) -> None:
    kinks = torch.tensor([0.0, 1.0, -1.0, 2.0, 0.5, -0.5]).double()
    grid = torch.cartesian_prod(kinks, kinks)
    at: dict[Expr, Tensor] = {S: grid[:, 0], LOOKUPS[0]: grid[:, 1], H: torch.zeros(36).long()}
    if op in REAL_UNARY:
        assert assert_as_torch(Unary(op, S), at) > 10
        return
    assert assert_as_torch(Binary(op, S, LOOKUPS[0]), at) > 30
    assert assert_as_torch(Binary(op, S, S), at) > 10
    for constant in kinks.tolist():
        assert assert_as_torch(Binary(op, S, Const(constant)), at) + assert_as_torch(Binary(op, Const(constant), S), at) > 10


# -- the common ones --------------------------------------------------------------------------------------------------


@lacuna.score
def alibi(s, h, q, k, *, slopes):
    return s + slopes[h] * (k - q)


@lacuna.score
def soft_cap(s, *, cap):
    return cap * lacuna.tanh(s / cap)


@lacuna.score
def relative(s, h, q, k, *, bias):
    return s + bias[h, q - k + 7]


@lacuna.score
def per_head(s, h, *, slopes):
    return slopes[h] * s


@lacuna.score
def t5(s, h, q, k, *, bias):
    distance = max(q - k, 0)
    return s + bias[h, distance if distance < 4 else 4 + min((distance - 4) // 2, 3)]


@lacuna.score
def gated(s, h, *, slopes):
    return s * lacuna.sigmoid(slopes[h] * s)


@lacuna.score
def clipped(s, *, cap):
    return min(max(s, -cap), cap)


@lacuna.score
def softened(s):
    return s / (1 + abs(s))


@lacuna.score
def capped_alibi(s, h, q, k, *, slopes, cap):
    return cap * lacuna.tanh((s + slopes[h] * (k - q)) / cap)


SLOPES_OF_HEADS, BIASES = torch.ones(6), torch.ones(6, 20)
DISTANCE = "float(k - q)"
TANH = "tanh((s + slopes[h] * float(k - q)) / cap)"
COMMON = [
    (alibi(slopes=SLOPES_OF_HEADS), "1.0", [DISTANCE]),
    (soft_cap(cap=2.5), "1.0 - tanh(s / cap) * tanh(s / cap)", []),
    (relative(bias=BIASES), "1.0", ["1.0"]),
    (per_head(slopes=SLOPES_OF_HEADS), "slopes[h]", ["s"]),
    (t5(bias=BIASES), "1.0", ["1.0"]),
    (
        gated(slopes=SLOPES_OF_HEADS),
        "sigmoid(slopes[h] * s) + slopes[h] * s * sigmoid(slopes[h] * s) * (1.0 - sigmoid(slopes[h] * s))",
        ["sigmoid(slopes[h] * s) * (s * s) * (1.0 - sigmoid(slopes[h] * s))"],
    ),
    (capped_alibi(slopes=SLOPES_OF_HEADS, cap=2.0), f"1.0 - {TANH} * {TANH}", [f"{DISTANCE} * (1.0 - {TANH} * {TANH})"]),
]


@pytest.mark.parametrize(("score", "by_score", "by_lookup"), COMMON, ids=lambda each: getattr(each, "name", ""))
def test_common_scores_have_the_derivatives_a_person_would_write(score: Any, by_score: str, by_lookup: list[str]) -> None:  # noqa: ANN401
    found = derivatives(score.expr)
    assert str(found.by_score) == by_score
    assert [str(by) for _, by in found.by_lookup] == by_lookup
    assert [lookup.table for lookup, _ in found.by_lookup] == list(tables(score.expr))


@pytest.mark.parametrize("score", [score for score, _, _ in COMMON] + [clipped(cap=1.5), softened], ids=repr)
def test_common_scores_move_as_differences_say(score: Any) -> None:  # noqa: ANN401
    at = places(3)
    at[S] = torch.randn(40).double() * 3
    at |= {Symbol("cap", Kind.FLOAT): torch.full((40,), 1.5).double()}
    found = derivatives(score.expr)
    at |= {lookup: torch.randn(40).double() for lookup, _ in found.by_lookup}
    step = 1e-6
    for by, derived in ((S, found.by_score), *found.by_lookup):
        high, low = (value(score.expr, {**at, by: at[by] + side}) for side in (step, -step))
        torch.testing.assert_close(value(derived, at).expand(40), (high - low).expand(40) / (2 * step), rtol=1e-6, atol=1e-7)


def test_scores_that_do_not_read_s_are_constants_of_it() -> None:
    assert derivatives(Unary(Op.FLOAT, Binary(Op.SUB, Q, K))) == Derivatives(Const(0.0), ())
    assert derivatives(Const(-math.inf)) == Derivatives(Const(0.0), ())
    assert derivatives(LOOKUPS[0]) == Derivatives(Const(0.0), ((LOOKUPS[0], Const(1.0)),))
    assert derivatives(S) == Derivatives(Const(1.0), ())


def test_what_only_decides_does_not_move() -> None:
    score = Select(Binary(Op.LT, Const(0.0), LOOKUPS[0]), S, Const(-math.inf))
    found = derivatives(score)
    assert str(found.by_score) == "where(0.0 < slopes[h], 1.0, 0.0)"
    assert found.by_lookup == ((LOOKUPS[0], Const(0.0)),)


def test_an_infinite_slope_of_the_side_not_chosen_does_not_leak() -> None:
    """As torch's does: its zero times infinity is not a number."""
    score = Select(Binary(Op.LT, Const(0.0), S), Unary(Op.SQRT, S), Const(0.0))
    at: dict[Expr, Tensor] = {S: torch.tensor([0.0, -1.0, 4.0]).double()}
    assert torch_gradients(score, (S,), at)[0].isnan().any()
    assert value(derivatives(score).by_score, at).tolist() == [0.0, 0.0, 0.25]


def test_an_infinite_slope_times_a_side_that_does_not_move_does_not_leak() -> None:
    held = Binary(Op.MIN, S, Const(2.0))
    score = Binary(Op.POW, Const(-3.0), held)
    at: dict[Expr, Tensor] = {S: torch.tensor([5.0, 7.0]).double()}
    assert value(score, at).tolist() == [9.0, 9.0]
    assert value(derivatives(score).by_score, at).tolist() == [0.0, 0.0]


def test_slopes_that_are_no_numbers_say_so() -> None:
    for score in (Binary(Op.DIV, S, Const(0.0)), Binary(Op.MUL, S, Const(math.nan))):
        slope = value(derivatives(score).by_score, {S: torch.ones(1).double()})
        assert not slope.isfinite().any()


@pytest.mark.parametrize("exponent", [2, 3, 7, 16])
def test_derivatives_of_powers_are_products(exponent: int) -> None:
    score = lacuna.score(lambda s: s**exponent).expr
    derived = derivatives(score).by_score
    assert "**" not in str(derived)
    assert float(value(derived, {S: torch.tensor(1.5).double()})) == pytest.approx(exponent * 1.5 ** (exponent - 1))


def test_a_root_of_a_square_moves_as_an_absolute_value_does() -> None:
    score = Binary(Op.POW, Binary(Op.MUL, S, S), Const(0.5))
    assert assert_as_torch(score, {S: torch.tensor([-2.0, 3.0]).double()}) == 2


def test_parts_of_the_score_are_the_same_nodes_in_its_derivative_and_printed_once() -> None:
    score = capped_alibi(slopes=SLOPES_OF_HEADS, cap=2.0).expr
    tanh = score.b  # pyright: ignore[reportAttributeAccessIssue]  (the score is a product)
    found = derivatives(score)
    square = found.by_score.b  # pyright: ignore[reportAttributeAccessIssue]
    assert square.a is square.b is tanh
    assert found.by_lookup[0][1].b is found.by_score  # pyright: ignore[reportAttributeAccessIssue]
    text = printed(found.by_lookup[0][1], slots_of([Symbol("cap", Kind.FLOAT)], tables(score)))
    assert "\n".join([*text.lines, text.value]).count("hyperbolic_tangent") == 1


def test_the_same_derivative_is_written_in_every_process() -> None:
    program = (
        "import test_derivative as t; from lacuna.passes.program.derivative import derivatives;"
        "print([str(derivatives(score.expr)) for score, _, _ in t.COMMON], [str(derivatives(t.random_score(n))) for n in range(12)])"
    )
    seeds = [{**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)} for seed in "12"]
    ran = [subprocess.Popen([sys.executable, "-c", program], env=seed, stdout=subprocess.PIPE, text=True) for seed in seeds]
    texts = [each.communicate()[0] for each in ran]
    assert texts[0] == texts[1] != ""


def test_common_scores_are_derived_in_less_than_a_tenth_of_a_second() -> None:
    for score, _, _ in COMMON:
        assert min(timeit.repeat(lambda: derivatives(score.expr), number=1, repeat=3)) < 0.1, score  # noqa: B023 (called at once)


def test_an_operation_without_a_derivative_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(derivative.FUNCTIONS, Op.ERF)
    with pytest.raises(NotImplementedError, match=r"`erf` in the score `erf\(s\)` has no derivative\n  write it with other functions"):
        derivatives(Binary(Op.MUL, Const(2.0), Unary(Op.ERF, S)))
    assert derivatives(Unary(Op.FLOAT, Var("q"))).by_score is Const(0.0)
