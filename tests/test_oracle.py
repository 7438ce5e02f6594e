"""The oracle against Python's own arithmetic, one pair at a time."""

# The types of torch and of `operator` are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownParameterType=false, reportMissingParameterType=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false
from __future__ import annotations

import math
import operator
import random
from itertools import product
from typing import Any

import lacuna
import pytest
import torch
from lacuna.ir.expr import (
    K_LEN,
    OFFSET,
    Q_LEN,
    TRUE,
    B,
    Binary,
    Const,
    Expr,
    H,
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
from lacuna.ir.program import Program, Space
from lacuna.runtime.request.materialise import segment_ids
from lacuna.runtime.views import oracle
from reference import attention as reference_attention

CAUSAL = Program("causal", Binary(Op.LE, K, Q))


def sigmoid(a: float) -> float:
    return 1 / (1 + math.exp(-a))


PYTHON: dict[Op, Any] = {
    Op.ADD: operator.add,
    Op.SUB: operator.sub,
    Op.MUL: operator.mul,
    Op.MIN: min,
    Op.MAX: max,
    Op.NEG: operator.neg,
    Op.ABS: abs,
    Op.FLOORDIV: operator.floordiv,
    Op.MOD: operator.mod,
    Op.BITAND: operator.and_,
    Op.BITOR: operator.or_,
    Op.BITXOR: operator.xor,
    Op.SHL: operator.lshift,
    Op.SHR: operator.rshift,
    Op.LT: operator.lt,
    Op.LE: operator.le,
    Op.EQ: operator.eq,
    Op.NE: operator.ne,
    Op.AND: operator.and_,
    Op.OR: operator.or_,
    Op.XOR: operator.ne,
    Op.NOT: operator.not_,
    Op.DIV: operator.truediv,
    Op.POW: math.pow,
    Op.EXP: math.exp,
    Op.EXP2: math.exp2,
    Op.LOG: math.log,
    Op.LOG2: math.log2,
    Op.SQRT: math.sqrt,
    Op.TANH: math.tanh,
    Op.SIN: math.sin,
    Op.COS: math.cos,
    Op.SIGMOID: sigmoid,
    Op.ERF: math.erf,
    Op.FLOAT: float,
}


def scalar(expr: Expr, values: dict[str, Any]) -> Any:  # noqa: ANN401 (an int, a bool or a float)
    """The value of `expr` in Python numbers, by recursion."""
    match expr:
        case Const(value=value):
            return value
        case Var(name=name) | Symbol(name=name):
            return values[name]
        case Lookup(table=table, indices=indices):
            entry = values[table.name]
            for index in indices:
                entry = entry[scalar(index, values)]
            return entry
        case Select(condition=condition, a=a, b=b):
            return scalar(a, values) if scalar(condition, values) else scalar(b, values)
        case Unary(op=op, a=a):
            return PYTHON[op](scalar(a, values))
        case Binary(op=op, a=a, b=b):
            return PYTHON[op](scalar(a, values), scalar(b, values))
        case _:
            raise AssertionError(expr)


def value_at(expr: Expr, values: dict[str, int | float]) -> int | float | bool:
    tensors = {name: torch.tensor(value, dtype=torch.float64 if name == "s" else torch.int64) for name, value in values.items()}
    return oracle.evaluate(expr, oracle.Environment(tensors)).item()


INTEGER_BINARY = [
    op for op in (*Op,) if op in {Op.ADD, Op.SUB, Op.MUL, Op.MIN, Op.MAX, Op.BITAND, Op.BITOR, Op.BITXOR, Op.FLOORDIV, Op.MOD}
]
COMPARE = [Op.LT, Op.LE, Op.EQ, Op.NE]
REALS = [Op.EXP, Op.EXP2, Op.LOG, Op.LOG2, Op.SQRT, Op.TANH, Op.SIN, Op.COS, Op.SIGMOID, Op.ERF]


@pytest.mark.parametrize("op", [*INTEGER_BINARY, *COMPARE], ids=lambda op: op.name)
def test_integer_operations_are_those_of_python_for_every_sign(op: Op) -> None:
    for q, k in product(range(-9, 10), repeat=2):
        if k or op not in (Op.FLOORDIV, Op.MOD):
            assert value_at(Binary(op, Q, K), {"q": q, "k": k}) == PYTHON[op](q, k), (q, k)


@pytest.mark.parametrize("op", [Op.SHL, Op.SHR], ids=lambda op: op.name)
def test_shifts_are_those_of_python(op: Op) -> None:
    for q, k in product(range(-9, 10), range(5)):
        assert value_at(Binary(op, Q, K), {"q": q, "k": k}) == PYTHON[op](q, k), (q, k)


def test_a_shift_to_the_right_beyond_the_word_leaves_the_sign() -> None:
    assert value_at(Binary(Op.SHR, Q, Const(200)), {"q": -5}) == -1


def test_a_shift_by_a_negative_number_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a shift by -1 positions has no meaning(?s:.*)\n  write"):
        value_at(Binary(Op.SHL, Q, K), {"q": 1, "k": -1})


@pytest.mark.parametrize("op", REALS, ids=lambda op: op.name)
def test_real_functions_are_those_of_python(op: Op) -> None:
    for s in (0.25, 1.0, 2.5):
        assert value_at(Unary(op, S), {"s": s}) == pytest.approx(PYTHON[op](s), rel=1e-14)


def test_integers_in_real_arithmetic_become_float64() -> None:
    assert value_at(Binary(Op.DIV, Q, K), {"q": 1, "k": 3}) == 1 / 3
    assert value_at(Binary(Op.POW, S, Const(2)), {"s": 1.5}) == 2.25
    assert value_at(Binary(Op.MUL, Const(0.1), Q), {"q": 3}) == 0.1 * 3
    assert value_at(Unary(Op.EXP, Q), {"q": 1}) == pytest.approx(math.e, rel=1e-15)


def test_division_by_zero_gives_zero() -> None:
    assert value_at(Binary(Op.FLOORDIV, Q, K), {"q": 7, "k": 0}) == 0
    assert value_at(Binary(Op.MOD, Q, K), {"q": 7, "k": 0}) == 0


def random_integer(rng: random.Random, depth: int) -> Expr:
    if depth == 0 or rng.random() < 0.2:
        return rng.choice([Q, K, B, H, Symbol("W"), Q_LEN, K_LEN, OFFSET, Const(rng.randint(-7, 7))])
    op = rng.choice([*INTEGER_BINARY, Op.NEG, Op.ABS, "select", "table"])
    a, b = random_integer(rng, depth - 1), random_integer(rng, depth - 1)
    if isinstance(op, str):
        return Select(random_truth(rng, 1), a, b) if op == "select" else Lookup(Table("doc", "i32", 1), (Binary(Op.MOD, a, Const(5)),))
    if op in (Op.NEG, Op.ABS):
        return Unary(op, a)
    return Binary(op, a, Const(rng.choice([-5, -2, 3, 4])) if op in (Op.FLOORDIV, Op.MOD) else b)


def random_truth(rng: random.Random, depth: int) -> Expr:
    if depth == 0:
        return Binary(rng.choice(COMPARE), random_integer(rng, 2), random_integer(rng, 2))
    op = rng.choice([Op.AND, Op.OR, Op.XOR, Op.NOT])
    a, b = random_truth(rng, depth - 1), random_truth(rng, depth - 1)
    return Unary(op, a) if op is Op.NOT else Binary(op, a, b)


@pytest.mark.parametrize("seed", range(40))
def test_masks_equal_python_pair_by_pair(seed: int) -> None:
    rng = random.Random(seed)
    mask = random_truth(rng, 2)
    doc = [rng.randint(-9, 9) for _ in range(5)]
    q_len, k_len, offset, window = rng.randint(1, 6), rng.randint(1, 6), rng.randint(-3, 4), rng.choice([-1, 0, 3, 2**40])
    program = Program("random", mask, parameters=(Symbol("W"),), tables=(Table("doc", "i32", 1),))
    dense = oracle.dense_mask(program, q_len, k_len, {"W": window, "doc": torch.tensor(doc, dtype=torch.int32)}, 2, 3, offset)
    assert dense.shape == (2, 3, q_len, k_len)
    known = {"W": window, "doc": doc, "Lq": q_len, "Lk": k_len, "offset": offset}
    for b, h, row, k in product(range(2), range(3), range(q_len), range(k_len)):
        assert bool(dense[b, h, row, k]) is scalar(mask, {**known, "b": b, "h": h, "q": row + offset, "k": k}), (b, h, row, k)


def test_positions_on_a_grid_are_row_major_and_shifted_by_the_offset() -> None:
    rows_equal = Binary(Op.EQ, Var("q1"), Var("k1"))
    planes_equal = Binary(Op.EQ, Var("q0"), Var("k0"))
    program = Program("line", Binary(Op.AND, planes_equal, rows_equal), space=Space(3, (2, 3, 4)))
    dense = oracle.dense_mask(program, 10, 24, offset=5)
    for row, k in product(range(10), range(24)):
        assert bool(dense[0, 0, row, k]) is ((row + 5) // 4 == k // 4), (row, k)


def test_row_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = oracle.dense_mask(CAUSAL, 37, 23, offset=2)
    monkeypatch.setattr(oracle, "PAIRS_AT_ONCE", 50)
    assert torch.equal(oracle.dense_mask(CAUSAL, 37, 23, offset=2), whole)


@pytest.mark.parametrize(("q_len", "k_len"), [(0, 0), (0, 5), (5, 0)])
def test_lengths_of_zero_give_empty_masks(q_len: int, k_len: int) -> None:
    assert oracle.dense_mask(CAUSAL, q_len, k_len).shape == (1, 1, q_len, k_len)


@lacuna.pattern
def per_head(q, k, b, h, *, window):  # noqa: ANN001, ANN201 (patterns are written without annotations)
    return (q - k < window + h) & (k <= q + b)


def test_the_public_mask_is_the_oracles_for_every_batch_item_and_head() -> None:
    dense = lacuna.dense(per_head(window=2), 5, 7, batch=2, heads=3)
    assert dense.dtype == torch.bool
    for b, h, q, k in product(range(2), range(3), range(5), range(7)):
        assert bool(dense[b, h, q, k]) is (q - k < 2 + h and k <= q + b)
    assert lacuna.dense(per_head(window=2), 5).shape == (1, 1, 5, 5)
    assert bool(lacuna.dense(None, 2, 3).all())


def test_the_public_mask_needs_a_pattern_with_all_its_values() -> None:
    with pytest.raises(TypeError, match=r"`per_head` is used before `window` is bound"):
        lacuna.dense(per_head, 4)
    with pytest.raises(TypeError, match=r"`pattern` is the plain function `len`\.\n  write `@lacuna.pattern`"):
        lacuna.dense(len, 4)  # pyright: ignore[reportArgumentType]  (what the test is about)


# -- tables -----------------------------------------------------------------------------------------------------------

DOC = Table("doc", "i32", 1)
SAME_DOCUMENT = Program("documents", Binary(Op.EQ, Lookup(DOC, (Q,)), Lookup(DOC, (K,))), tables=(DOC,))


def test_a_table_shorter_than_the_sequence_is_named_with_its_length() -> None:
    with pytest.raises(IndexError, match=r"table `doc` holds 100 entries, but `q` reaches 127\.\n  write a table with at least 128"):
        oracle.dense_mask(SAME_DOCUMENT, 128, 100, {"doc": torch.zeros(100, dtype=torch.int32)})


def test_a_negative_index_does_not_wrap() -> None:
    near = Table("near", "bool", 1)
    program = Program("near", Lookup(near, (Binary(Op.SUB, Q, K),)), tables=(near,))
    with pytest.raises(
        IndexError, match=r"table `near` holds 8 entries, but `q - k` runs from -7 to 7, and a negative index does not wrap"
    ):
        oracle.dense_mask(program, 8, 8, {"near": torch.ones(8, dtype=torch.bool)})


def test_the_axis_of_a_table_is_named() -> None:
    bias = Table("bias", "bool", 2)
    program = Program("bias", Lookup(bias, (H, K)), tables=(bias,))
    with pytest.raises(IndexError, match=r"table `bias` holds 2 entries along axis 0, but `h` reaches 2"):
        oracle.dense_mask(program, 4, 4, {"bias": torch.ones(2, 4, dtype=torch.bool)}, heads=3)


def test_a_table_that_is_not_bound_is_named() -> None:
    with pytest.raises(ValueError, match=r"parameter `doc` has no value\.\n  write `pattern\(doc=\.\.\.\)`"):
        oracle.dense_mask(SAME_DOCUMENT, 4, 4)


def test_a_table_of_another_rank_is_refused() -> None:
    with pytest.raises(ValueError, match=r"table `doc` has rank 1 in the program, but the tensor bound to it has shape \(2, 4\)"):
        oracle.dense_mask(SAME_DOCUMENT, 4, 4, {"doc": torch.zeros(2, 4, dtype=torch.int32)})


def test_a_table_must_be_a_tensor() -> None:
    with pytest.raises(TypeError, match=r"table `doc` is bound to a list\.\n  write a tensor"):
        oracle.dense_mask(SAME_DOCUMENT, 4, 4, {"doc": [0, 0, 1, 1]})


@pytest.mark.parametrize("offsets", [[0, 3, 3, 7], [0, 5, 2, 7], [2, 4], [0], []])
def test_segments_count_the_offsets_at_or_before_a_position(offsets: list[int]) -> None:
    ids = segment_ids(torch.tensor(offsets, dtype=torch.int32), 9)
    expected = [sum(max(offsets[1 : n + 1]) <= position for n in range(1, len(offsets))) for position in range(9)]
    assert ids.tolist() == expected
    assert ids.dtype == torch.int32


def test_segments_may_differ_between_batch_items() -> None:
    assert segment_ids(torch.tensor([[0, 2, 4], [0, 1, 4]]), 5).tolist() == [[0, 0, 1, 1, 2], [0, 1, 1, 1, 2]]


# -- attention --------------------------------------------------------------------------------------------------------


def tensors(q_shape: tuple[int, ...], k_shape: tuple[int, ...], value_dim: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    shapes = (q_shape, k_shape, (*k_shape[:-1], value_dim))
    return tuple(torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)


def test_attention_equals_the_definition_with_shared_heads() -> None:
    query, key, value = tensors((2, 6, 9, 5), (1, 3, 11, 5), 4)
    out, lse = oracle.attention(CAUSAL, query, key, value, ragged=oracle.Ragged(offset=2))
    mask = torch.arange(11) <= torch.arange(9)[:, None] + 2
    expected_out, expected_lse = reference_attention(query, key, value, mask)
    torch.testing.assert_close(out, expected_out, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(lse, expected_lse, rtol=1e-12, atol=1e-12)


def test_scores_read_heads_positions_and_parameters() -> None:
    query, key, value = tensors((1, 2, 5, 3), (1, 2, 5, 3), 3)
    slopes = Table("slopes", "f32", 1)
    distance = Binary(Op.SUB, K, Q)
    score = Binary(Op.ADD, Binary(Op.MUL, Symbol("cap", Kind.FLOAT), S), Binary(Op.MUL, Lookup(slopes, (H,)), distance))
    program = Program("alibi", TRUE, score, (Symbol("cap", Kind.FLOAT),), (slopes,))
    table = torch.tensor([0.5, 0.25])
    out, _ = oracle.attention(program, query, key, value, {"cap": 0.5, "slopes": table}, scale=2.0)
    distances = torch.arange(5) - torch.arange(5)[:, None]
    expected, _ = reference_attention(
        query, key, value, None, scale=2.0, score=lambda s: 0.5 * s + table.double().view(2, 1, 1) * distances
    )
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)


def test_lengths_and_offsets_of_each_batch_item_count() -> None:
    query, key, value = tensors((2, 1, 4, 3), (2, 1, 6, 3), 3)
    ragged = oracle.Ragged(torch.tensor([4, 2]), torch.tensor([3, 6]), "end")
    out, lse = oracle.attention(CAUSAL, query, key, value, ragged=ragged)
    first, first_lse = oracle.attention(CAUSAL, query[:1], key[:1, :, :3], value[:1, :, :3], ragged=oracle.Ragged(offset=-1))
    second, _ = oracle.attention(CAUSAL, query[1:, :, :2], key[1:], value[1:], ragged=oracle.Ragged(offset=4))
    assert torch.equal(out[:1], first)
    assert torch.equal(lse[:1], first_lse)
    assert torch.equal(out[1:, :, :2], second)
    assert out[1, :, 2:].abs().max() == 0
    assert bool((lse[1, :, 2:] == -math.inf).all())


def test_rows_without_a_key_and_rows_of_minus_infinity_are_zero() -> None:
    query, key, value = tensors((1, 1, 3, 2), (1, 1, 3, 2), 2)
    out, lse = oracle.attention(Program("later", Binary(Op.LT, Q, K)), query, key, value)
    assert out[0, 0, 2].tolist() == [0, 0]
    assert lse[0, 0, 2] == -math.inf
    out, lse = oracle.attention(Program("gone", TRUE, Const(-math.inf)), query, key, value)
    assert out.abs().max() == 0
    assert bool((lse == -math.inf).all())


def test_a_score_that_is_not_a_number_spoils_its_row_only_where_it_is_seen() -> None:
    query, key, value = tensors((1, 1, 3, 2), (1, 1, 3, 2), 2)
    key[0, 0, 1] = math.nan
    out, lse = oracle.attention(CAUSAL, query, key, value)
    assert out[0, 0].isnan().any(-1).tolist() == [False, True, True]
    assert lse[0, 0].isnan().tolist() == [False, True, True]
    out, _ = oracle.attention(Program("up", TRUE, Const(math.inf)), query, key, value)
    assert bool(out.isnan().all())


@pytest.mark.parametrize("scale", [0.0, -1.5])
def test_scale_may_be_zero_or_negative(scale: float) -> None:
    query, key, value = tensors((1, 2, 4, 3), (1, 2, 4, 3), 3)
    expected, _ = reference_attention(query, key, value, None, scale=scale)
    torch.testing.assert_close(
        oracle.attention(Program("dense", TRUE), query, key, value, scale=scale)[0], expected, rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize(("batch", "q_len", "k_len"), [(0, 3, 3), (2, 0, 3), (2, 3, 0)])
def test_problems_of_size_zero_have_results_of_size_zero_or_zeros(batch: int, q_len: int, k_len: int) -> None:
    query, key, value = tensors((batch, 2, q_len, 3), (batch, 2, k_len, 3), 5)
    out, lse = oracle.attention(CAUSAL, query, key, value)
    assert out.shape == (batch, 2, q_len, 5)
    assert bool((out == 0).all())
    assert bool((lse == -math.inf).all())
