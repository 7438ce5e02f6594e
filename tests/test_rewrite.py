"""Control flow in traced functions: what is understood computes what Python computes, what is not says what to write."""

# users write their functions without types, and so do these tests:
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false, reportUnknownMemberType=false

from __future__ import annotations

import traceback
from collections.abc import Callable
from itertools import product

import pytest
from lacuna.ir.expr import Binary, Const, Expr, Op, Select, Unary, Var
from lacuna.ir.pattern import pattern
from lacuna.ir.trace import Traced

SIZE = 9
LIMIT = 4  # a global that a function reads

OPERATORS: dict[Op, Callable[[int, int], int]] = {
    Op.ADD: lambda a, b: a + b,
    Op.SUB: lambda a, b: a - b,
    Op.MUL: lambda a, b: a * b,
    Op.FLOORDIV: lambda a, b: a // b,
    Op.MOD: lambda a, b: a % b,
    Op.MIN: min,
    Op.MAX: max,
    Op.BITAND: lambda a, b: a & b,
    Op.LT: lambda a, b: a < b,
    Op.LE: lambda a, b: a <= b,
    Op.EQ: lambda a, b: a == b,
    Op.NE: lambda a, b: a != b,
    Op.AND: lambda a, b: a and b,
    Op.OR: lambda a, b: a or b,
    Op.XOR: lambda a, b: a != b,
}


def value_of(expr: Expr, q: int, k: int) -> int:
    match expr:
        case Const(value=value):
            return int(value)
        case Var(name=name):
            return {"q": q, "k": k}[name]
        case Unary(op=op, a=a):
            value = value_of(a, q, k)
            return {Op.NEG: -value, Op.ABS: abs(value), Op.NOT: not value}[op]
        case Binary(op=op, a=a, b=b):
            return OPERATORS[op](value_of(a, q, k), value_of(b, q, k))
        case Select(condition=condition, a=a, b=b):
            return value_of(a if value_of(condition, q, k) else b, q, k)
        case _:
            raise AssertionError(expr)


def conjunction(q: int, k: int) -> bool:
    return k <= q and q - k < 3


def disjunction(q: int, k: int) -> bool:
    return not k < q or k == 0 or q - k == LIMIT


def chained(q: int, k: int) -> bool:
    return 0 <= q - k < 3 != k


def parenthesised_bits_in_a_chain(q: int, k: int) -> bool:
    return 0 < (q & 3) <= (k & 6) < 5


def conditional_expression(q: int, k: int) -> bool:
    return (q if q < k else k + 2) % 3 == (1 if k > 4 else 2)


def builtins(q: int, k: int) -> bool:
    return min(q, k, 5) + max([q, 3]) - abs(q - k) >= 4


def any_and_all(q: int, k: int) -> bool:
    return any(q - k == d for d in (1, 4, 0)) or all(k % d == 0 for d in (2, 3))


def membership(q: int, k: int) -> bool:
    return (k in (0, 5, q)) != (q not in range(1, 8, 3)) and k not in range(7, 2, -2)


def conversions(q: int, k: int) -> bool:
    return int(q < k) + int(k == 3) == 1 or not bool(q - 4)


def early_returns(q: int, k: int) -> bool:
    if k < 2:
        return True
    if k > q:
        return False
    distance = q - k
    if distance > 5:
        return k % 2 == 0
    return distance != 3


def branches(q: int, k: int) -> bool:
    if q < 3:
        x, y = q, 1
    elif q < 6:
        x, y = q + 1, 2
        if k > x:
            y += 3
    else:
        x, y = k, 2
    return x + y > k


def a_name_that_only_the_living_side_has(q: int, k: int) -> bool:
    if q < 4:
        x = k
    else:
        return False
    return x < q


def both_sides_return(q: int, k: int) -> bool:
    if q < 4:
        if k < 2:
            return True
        return q == k
    else:
        return q - k == 1


def loops_over_constants(q: int, k: int) -> bool:
    hit = False
    for size in (1, 2):
        if k == size:
            hit = True
        for step in range(2):
            hit = hit or q - k == size * step
    return hit and not (q == 3 and k == LIMIT)


def a_loop_on_one_side(q: int, k: int) -> bool:
    total = 0
    if q > k:
        for step in (1, 2):
            total = total + step * k
    return total % 3 == 1


def a_local_function(q: int, k: int) -> bool:
    def near(a: int, b: int) -> bool:
        if a < b:
            return b - a < 2
        return 0 <= a - b < 3

    return near(q, k) or near(k, 2)


def a_static_test(q: int, k: int) -> bool:
    wide = LIMIT > 3
    if wide:
        if LIMIT > 10:
            raise ValueError
        return q - k <= LIMIT
    return q == k


UNDERSTOOD = [
    conjunction,
    disjunction,
    chained,
    parenthesised_bits_in_a_chain,
    conditional_expression,
    builtins,
    any_and_all,
    membership,
    conversions,
    early_returns,
    branches,
    a_name_that_only_the_living_side_has,
    both_sides_return,
    loops_over_constants,
    a_loop_on_one_side,
    a_local_function,
    a_static_test,
]


@pytest.mark.parametrize("function", UNDERSTOOD, ids=lambda function: function.__name__)
def test_what_is_understood_computes_what_python_computes(function: Callable[[int, int], bool]) -> None:
    mask = pattern(function).program.mask
    for q, k in product(range(SIZE), repeat=2):
        assert value_of(mask, q, k) == function(q, k), (q, k)


def test_lambdas_are_told_apart_on_one_line() -> None:
    first, second = pattern(lambda q, k: q <= k and k < 5), pattern(lambda q, k: q <= k or k < 5)
    assert str(first.program.mask) == "q <= k and k < 5"
    assert str(second.program.mask) == "q <= k or k < 5"


def test_closures_and_globals_keep_working() -> None:
    def near(q: int, k: int) -> bool:
        return 0 <= q - k < width and k != LIMIT

    width = 7  # bound after the function is made
    assert str(pattern(near).program.mask) == "0 <= q - k and q - k < 7 and k != 4"


def test_a_static_parameter_decides_python_branches() -> None:
    @pattern
    def banded(q: int, k: int, *, causal: bool, window: int | None = None) -> bool:
        if causal and k > q:
            return False
        return window is None or q - k < window

    assert str(banded(causal=False, window=4).program.mask) == "q - k < window"
    assert str(banded(causal=True).program.mask) == "not q < k" or str(banded(causal=True).program.mask) == "k <= q"
    assert str(banded(causal=True, window=4).program.mask) == "k <= q and q - k < window"


def test_an_unparenthesised_and_is_not_taken_for_a_chain() -> None:
    with pytest.raises(TypeError, match=r"`k <= q & q - k < 3` is one chain .*\n  write parentheses around each comparison"):
        _ = pattern(lambda q, k: k <= q & q - k < 3).program


def test_errors_point_at_the_line_of_the_user() -> None:
    def wrong(q: Traced, k: Traced) -> object:
        if k < 2:
            return True
        return (k <= q) & (q - k)  # here

    with pytest.raises(TypeError, match="mixes a truth value and a number") as raised:
        _ = pattern(wrong).program
    lines = [frame.line for frame in traceback.extract_tb(raised.value.__traceback__) if frame.filename == __file__]
    assert lines[-1] == "return (k <= q) & (q - k)  # here"
    assert raised.value.__notes__[0].startswith(f'while tracing `wrong`, File "{__file__}", line ')


def returns_on_one_path(q: Traced, k: Traced) -> object:
    if q < k:
        return True


def assigns_on_one_path(q: Traced, k: Traced) -> object:
    if q < k:
        x = 1
    return x < k  # pyright: ignore[reportPossiblyUnboundVariable] (what is tested)


def changes_a_list(q: Traced, k: Traced) -> object:
    seen: list[int] = []
    if q < k:
        seen.append(3)
    return q == k


def loops_until(q: Traced, k: Traced) -> object:
    while q < k:
        q = q + 1
    return q == k


def counts_to_an_index(q: Traced, k: Traced) -> object:
    return any(q - k == d for d in range(q))


def loops_over_an_index(q: Traced, k: Traced) -> object:
    return any(q - k == d for d in k)


def returns_from_a_loop(q: Traced, k: Traced) -> object:
    for d in (1, 2):  # noqa: SIM110 (what is tested)
        if q - k == d:
            return True
    return False


@pytest.mark.parametrize(
    ("function", "complaint", "fix"),
    [
        (returns_on_one_path, "the function returns nothing where `k <= q`", "a `return` on every path"),
        (assigns_on_one_path, "`x`, which is assigned on one side of `if q < k` only, is used", "an `else` that assigns it"),
        (changes_a_list, "`q < k` has no truth value", "`lacuna.where(condition, a, b)` instead of `if`"),
        (loops_until, "`q < k` has no truth value", "a condition on `k` instead of `while`"),
        (returns_from_a_loop, "`q - k == 1` has no truth value", "`lacuna.where(condition, a, b)` instead of `if`"),
        (counts_to_an_index, "`q` is no single integer: it cannot count a `range`", "a condition on `k` instead of a loop"),
        (loops_over_an_index, "a loop over the expression `k`", "`@lacuna.pattern(rank=2)` makes"),
        (lambda q, k: q and k < 3, "`q` is used as a condition and is a number", "`q != 0`"),
        (lambda q, k: not q, "`q` is used as a condition and is a number", "`q != 0`"),
    ],
)
def test_what_is_not_understood_is_refused_with_the_fix(function: Callable[..., object], complaint: str, fix: str) -> None:
    with pytest.raises(TypeError) as raised:
        _ = pattern(function).program
    what, write = str(raised.value).split("\n  write ")
    assert complaint in what
    assert fix in write
