"""The textual form: what is printed reads back as the same object, and nothing else can be read."""

from __future__ import annotations

import contextlib
import math
import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lacuna.ir.expr import (
    COMPARISONS,
    FALSE,
    INTEGER,
    LOGIC,
    REAL,
    TRUE,
    Binary,
    Const,
    Expr,
    H,
    I,
    J,
    K,
    Kind,
    Lookup,
    Op,
    Q,
    S,
    Select,
    Symbol,
    Table,
    Unary,
    Var,
)
from lacuna.ir.expr_text import show
from lacuna.ir.parse import parse_expression, parse_program, parse_schedule
from lacuna.ir.program import InvalidProgram, Program, Space
from lacuna.ir.schedule import Counters, Piece, Schedule, Term
from lacuna.ir.text import show_program, show_schedule

W, SLOPE = Symbol("W"), Symbol("slope", Kind.FLOAT)
DOC, ALLOWED, BIAS = Table("doc", "i32", 1), Table("allowed", "bool", 2), Table("bias", "bf16", 2)
UNARY_REAL = tuple(sorted(REAL - {Op.DIV, Op.POW}, key=str))
ORDERED = tuple(sorted(COMPARISONS, key=str))
INTEGER_OPS = (*sorted(INTEGER, key=str), Op.ADD, Op.SUB, Op.MUL, Op.MIN, Op.MAX)
REAL_OPS = (Op.ADD, Op.SUB, Op.MUL, Op.DIV, Op.POW, Op.MIN, Op.MAX)


INTEGERS: st.SearchStrategy[Expr] = st.deferred(
    lambda: st.one_of(
        st.sampled_from([Q, K, H, I, J, Var("q0"), Var("k11"), W, Symbol("Lq"), Symbol("offset")]),
        st.integers(-(10**30), 10**30).map(Const),
        st.builds(Lookup, st.just(DOC), st.tuples(INTEGERS)),
        st.builds(Unary, st.sampled_from([Op.NEG, Op.ABS]), INTEGERS),
        st.builds(Binary, st.sampled_from(INTEGER_OPS), INTEGERS, INTEGERS),
        st.builds(Select, TRUTHS, INTEGERS, INTEGERS),
    )
)
REALS: st.SearchStrategy[Expr] = st.deferred(
    lambda: st.one_of(
        st.sampled_from([S, SLOPE, Const(math.inf), Const(-math.inf), Const(math.nan), Const(-0.0)]),
        st.floats().map(Const),
        st.builds(Lookup, st.just(BIAS), st.tuples(INTEGERS, INTEGERS)),
        st.one_of(INTEGERS, TRUTHS).map(lambda part: Unary(Op.FLOAT, part)),
        st.builds(Unary, st.sampled_from([Op.NEG, Op.ABS, *UNARY_REAL]), REALS),
        st.builds(Binary, st.sampled_from(REAL_OPS), REALS, st.one_of(REALS, INTEGERS)),
        st.builds(Select, TRUTHS, REALS, REALS),
    )
)
TRUTHS: st.SearchStrategy[Expr] = st.deferred(
    lambda: st.one_of(
        st.sampled_from([TRUE, FALSE]),
        st.builds(Lookup, st.just(ALLOWED), st.tuples(INTEGERS, INTEGERS)),
        st.builds(Binary, st.sampled_from(ORDERED), INTEGERS, INTEGERS),
        st.builds(Binary, st.sampled_from(ORDERED), REALS, REALS),
        st.builds(Binary, st.sampled_from([Op.EQ, Op.LE]), TRUTHS, TRUTHS),
        st.builds(Binary, st.sampled_from(sorted(LOGIC - {Op.NOT}, key=str)), TRUTHS, TRUTHS),
        TRUTHS.map(lambda part: Unary(Op.NOT, part)),
        st.builds(Select, TRUTHS, TRUTHS, TRUTHS),
    )
)


def read(text: str) -> Expr:
    return parse_expression(text, [W, SLOPE], [DOC, ALLOWED, BIAS])


@given(st.one_of(INTEGERS, REALS, TRUTHS))
def test_what_is_shown_reads_back_as_the_same_object(expr: Expr) -> None:
    assert read(show(expr)) is expr


@given(INTEGERS)
def test_what_is_shown_means_the_same_to_python(expr: Expr) -> None:
    """Precedence is Python's own: its parser groups integer arithmetic as ours does."""
    text = show(expr)
    if any(word in text for word in ("where", "/", "%", "<<", ">>", "and", "or", "not", "xor", "[")) or len(text) > 300:
        return
    names = {"q": 5, "k": -3, "h": 2, "i": 7, "j": -11, "q0": 13, "k11": 17, "W": -19, "Lq": 23, "offset": 29}
    assert eval(text, {"min": min, "max": max, "abs": abs}, names) == value_of(expr, names)


def value_of(expr: Expr, names: dict[str, int]) -> int:
    operators: dict[Op, Callable[[int, int], int]] = {
        Op.ADD: lambda a, b: a + b,
        Op.SUB: lambda a, b: a - b,
        Op.MUL: lambda a, b: a * b,
        Op.MIN: min,
        Op.MAX: max,
        Op.BITAND: lambda a, b: a & b,
        Op.BITOR: lambda a, b: a | b,
        Op.BITXOR: lambda a, b: a ^ b,
    }
    match expr:
        case Const(value=value):
            return int(value)
        case Var(name=name) | Symbol(name=name):
            return names[name]
        case Unary(op=op, a=a):
            return -value_of(a, names) if op is Op.NEG else abs(value_of(a, names))
        case Binary(op=op, a=a, b=b):
            return operators[op](value_of(a, names), value_of(b, names))
        case _:
            raise AssertionError(expr)


@pytest.mark.parametrize(
    ("expr", "text"),
    [
        (Binary(Op.SUB, Q, Binary(Op.SUB, K, Q)), "q - (k - q)"),
        (Binary(Op.SUB, Binary(Op.SUB, Q, K), Q), "q - k - q"),
        (Binary(Op.MUL, Binary(Op.ADD, Q, K), Const(-2)), "(q + k) * -2"),
        (Unary(Op.NEG, Const(3)), "-(3)"),
        (Const(-3), "-3"),
        (Unary(Op.NEG, Unary(Op.NEG, Q)), "--q"),
        (Binary(Op.POW, Const(-3.0), Const(2.0)), "(-3.0) ** 2.0"),
        (Unary(Op.NEG, Binary(Op.POW, Const(3.0), Const(-2.0))), "-3.0 ** -2.0"),
        (Unary(Op.NOT, Binary(Op.EQ, Q, K)), "not q == k"),
        (Binary(Op.EQ, Binary(Op.EQ, Q, K), Binary(Op.LE, K, Const(3))), "(q == k) == (k <= 3)"),
        (Binary(Op.AND, Unary(Op.NOT, TRUE), Binary(Op.OR, TRUE, FALSE)), "not true and (true or false)"),
        (Binary(Op.XOR, TRUE, FALSE), "true xor false"),
        (Binary(Op.BITAND, Q, Binary(Op.BITOR, K, Const(1))), "q & (k | 1)"),
        (Select(Binary(Op.LT, Q, K), Lookup(DOC, (Q,)), Const(0)), "where(q < k, doc[q], 0)"),
        (Binary(Op.MIN, Q, Unary(Op.ABS, K)), "min(q, abs(k))"),
        (Const(1.0), "1.0"),
        (Const(1), "1"),
        (Const(True), "true"),
        (Const(math.nan), "nan"),
        (Const(-0.0), "-0.0"),
    ],
    ids=str,
)
def test_parentheses_stand_where_they_are_needed(expr: Expr, text: str) -> None:
    assert show(expr) == text
    assert read(text) is expr


def test_greater_is_read_as_less_with_the_sides_exchanged() -> None:
    assert read("q > k") is read("k < q")
    assert read("q >= k") is read("k <= q")


def test_twenty_thousand_nested_operations_print_and_parse() -> None:
    expr: Expr = Q
    for _ in range(20_000):
        expr = Binary(Op.SUB, K, expr)
    assert read(show(expr)) is expr
    assert read("(" * 20_000 + "q" + ")" * 20_000) is Q


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("q <", "line 1, column 4: expected a value, found `the end`"),
        ("(q", "line 1, column 3: expected `)`, found `the end`"),
        ("q)", "line 1, column 2: expected an operator, found `)`"),
        ("doc[q)", "line 1, column 6: expected `]`, found `)`"),
        ("min(q)", "line 1, column 1: `min` takes 2 values, found 1"),
        ("q < k < 3", "line 1, column 7: comparisons do not chain; write `a < b and b < c`"),
        ("window", "line 1, column 1: unknown name `window`; declare it"),
        ("table[q]", "line 1, column 1: no table `table` is declared"),
        ("doc[q, k]", "line 1, column 1: table `doc` has rank 1 and is read with 2 indices"),
        ("q +\n  $", "line 2, column 3: unexpected character '$'"),
        ("1e999", "line 1, column 1: `1e999` is too large; write `inf`"),
        ("9" * 401, "line 1, column 1: a number of more than 400 digits"),
        ("q and k", "line 1, column 3: `and` needs truth values on both sides"),
        ("q + not q < k", "line 1, column 5: `not` binds more loosely"),
        ("where(q, 1, 2)", "line 1, column 1: the condition of a selection must be a truth value"),
        ("(q, k)", "line 1, column 3: expected `)`, found `,`"),
        ("", "line 1, column 1: expected a value, found `the end`"),
        ("min(q, )", "line 1, column 8: expected a value, found `)`"),
    ],
)
def test_malformed_expressions_are_refused_where_they_go_wrong(text: str, complaint: str) -> None:
    with pytest.raises(InvalidProgram) as refused:
        read(text)
    assert complaint in str(refused.value)


PROGRAM = """\
program @window(q < Lq, k < Lk; W: i64, slope: f64, doc: i32[*], seg: i32[*] monotone, bias: f32[*, *]) {
  mask = k <= q and q - k < W and doc[q] == doc[k] and seg[q] == seg[k]
  score = s + slope * bias[h, q - k]
  normalise = softmax
}
"""


def test_a_program_prints_as_it_was_read() -> None:
    program = parse_program(PROGRAM)
    assert show_program(program) == str(program) == PROGRAM
    assert parse_program(str(program)) == program
    assert program.parameters == (Symbol("W"), Symbol("slope", Kind.FLOAT))
    assert program.tables[1] == Table("seg", "i32", 1, monotone=True)


@pytest.mark.parametrize("space", [Space(2, (64, 48)), Space(3), Space(1, (5,))])
def test_grids_are_part_of_the_text(space: Space) -> None:
    program = Program("near", Binary(Op.LE, Var("q0"), Var("k0")), space=space)
    assert parse_program(str(program)) == program


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("doc: i32[*]", "W: i32[*]", "line 1, column 53: `W` is declared twice"),
        ("W: i64", "W: i63", "`i63` is no type of a parameter; write `i64` or `f64`, or `i63[*]` for a table"),
        ("@window", "window", "line 1, column 9: expected `@`, found `window`"),
        ("@window", "@1", "line 1, column 10: expected the name of the program, found `1`"),
        ("score =", "scores =", "line 3, column 3: expected `score`, found `scores`"),
        ("softmax", "(", "expected how weights are normalised, found `(`"),
        ("[*, *]", "[* *]", "expected `,`, found `*`"),
        ("}\n", "} 3", "line 5, column 3: expected the end, found `3`"),
        (") {", ") on 64 x ? {", "a grid has at most 64 axes, all known or all `?`"),
        (") {", f") on {' x '.join(65 * '2')} {{", "a grid has at most 64 axes, all known or all `?`"),
    ],
)
def test_malformed_programs_are_refused_where_they_go_wrong(old: str, new: str, complaint: str) -> None:
    with pytest.raises(InvalidProgram) as refused:
        parse_program(PROGRAM.replace(old, new))
    assert complaint in str(refused.value)


def schedule() -> Schedule:
    program = parse_program(PROGRAM)
    low, high = Table("doc_q_low", "i64", 3), Table("doc_q_high", "i64", 3)
    listed, pointer = Table("tiles", "i32", 1), Table("pointer", "i32", 1)
    term = Term("doc_q", Lookup(DOC, (Q,)), "q", low, high)
    band = Piece(Const(0), Binary(Op.ADD, I, Const(1)), 2, Binary(Op.LE, Lookup(low, (Const(0), Const(0), I)), J))
    given = Piece(Lookup(pointer, (I,)), Lookup(pointer, (Binary(Op.ADD, I, Const(1)),)), through=listed)
    bound = Piece(Const(0), Symbol("length"))
    return Schedule(
        program, 128, 64, (band, given), (), (), (band, bound), (term,), False, False, "bound", "box 8 x 16", counters=Counters(boxes=3)
    )


def test_a_schedule_reads_back_without_its_counters() -> None:
    wanted = schedule()
    text = show_schedule(wanted)
    found = parse_schedule(text)
    assert found == wanted
    assert show_schedule(found) == str(found) == text
    assert found.counters == Counters()


def test_the_text_of_a_schedule(golden: Callable[[str, str], None]) -> None:
    golden("schedule.text", show_schedule(schedule()))


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("block_q = 128", "block_q = 0", "`block_q` must be an integer from 1 to 2**31 - 1, found `0`"),
        ("block_q = 128", "block_q = -1", "`block_q` must be an integer from 1 to 2**31 - 1, found `-`"),
        ("block_q = 128", "block_q = 2147483648", "`block_q` must be an integer from 1 to 2**31 - 1, found `2147483648`"),
        ("i + 1, 2)", "i + 1, 0)", "expected a step from 1 to 2**31 - 1, found `0`"),
        ("i + 1, 2)", "i + 1, 2147483648)", "expected a step from 1 to 2**31 - 1, found `2147483648`"),
        ("exact = false", "exact = 0", "`exact` must be true or false, found `0`"),
        ('route = "bound"', "route = bound", "`route` must be a string in double quotes, found `bound`"),
        ("through tiles", "through rows", "no table `rows` is declared"),
        ("  table tiles: i32[*]\n", "", "no table `tiles` is declared"),
        ("  symbol length: i64\n", "", "unknown name `length`"),
        ("low: i64[*, *, *]", "low: i64[*", "expected `*`, found `doc_q_high`"),
        ("\n}\n", "\n", "expected `}`, found `the end`"),
    ],
)
def test_malformed_schedules_are_refused(old: str, new: str, complaint: str) -> None:
    text = show_schedule(schedule())
    assert old in text
    with pytest.raises(InvalidProgram) as refused:
        parse_schedule(text.replace(old, new))
    assert complaint in str(refused.value)


@given(st.data())
def test_damaged_text_never_raises_anything_else(data: st.DataObject) -> None:
    text = show_schedule(schedule())
    start = data.draw(st.integers(0, len(text)))
    stop = data.draw(st.integers(start, min(len(text), start + 12)))
    inserted = data.draw(st.text('()[]{}<>=,;:@?"\\x9.-+*/%&| \nqknot\u00e9\x00', max_size=6))
    with contextlib.suppress(InvalidProgram):
        found = parse_schedule(text[:start] + inserted + text[stop:])
        assert parse_schedule(show_schedule(found)) == found


def test_text_is_the_same_in_every_process() -> None:
    code = (
        "from lacuna.ir.parse import parse_schedule; import sys; from lacuna.ir.text import show_schedule;"
        "sys.stdout.write(show_schedule(parse_schedule(sys.stdin.read())))"
    )
    text = show_schedule(schedule())
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code], input=text, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONHASHSEED": seed}
        )
        assert done.stdout == text
