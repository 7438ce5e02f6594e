"""Triton text of expressions: what it says, and what it computes in the interpreter, against Python's own arithmetic."""

# Triton comes without types; the lambdas are Python's operators, on values of any type.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownLambdaType=false
from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
import triton.language as tl
from hypothesis import given
from hypothesis import strategies as st
from lacuna.codegen.environment import ENVIRONMENT
from lacuna.codegen.print_triton import bind, define, hoist, names_of
from lacuna.ir.expr import COMPARISONS, FALSE, TRUE, Binary, Const, Expr, Kind, Lookup, Op, Q, S, Select, Symbol, Table, Unary, Var, walk
from lacuna.runtime.triton.interpreter import interpreting
from lacuna.runtime.triton.kernel import Signature, load

K = Var("k")
QUERIES, KEYS = 16, 16
KERNEL = """
import triton
import triton.language as tl

{prelude}

@triton.jit
def evaluated(out, scores, table, table_stride0: "i64", table_size0: "i64", INDEX: tl.constexpr):
    REAL: tl.constexpr = tl.float32
    q = tl.arange(0, 16)[:, None].to(INDEX)
    k = tl.arange(0, 16)[None, :].to(INDEX)
    place = q * 16 + k
    s = tl.load(scores + place)
    {lines}
    tl.store(out + place, tl.broadcast_to({text}, [16, 16]).to(out.dtype.element_ty))
"""
TABLE = Table("t", "i32", 1)
ENTRIES = torch.tensor([5, -3, 0, 7], dtype=torch.int32)
SCORES = torch.linspace(-3, 3, 256).reshape(16, 16)
PYTHON: dict[Op, Callable[..., object]] = {
    Op.ADD: lambda a, b: a + b,
    Op.SUB: lambda a, b: a - b,
    Op.MUL: lambda a, b: a * b,
    Op.MIN: min,
    Op.MAX: max,
    Op.NEG: lambda a: -a,
    Op.ABS: abs,
    Op.FLOORDIV: lambda a, b: a // b if b else 0,
    Op.MOD: lambda a, b: a % b if b else 0,
    Op.BITAND: lambda a, b: a & b,
    Op.BITOR: lambda a, b: a | b,
    Op.BITXOR: lambda a, b: a ^ b,
    Op.SHL: lambda a, b: a << b,
    Op.SHR: lambda a, b: a >> b,
    Op.LT: lambda a, b: a < b,
    Op.LE: lambda a, b: a <= b,
    Op.EQ: lambda a, b: a == b,
    Op.NE: lambda a, b: a != b,
    Op.AND: lambda a, b: a and b,
    Op.OR: lambda a, b: a or b,
    Op.XOR: lambda a, b: a != b,
    Op.NOT: lambda a: not a,
    Op.DIV: lambda a, b: a / b if b else math.copysign(math.inf, a) if a else math.nan,
    Op.POW: lambda a, b: a**b,
    Op.EXP: math.exp,
    Op.EXP2: lambda a: 2.0**a,
    Op.LOG: math.log,
    Op.LOG2: math.log2,
    Op.SQRT: math.sqrt,
    Op.TANH: math.tanh,
    Op.SIN: math.sin,
    Op.COS: math.cos,
    Op.SIGMOID: lambda a: 1 / (1 + math.exp(-a)),
    Op.ERF: math.erf,
    Op.FLOAT: float,
}


def python_value(node: Expr, at: Mapping[str, int | float]) -> object:
    match node:
        case Const(value=value):
            return value
        case Var(name=name):
            return at[name]
        case Lookup(indices=(index,)):
            return int(ENTRIES[min(max(int(str(python_value(index, at))), 0), len(ENTRIES) - 1)])
        case Select(condition=condition, a=a, b=b):
            return python_value(a if python_value(condition, at) else b, at)
        case Unary(op=op, a=a):
            return PYTHON[op](python_value(a, at))
        case Binary(op=op, a=a, b=b):
            return PYTHON[op](python_value(a, at), python_value(b, at))
        case _:
            raise AssertionError(node)


def interpreted(expr: Expr, folder: Path) -> torch.Tensor:
    bound = bind((expr,), names_of((), (TABLE,)), "part")
    prelude = ENVIRONMENT.get_template("triton/prelude.py.jinja").render()
    text = KERNEL.format(prelude=prelude, lines="\n    ".join(bound.lines), text=bound.texts[0]).replace("table_stride", "table_t_stride")
    text = text.replace("table_size", "table_t_size").replace("scores, table,", "scores, table_t,")
    path = folder / "evaluated.py"
    path.write_text(text)
    kernel = load(path, Signature("evaluated", "f32", 16, (), (), 4, 2), interpret=True)
    kinds = {Kind.INT: torch.int64, Kind.BOOL: torch.bool, Kind.FLOAT: torch.float32}
    out = torch.empty(QUERIES, KEYS, dtype=kinds[expr.kind])
    with interpreting():
        kernel.function[(1,)](out, SCORES, ENTRIES, 1, len(ENTRIES), INDEX=tl.int64)
    return out


def expected(expr: Expr) -> np.ndarray:
    return np.array([[python_value(expr, {"q": q, "k": k, "s": float(SCORES[q, k])}) for k in range(KEYS)] for q in range(QUERIES)])


def integers() -> st.SearchStrategy[Expr]:
    leaves = st.one_of(st.sampled_from([Q, K]), st.integers(-9, 9).map(Const), st.sampled_from([16, 2**33, -(2**40)]).map(Const))
    operations = [Op.ADD, Op.SUB, Op.MUL, Op.MIN, Op.MAX, Op.FLOORDIV, Op.MOD, Op.BITAND, Op.BITOR, Op.BITXOR]
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.builds(Binary, st.sampled_from(operations), inner, inner),
            st.builds(Unary, st.sampled_from([Op.NEG, Op.ABS]), inner),
            st.builds(lambda a: Lookup(TABLE, (a,)), inner),
            st.builds(lambda op, a, n: Binary(op, a, Const(n)), st.just(Op.SHR), inner, st.integers(0, 70)),
            st.builds(
                lambda op, a, b, c: Select(Binary(op, a, b), b, c), st.sampled_from(sorted(COMPARISONS, key=str)), inner, inner, inner
            ),
        ),
        max_leaves=8,
    )


def truths() -> st.SearchStrategy[Expr]:
    compared = st.builds(Binary, st.sampled_from(sorted(COMPARISONS, key=str)), integers(), integers())
    joining = [Op.AND, Op.OR, Op.XOR, *sorted(COMPARISONS, key=str)]
    return st.recursive(
        st.one_of(compared, st.sampled_from([TRUE, FALSE])),
        lambda inner: st.one_of(
            st.builds(Binary, st.sampled_from(joining), inner, inner),
            st.builds(lambda a: Unary(Op.NOT, a), inner),
            st.builds(Select, inner, inner, inner),
        ),
        max_leaves=5,
    )


def fits(expr: Expr) -> bool:
    """Whether every intermediate is an int64 with room to spare, as a launch proves."""
    parts = [part for part in walk(expr) if part.kind is Kind.INT]
    values = [python_value(part, {"q": q, "k": k, "s": 0.0}) for part in parts for q in (0, 7, 15) for k in (0, 7, 15)]
    return all(abs(int(str(value))) < 2**61 for value in values)


@given(integers())
def test_integers_come_out_as_in_python(tmp_path_factory: pytest.TempPathFactory, expr: Expr) -> None:
    if fits(expr):
        assert np.array_equal(interpreted(expr, tmp_path_factory.mktemp("text")).numpy(), expected(expr))


@given(truths())
def test_truth_values_come_out_as_in_python(tmp_path_factory: pytest.TempPathFactory, expr: Expr) -> None:
    if fits(expr):
        assert np.array_equal(interpreted(expr, tmp_path_factory.mktemp("text")).numpy(), expected(expr).astype(bool))


POSITIVE = Binary(Op.ADD, Unary(Op.ABS, S), Const(0.25))
REALS: list[Expr] = [
    *(Unary(op, POSITIVE) for op in (Op.LOG, Op.LOG2, Op.SQRT)),
    *(Unary(op, S) for op in (Op.EXP, Op.EXP2, Op.TANH, Op.SIN, Op.COS, Op.SIGMOID, Op.ERF, Op.NEG, Op.ABS)),
    *(Binary(op, S, Const(1.5)) for op in (Op.ADD, Op.SUB, Op.MUL, Op.DIV, Op.MIN, Op.MAX)),
    *(Binary(op, Const(2), S) for op in (Op.ADD, Op.SUB, Op.MUL, Op.DIV, Op.MIN, Op.MAX, Op.POW)),
    *(Binary(Op.POW, S, Const(n)) for n in (0, 1, 2, 3, -3)),
    Binary(Op.POW, POSITIVE, Const(0.3)),
    Binary(Op.DIV, Q, Binary(Op.ADD, K, Const(1))),
    Binary(Op.ADD, Unary(Op.FLOAT, Binary(Op.LT, K, Q)), S),
    Select(Binary(Op.LT, S, Const(0)), Q, S),
    Binary(Op.MUL, Const(0.5), Const(3.0)),
]


@pytest.mark.parametrize("expr", REALS, ids=str)
def test_reals_come_out_as_in_python(tmp_path: Path, expr: Expr) -> None:
    np.testing.assert_allclose(interpreted(expr, tmp_path).numpy(), expected(expr).astype(float), rtol=2e-5, atol=3e-6)


def test_every_operation_has_a_text() -> None:
    for op in Op:
        kind = {Op.AND: TRUE, Op.OR: TRUE, Op.XOR: TRUE, Op.NOT: TRUE}.get(op, Q)
        assert op in PYTHON
        node = Unary(op, kind) if op in UNARY else Binary(op, kind, kind)
        assert bind((node,), names_of((), ()), "part").texts[0]


UNARY = {Op.NEG, Op.ABS, Op.NOT, Op.EXP, Op.EXP2, Op.LOG, Op.LOG2, Op.SQRT, Op.TANH, Op.SIN, Op.COS, Op.SIGMOID, Op.ERF, Op.FLOAT}


@pytest.mark.parametrize("shift", [0, 5, 31, 40, 63, 64, 1000])
def test_shifts_are_right_past_the_width_of_a_number(tmp_path: Path, shift: int) -> None:
    expr = Binary(Op.SHR, Binary(Op.SUB, Q, Const(8)), Const(shift))
    assert np.array_equal(interpreted(expr, tmp_path).numpy(), expected(expr))


def test_a_power_of_two_divides_by_shifting() -> None:
    text = bind((Binary(Op.FLOORDIV, Q, Const(64)), Binary(Op.MOD, Q, Const(64)), Binary(Op.MOD, Q, Const(6))), names_of((), ()), "part")
    assert text.texts == ("q >> 6", "q & 63", "floor_mod(q, 6)")


def test_what_is_read_twice_gets_a_line() -> None:
    distance = Binary(Op.SUB, Q, K)
    mask = Binary(Op.AND, Binary(Op.LE, Const(0), distance), Binary(Op.LT, distance, Symbol("W")))
    bound = bind((mask,), names_of((Symbol("W"),), ()), "tile")
    assert bound.lines == ("tile0 = q - k",)
    assert bound.texts == ("(0 <= tile0) & (tile0 < given_W)",)


def test_what_only_depends_on_the_row_is_taken_out_of_the_loop() -> None:
    doc = Table("doc", "i32", 1)
    same = Binary(Op.EQ, Lookup(doc, (Q,)), Lookup(doc, (K,)))
    definitions, (mask,) = hoist((same,), ("k", "s"))
    lines, names = define(definitions, names_of((), (doc,)))
    assert lines == ("row0 = tl.load(table_doc + clamped(q, table_doc_size0) * table_doc_stride0).to(INDEX)",)
    assert bind((mask,), names, "tile").texts == ("row0 == tl.load(table_doc + clamped(k, table_doc_size0) * table_doc_stride0).to(INDEX)",)


def test_names_of_users_cannot_meet_names_of_the_kernel() -> None:
    names = names_of((Symbol("acc"), Symbol("a.b"), Symbol("a_b"), Symbol("é")), (Table("q", "i32", 1),))
    assert list(names.parameters.values()) == ["given_acc", "given_a_b", "given_a_b__2", "given__"]
    assert list(names.tables.values()) == ["table_q"]


def test_a_sum_of_five_thousand_terms_prints_in_shallow_lines() -> None:
    deep: Expr = Q
    for n in range(5000):
        deep = Binary(Op.ADD, Binary(Op.MUL, deep, Const(3)), Const(n))
    bound = bind((deep,), names_of((), ()), "part")
    assert len(bound.lines) > 300
    assert max(map(len, bound.lines)) < 400
