"""Torch's semantics in functions written for FlexAttention: whatever is taken is what torch computes, and everything else is refused."""

# FlexAttention's functions are written without types, and so are these:
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false, reportUnknownParameterType=false, reportMissingParameterType=false
# ruff: noqa: ANN001, ANN202

from __future__ import annotations

import math
import operator
import random
import warnings
from collections import Counter
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from lacuna import attention, dense, schedule
from lacuna.interop import flex
from lacuna.ir.expr import Binary, Const, Expr, Lookup, Op, Select, Symbol, Unary, Var, operands
from lacuna.ir.program import InvalidProgram
from lacuna.runtime.request.bound_tensors import tensor_of
from torch import Tensor

Values = dict[str, Tensor]
Computed = Callable[..., Any]
REFUSED = (TypeError, InvalidProgram, AttributeError)
DTYPES = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float32)
ROWS, KEYS = 7, 9


def table(dtype: torch.dtype, size: int, pick: random.Random) -> Tensor:
    """Values over the whole range of narrow integers; small ones more often."""
    if dtype is torch.bool:
        return torch.tensor([pick.random() < 0.5 for _ in range(size)])
    if dtype.is_floating_point:
        return torch.tensor([pick.choice([-2.0, -0.75, 0.5, 0.0, 3.0, pick.uniform(-4, 4)]) for _ in range(size)], dtype=dtype)
    least, most = (-(2**20), 2**20) if dtype is torch.int64 else (torch.iinfo(dtype).min, torch.iinfo(dtype).max)
    small = [each for each in (-3, -1, 0, 1, 2, 5, 7) if least <= each]
    return torch.tensor([pick.choice([least, most, pick.randint(least, most), *small * 2]) for _ in range(size)], dtype=dtype)


def quotient(a: float, b: float) -> float:
    if b:
        return a / b
    return math.nan if a == 0 or math.isnan(a) else math.copysign(math.inf, a)


OPERATIONS: dict[Op, Computed] = {
    **{Op.ADD: operator.add, Op.SUB: operator.sub, Op.MUL: operator.mul, Op.MIN: min, Op.MAX: max, Op.NEG: operator.neg, Op.ABS: abs},
    **{Op.FLOORDIV: lambda a, b: a // b if b else 0, Op.MOD: lambda a, b: a % b if b else 0, Op.DIV: quotient, Op.POW: operator.pow},
    **{Op.BITAND: operator.and_, Op.BITOR: operator.or_, Op.BITXOR: operator.xor, Op.SHL: operator.lshift, Op.SHR: operator.rshift},
    **{Op.LT: operator.lt, Op.LE: operator.le, Op.EQ: operator.eq, Op.NE: operator.ne, Op.XOR: operator.ne, Op.NOT: operator.not_},
    **{Op.AND: lambda a, b: a and b, Op.OR: lambda a, b: a or b, Op.FLOAT: float, Op.SIGMOID: lambda a: 1 / (1 + math.exp(-a))},
    **{op: getattr(math, op.value) for op in (Op.EXP, Op.EXP2, Op.LOG, Op.LOG2, Op.SQRT, Op.TANH, Op.SIN, Op.COS, Op.ERF)},
}


def computed(expr: Expr, row: int, bindings: dict[str, Any]) -> Any:  # noqa: ANN401
    """An expression at query `row`, key 0 and score 0, by Python."""
    match expr:
        case Const(value=value):
            return value
        case Var(name=name):
            return {"q": row, "s": 0.0}.get(name, 0)
        case Symbol(name=name):
            return int(bindings[name])
        case Lookup(table=of, indices=indices):
            return (
                tensor_of(bindings[of.name])
                .reshape(-1, *bindings[of.name].shape[1:])[tuple(computed(each, row, bindings) for each in indices)]
                .item()
            )
        case _:
            parts = [computed(each, row, bindings) for each in operands(expr)]
    if isinstance(expr, Select):
        return parts[1] if parts[0] else parts[2]
    assert isinstance(expr, Unary | Binary)
    try:
        found = OPERATIONS[expr.op](*parts)
    except (ValueError, ZeroDivisionError, OverflowError):  # of a logarithm, a root, a power of 0
        return math.inf if expr.op in (Op.EXP, Op.EXP2, Op.POW) else -math.inf if parts[0] == 0 else math.nan
    return math.nan if isinstance(found, complex) else found


def scores_of(score_mod: Computed, rows: int) -> Tensor:
    """float64[rows]: a score of 0 beside the first key, as the traced program has it."""
    program, bindings, _ = flex.traced(score_mod, is_score=True)
    return torch.tensor([float(computed(program.score, row, bindings)) for row in range(rows)], dtype=torch.float64)


def says_what_to_write(error: BaseException) -> bool:
    return "\n  write " in str(error) or "a tensor has no attribute" in str(error)


# -- methods


def calls(a: object, b: object, condition: object) -> dict[str, tuple[tuple[object, ...], dict[str, object]]]:
    """Arguments that methods may take."""
    return {
        "nothing": ((), {}),
        "a tensor": ((b,), {}),
        "a condition": ((condition,), {}),
        "a small number": ((2,), {}),
        "zero": ((0,), {}),
        "a negative number": ((-3,), {}),
        "a large number": ((300,), {}),
        "a real": ((1.5,), {}),
        "a truth value": ((True,), {}),
        "a type of Python": ((int,), {}),
        "two tensors": ((b, a), {}),
        "two numbers": ((-1, 5), {}),
        "a condition and a tensor": ((condition, b), {}),
        "a condition and a number": ((condition, 3), {}),
        "a dtype": ((torch.int16,), {}),
        "dtype=": ((), {"dtype": torch.uint8}),
        "no size and a number": (((), 3), {}),
        "an empty size": (((),), {}),
        "bounds": ((), {"min": -2, "max": b}),
        "alpha=": ((b,), {"alpha": 2}),
        "rounding_mode=floor": ((b,), {"rounding_mode": "floor"}),
        "rounding_mode=trunc": ((-3,), {"rounding_mode": "trunc"}),
        "other=": ((), {"other": b}),
    }


CALLS = tuple(calls(0, 0, 0))
UNSAFE = {"backward", "share_memory_", "pin_memory", "register_hook", "storage", "data_ptr"}
METHODS = sorted(name for name in dir(Tensor) if not name.startswith("_") and name not in UNSAFE)


def result_of(name: str, how: str, x: Any, y: Any, condition: Any, values: list[Any]) -> object:  # noqa: ANN401
    """What a method comes to; and what `x` is afterwards, in the last place of `values`, where it changes it."""
    args, keywords = calls(x, y, condition)[how]
    attribute = getattr(x, name)
    found = attribute(*args, **keywords) if callable(attribute) else attribute
    if name.endswith("_"):
        values.append(x)
    return found


def check_method(name: str, how: str, tables: Values) -> str:
    """What came of it: "refused", "torch refuses", "equal"."""
    n = len(tables["x"])

    def score_mod(s, b, h, q, k):
        found = result_of(name, how, tables["x"][q], tables["y"][q], tables["condition"][q], changed)
        dtypes.append(getattr(found, "dtype", None))
        plain.append(found)
        return (changed[-1] if changed else found) + 0 * s if hasattr(found, "expr") else s

    dtypes, plain, changed = list[Any](), list[object](), list[Any]()
    try:
        ours = scores_of(score_mod, n)
    except REFUSED as error:
        return "refused" if says_what_to_write(error) else f"{name} of {how}: {error}"
    theirs, after = list[Any](), list[Any]()
    for row in range(n):
        try:
            x, y, condition = (tables[each][row].clone() for each in ("x", "y", "condition"))
            theirs.append(result_of(name, how, x, y, condition, after))
        except (RuntimeError, TypeError, ValueError, IndexError, AssertionError):
            return "torch refuses"
    if not hasattr(plain[0], "expr"):
        assert all(plain[0] == each for each in theirs), f"{name} of {how}: {plain[0]}, torch {theirs}"
        return "equal"
    what = f"{name} of {how} on {tables['x'].dtype}, {tables['y'].dtype}: {tables}"
    assert all(isinstance(each, Tensor) and each.ndim == 0 and each.dtype == dtypes[0] for each in theirs), f"{what}: {dtypes}, {theirs}"
    wanted = torch.stack([each.double() for each in after or theirs])
    beyond = (ours.abs() > 3e38) & ~wanted.isnan()  # float32 ends there
    ours = torch.where(beyond, wanted, ours)
    if dtypes[0].is_floating_point and max(x.double().abs().max() for x in (tables["x"], tables["y"])) > 2**24:
        return "equal"  # to a float32 that some integers are not
    assert torch.allclose(ours, wanted, rtol=2e-6, atol=1e-6, equal_nan=True), f"{what}: {ours.tolist()}, torch {wanted.tolist()}"
    return "equal"


@pytest.mark.filterwarnings("ignore")
def test_every_method_means_what_torch_means_or_is_refused(prove: bool) -> None:
    pick = random.Random(0)
    came = Counter[str]()
    taken = set[str]()
    for name in METHODS:
        for how in CALLS:
            for _ in range(12 if prove else 1):
                tables = {
                    "x": table(pick.choice(DTYPES), 5, pick),
                    "y": table(pick.choice(DTYPES), 5, pick),
                    "condition": table(torch.bool, 5, pick),
                }
                outcome = check_method(name, how, tables)
                came[outcome] += 1
                taken |= {name} if outcome == "equal" else set()
    assert set(came) == {"refused", "torch refuses", "equal"}
    assert {"where", "masked_fill", "add_", "sub", "clamp", "sum", "type_as", "bitwise_left_shift", "floor_divide", "fill_"} <= taken
    assert len(taken) > 100


@pytest.mark.parametrize(
    ("function", "complaint", "fix"),
    [
        (lambda s, q: s.where(q, 0.0), "the condition `q` of `where` is a number", "`q != 0`"),
        (lambda s, q: s.detach(), "`.detach()` of `s`", "it without"),
        (lambda s, q: s.T, "`.T` of the expression `s`", "an operator or a method"),
        (lambda s, q: q.mul_(0.5) + s, "`mul_` makes `q`, which is torch.int64, torch.float32", "`mul`, a new value"),
        (lambda s, q: torch.max(q, 0) + s, "`max` or `min` along an axis", "`torch.maximum`"),
        (lambda s, q: q.type() or s, "the type of `q` as a string", "`.to(torch.int64)`"),
        (lambda s, q: (q > 3) - (q > 5) + s, "`-` of the truth value `3 < q`, which torch refuses", "`.int()`"),
        (lambda s, q: -(q > 3) + s, "`neg` of the truth value `3 < q`", "`.int()`"),
        (lambda s, q: torch.where(q > 3, q.byte(), 300) + s, "300 does not fit torch.uint8", "`.long()`"),
        (
            lambda s, q: (1 << q) + s,
            "`1 << q` may pass 63 bits" if False else "may pass 63 bits, where torch drops the upper ones",
            "`1 << (kv_idx % 32)`",
        ),
        (lambda s, q: q.int().mean() + s, "the mean of `q`, which is no real", "`.float()`"),
        (lambda s, q: q.to(torch.complex64) + s, "`q` is made torch.complex64", "one of torch.bool"),
        (lambda s, q: s.sum(0), "`torch.sum(2 arguments)` has no counterpart here", "one of"),
        (lambda s, q: under_no_grad(s), "is computed under `torch.no_grad()`", "the function without it"),
        (lambda s, q: s.masked_fill(q > 3, 1) + q.masked_fill(q > 3, 1.5), "`1.5` fills `q`, which is torch.int64", "`torch.where`"),
    ],
)
def test_what_is_refused_says_what_to_write(function: Computed, complaint: str, fix: str) -> None:
    with pytest.raises(TypeError) as raised:
        flex.traced(lambda s, b, h, q, k: function(s, q), is_score=True)
    what, write = str(raised.value).split("\n  write ")
    assert complaint in what
    assert fix in write


@torch.no_grad()
def under_no_grad(s: Any) -> Any:  # noqa: ANN401
    return s * 2


# -- programs

ARITHMETIC: list[Computed] = [
    operator.add,
    operator.sub,
    operator.mul,
    operator.floordiv,
    operator.mod,
    operator.and_,
    operator.or_,
    operator.xor,
    *(operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne, operator.add, operator.sub, operator.mul),
]
TORCH: list[Computed] = [
    torch.maximum,
    torch.minimum,
    torch.fmod,
    torch.remainder,
    torch.rsub,
    lambda a, b: torch.logical_and(a.bool(), b),
    lambda a, b: torch.logical_xor(a.bool(), b.bool()),
]
SHIFTS: list[Computed] = [operator.lshift, operator.rshift]
ONE: list[Computed] = [
    torch.abs,
    torch.neg,
    operator.invert,
    torch.sign,
    torch.square,
    torch.logical_not,
    lambda x: x.clamp(-3, 90),
    lambda x: x**3,
    lambda x: x.sum(),
    lambda x: x.any(),
    lambda x: torch.div(x, -3, rounding_mode="trunc"),
    torch.relu,
]
CASTS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool)
NUMBERS = (-200, -3, -1, 0, 1, 2, 3, 7, 100, 255, 300, True, 2**31)


class Programs:
    """Random expressions of positions and captured tensors, a few levels deep."""

    def __init__(self, seed: int) -> None:
        self.pick = random.Random(seed)
        self.tables = [(table(dtype, KEYS, self.pick)) for dtype in DTYPES[:-1] for _ in range(2)]
        self.planes = [torch.stack([table(dtype, KEYS, self.pick) for _ in range(ROWS)]) for dtype in DTYPES[:-1]]
        self.scalars = [table(dtype, 1, self.pick)[0] for dtype in DTYPES[:-1]]

    def leaf(self) -> Computed:
        choice, place = self.pick.randrange(8), self.pick.choice(["q", "k", "k", "q"])
        values, plane, scalar = self.pick.choice(self.tables), self.pick.choice(self.planes), self.pick.choice(self.scalars)
        number = self.pick.choice(NUMBERS)
        if choice < 3:
            return lambda at: values[at[place]]
        if choice == 3:
            return lambda at: plane[at["q"], at["k"]]
        if choice == 4:
            return lambda at: scalar
        return (lambda at: number) if choice == 5 else lambda at: at[place]

    def number(self, depth: int) -> Computed:
        if not depth:
            return self.leaf()
        one, two, three = (self.number(depth - 1) for _ in range(3))
        kind = self.pick.randrange(10)
        if kind < 5:
            join = self.pick.choice([*ARITHMETIC, *TORCH])
            return lambda at: join(one(at), two(at))
        if kind == 5:
            shift, most = self.pick.choice(SHIFTS), self.pick.choice([5, 7, 8, 40])
            return lambda at: shift(one(at), two(at) % most)
        if kind == 6:
            change = self.pick.choice(ONE)
            return lambda at: change(one(at))
        if kind == 7:
            dtype = self.pick.choice(CASTS)
            return lambda at: one(at).to(dtype)
        if kind == 8:
            return lambda at: torch.where(one(at) < two(at), two(at), three(at))
        return lambda at: one(at).where(two(at) != three(at), two(at))

    def condition(self, depth: int) -> Computed:
        compare = self.pick.choice([operator.lt, operator.le, operator.eq, operator.ne, operator.gt, operator.ge])
        one, two = self.number(depth), self.number(depth - 1)
        return lambda at: compare(one(at), two(at))


def by_torch(mask_mod: Computed) -> Tensor:
    """bool[1, 1, ROWS, KEYS], pair by pair. (Mapped over positions, torch narrows captured numbers where it compares them.)"""
    places = [[torch.tensor(each) for each in range(count)] for count in (ROWS, KEYS)]
    return torch.tensor([[[[bool(mask_mod(0, 0, q, k)) for k in places[1]] for q in places[0]]]])


def at(q: Any, k: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"q": q, "k": k}


@pytest.mark.filterwarnings("ignore")
def test_masks_of_captured_integers_are_what_torch_makes_of_them(prove: bool) -> None:
    wrong, refused, equal = list[str](), 0, 0
    for seed in range(4000 if prove else 150):
        condition = Programs(seed).condition(2)

        def mask_mod(b, h, q, k, condition=condition):
            return condition(at(q, k))

        try:
            wanted = by_torch(mask_mod)
        except (RuntimeError, TypeError, AttributeError, OverflowError):
            continue  # torch refuses it, or it is a plain number
        try:
            made = flex.create_block_mask(mask_mod, None, None, ROWS, KEYS)
        except REFUSED as error:
            refused += 1
            wrong += [] if says_what_to_write(error) else [f"seed {seed}: {error}"]
            continue
        equal += 1
        if not torch.equal(dense(made.pattern, ROWS, KEYS), wanted):
            wrong.append(f"seed {seed}: {made}")
    assert not wrong, "\n".join(wrong)
    assert equal > 5 * refused


def usable(count: int, first: int) -> list[tuple[int, Computed, Tensor]]:
    """Masks that torch takes and we take, neither empty nor full, and what torch makes of them."""
    found = list[tuple[int, Computed, Tensor]]()
    for seed in range(first, first + 20 * count):
        condition = Programs(seed).condition(2)
        mask_mod = lambda b, h, q, k, condition=condition: condition(at(q, k))  # noqa: E731
        try:
            wanted = by_torch(mask_mod)
            flex.create_block_mask(mask_mod, None, None, ROWS, KEYS)
        except (RuntimeError, OverflowError, *REFUSED):
            continue
        if 4 < wanted.sum() < wanted.numel() - 4:
            found.append((seed, mask_mod, wanted))
    return found[:count]


@pytest.mark.filterwarnings("ignore")
def test_tiles_of_such_masks_hide_and_cover_nothing_wrongly(prove: bool) -> None:
    for seed, mask_mod, wanted in usable(300 if prove else 12, 20_000):
        pattern = flex.create_block_mask(mask_mod, None, None, ROWS, KEYS).pattern
        tiles = schedule(pattern, ROWS, KEYS, block=(2, 2)).tiles()
        for q, k in product(range(ROWS), range(KEYS)):
            verdict = tiles[q // 2][k // 2]
            assert verdict == 1 or bool(wanted[0, 0, q, k]) is bool(verdict == 2), f"seed {seed}, ({q}, {k}): {pattern.program}"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("compiled_quickly")
@pytest.mark.parametrize("backend", ["cpp", "eager", "triton"])
def test_kernels_of_such_masks_give_what_torch_gives(backend: str, prove: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 2, length, 16, requires_grad=True) for length in (ROWS, KEYS, KEYS))
    for seed, mask_mod, wanted in usable(60 if prove else 2, 30_000):
        pattern = flex.create_block_mask(mask_mod, None, None, ROWS, KEYS).pattern
        out = attention(query, key, value, pattern, backend=backend)
        assert isinstance(out, Tensor)
        theirs = dense_attention(query, key, value, wanted)
        assert torch.allclose(out, theirs, atol=1e-5), f"seed {seed}: {pattern.program}"
        ours = torch.autograd.grad(out.square().sum(), (query, key, value))
        for mine, other in zip(ours, torch.autograd.grad(theirs.square().sum(), (query, key, value)), strict=True):
            assert torch.allclose(mine, other, atol=1e-4), f"seed {seed}: {pattern.program}"


def dense_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    scores = (query @ key.mT / 4).masked_fill(~mask, -torch.inf)
    sees = mask.any(-1, keepdim=True)
    return torch.where(sees, torch.softmax(torch.where(sees, scores, 0.0), -1), 0.0) @ value


@pytest.mark.filterwarnings("ignore")
def test_scores_of_captured_integers_are_what_torch_makes_of_them(prove: bool) -> None:
    query, key = torch.zeros(1, 1, ROWS, 16, dtype=torch.float64), torch.zeros(1, 1, 1, 16, dtype=torch.float64)
    equal = 0
    for seed in range(2000 if prove else 200):
        number, mask = Programs(seed + 10_000).number(2), Programs(seed).condition(1)

        def score_mod(s, b, h, q, k, number=number, mask=mask):
            return torch.where(mask(at(q, k)), s, 0.5 * s) + number(at(q, k))

        try:
            rows = [score_mod(torch.tensor(0.0), 0, 0, torch.tensor(row), torch.tensor(0)) for row in range(ROWS)]
            wanted = torch.stack([torch.as_tensor(each).double() for each in rows])
            score = flex.Score.of(*flex.traced(score_mod, is_score=True)[:2])
        except (RuntimeError, OverflowError, *REFUSED):
            continue
        equal += 1
        found = attention(query, key, key, score=score, return_lse=True, backend="eager")[1][0, 0]
        assert torch.allclose(found, wanted, rtol=1e-6), f"seed {seed}"
    assert equal > 30


def test_warnings_of_torch_are_not_ours() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        flex.create_block_mask(lambda b, h, q, k: torch.where(q >= k, q, k) > 3, None, None, ROWS, KEYS)
