"""Attention inside `torch.compile`: equal to the same sums outside of it, in at most two graphs for three lengths."""

# Functions for FlexAttention and patterns are written without annotations, and torch's annotations are partial.
# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportPrivateUsage=false
# ruff: noqa: ANN001, ANN202
from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import lacuna
import pytest
import torch
from lacuna.interop.flex import BlockMask, and_masks, create_block_mask, flex_attention
from lacuna.interop.natten import NeighborhoodAttention2D, na1d, na2d
from lacuna.runtime.calls import operators
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # inductor's own, under `make prove`

HEADS, DIM = 2, 8
MODES: dict[str, dict[str, Any]] = {"default": {}, "fullgraph": {"fullgraph": True}, "dynamic": {"fullgraph": True, "dynamic": True}}
SLOPES = torch.nn.Parameter(torch.tensor([0.3, 0.1]))
BIAS = torch.nn.Parameter(torch.linspace(-1, 1, 2 * 40).view(2, 40))
SHIFT = torch.nn.Parameter(torch.tensor(0.7))
DOCUMENT = torch.arange(40) // 9
BYTES = DOCUMENT.to(torch.uint8)
REACH = torch.tensor(7)
LEARNED = (SLOPES, BIAS, SHIFT)

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
Expected = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Scores [B, H, L, L], batch-free positions h [H, 1, 1], i [L, 1], j [1, L] and the number of tokens: what scores become, and a mask."""


@pytest.fixture(autouse=True)
def _eagerly(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Kernels are not what is tested here; graphs of other tests are forgotten."""
    monkeypatch.setenv("LACUNA_BACKEND", "eager")
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def _tensors(length: int, *, seed: int = 0) -> list[Tensor]:
    made = torch.Generator().manual_seed(seed + length)
    return [torch.randn(2, HEADS, length, DIM, generator=made, requires_grad=True) for _ in range(3)]


def _dense(qkv: list[Tensor], expected: Expected) -> Tensor:
    query, key, value = (each.double() for each in qkv)
    length = query.shape[2]
    at = torch.arange(length)
    scores, mask = expected(
        query @ key.transpose(-1, -2) / DIM**0.5, torch.arange(HEADS)[:, None, None], at[:, None], at[None, :], torch.tensor(length)
    )
    return torch.softmax(scores.masked_fill(~mask, -torch.inf), -1) @ value


ALL = torch.tensor(True)


@lacuna.pattern
def _near(q, k, *, window):
    return q - k < window


@lacuna.score
def _alibi(s, h, q, k, *, slopes):
    return s - slopes[h] * (q - k)


def _causal(b, h, q_idx, kv_idx):
    return q_idx >= kv_idx


def _within(window) -> Callable[..., Tensor]:
    def within(b, h, q_idx, kv_idx):
        return q_idx - kv_idx < window

    return within


def _masked(mask_mod: Callable[..., object], query: Tensor) -> BlockMask:
    return create_block_mask(mask_mod, None, None, query.shape[2], query.shape[2])


def _native(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return cast(Tensor, lacuna.attention(q, k, v, lacuna.patterns.causal() & _near(window=9), score=_alibi(slopes=SLOPES)))


def _moved(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return cast(Tensor, lacuna.attention(q, k, v, lacuna.patterns.causal().shift(q=q.shape[2] // 3)))


def _face_with_mask(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return cast(Tensor, flex_attention(q, k, v, block_mask=_masked(and_masks(_within(7), _causal), q)))


def _face_with_score(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    length = q.shape[2]
    return cast(
        Tensor, flex_attention(q, k, v, lambda s, b, h, i, j: torch.where(j == length - 1, 20 * torch.tanh(s / 20), s - (i - j).abs()))
    )


def _face_with_tensors(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    length = q.shape[2]
    relative = torch.arange(2 * length - 1) * 0.01

    def score(s, b, h, i, j):
        return (s - SLOPES[h] * (i - j) + BIAS[h, (i - j).abs()]) * SHIFT + BIAS[h][i - j] + relative[i - j + length - 1]

    def mask(b, h, i, j):
        return (DOCUMENT[i] == DOCUMENT[j]) & (BYTES[i] == BYTES[j]) & (i - j < REACH) & (j >= i - length // 2)

    return cast(Tensor, flex_attention(q, k, v, score, _masked(mask, q)))


def _of_tensors(s: Tensor, h: Tensor, i: Tensor, j: Tensor, n: Tensor) -> tuple[Tensor, Tensor]:
    changed = (
        (s - SLOPES[h] * (i - j) + BIAS[h, (i - j).abs()]) * SHIFT + BIAS[h, i - j] + (torch.arange(2 * int(n) - 1) * 0.01)[i - j + n - 1]
    )
    return changed, (DOCUMENT[i] == DOCUMENT[j]) & (i - j < 7) & (j >= i - n // 2)


def _neighbors(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return cast(Tensor, na1d(*(each.transpose(1, 2) for each in (q, k, v)), kernel_size=5)).transpose(1, 2)


def _of_neighbors(s: Tensor, h: Tensor, i: Tensor, j: Tensor, n: Tensor) -> tuple[Tensor, Tensor]:
    start = (i - 2).clamp(min=0).minimum(n - 5)
    return s, (start <= j) & (j < start + 5)


KINDS: dict[str, tuple[Attend, Expected]] = {
    "native": (_native, lambda s, h, i, j, n: (s - SLOPES[h] * (i - j), (i >= j) & (i - j < 9))),
    "moved": (_moved, lambda s, h, i, j, n: (s, i + n // 3 >= j)),
    "face with mask": (_face_with_mask, lambda s, h, i, j, n: (s, (i >= j) & (i - j < 7))),
    "face with score": (_face_with_score, lambda s, h, i, j, n: (torch.where(j == n - 1, 20 * torch.tanh(s / 20), s - (i - j).abs()), ALL)),
    "face with tensors": (_face_with_tensors, _of_tensors),
    "neighbors": (_neighbors, _of_neighbors),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_compiled_region_equals_its_sums_at_three_lengths_in_two_graphs(kind: str, mode: str, prove: bool) -> None:
    if not prove and mode != "dynamic" and kind != "face with mask":
        pytest.skip("other ways to compile take seconds each: LACUNA_TEST_PROFILE=prove")
    attend, expected = KINDS[kind]
    counter = CompileCounterWithBackend("inductor" if prove else "eager")
    compiled = torch.compile(attend, backend=counter, **MODES[mode])
    for length in (24, 20, 37):
        qkv = _tensors(length)
        out, wanted = compiled(*qkv), _dense(qkv, expected)
        assert torch.allclose(out.double(), wanted, atol=1e-5), (kind, mode, length)
        weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
        both = [
            torch.autograd.grad((each * weights).sum(), [*qkv, *LEARNED], allow_unused=True, materialize_grads=True)
            for each in (out, wanted)
        ]
        for found, right in zip(*both, strict=True):
            assert torch.allclose(found, right, atol=1e-3, rtol=1e-4), (kind, mode, length)
    assert counter.frame_count <= 2


@pytest.mark.parametrize("mode", MODES)
def test_an_attention_module_equals_itself_compiled(mode: str) -> None:
    module = lacuna.nn.Attention(lacuna.patterns.sliding_window(9), 16, 2)
    counter = CompileCounterWithBackend("eager")
    compiled = torch.compile(module, backend=counter, **MODES[mode])
    for length in (24, 20, 37):
        given = torch.randn(2, length, 16)
        assert torch.allclose(compiled(given), module(given), atol=1e-6)
    assert counter.frame_count <= 2


@pytest.mark.parametrize("mode", MODES)
def test_neighborhoods_of_a_grid_are_compiled_cold_and_at_other_resolutions(mode: str, prove: bool) -> None:
    if not prove and mode != "fullgraph":
        pytest.skip("other ways to compile take seconds each: LACUNA_TEST_PROFILE=prove")
    counter = CompileCounterWithBackend("eager")
    compiled = torch.compile(lambda x: na2d(x, x, x, 3, is_causal=(True, False)), backend=counter, **MODES[mode])
    module = NeighborhoodAttention2D(16, 2, 3)
    compiled_module = torch.compile(module, backend="eager", **MODES[mode])
    for rows, columns in ((5, 6), (7, 4), (6, 9)):
        given = torch.randn(1, rows, columns, 2, 8)
        flat = given.flatten(1, 2)
        at = torch.arange(rows * columns)
        y, x = at // columns, at % columns
        start = (x - 1).clamp(min=0, max=columns - 3)
        behind = (y[None] <= y[:, None]) & (y[:, None] - 3 < y[None])
        mask = behind & (start[:, None] <= x[None]) & (x[None] < start[:, None] + 3)
        scores = torch.einsum("bqhd,bkhd->bhqk", flat, flat) / 8**0.5
        wanted = torch.einsum("bhqk,bkhd->bqhd", torch.softmax(scores.masked_fill(~mask, -torch.inf), -1), flat)
        assert torch.allclose(cast(Tensor, compiled(given)).flatten(1, 2), wanted, atol=1e-5)
        hidden = torch.randn(1, rows, columns, 16)
        assert torch.allclose(compiled_module(hidden), module(hidden), atol=1e-6)
    assert counter.frame_count <= 2


def test_a_new_closure_of_the_same_code_is_the_same_graph() -> None:
    counter = CompileCounterWithBackend("eager")
    compiled: Any = torch.compile(lambda q, k, v, mask: flex_attention(q, k, v, block_mask=mask), backend=counter, fullgraph=True)
    for step in range(4):
        document = torch.arange(24) // (step + 3)

        def same(b, h, i, j, document=document):
            return document[i] == document[j]

        qkv = _tensors(24, seed=step)
        out = cast(Tensor, compiled(*qkv, _masked(same, qkv[0])))
        wanted = _dense(qkv, lambda s, h, i, j, n, document=document: (s, document[i] == document[j]))
        assert torch.allclose(out.double(), wanted, atol=1e-5)
    assert counter.frame_count == 1


@pytest.mark.parametrize("dynamic", [False, None, True])
def test_a_program_read_inside_a_region_is_that_of_outside(dynamic: bool | None) -> None:
    def text(x: Tensor) -> tuple[str, str]:
        made = create_block_mask(lambda b, h, i, j: b.new_ones((), dtype=torch.bool) & (j <= i) & (i - j < 7), None, None, len(x), len(x))
        return str(made.pattern.program.mask), str(_near(window=len(x)).program.mask)

    for length in (6, 5, 4):
        assert torch.compile(text, backend="eager", dynamic=dynamic)(torch.zeros(length)) == text(torch.zeros(length))
    assert text(torch.zeros(3)) == ("k <= q and q - k < 7", "q - k < window")


def test_a_length_read_more_than_once_is_one_number() -> None:
    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        half = q.shape[2] // 2

        def mask(b, h, i, j):
            behind = i - j - half
            far = behind
            for _ in range(4):
                far = torch.maximum(far, far - 1)
            return (behind < 3) & (far > -9)

        return cast(Tensor, flex_attention(q, k, v, block_mask=_masked(mask, q)))

    compiled: Any = torch.compile(attend, backend="eager", fullgraph=True, dynamic=True)
    for length in (16, 11):
        qkv = _tensors(length)
        wanted = _dense(qkv, lambda s, h, i, j, n: (s, (i - j - n // 2 < 3) & (i - j - n // 2 > -9))).nan_to_num(0.0)
        assert torch.allclose(compiled(*qkv).double(), wanted, atol=1e-5)


# -- functions at random ----------------------------------------------------------------------------------------------

_NUMBERS: dict[str, Callable[..., Tensor]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "maximum": torch.maximum,
    "minimum": lambda a, b: a.minimum(b),
    "clamp": lambda a, b: torch.clamp(a, min=b),
    "reflected": lambda a, b: 5 - a + b,
    "abs": lambda a, b: (a - b).abs(),
    "where": lambda a, b: torch.where(a < b, a, b + 1),
    "half": lambda a, b: (a + b + 60) // 2,
}
_CONDITIONS: dict[str, Callable[..., Tensor]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "ge": lambda a, b: a.ge(b),
    "gt": torch.gt,
}
_JOINED: dict[str, Callable[..., Tensor]] = {
    "&": lambda a, b: a & b,
    "|": lambda a, b: a | b,
    "^": lambda a, b: a ^ b,
    "and": torch.logical_and,
    "unless": lambda a, b: a & ~b,
}


def _number(dice: random.Random, depth: int) -> Callable[..., Tensor]:
    if not depth or dice.random() < 0.2:
        leaves: list[Callable[..., Tensor]] = [
            lambda i, j, n: i,
            lambda i, j, n: j,
            lambda i, j, n: DOCUMENT[i],
            lambda i, j, n: DOCUMENT[j],
            lambda i, j, n: j - n // 2,
            lambda i, j, n: REACH + i,
        ]
        return dice.choice(leaves)
    operator, left, right = dice.choice(list(_NUMBERS.values())), _number(dice, depth - 1), _number(dice, depth - 1)
    return lambda i, j, n: operator(left(i, j, n), right(i, j, n))


def _condition(dice: random.Random, depth: int) -> Callable[..., Tensor]:
    if not depth or dice.random() < 0.2:
        operator, number = dice.choice(list(_CONDITIONS.values())), _number(dice, 2)
        if dice.random() < 0.4:
            return lambda i, j, n: operator(number(i, j, n), n - 3)
        other = _number(dice, 2)
        return lambda i, j, n: operator(number(i, j, n), other(i, j, n))
    join, left, right = dice.choice(list(_JOINED.values())), _condition(dice, depth - 1), _condition(dice, depth - 1)
    return lambda i, j, n: join(left(i, j, n), right(i, j, n))


def test_masks_at_random_mean_the_same_inside_a_region(prove: bool) -> None:
    dice = random.Random(7)
    for number in range(200 if prove else 2):
        condition = _condition(dice, 2)
        torch._dynamo.reset()

        def attend(q: Tensor, k: Tensor, v: Tensor, condition: Callable[..., Tensor] = condition) -> Tensor:
            length = q.shape[2]
            return cast(Tensor, flex_attention(q, k, v, block_mask=_masked(lambda b, h, x, y: condition(x, y, length), q)))

        compiled: Any = torch.compile(attend, backend="eager", fullgraph=True, dynamic=number % 3 != 0)
        for length in (16, 11):
            qkv = _tensors(length)
            i, j = torch.arange(length)[:, None], torch.arange(length)[None]
            mask = torch.broadcast_to(condition(i, j, length), (length, length))
            wanted = _dense(qkv, lambda s, *_, mask=mask: (s, mask)).nan_to_num(0.0)
            assert torch.allclose(compiled(*qkv).double(), wanted, atol=1e-5), number


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "mask",
    [
        lambda b, h, i, j: (i if i > j else j) > 3,
        lambda b, h, i, j: i.item() > 3,
        lambda b, h, i, j: torch.arange(int(i)) > 3,
    ],
    ids=["if", "item", "int"],
)
def test_a_number_made_of_a_position_is_refused_and_never_traced(mask: Callable[..., object]) -> None:
    compiled = torch.compile(lambda q, k, v: flex_attention(q, k, v, block_mask=_masked(mask, q)), backend="eager", fullgraph=True)
    with pytest.raises(Exception, match=r"position|data-dependent|Data-dependent|control flow|meta") as found:
        compiled(*_tensors(16))
    assert not isinstance(found.value, AssertionError)


# -- packages ---------------------------------------------------------------------------------------------------------


def test_none_stands_for_an_empty_list_of_an_operator() -> None:
    query, key, value = (each.detach() for each in _tensors(16))
    arguments = (
        query,
        key,
        value,
        None,
        None,
        None,
        None,
        0,
        None,
        None,
        "program @dense(q < Lq, k < Lk) {\n  mask = true\n  score = s\n  normalise = softmax\n}\n",
        None,
        "bhld",
        "eager",
    )
    out, _ = operators._with_lists(operators.attention)(*arguments)
    assert torch.allclose(out.double(), _dense([query, key, value], lambda s, *_: (s, ALL)), atol=1e-5)


@pytest.mark.filterwarnings("ignore:`isinstance:FutureWarning")  # torch's own, of a copy that its inductor makes
def test_a_package_of_aotinductor_runs_at_three_lengths(tmp_path: Path, prove: bool) -> None:
    if not prove:
        pytest.skip("a package takes half a minute to compile: LACUNA_TEST_PROFILE=prove")

    class Model(torch.nn.Module):
        def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return cast(Tensor, lacuna.attention(q, k, v, lacuna.patterns.sliding_window(9)))

    qkv = tuple(each.detach() for each in _tensors(24))
    axis = torch.export.Dim("tokens", min=2, max=4096)
    program = torch.export.export(Model(), qkv, dynamic_shapes=({2: axis},) * 3)
    package = torch._inductor.aoti_compile_and_package(program, package_path=str(tmp_path / "model.pt2"))
    loaded = torch._inductor.aoti_load_package(package)
    for length in (24, 20, 37):
        given = [each.detach() for each in _tensors(length)]
        wanted = _dense(given, lambda s, h, i, j, n: (s, (j <= i) & (i - j < 9)))
        assert torch.allclose(loaded(*given).double(), wanted, atol=1e-5)
