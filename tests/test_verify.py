"""One case per rule of the language: what breaks it is refused by name, with what to write instead."""

from __future__ import annotations

from dataclasses import replace

import pytest
from lacuna.ir import verify as rules
from lacuna.ir.expr import Binary, Const, Expr, K, Kind, Lookup, Op, Q, S, Select, Symbol, Table, Unary, Var
from lacuna.ir.parse import parse_program
from lacuna.ir.program import InvalidProgram, Program, Space
from lacuna.ir.reserved import misnamed
from lacuna.ir.verify import verify

CAUSAL = Binary(Op.LE, K, Q)


def program(mask: Expr = CAUSAL, score: Expr = S, **parts: object) -> Program:
    return replace(Program("p", mask, score), **parts)


def declared(declarations: str = "", mask: str = "k <= q", score: str = "s", space: str = "") -> Program:
    head = f"; {declarations}" if declarations else ""
    return parse_program(f"program @p(q < Lq, k < Lk{head}){space} {{ mask = {mask} score = {score} normalise = softmax }}")


def doubled(expr: Expr, times: int) -> Expr:
    for _ in range(times):
        expr = Binary(Op.ADD, expr, expr)
    return expr


BROKEN: dict[str, tuple[Program, str, str]] = {
    "constants_fit_64_bits": (declared(mask=f"q < {2**63}"), "a constant of 64 bits", "integers that fit in 64 bits"),
    "expressions_can_be_written_out": (program(Binary(Op.LE, doubled(Q, 60), Q)), "words long when written out", "fewer repeated parts"),
    "program_name_is_plain": (program(name="p` x"), "its own name is not a plain identifier", "ASCII letters"),
    "names_are_plain_and_free": (declared("int: i64", "q < int"), "the name `int` is a keyword", "another name"),
    "names_are_unique": (
        program(parameters=(Symbol("w"), Symbol("w", Kind.FLOAT))),
        "`w` is declared twice",
        "two different names",
    ),
    "space_is_a_grid": (program(space=Space(2, (4,))), "is no grid", "one positive extent per axis"),
    "tables_are_of_known_types": (declared("doc: i4[*]"), "table `doc` holds `i4`", "one of i8, i16"),
    "parameters_are_numbers": (declared("on_: bool"), "parameter `on_` is a truth value", "two programs"),
    "variables_are_known": (declared(mask="i < q"), "unknown variable `i`", "one of b, h, k, q"),
    "symbols_are_declared": (program(Binary(Op.LT, Q, Symbol("w"))), "`w: i64` is not declared", "`; w: i64` in its head"),
    "tables_are_declared": (
        program(Binary(Op.EQ, Lookup(Table("doc", "i32", 1), (Q,)), K)),
        "table `doc` is not declared",
        "`; doc: i32[*]` in its head",
    ),
    "mask_has_no_reals": (declared(mask="float(q) / 2.0 < 3.0"), "`float(q) / 2.0` in the mask is a real", "`//`: a mask is integer"),
    "look_ups_are_at_integers": (
        declared("bias: f32[*]", score="s + bias[bias[q]]"),
        "`bias[bias[q]]` reads at `bias[q]`, which is no integer",
        "an integer index",
    ),
    "operands_are_of_one_kind": (declared(score="s + q"), "`s + q` mixes integers and reals", "`float(q)`"),
    "selections_are_of_one_kind": (
        declared(score="float(where(q < k, s, 0))"),
        "`where(q < k, s, 0)` chooses between an integer and a real",
        "`float(...)`",
    ),
    "comparisons_are_of_numbers": (declared(mask="(q < k) == (k < 3)"), "compares truth values", "`xor`"),
    "mask_is_a_truth_value": (declared(mask="q - k"), "the mask `q - k` is a number", "a comparison, such as `q - k != 0`"),
    "score_is_a_real": (declared(score="q - k"), "the score `q - k` is no real", "`float(q - k)`"),
    "divisors_are_not_zero": (declared(mask="q // 0 == k"), "`q // 0` divides by zero", "a divisor other than 0"),
    "shifts_are_of_0_to_63_bits": (declared(mask="q << 64 == k"), "`q << 64` shifts by 64 bits", "0 to 63 bits"),
    "normalisation_is_known": (program(normalise="softmin"), "unknown normalisation `softmin`", "one of softmax"),
}


@pytest.mark.parametrize("rule", [rule.__name__ for rule in rules.RULES])
def test_each_rule_refuses_what_breaks_it(rule: str) -> None:
    broken, complaint, fix = BROKEN[rule]
    with pytest.raises(InvalidProgram, match=r"^program `p.*`: ") as refused:
        verify(broken)
    what, write = str(refused.value).split("\n  write ")
    assert complaint in what
    assert fix in write
    with pytest.raises(InvalidProgram):
        getattr(rules, rule)(broken)


def test_a_good_program_passes_every_rule() -> None:
    tables = "seg: i32[*] monotone, bias: f32[*, *]"
    verify(declared(f"w: i64, slope: f64, {tables}", "q - k < w and seg[q] == seg[k]", "s + slope * bias[h, q]"))
    verify(declared(mask="q0 - k0 < 3 and k1 <= q1", space=" on 4 x 5"))


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        (declared("w: f64", mask="w < 3.0"), "`w` in the mask is a real"),
        (declared("bias: f32[*]", mask="bias[q] < 3.0"), "`bias[q]` in the mask is a real"),
        (declared(mask="exp(float(q)) < 3.0"), "`3.0` in the mask is a real"),
        (declared(mask="float(q) < float(k)"), "`float(q)` in the mask is a real"),
        (declared("doc: i32[*]", mask="doc[-1] == q"), "`doc[-1]` reads at a negative index, which does not wrap"),
        (declared(mask="s < 1.0"), "unknown variable `s`"),
        (declared(mask="q0 < k0"), "unknown variable `q0`"),
        (declared(mask="q < k", space=" on 2 x 2"), "unknown variable `q`"),
        (declared("t: i32[]"), "table `t` has rank 0"),
        (declared("t: f32[*] monotone"), "table `t` is monotone and holds `f32`"),
        (declared(mask="q % 0 == k"), "`q % 0` divides by zero"),
        (declared(score="where(q < k, s, float(1))").substituted({Const(1): Var("j")}), "unknown variable `j`"),
        (program(score=Unary(Op.EXP, Q)), "`exp(q)` mixes integers and reals"),
        (program(score=Select(CAUSAL, S, Const(0))), "chooses between an integer and a real"),
        (program(Binary(Op.LT, Q, Symbol("Lq", Kind.FLOAT))), "`Lq: f64` is not declared"),
    ],
)
def test_what_a_rule_covers(broken: Program, complaint: str) -> None:
    with pytest.raises(InvalidProgram) as refused:
        verify(broken)
    assert complaint in str(refused.value)


@pytest.mark.parametrize("name", ["window", "W", "w_2", "_private", "segments"])
def test_plain_names_are_free(name: str) -> None:
    assert misnamed(name) is None


@pytest.mark.parametrize(
    "name",
    [
        "q",
        "k",
        "b",
        "h",
        "s",
        "i",
        "j",
        "q0",
        "k12",
        "Lq",
        "Lk",
        "offset",
        "int",
        "float",
        "template",
        "lambda",
        "exp",
        "where",
        "inf",
        "co_await",
    ],
)
def test_names_with_a_meaning_are_reserved(name: str) -> None:
    assert misnamed(name)


@pytest.mark.parametrize("name", ["__init__", "__x", "a b", "x;", "1x", "", "été", "x\n", "a" * 65, "x) {"])
def test_names_that_could_become_code_are_refused(name: str) -> None:
    assert misnamed(name)
