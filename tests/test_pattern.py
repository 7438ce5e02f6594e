"""Patterns: tracing, binding, combination, and what each mistake is answered with."""

# users write their functions without types, and so do these tests:
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false, reportUnknownMemberType=false

from __future__ import annotations

import copy
import functools
import gc
import pickle
from collections.abc import Callable

import numpy as np
import pytest
import torch
from lacuna.ir.expr import Kind, Symbol, Table
from lacuna.ir.functions import kv_len, maximum, minimum, q_len, where
from lacuna.ir.pattern import Pattern, pattern
from lacuna.ir.program import InvalidProgram, Space
from lacuna.ir.recipe import Coordinates
from lacuna.ir.segments import Segments, segments
from lacuna.ir.trace import Traced, TracedTable


@pattern
def sliding(q: Traced, k: Traced, *, window: int) -> Traced:
    """The last `window` keys."""
    return (k <= q) & (q - k < window)


@pattern
def sinks(q: Traced, k: Traced, *, count: int = 4) -> object:
    return k < count


@pattern
def documents(q: Traced, k: Traced, *, doc: TracedTable) -> object:
    return doc[q] == doc[k]


@pattern(rank=2)
def near(q: Traced, k: Traced, *, r: int) -> object:
    return (abs(q[0] - k[0]) <= r) & (abs(q[1] - k[1]) <= r)


def mask(made: Pattern) -> str:
    return str(made.program.mask)


def traced(function: Callable[..., object], **bindings: object) -> str:
    return mask(pattern(function)(**bindings))


# -- tracing


def test_a_bound_pattern_is_a_program() -> None:
    assert str(sliding(window=256).program) == (
        "program @sliding(q < Lq, k < Lk; window: i64) {\n  mask = k <= q and q - k < window\n  score = s\n  normalise = softmax\n}\n"
    )
    assert dict(sliding(window=256).bindings) == {"window": 256}


def test_a_pattern_without_parameters_is_ready_as_it_is() -> None:
    causal = pattern(lambda q, k: k <= q)
    assert causal.unbound == ()
    assert mask(causal) == "k <= q"
    assert causal() == causal


def test_positions_are_found_by_name_in_any_order() -> None:
    assert traced(lambda h, k, q, b: (k <= q) & (h < b)) == "k <= q and h < b"
    assert traced(lambda k: k < 3) == "k < 3"


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda q, k: q + 1 - k * 2 == -q, "q + 1 - k * 2 == -q"),
        (lambda q, k: 7 - q // -2 > 9 % k, "9 % k < 7 - q // -2"),
        (lambda q, k: (q & 3 | 8 ^ k) == (1 << q) >> 2, "q & 3 | 8 ^ k == 1 << q >> 2"),
        (lambda q, k: q**3 >= k**0, "1 <= q * q * q"),
        (lambda q, k: abs(q - k) == +k, "abs(q - k) == k"),
        (lambda q, k: divmod(q, 3)[1] == divmod(k, 3)[1], "q % 3 == k % 3"),
        (lambda q, k: ~(q < k) & ~((q == 1) | (k != 2)), "k <= q and not (q == 1 or k != 2)"),
        (lambda q, k: (q < 3) ^ (k < 3), "q < 3 xor k < 3"),
        (lambda q, k: (q < 3) == (k < 3), "not (q < 3 xor k < 3)"),
        (lambda q, k: ((q < 3) != (k < 3)) & True, "q < 3 xor k < 3"),
        (lambda q, k: minimum(q, k, 3) < maximum(q, k), "min(min(q, k), 3) < max(q, k)"),
        (lambda q, k: where(q < k, q, 2 * k) < 5, "where(q < k, q, 2 * k) < 5"),
        (lambda q, k: where(q < k, True, k < 5), "q < k or k < 5"),
        (lambda q, k: k < kv_len - q_len + q, "k < Lk - Lq + q"),
        (lambda q, k: q < np.int64(3), "q < 3"),
        (lambda q, k: True, "true"),
    ],
)
def test_operators_build_what_they_say(function: Callable[..., object], text: str) -> None:
    assert traced(function) == text


def test_any_callable_can_be_a_pattern() -> None:
    def banded(width: int, q: Traced, k: Traced) -> Traced:
        return q - k < width

    assert mask(pattern(functools.partial(banded, 5))) == "q - k < 5"


def test_a_square_shares_its_factor() -> None:
    program = pattern(lambda q, k: (q - k) ** 2 < 9).program
    assert str(program.mask) == "(q - k) * (q - k) < 9"


# -- binding


def test_an_integer_stays_a_symbol_and_a_new_one_is_the_same_program() -> None:
    first, second = sliding(window=3), sliding(window=2**40)
    assert first.program is second.program
    assert first.program.parameters == (Symbol("window"),)
    assert dict(first(window=5).bindings) == {"window": 5}


def test_values_that_are_no_numbers_are_part_of_the_program() -> None:
    @pattern
    def banded(q: Traced, k: Traced, *, mode: str, causal: bool, sizes: tuple[int, ...], window: int | None = None) -> object:
        kept = (q - k < sizes[0]) & (k - q < sizes[1])
        return kept & (k <= q) if causal and mode == "strict" and window is None else kept

    made = banded(mode="strict", causal=True, sizes=(4, 5))
    assert mask(made) == "q - k < 4 and k - q < 5 and k <= q"
    assert dict(made.bindings) == {}
    assert mask(made(causal=False)) == "q - k < 4 and k - q < 5"


def test_true_and_one_are_different_values() -> None:
    chosen = pattern(lambda q, k, *, x: q == k if x is True else q < k)
    assert mask(chosen(x=True)) == "q == k"
    assert mask(chosen(x=(1,))) == "q < k"


def test_a_tensor_is_a_table() -> None:
    doc, near_diagonal = torch.zeros(5, dtype=torch.int32), np.ones((2, 9), dtype=bool)
    made = pattern(lambda h, q, k, *, doc, near: (doc[q] == doc[k]) & near[h, q - k])(doc=doc, near=near_diagonal)
    assert made.program.tables == (Table("doc", "i32", 1), Table("near", "bool", 2))
    assert mask(made) == "doc[q] == doc[k] and near[h, q - k]"
    assert made.bindings["doc"] is doc


def test_segments_are_a_monotone_table() -> None:
    offsets = torch.tensor([0, 3, 9])
    made = documents(doc=segments(offsets))
    assert made.program.tables == (Table("doc", "i32", 1, monotone=True),)
    bound = made.bindings["doc"]
    assert isinstance(bound, Segments)
    assert bound.offsets is offsets
    assert made == documents(doc=segments(offsets))


def test_lengths_can_be_bound() -> None:
    assert mask(sliding(window=kv_len // 4)) == "k <= q and q - k < Lk // 4"


def test_numbers_of_numpy_are_numbers() -> None:
    bound = sliding(window=np.int64(7)).bindings["window"]
    assert (bound, type(bound)) == (7, int)


def test_parameters_that_nothing_reads_are_left_out() -> None:
    made = pattern(lambda q, k, *, a, b2, unused: (q < b2) & (k < a))(unused=3, b2=2, a=1)
    assert list(made.bindings.items()) == [("a", 1), ("b2", 2)]


def test_defaults_are_bound_already() -> None:
    assert sinks.unbound == ()
    assert dict(sinks.bindings) == {"count": 4}
    assert dict(sinks(count=9).bindings) == {"count": 9}


def test_binding_leaves_the_pattern_as_it_was() -> None:
    sliding(window=3)
    assert sliding.unbound == ("window",)
    with pytest.raises(AttributeError):
        sliding.space = Space()  # pyright: ignore[reportAttributeAccessIssue] (that is the point)


# -- grids


def test_a_grid_pattern_takes_coordinates() -> None:
    made = near(r=3).on(64, 48)
    assert made.program.space == Space(2, (64, 48))
    assert mask(made) == "abs(q0 - k0) <= r and abs(q1 - k1) <= r"
    made.require_ready()


def test_a_function_can_read_the_extents_once_they_are_bound() -> None:
    def clamped(q: Coordinates, k: Coordinates, *, r: int) -> object:
        (row, _), (rows, _) = q, q.extents
        return abs(minimum(row, rows - 1 - r) - k[0]) <= r

    made = pattern(rank=2)(clamped)(r=1)
    assert mask(made.on(9, 4)) == "abs(min(q0, 8 - r) - k0) <= r"
    assert mask(made.on(7, 4)) == "abs(min(q0, 6 - r) - k0) <= r"
    with pytest.raises(TypeError, match=r"extents of the grid are read before they are bound\n  write `pattern.on"):
        _ = made.program


def test_flat_patterns_join_a_grid_row_major() -> None:
    assert mask(near(r=3).on(8, 6) & sinks) == "abs(q0 - k0) <= r and abs(q1 - k1) <= r and k0 * 6 + k1 < count"
    with pytest.raises(TypeError, match=r"meets a grid of unknown extents\n  write `.on"):
        _ = (near(r=3) & sinks).program


# -- combination


def test_operators_combine_patterns() -> None:
    a, b = pattern(lambda q, k: k <= q), pattern(lambda q, k: k < 3)
    assert mask(a & b) == "k <= q and k < 3"
    assert mask(a | b) == "k <= q or k < 3"
    assert mask(a ^ b) == "k <= q xor k < 3"
    assert mask(a - b) == "k <= q and 3 <= k"
    assert mask(~a) == "q < k"
    assert ~~a == a


def test_parameters_that_collide_get_numbers() -> None:
    made = sliding(window=3) | sliding(window=5) | sliding(window=3)
    assert mask(made) == "k <= q and q - k < window or k <= q and q - k < window_2 or k <= q and q - k < window_3"
    assert dict(made.bindings) == {"window": 3, "window_2": 5, "window_3": 3}
    assert dict(made(window_2=9).bindings) == {"window": 3, "window_2": 9, "window_3": 3}


def test_tables_that_collide_get_numbers() -> None:
    doc = torch.zeros(4, dtype=torch.int32)
    made = documents(doc=doc) & documents(doc=doc)
    assert mask(made) == "doc[q] == doc[k] and doc_2[q] == doc_2[k]"
    assert made.bindings["doc_2"] is doc


def test_one_argument_stays_one_parameter() -> None:
    bound = sliding(window=3)
    assert mask(bound - bound.shift(q=5)) == "k <= q and q - k < window and not (k <= q + q_shift and q + q_shift - k < window)"
    assert (sliding ^ ~sliding).unbound == ("window",)


def test_combinations_can_be_bound_later() -> None:
    joined = sliding | sinks
    assert joined.unbound == ("window",)
    assert dict(joined(window=2).bindings) == {"window": 2, "count": 4}


def test_a_shift_reads_further_on() -> None:
    made = sliding(window=3).shift(q=2, k=-1)
    assert mask(made) == "k + k_shift <= q + q_shift and q + q_shift - (k + k_shift) < window"
    assert dict(made.bindings) == {"window": 3, "q_shift": 2, "k_shift": -1}
    assert sliding(window=3).shift() == sliding(window=3)
    assert mask(near(r=1).on(4, 4).shift(q=(1, 0))) == "abs(q0 + q_0_shift - k0) <= r and abs(q1 - k1) <= r"


def test_a_slice_counts_from_zero_again_and_ends() -> None:
    made = sinks[10:20, 3:]
    assert mask(made) == "k + k_start < count and q + q_start < q_stop"
    assert dict(made.bindings) == {"count": 4, "q_start": 10, "q_stop": 20, "k_start": 3}
    assert sinks[:, :] is sinks
    assert sinks[5:].program is not None
    assert sinks[1:2][3:4].bindings["q_start_2"] == 3


# -- as values


def test_equality_is_that_of_programs_numbers_and_tensors() -> None:
    doc = torch.zeros(4, dtype=torch.int32)
    assert sliding(window=3) == sliding(window=3)
    assert hash(sliding(window=3)) == hash(sliding(window=3))
    assert sliding(window=3) != sliding(window=4)
    assert documents(doc=doc) == documents(doc=doc)
    assert documents(doc=doc) != documents(doc=doc.clone())
    assert sliding != sliding(window=3)
    assert sliding(window=3) != "sliding"
    assert len({sliding(window=3), sliding(window=3), sliding(window=4), sliding, sinks}) == 4


def test_repr_shows_what_is_bound() -> None:
    assert repr(sliding) == "sliding(window=...)"
    assert repr(near(r=3).on(4, 5)) == "near(r=3).on(4, 5)"
    assert repr(documents(doc=torch.zeros(7, dtype=torch.int64))) == "documents(doc=i64[7])"
    assert repr(documents(doc=segments(torch.tensor([0, 2])))) == "documents(doc=segments(i64[2]))"
    assert repr(~sinks & sliding) == "(~sinks & sliding)(count=4, window=...)"


def test_the_function_lends_its_name_and_its_words() -> None:
    assert (sliding.name, sliding.__doc__, vars(sliding)["__name__"]) == ("sliding", "The last `window` keys.", "sliding")


def test_bound_patterns_pickle_without_their_function() -> None:
    doc = torch.arange(4)
    made = pattern(lambda q, k, *, doc, w: (doc[q] == doc[k]) & (q - k < w))(doc=doc, w=3)
    found = pickle.loads(pickle.dumps(made))
    assert found.program == made.program
    assert torch.equal(found.bindings["doc"], doc)
    assert found != made  # its tensor is a copy
    assert pickle.loads(pickle.dumps(sliding(window=3))) == sliding(window=3)
    assert dict(found(w=5).bindings)["w"] == 5
    with pytest.raises(TypeError, match=r"finished program, in which `w` is a number of type i64\n  write `w=`"):
        _ = found(w=doc).program


def test_patterns_of_modules_pickle_by_name() -> None:
    assert pickle.loads(pickle.dumps(sliding)) is sliding
    assert copy.deepcopy(sliding) is sliding


def test_unbound_local_patterns_do_not_pickle() -> None:
    local = pattern(lambda q, k, *, w: q - k < w)
    with pytest.raises(TypeError, match=r"cannot be pickled before it is bound.*\n  write `anonymous\(w=...\)`"):
        pickle.dumps(local)


def test_slices_of_grids_are_a_known_gap() -> None:
    with pytest.raises(NotImplementedError, match=r"which is on a grid\n  write `.shift"):
        near(r=1).on(4, 4)[1:2]


def test_nothing_interned_holds_a_tensor() -> None:
    doc = torch.arange(4)
    made = documents(doc=doc)
    assert made.program.tables
    held = [each for each in gc.get_referrers(doc) if type(each).__name__ in ("Table", "Lookup", "Program")]
    assert held == []


# -- mistakes


def refused(action: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises((TypeError, ValueError, AttributeError)) as raised:
        action()
    what, write = str(raised.value).split("\n  write ")
    return what, write


class Odd:
    def __repr__(self) -> str:
        return "Odd()"


@pytest.mark.parametrize(
    ("action", "complaint", "fix"),
    [
        (lambda: sliding.program, "`sliding` is used before `window` is bound", "`sliding(window=...)`"),
        (lambda: sliding.bindings, "`sliding` is used before `window` is bound", "`sliding(window=...)`"),
        (lambda: near(r=2).require_ready(), "`near(r=2)` is used before its grid is bound", "`near(r=2).on(..., ...)`"),
        (lambda: sliding(3), "`sliding` is called with a positional argument", "`sliding(window=...)`"),
        (lambda: sliding(windw=3), "`sliding` has no parameter `windw`", "`window=...`"),
        (lambda: sliding(zzz=3), "`sliding` has no parameter `zzz`", "one of its parameters: `window`"),
        (lambda: sliding(window=[1, 2]), "binds `window` to a list", "`window=torch.tensor([1, 2])`"),
        (lambda: sliding(window=torch.tensor(3j)), "binds `window` to a tensor of torch.complex64", "one of int8"),
        (lambda: sliding(window=2**63), "which does not fit in 64 bits", "an integer below 2 ** 63"),
        (lambda: sliding(window=Odd()), "binds `window` to Odd() of type Odd", "an int, float, bool, str, None, a tuple"),
        (lambda: sliding(window=torch.zeros(2, dtype=torch.complex64)), "to a tensor of torch.complex64", "one of int8, int16"),
        (lambda: sliding(window=2.5).program, "`window` in the mask is a real", "integers"),
        (lambda: segments([0, 3]), "`lacuna.segments` of list", "lacuna.segments(torch.tensor("),  # pyright: ignore[reportArgumentType]
        (lambda: segments(torch.zeros(2)), "offsets are integers along one axis", "`offsets.int()`"),
        (lambda: sliding & (lambda q, k: q), "which is no pattern", "`@lacuna.pattern` above the function"),
        (lambda: sliding and sinks, "`sliding(window=...)` has no truth value", "`&`, `|`, `~`"),
        (lambda: near.on(3), "grid of rank 2, got 1 extents", "`.on(..., ...)`"),
        (lambda: pattern(rank=2)(lambda q, k: q[2] == k[0]).on(4, 4).program, "[2] of a position on a grid of rank 2", "`q[0]` to `q[1]`"),
        (lambda: pattern(rank=2)(lambda q, k: q["x"] == k[0]).on(4, 4).program, "['x'] of a position on a grid", "`q[0]` to `q[1]`"),
        (lambda: pattern(rank=2)(lambda q, k: k <= q).on(4, 4).program, "on a grid of rank 2 is used as a number", "`q[0]` to `q[1]`"),
        (lambda: pattern(rank=2)(lambda q, k: abs(q[0] - k) < 3).on(4, 4).program, "(k0, k1) are used as a number", "such as `q[0]`"),
        (lambda: near.on(3, 0), "the extent of axis 1 is 0", "a positive integer"),
        (lambda: sliding.on(3, 4), "has flat positions and no grid", "rank=2"),
        (lambda: near(r=1).on(4, 4) & near(r=1).on(4, 5), "are on different grids", "both on one grid"),
        (lambda: near(r=1).on(4, 4).shift(q=3), "`shift(q=3)` of a pattern of rank 2", "2 integers, one per axis"),
        (lambda: sinks[3], "a pattern is sliced with 3", "`p[q0:q1, k0:k1]`"),
        (lambda: sinks[::2], "sliced with a step of 2", "slices without a step"),
        (lambda: sinks[-3:], "sliced from -3 to None", "ends counted from the front"),
        (lambda: pattern(rank=0), "a pattern of rank 0", "`rank=1` for flat positions"),
        (
            lambda: pattern(lambda q, k, window: q),
            "`window`, which is none of the positions q, k, b, h",
            "`def f(q, k, b, h, *, window)`",
        ),
        (lambda: pattern(lambda q, k=3: q), "takes `k=3`", "positions have no default"),
        (lambda: pattern(lambda q, *rest: q), "takes `*rest`", "each parameter by name"),
        (lambda: pattern(lambda q, *, s: q), "the parameter `s` is reserved", "another name"),
        (lambda: pattern(lambda q, *, tokens_in_order: q), "the parameter `tokens_in_order` is reserved", "another name"),
        (lambda: pattern(lambda q, *, tokens_in_order_2: q), "the parameter `tokens_in_order_2` is reserved", "another name"),
        (lambda: pattern(lambda q, *, int: q), "the parameter `int` is a keyword", "another name"),
        (lambda: pattern(lambda q, *, été: q), "the parameter `été` is not a plain identifier", "another name"),
    ],
)
def test_mistakes_with_patterns_are_answered_with_the_fix(action: Callable[[], object], complaint: str, fix: str) -> None:
    what, write = refused(action)
    assert complaint in what
    assert fix in write


TABLE = torch.zeros(4, 4, dtype=torch.int32)
FIX_TENSOR = "a tensor as a keyword-only parameter, bind it by name, and look it up"


@pytest.mark.parametrize(
    ("function", "complaint", "fix"),
    [
        (lambda q, k: None, "returns nothing", "`return k <= q`"),
        (lambda q, k: q - k, "returns the number `q - k`", "`return q - k != 0`"),
        (lambda q, k: "x", "returns 'x'", "a condition"),
        (lambda q, k: (k <= q) & q, "the left side `k <= q` is a truth value, the right side `q` is an integer", "parentheses around each"),
        (lambda q, k: (k <= q) + 1 == 2, "`+` mixes a truth value and a number", "`lacuna.where(condition, 1, 0)`"),
        (lambda q, k: (k <= q) < (q <= k), "`<` between the truth values `k <= q` and `q <= k`", "`& | ^ ~ == !=` on conditions"),
        (lambda q, k: -(k <= q) == 1, "`neg` of the truth value `k <= q`", "`~` to negate it"),
        (lambda q, k: ~q == k, "`~` of `q`, which is an integer", "`-x - 1`"),
        (lambda q, k: q / 2 < k, "`float(q) / 2.0` in the mask is a real", "`//`: a mask is integer arithmetic"),
        (lambda q, k: q < 2.5, "`2.5` in the mask is a real", "integers: multiply both sides"),
        (lambda q, k: float(q) < k, "`float(q)` in the mask is a real", "integers"),
        (lambda q, k: q // 0 == k, "`q // 0` divides by zero", "a divisor other than 0"),
        (lambda q, k: q**k == 1, "`q ** k`: the exponent must be a constant integer", "`1 << n` for a power of two"),
        (lambda q, k: 2**q == k, "`2 ** q`: the exponent", "`1 << n` for a power of two"),
        (lambda q, k: q**-1 == k, "`q ** -1`: the exponent", "the product itself"),
        (lambda q, k: int(q) == k, "`int()` of the expression `q`", "`//` to round down"),
        (lambda q, k: len(q) == k, "`len()` of the expression `q`", "`lacuna.q_len`, `lacuna.kv_len`"),
        (lambda q, k: {q: 1}, "`q` cannot be a dictionary key", "a table, bound as a tensor"),
        (lambda q, k: q.float() < k, "an expression has no attribute `float`: `q` is an integer index", "operators"),
        (lambda q, k: (q < k).any(), "no attribute `any`: `q < k` is a condition", "`lacuna.where`"),
        (lambda q, k: q[0] < k, "`q[...]`: the expression is one number", "`@lacuna.pattern(rank=2)` for coordinates"),
        (lambda q, k: [1, 2][q] == k, "`q` is no single integer: it cannot count a `range`, index a list", FIX_TENSOR),
        (lambda q, k: TABLE[q, k] == 1, "`q`", FIX_TENSOR),
        (lambda q, k: q + TABLE == 1, "a tensor of shape (4, 4) meets an index directly", FIX_TENSOR),
        (lambda q, k: TABLE + q == 1, "a tensor of shape (4, 4) meets an index directly", FIX_TENSOR),
        (lambda q, k: TABLE.numpy() + q == 1, "a tensor of shape (4, 4) meets an index directly", FIX_TENSOR),
        (lambda q, k: q == "x", "'x' cannot be part of an expression", "integers or truth values"),
        (lambda q, k: q == None, "None cannot be part of an expression", "integers or truth values"),  # noqa: E711
        (lambda q, k: where(q, 1, 2) == k, "the condition `q` of a selection is a number", "`q != 0`"),
        (lambda q, k: where(q < k, 1, k < 2), "one is a truth value, one a number", "two conditions or two numbers"),
        (lambda q, k: minimum(q) < k, "`lacuna.minimum` of one value", "`lacuna.minimum(a, b)`"),
        (lambda q, k, *, table=TABLE: table[q] == 1, "`table` has rank 2 and is read with 1 index", "`table[q, k]`"),
        (lambda q, k, *, table=TABLE: table[q][k] == 1, "`table` has rank 2 and is read with 1 index", "`table[q, k]`"),
        (lambda q, k, *, table=TABLE: table[q, -1] == 1, "`table` is read at -1; negative indices do not wrap", "the index from the front"),
        (lambda q, k, *, table=TABLE: table[q, q < k] == 1, "`table` is read at `q < k`, which is no integer", "an integer index"),
        (lambda q, k, *, table=TABLE: table[q, :] == 1, "a slice of the table `table`", "one index per axis"),
        (lambda q, k, *, table=TABLE: table + 1 == q, "unsupported operand", ""),
        (lambda q, k, *, table=TABLE: q + table == 1, "the table `table` is used as a number", "`table[q]`"),
        (lambda q, k, *, table=TABLE: k < table.shape[0], "the table `table` has no attribute `shape`", "bind sizes as parameters"),
        (lambda q, k, *, table=TABLE: k < len(table), "the size of the table `table`", "the size as a parameter"),
        (lambda q, k, *, table=TABLE: any(x == q for x in table), "a loop over the table `table`", "a look-up, `table[q]`"),
        (lambda q, k, *, table=TABLE: k < q if table else q < k, "the truth value of the table `table`", "`is None`"),
        (lambda q, k, *, table=TABLE: table, "returns table[*, *]", "a condition"),
    ],
)
def test_mistakes_in_a_mask_are_answered_with_the_fix(function: Callable[..., object], complaint: str, fix: str) -> None:
    with pytest.raises((TypeError, AttributeError, InvalidProgram)) as raised:
        _ = pattern(function).program
    assert complaint in str(raised.value)
    assert fix in str(raised.value)


def test_kinds_of_bound_numbers_follow_their_types() -> None:
    made = pattern(lambda q, k, *, a: q < a)
    assert made(a=3).program.parameters == (Symbol("a", Kind.INT),)
