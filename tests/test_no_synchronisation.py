"""No call on GPU tensors waits for the device once it was made: what is read is read once, in one place, and lengths never.

The GPU is claimed; its kernels run in Triton's interpreter on what the driver was handed, so that results can be looked at too.
"""

# Patterns are written without annotations, torch's are partial, and what is tried is private.
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false, reportPrivateUsage=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownLambdaType=false, reportCallIssue=false
from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import claimed_gpu
import lacuna
import pytest
import random_problems as problems
import torch
from claimed_gpu import Simulated
from lacuna import patterns
from lacuna.runtime.calls import compute, prepared_calls
from lacuna.runtime.calls.claimed import claimed
from lacuna.runtime.gpu.recording import Recording
from lacuna.runtime.launches.launch_values import _remembered
from lacuna.runtime.request.lengths import lengths_on_gpu
from lacuna.runtime.tensors import host_numbers
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

attention: Callable[..., Any] = lacuna.attention
WAITING = {
    "_local_scalar_dense",
    "item",
    "is_nonzero",
    "nonzero",
    "equal",
    "unique",
    "_unique2",
    "masked_select",
    "bincount",
    "repeat_interleave",
}
"""Operations of torch that give the host a number, or a shape that depends on one."""
READING = ("item", "tolist", "cpu", "numpy", "__bool__", "__int__", "__float__", "__index__", "__array__")
"""Methods of a tensor that do."""
LAUNCHING = (
    *("launches/launch_values", "gpu/driver", "gpu/devices", "parts/residue_classes", "tensors/torch_dispatch"),
    *(f"choices/{name}" for name in ("configurations", "cuts", "positions")),
    *(f"triton/{name}" for name in ("gpu_kernel", "kernel", "call", "launch", "backend", "backward", "decode", "prepared_backward")),
    *(f"calls/{name}" for name in ("call", "compute", "backward_call", "prepared_calls")),
    "request/lengths",
)
"""Modules between a call and its launch."""


class Waits(AssertionError):
    """The host looked at a number of a tensor."""


class Trap(TorchDispatchMode):
    """Fails where an operation of torch hands a number to the host, or moves a tensor to it."""

    def __torch_dispatch__(self, func: Any, types: object, args: Any = (), kwargs: Any = None) -> object:  # noqa: ANN401
        name = func.overloadpacket.__name__
        if name in WAITING or (name == "_to_copy" and "device" in (kwargs or {})):
            raise Waits(name)
        if func.namespace == "lacuna":
            with self:  # else nothing inside of the operator would be seen
                return getattr(compute, name)(*args)
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def trapped() -> Generator[None]:
    """Inside, nothing may be read; kernels that run do not count."""

    def wait(name: str) -> Callable[..., None]:
        def refuse(*_: object) -> None:
            raise Waits(name)

        return refuse

    with pytest.MonkeyPatch.context() as patched, Trap():
        for name in READING:
            patched.setattr(torch.Tensor, name, wait(name))
        patched.setattr(host_numbers, "_read", wait("read"))
        yield


@pytest.fixture(autouse=True)
def uncompiled() -> Iterator[None]:
    with claimed_gpu.uncompiled():
        yield


@pytest.fixture
def gpu() -> Iterator[Recording]:
    _remembered.clear()
    with claimed("sm_90", Recording()) as driver:
        yield driver


def qkv(rows: int, keys: int) -> tuple[Tensor, Tensor, Tensor]:
    return torch.randn(2, 4, rows, 16), torch.randn(2, 2, keys, 16), torch.randn(2, 2, keys, 16)


def lengths(*numbers: int) -> Tensor:
    return torch.tensor(numbers, dtype=torch.int32)


STEADY: dict[str, Callable[[tuple[Tensor, Tensor, Tensor]], object]] = {
    "forward": lambda given: attention(*given, patterns.sliding_window(20), backend="triton"),
    "forward, lengths": lambda given: attention(
        *given, patterns.causal(), q_len=lengths(9, 60), kv_len=lengths(60, 7), q_offset=lengths(3, 0), backend="triton"
    ),
    "forward, from the end": lambda given: attention(*given, patterns.causal(), kv_len=lengths(60, 7), q_offset="end", backend="triton"),
    "decode": lambda given: attention(
        *(each[:, :, :3] for each in given[:1]), *given[1:], kv_len=lengths(60, 7), q_offset="end", backend="triton"
    ),
    "a table by head": lambda given: attention(*given, problems.causal, score=ALIBI, kv_len=lengths(60, 7), backend="triton"),
    "a table by position": lambda given: attention(*given, DOCUMENTS, backend="triton"),
    "packed": lambda given: lacuna.varlen_attention(
        *(each[0].transpose(0, 1) for each in given), patterns.causal(), cu_seqlens_q=BOUNDS, backend="triton"
    ),
}
ALIBI = problems.alibi(slopes=torch.rand(4))


@lacuna.pattern
def documents(q: Any, k: Any, *, doc: Any) -> Any:  # noqa: ANN401  (anything that has operators)
    return (doc[q] == doc[k]) & (k <= q)


DOCUMENTS = documents(doc=torch.arange(70) // 9)
BOUNDS = lengths(0, 20, 70)


@pytest.mark.parametrize("name", STEADY)
def test_a_call_that_was_made_before_reads_nothing(name: str, gpu: Recording) -> None:
    with torch.no_grad():
        STEADY[name](qkv(70, 70))
        before = len(gpu.launches)
        with trapped():
            STEADY[name](qkv(70, 70))
    assert len(gpu.launches) == 2 * before


@pytest.mark.parametrize("name", [name for name in STEADY if name not in ("packed", "decode")])
def test_a_backward_pass_that_was_made_before_reads_nothing(name: str, gpu: Recording) -> None:
    for trap in (contextlib.nullcontext(), trapped()):
        given = tuple(each.requires_grad_() for each in qkv(70, 70))
        gradient = torch.ones(2, 4, 70, 16)
        with trap:
            torch.autograd.grad(STEADY[name](given), given, gradient)  # pyright: ignore[reportArgumentType]
    assert {launched.layout.family for launched in gpu.launches} == {"forward", "backward", "backward_queries"}


@pytest.mark.parametrize("rows", [3, 70])
def test_lengths_on_the_device_are_met_by_the_kernel_and_held_inside_the_tensors(rows: int) -> None:
    given = qkv(rows, 70)
    for numbers, held in (((70, 33), (70, 33)), ((1000, -5), (70, 0)), ((0, 1), (0, 1))):
        options: dict[str, Any] = {"q_offset": "end"}
        first, second = lengths(1, 2), lengths(*numbers)  # both alive: at two addresses
        with claimed("sm_90", Simulated()), torch.no_grad():
            attention(*given, patterns.sliding_window(20), kv_len=first, backend="triton", **options)
            assert prepared_calls._prepared
            out = attention(*given, patterns.sliding_window(20), kv_len=second, backend="triton", **options)
        exact = attention(*given, patterns.sliding_window(20), kv_len=lengths(*held), backend="eager", **options)
        torch.testing.assert_close(out, exact, rtol=1e-5, atol=1e-5)


def test_lengths_that_changed_in_place_are_met_without_a_new_preparation() -> None:
    (query, key, value), count = qkv(1, 70), lengths(5, 9)
    with claimed("sm_90", Simulated()), torch.no_grad():
        for _ in range(4):
            count += 13
            out = attention(query, key, value, kv_len=count, backend="triton")
            exact = attention(query, key, value, kv_len=count.tolist() and count.clone(), backend="eager")
            torch.testing.assert_close(out, exact, rtol=1e-5, atol=1e-5)
        assert len([each for each in prepared_calls._prepared.values() if each.lengths]) == 1


def test_a_pattern_that_needs_lengths_reads_them_once_for_each_state(gpu: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    inner = host_numbers._read
    monkeypatch.setattr(host_numbers, "_read", lambda name, tensor: read.append(name) or inner(name, tensor))
    count = lengths(60, 7)
    for _ in range(3):
        attention(*qkv(70, 70), DOCUMENTS, kv_len=count, backend="triton")
    assert read.count("kv_len") == 1
    count -= 1
    attention(*qkv(70, 70), DOCUMENTS, kv_len=count, backend="triton")
    assert read.count("kv_len") == 2


def test_what_a_capture_cannot_read_is_said(gpu: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_numbers, "capturing", Mock(return_value=True))
    with pytest.raises(NotImplementedError, match="needs the numbers of `kv_len` on the host, and a graph that is being captured"):
        attention(*qkv(70, 70), DOCUMENTS, kv_len=lengths(60, 7), backend="triton")


def test_lengths_on_another_device_and_of_another_shape_are_refused(gpu: Recording) -> None:
    with pytest.raises(ValueError, match="`kv_len` has shape \\(3,\\), and the batch is 2"):
        attention(*qkv(70, 70), kv_len=lengths(1, 2, 3), backend="triton")
    with pytest.raises(ValueError, match="`kv_len` is on meta, the query on cpu"):
        lengths_on_gpu(*qkv(70, 70)[:2], 0, None, lengths(1, 2).to("meta"))


def test_modules_that_launch_read_tensors_in_one_place() -> None:
    rooms = Path(host_numbers.__file__).parent.parent
    found = [
        f"{name}: {match[0]}"
        for name in LAUNCHING
        for match in re.finditer(r"\.(item|tolist|cpu|numpy|nonzero)\(|\.to\(\"cpu\"|synchronize\(", (rooms / f"{name}.py").read_text())
    ]
    assert found == ["request/lengths: .nonzero("]  # of boundaries that are wrong, on the host by then
