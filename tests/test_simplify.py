"""`simplify` keeps the value of what it folds, and makes nothing that the verifier refuses."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lacuna.ir.expr import ZERO, Binary, Const, Expr, K, Op, Q, walk
from lacuna.ir.expr_text import show
from lacuna.ir.parse import parse_expression, parse_program
from lacuna.passes.program.canonicalise import simplified
from lacuna.passes.program.evaluate import evaluate
from lacuna.passes.program.pipeline import run
from lacuna.passes.schedules.registry import named_passes

OPS = (Op.ADD, Op.SUB, Op.MUL, Op.FLOORDIV, Op.MOD, Op.MIN, Op.MAX)
LEAVES = st.sampled_from([Q, K, *map(Const, range(-2, 4))])
INTEGERS: st.SearchStrategy[Expr] = st.recursive(LEAVES, lambda parts: st.builds(Binary, st.sampled_from(OPS), parts, parts), max_leaves=12)


@given(INTEGERS)
def test_an_expression_keeps_its_value_divisions_by_zero_included(expr: Expr) -> None:
    folded = simplified(expr)
    for q, k in product(range(4), range(4)):
        assert int(evaluate(folded, {Q: q, K: k})) == int(evaluate(expr, {Q: q, K: k}))
    assert not [node for node in walk(folded) if isinstance(node, Binary) and node.op in (Op.FLOORDIV, Op.MOD) and node.b is ZERO]


@pytest.mark.parametrize(
    ("before", "after"), [("q // (k - k)", "0"), ("q % (k - k)", "0"), ("q // (k - k + 1)", "q"), ("q * (3 // 2)", "q")]
)
def test_what_is_seen_to_be_a_constant_is_folded(before: str, after: str) -> None:
    assert show(simplified(parse_expression(before))) == after


def test_a_divisor_that_turns_out_to_be_zero_breaks_no_pass() -> None:
    program = parse_program("program @p(q < Lq, k < Lk) { mask = q // (k - k) <= k score = s normalise = softmax }")
    assert "mask = 0 <= k\n" in str(run(program, named_passes(["simplify"])))
