"""Scores: tracing, typing, composition, and their programs beside a pattern's."""

# users write their functions without types, and so do these tests:
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false, reportUnknownMemberType=false

from __future__ import annotations

import math
import pickle
from collections.abc import Callable

import pytest
import torch
from lacuna.ir.expr import S, Table
from lacuna.ir.functions import cos, erf, exp, exp2, log, log2, maximum, sigmoid, sin, sqrt, tanh, where
from lacuna.ir.pattern import pattern
from lacuna.ir.score import Score, combined, score
from lacuna.ir.trace import Traced, TracedTable
from lacuna.ir.verify import verify
from lacuna.passes.program.flatten_grid import FlattenGrid


@score
def alibi(s: Traced, h: Traced, q: Traced, k: Traced, *, slopes: TracedTable) -> Traced:
    return s + slopes[h] * (k - q)


@score
def capped(s: Traced, *, cap: float) -> object:
    return cap * tanh(s / cap)


@pattern
def window(q: Traced, k: Traced, *, cap: int) -> Traced:
    return q - k < cap


SLOPES = torch.ones(4)


def text(function: Callable[..., object], **bindings: object) -> str:
    made = score(function)(**bindings)
    verify(made.program)
    return str(made.expr)


def test_a_score_has_an_expression_and_declarations() -> None:
    made = alibi(slopes=SLOPES)
    assert str(made.expr) == "s + slopes[h] * float(k - q)"
    assert made.tables == (Table("slopes", "f32", 1),)
    assert made.parameters == ()
    assert made.bindings["slopes"] is SLOPES


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda s: s, "s"),
        (lambda s: s * 2 - 1, "s * 2.0 - 1.0"),
        (lambda s, q: s + q, "s + float(q)"),
        (lambda s, q, k: s + (q - k) / 4, "s + float(q - k) / 4.0"),
        (lambda q, k: q - k, "float(q - k)"),
        (lambda: 1, "1.0"),
        (lambda s: s**2, "s * s"),
        (lambda s: s**0.5, "s ** 0.5"),
        (lambda s: 2**s, "2.0 ** s"),
        (lambda s: s**-1, "s ** -1.0"),
        (lambda s, q: where(q < 3, s, 0), "where(q < 3, s, 0.0)"),
        (lambda s, q: s if q < 3 else s - 1, "where(q < 3, s, s - 1.0)"),
        (lambda s, q: maximum(s, q), "max(s, float(q))"),
        (lambda s: max(s, 0), "max(s, 0.0)"),
        (lambda s: -abs(s), "-abs(s)"),
        (lambda s, q: s * float(q), "s * float(q)"),
        (lambda s, k: s + exp(k), "s + exp(float(k))"),
        (lambda s: s * exp(0), "s * 1.0"),
        (lambda s: sigmoid(erf(sqrt(log(s)))), "sigmoid(erf(sqrt(log(s))))"),
        (lambda s: sin(cos(exp2(log2(s)))), "sin(cos(exp2(log2(s))))"),
        (lambda s: where(s < 0.5, -math.inf, s), "where(s < 0.5, -inf, s)"),
    ],
)
def test_integers_become_real_where_they_meet_reals(function: Callable[..., object], expected: str) -> None:
    assert text(function) == expected


def test_numbers_bind_as_symbols_of_their_type() -> None:
    assert str(capped(cap=30.0).expr) == "cap * tanh(s / cap)"
    assert str(capped(cap=30).expr) == "float(cap) * tanh(s / float(cap))"
    assert capped(cap=30.0).program is capped(cap=20.0).program


def test_functions_of_plain_numbers_are_plain_numbers() -> None:
    assert exp(0.0) == 1.0
    assert sigmoid(0.0) == 0.5
    assert log2(8) == 3.0


def test_scores_compose_in_order() -> None:
    made = alibi(slopes=SLOPES).then(capped(cap=9.0))
    assert str(made.expr) == "cap * tanh((s + slopes[h] * float(k - q)) / cap)"
    assert dict(made.bindings) == {"cap": 9.0, "slopes": SLOPES}


def test_parameters_of_composed_scores_that_collide_get_numbers() -> None:
    made = capped(cap=2.0).then(capped(cap=3.0))
    assert str(made.expr) == "cap_2 * tanh(cap * tanh(s / cap) / cap_2)"
    assert dict(made.bindings) == {"cap": 2.0, "cap_2": 3.0}
    same = capped(cap=2.0)
    assert str(same.then(same).expr) == "cap * tanh(cap * tanh(s / cap) / cap)"


def test_a_pattern_and_a_score_are_one_program(golden: Callable[[str, str], None]) -> None:
    program, bindings = combined(window(cap=5), alibi(slopes=SLOPES).then(capped(cap=2.0)))
    verify(program)
    golden("pattern-and-score.text", str(program))
    assert bindings == {"cap": 5, "cap_2": 2.0, "slopes": SLOPES}
    assert list(bindings) == ["cap", "cap_2", "slopes"]


def test_without_a_score_the_pattern_is_the_program() -> None:
    program, bindings = combined(window(cap=5), None)
    assert program is window(cap=7).program
    assert program.score is S
    assert bindings == {"cap": 5}


def test_a_flat_score_joins_a_grid_row_major() -> None:
    near = pattern(rank=2)(lambda q, k: q[0] == k[0])
    program, _ = combined(near.on(4, 6), alibi(slopes=SLOPES))
    assert str(program.score) == "s + slopes[h] * float(k0 * 6 + k1 - (q0 * 6 + q1))"
    verify(program)


@pytest.mark.parametrize("extents", [(4, 6), (3, 1, 5)])
def test_a_flat_score_on_a_grid_reads_at_flat_positions_again(extents: tuple[int, ...]) -> None:
    """Neither quotients nor remainders are left, so that a table of as many entries as there are tokens is seen to cover them."""
    near = pattern(rank=len(extents))(lambda q, k: q[0] == k[0])
    program, _ = combined(near.on(*extents), alibi(slopes=SLOPES))
    assert str(FlattenGrid()(program).score) == "s + slopes[h] * float(k - q)"


def test_a_score_of_a_grid_takes_coordinates() -> None:
    far = score(rank=2)(lambda s, q, k: s - abs(q[0] - k[0]))
    program, _ = combined(pattern(rank=2)(lambda q, k: q[1] == k[1]).on(4, 6), far)
    assert str(program.score) == "s - float(abs(q0 - k0))"
    with pytest.raises(TypeError, match=r"is on a grid of rank 2.*\n  write a pattern with the same `rank=`"):
        combined(window(cap=3), far)


def test_bound_scores_hash_and_pickle() -> None:
    made = capped(cap=3.0)
    assert pickle.loads(pickle.dumps(made)) == made == capped(cap=3.0)
    assert hash(made) == hash(capped(cap=3.0))
    assert repr(made) == "capped(cap=3.0)"
    assert pickle.loads(pickle.dumps(capped)) is capped
    assert type(pickle.loads(pickle.dumps(made))) is Score


@pytest.mark.parametrize(
    ("action", "complaint", "fix"),
    [
        (lambda: capped.expr, "`capped` is used before `cap` is bound", "`capped(cap=...)`"),
        (lambda: combined(window, None), "`window` is used before `cap` is bound", "`window(cap=...)`"),
        (lambda: combined(window(cap=3), capped), "`capped` is used before `cap` is bound", "`capped(cap=...)`"),
        (
            lambda: score(lambda s, q, k: q < k).program,
            "the truth value `q < k`",
            "`lacuna.where(q < k, s, 0.0)`; masks are patterns",
        ),
        (lambda: score(lambda s: None).program, "returns nothing", "a number, such as `return s`"),
        (lambda: score(lambda s, q: s // 2).program, "`//` between the reals `s` and `2.0`", "it on integers, before they meet reals"),
        (lambda: score(lambda s, q: math.exp(s)).program, "`float()` of the expression `s`", "`lacuna.exp`, `lacuna.sqrt` ... instead of"),
        (
            lambda: score(lambda s, cap: s * cap),
            "`cap`, which is none of the positions s, b, h, q, k",
            "`def f(s, b, h, q, k, *, cap)`",
        ),
        (lambda: capped(cap=1.0).then(window), "which is no score", "`@lacuna.score` above the function"),
        (lambda: score(rank=2)(lambda s: s).then(capped(cap=1.0)), "have different ranks", "both with the same `rank=`"),
        (lambda: score(rank=-1), "a score of rank -1", "`rank=1` for flat positions"),
    ],
)
def test_mistakes_with_scores_are_answered_with_the_fix(action: Callable[[], object], complaint: str, fix: str) -> None:
    with pytest.raises((TypeError, ValueError)) as raised:
        action()
    what, write = str(raised.value).split("\n  write ")
    assert complaint in what
    assert fix in write
