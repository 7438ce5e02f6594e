"""Calls that were made before start what the first one started: the same kernels on the same arguments, with the same results.

The GPU is claimed; its kernels run in Triton's interpreter on what the driver was handed.
"""

# torch's annotations are partial, and patterns and scores are written without any.
# ruff: noqa: ANN401
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownLambdaType=false
from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import Mock

import claimed_gpu
import lacuna
import pytest
import torch
from case_samples import crossed
from claimed_gpu import Simulated
from lacuna import patterns
from lacuna.runtime.calls.claimed import claimed
from lacuna.runtime.gpu.recording import Launched, Recording
from lacuna.runtime.tensors.torch_dispatch import goes_past_torch
from lacuna.runtime.triton import backend as triton_backend
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

pytestmark = pytest.mark.usefixtures("compiled_quickly")

attention: Callable[..., Any] = lacuna.attention
Tensors = tuple[Tensor, ...]
Call = Callable[[Tensors], Any]


@pytest.fixture(autouse=True)
def uncompiled() -> Iterator[None]:
    with claimed_gpu.uncompiled():
        yield


@lacuna.score
def biased(s: Any, q: Any, k: Any, h: Any, *, slopes: Any, near: Any) -> Any:
    return s + slopes[h] * (k - q) + near[lacuna.minimum(lacuna.maximum(q - k + 9, 0), 19)]


SLOPES, NEAR = torch.rand(4).requires_grad_(), torch.rand(20).requires_grad_()
BIASED = biased(slopes=SLOPES, near=NEAR)


@lacuna.pattern(rank=2)
def rows_or_columns(q: Any, k: Any, h: Any) -> Any:
    return lacuna.where(h % 2 == 0, abs(q[0] - k[0]) <= 1, abs(q[1] - k[1]) <= 1)


COLUMNS = lacuna.orders.axes((5, 7), (1, 0))
LENGTHS, OFFSETS = torch.tensor([30, 7], dtype=torch.int32), torch.tensor([3, 0], dtype=torch.int32)
COUNTS = torch.tensor([0.0, 2.0, 1.0])
BOUNDS = torch.tensor([0, 11, 38])


def of(batch: int, heads: tuple[int, int], tokens: tuple[int, int]) -> Callable[[], Tensors]:
    """Makes query, key and value."""
    sizes = [
        (batch, number, length, 16) for number, length in zip((heads[0], heads[1], heads[1]), (tokens[0], *tokens[1:] * 2), strict=True)
    ]
    return lambda: tuple(torch.randn(size) for size in sizes)


def on_triton(*arguments: Any, **options: Any) -> Call:
    return lambda given: attention(*given, *arguments, backend="triton", return_lse=True, **options)


CASES: dict[str, tuple[Callable[[], Tensors], Call]] = {
    "plain": (of(2, (2, 2), (38, 38)), on_triton(patterns.sliding_window(20))),
    "shared heads": (of(2, (4, 2), (38, 38)), on_triton(patterns.causal())),
    "shared keys": (lambda: (torch.randn(2, 2, 38, 16), *(torch.randn(1, 2, 38, 16) for _ in range(2))), on_triton(patterns.causal())),
    "lengths": (of(2, (2, 1), (38, 38)), on_triton(patterns.causal(), kv_len=LENGTHS, q_offset=OFFSETS)),
    "fewer keys": (of(2, (2, 1), (38, 38)), on_triton(patterns.causal(), kv_len=23)),
    "tokens before heads": (lambda: tuple(torch.randn(1, 38, 2, 16) for _ in range(3)), on_triton(patterns.causal(), layout="blhd")),
    "packed": (
        lambda: tuple(torch.randn(38, 2, 16) for _ in range(3)),
        lambda given: lacuna.varlen_attention(*given, patterns.causal(), cu_seqlens_q=BOUNDS, return_lse=True, backend="triton"),  # pyright: ignore[reportCallIssue]
    ),
    "tables": (of(1, (4, 2), (38, 38)), on_triton(patterns.causal(), score=BIASED)),
    "residue classes": (of(1, (1, 1), (130, 130)), on_triton(patterns.dilated_window(9, 2))),
    "residue classes with tables": (of(1, (1, 1), (130, 130)), on_triton(patterns.dilated_window(9, 2), score=BIASED)),
    "orders of heads": (of(1, (4, 2), (35, 35)), on_triton(rows_or_columns.on(5, 7), order=[None, COLUMNS] * 2)),
    "zero keys": (
        lambda: (*of(1, (2, 2), (130, 130))(), torch.rand(1, 2, 130)),
        lambda given: attention(*given[:3], patterns.dilated_window(9, 2), zero_keys=given[3], return_lse=True, backend="triton"),
    ),
    "extra keys": (
        lambda: (*of(2, (4, 2), (38, 38))(), torch.randn(1, 2, 5, 16), torch.randn(1, 2, 5, 16)),
        lambda given: attention(
            *given[:3], patterns.causal(), extra_keys=given[3], extra_values=given[4], return_lse=True, backend="triton"
        ),
    ),
    "few rows beside": (
        lambda: (*of(2, (4, 2), (3, 300))(), torch.randn(2, 2, 5, 16), torch.randn(2, 2, 5, 16)),
        lambda given: attention(
            *given[:3], patterns.causal(), zero_keys=COUNTS, extra_keys=given[3], extra_values=given[4], return_lse=True, backend="triton"
        ),
    ),
    "few rows": (of(2, (4, 2), (3, 300)), on_triton(patterns.causal(), kv_len=LENGTHS, q_offset="end")),
}


def outcome(name: str, given: Tensors, *, grad: bool) -> tuple[Tensors, Tensors]:
    """Outputs and gradients of a call; what the caller gave and got."""
    call = CASES[name][1]
    if not grad:
        with torch.no_grad():
            found = tuple(call(given))
        return found, (*given, *found)
    given = tuple(each.detach().requires_grad_() for each in given)
    leaves = (*given, *((SLOPES, NEAR) if "tables" in name else ()))
    out, lse = call(given)
    rise = torch.linspace(-1, 1, out.numel()).view(out.shape), torch.linspace(1, 0, lse.numel()).view(lse.shape)
    gradients = torch.autograd.grad((out, lse), leaves, rise)
    return (out, lse, *gradients), (*given, out, lse, *rise, *gradients[:3])


def placed(launched: Launched, known: Tensors) -> tuple[object, ...]:
    """A launch, with an address as the tensor that it lies in and how far, others as how many different ones were met before."""
    others: dict[int, int] = {}

    def place(value: float) -> tuple[int, int]:
        address = int(value)
        for number, tensor in enumerate(known):
            if 0 <= address - tensor.data_ptr() < tensor.untyped_storage().nbytes():
                return number, address - tensor.data_ptr()
        return -1, others.setdefault(address, len(others))

    given = launched.arguments
    arguments = {slot.name: place(given[slot.name]) if slot.is_pointer else given[slot.name] for slot in launched.layout.slots}
    return launched.layout, launched.programs, arguments


@pytest.mark.parametrize(("name", "grad"), crossed(list(CASES), [False, True]))
def test_a_call_that_was_made_before_starts_the_same_and_gives_the_same_bits(
    name: str, grad: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if grad and name.startswith("few rows"):
        pytest.skip("the launches of this backward pass are those of others")
    if grad and name == "extra keys":
        pytest.skip("backward passes with extra keys are not prepared")
    torch.manual_seed(0)
    given = CASES[name][0]()
    with claimed("sm_90", Simulated()) as driver:
        first, known = outcome(name, given, grad=grad)
        launches = [placed(each, known) for each in driver.launches]
        driver.launches.clear()
        for entry in ("run", "run_backward"):
            monkeypatch.setattr(triton_backend, entry, Mock(side_effect=AssertionError("not prepared")))
        second, known = outcome(name, tuple(each.clone() for each in given), grad=grad)
        assert [placed(each, known) for each in driver.launches] == launches
    assert len(launches) >= (3 if grad else 1)
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other)
        assert one.stride() == other.stride()


def test_residue_classes_are_as_the_definition_has_them_when_prepared() -> None:
    """Each launch reads and writes every other token, from the first or the second one on."""
    make, _ = CASES["residue classes"]
    with claimed("sm_90", Simulated()) as driver:
        outcome("residue classes", make(), grad=True)
        given = make()
        found, _ = outcome("residue classes", given, grad=True)
        assert len(driver.launches) == 2 * 2 * 3
    with pytest.MonkeyPatch.context() as patched:
        plainly = functools.partial(attention, return_lse=True, backend="eager")
        patched.setitem(CASES, "eager", (make, lambda given: plainly(*given, patterns.dilated_window(9, 2))))
        exact, _ = outcome("eager", given, grad=True)
    for one, other in zip(found, exact, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("grad", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("name", ["plain", "packed", "residue classes", "orders of heads"])
def test_what_is_prepared_keeps_no_tensor_of_the_call_alive(name: str, grad: bool) -> None:
    make, _ = CASES[name]
    with claimed("sm_90", Recording()) as driver:
        given = make()
        memory = [weakref.ref(each.untyped_storage()) for each in given]
        found, known = outcome(name, given, grad=grad)
        memory += [weakref.ref(each.untyped_storage()) for each in found]
        assert driver.launches
        del given, found, known
        assert [reference() for reference in memory] == [None] * len(memory)


def test_a_gradient_of_one_output_is_prepared_apart_from_that_of_both() -> None:
    make, call = CASES["plain"]
    results: list[Tensor] = []
    with claimed("sm_90", Simulated()):
        torch.manual_seed(0)
        base = make()
        for parts in ((0,), (0, 1), (1,), (0,), (0, 1), (1,)):
            given = tuple(each.clone().requires_grad_() for each in base)
            outputs = call(given)
            results.append(torch.autograd.grad([outputs[part].sum() for part in parts], given)[0])
    for one, other in zip(results[:3], results[3:], strict=True):
        assert torch.equal(one, other)
    torch.testing.assert_close(results[1], results[0] + results[2], rtol=1e-4, atol=1e-5)
    assert not torch.equal(results[0], results[1])


class Seen(TorchDispatchMode):
    """Names of the operators that a mode meets."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: object, args: Any = (), kwargs: Any = None) -> object:
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def test_calls_go_past_the_dispatcher_only_where_nobody_would_see_them() -> None:
    given = tuple(torch.randn(1, 2, 20, 16).requires_grad_() for _ in range(3))

    def both() -> None:
        torch.autograd.grad(attention(*given, patterns.causal(), backend="eager").sum(), given)

    both()
    with Seen() as seen:
        both()
    assert {"lacuna.attention.default", "lacuna.attention_backward.default"} <= set(seen.names)
    with torch.profiler.profile() as profile:
        both()
    assert {"lacuna::attention", "lacuna::attention_backward"} <= {event.key for event in profile.key_averages()}
    assert goes_past_torch(given[0], given[1], given[2], [], [])
    negative = torch.zeros(1, 2, 20, 16, dtype=torch.complex64).conj().imag
    assert negative.is_neg()
    assert not goes_past_torch(negative, given[1], given[2], [], [])
    with torch.autocast("cpu"):
        assert not goes_past_torch(given[0], given[1], given[2], [], [])
