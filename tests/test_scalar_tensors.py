"""Tensors without axes, bound to parameters or captured: read at each call, differentiated where they are real, never copied."""

# FlexAttention's functions are written without types, and so are these:
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false, reportUnknownParameterType=false, reportMissingParameterType=false

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import lacuna
import pytest
import torch
from lacuna.interop import flex
from lacuna.ir.trace import Traced
from reference import assert_close
from reference import attention as reference
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

pytestmark = pytest.mark.usefixtures("compiled_quickly")
LENGTH, KEYS = 20, 36
Score = Callable[[Tensor, Tensor], Tensor]


@lacuna.score
def temper(s: Traced, *, t: float) -> Traced:
    return s * t


@lacuna.score
def cap(s: Traced, q: Traced, k: Traced, *, t: float) -> Traced:
    return t * lacuna.tanh((s + 0.1 * (q - k)) / t)


@lacuna.pattern
def upto(q: Traced, k: Traced, *, last: int) -> Traced:
    return k <= q + last


@lacuna.pattern
def either(q: Traced, k: Traced, *, near: bool, size: int) -> Traced:
    return lacuna.where(near, abs(q - k) < size, q // size == k // size)


@lacuna.pattern
def both(q: Traced, k: Traced, *, last: int, near: bool, size: int) -> Traced:
    return (k <= q + last) & lacuna.where(near, abs(q - k) < size, q // size == k // size)


def tensors(*, grad: bool = False) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(2, h, length, 16, requires_grad=grad) for h, length in ((4, LENGTH), (2, KEYS), (2, KEYS))]


def places() -> tuple[Tensor, Tensor]:
    return torch.arange(LENGTH)[:, None], torch.arange(KEYS)


FORMULAS: dict[str, tuple[Score, Callable[[Tensor], Any], Any]] = {
    "factor": (lambda s, t: s * t, lambda t: temper(t=t), lambda t: lambda s, b, h, q, k: s * t),
    "cap": (
        lambda s, t: t * torch.tanh((s + 0.1 * (places()[0] - places()[1])) / t),
        lambda t: cap(t=t),
        lambda t: lambda s, b, h, q, k: t * torch.tanh((s + 0.1 * (q - k)) / t),
    ),
    "exponential": (lambda s, t: s * t.exp(), lambda t: temper(t=t.exp()), lambda t: lambda s, b, h, q, k: s * t.exp()),
    "sum": (lambda s, t: s * (t + t), lambda t: temper(t=t + t), lambda t: lambda s, b, h, q, k: s * torch.stack([t, t]).sum()),
    "entry": (lambda s, t: s * t, lambda t: temper(t=t[None][0]), lambda t: lambda s, b, h, q, k: s * t[None][0]),
}


@pytest.mark.parametrize("backend", ["cpp", "eager", "triton"])
@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("face", ["native", "flex"])
def test_real_numbers_get_their_gradient(face: str, name: str, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if backend == "triton" and name not in ("factor", "exponential"):
        pytest.skip("the interpreter is slow, and two are enough")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setenv("LACUNA_BACKEND", backend)
    formula, native, mod = FORMULAS[name]
    query, key, value = tensors(grad=True)
    t = torch.tensor(0.7, requires_grad=True)
    for shift in (0.0, 0.2):  # the second call is prepared, and sees another number
        with torch.no_grad():
            t += shift
        if face == "native":
            out = lacuna.attention(query, key, value, lacuna.patterns.full(), score=native(t))
        else:
            out = flex.flex_attention(query, key, value, mod(t), enable_gqa=True)
        assert isinstance(out, Tensor)
        doubles = [each.detach().double().requires_grad_() for each in (query, key, value, t)]
        wanted, _ = reference(*doubles[:3], None, score=lambda s, doubles=doubles: formula(s, doubles[3]))
        ours = torch.autograd.grad(out.square().sum(), (query, key, value, t))
        theirs = torch.autograd.grad(wanted.square().sum(), doubles)
        assert_close(out.detach(), wanted.detach(), 1e-5)
        for mine, other in zip(ours, theirs, strict=True):
            assert mine.shape == other.shape
            assert_close(mine, other, 1e-4 * max(1.0, other.abs().max().item()))


def masked(pattern: Any, mask: Tensor) -> None:  # noqa: ANN401
    """The pattern, however it is looked at, is `mask`."""
    query, key, value = tensors()
    wanted, _ = reference(query, key, value, mask)
    for backend in ("cpp", "eager"):
        assert_close(lacuna.attention(query, key, value, pattern, backend=backend), wanted, 1e-5)  # pyright: ignore[reportArgumentType]
    assert torch.equal(lacuna.dense(pattern, LENGTH, KEYS)[0, 0], mask)
    tiles = torch.as_tensor(lacuna.schedule(pattern, LENGTH, KEYS, block=(4, 4)).tiles())
    assert torch.equal(tiles > 0, mask.view(LENGTH // 4, 4, KEYS // 4, 4).any(3).any(1))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_integers_are_read_at_each_call(dtype: torch.dtype) -> None:
    q, k = places()
    last = torch.tensor(3, dtype=dtype)
    native = upto(last=last)
    block_mask = flex.create_block_mask(lambda b, h, q, k: k <= q + last, None, None, LENGTH, KEYS)
    moved = flex.create_block_mask(lambda b, h, q, k: k <= q + (last + 1).long() - 1, None, None, LENGTH, KEYS)
    text = native.program
    for number, write in ((3, last.fill_), (9, last.fill_), (5, lambda value: last.numpy().fill(value))):
        write(number)
        for pattern in (native, block_mask.pattern, moved.pattern, native & upto(last=torch.tensor(30)), copy.deepcopy(native)):
            masked(pattern, k <= q + number)
    assert native.program is text
    assert block_mask.to_dense().shape == (1, 1, 1, 1)


def test_truth_values_and_divisors_are_read_at_each_call() -> None:
    q, k = places()
    near, size = torch.tensor(True), torch.tensor(4)
    pattern = either(near=near, size=size)
    block_mask = flex.create_block_mask(
        lambda b, h, q, k: torch.where(near, (q - k).abs() < size, q // size == k // size), None, None, LENGTH, KEYS
    )
    for close, edge in ((True, 4), (False, 4), (False, 7), (True, 9)):
        near.fill_(close)
        size.fill_(edge)
        wanted = (q - k).abs() < edge if close else q // edge == k // edge
        masked(pattern, wanted)
        masked(block_mask.pattern, wanted)


def test_scores_read_numbers_at_each_call_too() -> None:
    query, key, value = tensors()
    offset = torch.tensor(0)
    for number in (0, 4, 11):
        offset.fill_(number)
        out = flex.flex_attention(query, key, value, lambda s, b, h, q, k: torch.where(q + offset >= k, s, -torch.inf), enable_gqa=True)
        wanted, _ = reference(query, key, value, places()[1] <= places()[0] + number)
        assert_close(out, wanted, 1e-5)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("dynamic", [False, True])
def test_graphs_take_numbers_as_inputs(dynamic: bool) -> None:
    query, key, value = tensors(grad=True)

    def step(query: Tensor, key: Tensor, value: Tensor, last: Tensor, near: Tensor, t: Tensor) -> Tensor:
        pattern = both(last=last, near=near, size=9)
        found = lacuna.attention(query, key, value, pattern, score=temper(t=t))
        assert isinstance(found, Tensor)
        return found

    compiled = torch.compile(step, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    t = torch.tensor(0.7, requires_grad=True)
    for last, near in ((3, True), (9, True), (9, False)):
        given = torch.tensor(last), torch.tensor(near), t
        ours, theirs = compiled(query, key, value, *given), step(query, key, value, *given)
        assert torch.allclose(ours, theirs, atol=1e-6)
        gradients = [torch.autograd.grad(each.square().sum(), (query, t)) for each in (ours, theirs)]
        assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(*gradients, strict=True))


def test_numbers_that_the_host_cannot_read_are_tables_of_one_entry() -> None:
    with FakeTensorMode():
        last, near = torch.tensor(3), torch.tensor(True)
        made = upto(last=last) & either(near=near, size=3)
        captured = flex.create_block_mask(lambda b, h, q, k: k <= q + last, None, None, LENGTH, KEYS)
    assert str(made.program.mask).startswith("k <= q + last[0] and where(near[0],")
    assert str(captured.pattern.program.mask) == "k <= q + last[0]"
    given = flex.create_block_mask(lambda b, h, q, k: k <= q + torch.tensor(2), None, None, LENGTH, KEYS).pattern
    assert str(given(value=last).program.mask) == "k <= q + value[0]"


def test_modules_hold_numbers_as_parameters_and_buffers() -> None:
    t = torch.nn.Parameter(torch.tensor(0.7))
    module = lacuna.nn.Attention(upto(last=torch.tensor(3)), 32, 2, score=temper(t=t))
    assert module.score_t is t
    hidden = torch.randn(1, 12, 32)
    before = module(hidden)
    before.square().sum().backward()
    assert t.grad is not None
    assert t.grad.shape == ()
    restored = pickle.loads(pickle.dumps(module))
    assert torch.equal(restored(hidden), before)
    module.get_buffer("pattern_last").fill_(0)
    assert not torch.equal(module(hidden), before)
    assert torch.equal(restored(hidden), before)


def test_maps_over_numbers_are_calls_one_by_one() -> None:
    query, key, value = tensors()
    numbers = torch.tensor([0.5, 1.0, 2.0])
    out = torch.func.vmap(lambda t: lacuna.attention(query, key, value, score=temper(t=t)))(numbers)
    for each, t in zip(out, numbers, strict=True):
        wanted, _ = reference(query, key, value, None, score=lambda s, t=t: s * t)
        assert_close(each, wanted, 1e-5)


def test_what_is_no_number_of_ours_is_refused() -> None:
    with pytest.raises(TypeError, match=r"binds `last` to a tensor of torch.complex64\n  write one of int8"):
        upto(last=torch.tensor(1j))
    odd = torch.tensor(1j)
    with pytest.raises(TypeError, match=r"the function` binds `odd` to a tensor of torch.complex64\n  write one of int8"):
        flex.create_block_mask(lambda b, h, q, k: q + odd > k, None, None, LENGTH, KEYS)
