"""What a call of attention costs on the host: the kernel's launch is replaced by one that does nothing.

    python benchmarks/host_cost.py [cpp] [triton]

Beside calls like an earlier one there are those that look at tensors, and steps of a growing cache, of which each is another call.
For `triton` tensors on the CPU are claimed to be on an H200, and the driver does nothing: all that is left out is `cuLaunchKernelEx`
itself, torch's look for its current stream and device, and its allocator of GPU memory. Kernels are compiled, which takes a minute.
Prints microseconds of this thread's processor time per call, so that what else runs on the machine counts little: the median and the
range of several rounds; `must` is the limit of the design.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import lacuna
import torch
from lacuna import patterns
from lacuna.runtime.calls.claimed import claimed
from lacuna.runtime.compilers.cpu import processor_name
from lacuna.runtime.cpp import call as cpp_call
from lacuna.runtime.gpu.recording import Recording

ROUNDS, CALLS = 15, 1000
attention: Any = lacuna.attention


@lacuna.pattern
def same(q: Any, k: Any, *, doc: Any) -> Any:  # noqa: ANN401  (anything that has operators)
    return doc[q] == doc[k]


@lacuna.score
def alibi(s: Any, h: Any, q: Any, k: Any, *, slopes: Any) -> Any:  # noqa: ANN401
    return s + slopes[h] * (k - q)


def main() -> None:
    print(f"{processor_name()}, torch {torch.__version__}")
    print(f"{'call':52}{'median':>9}{'least':>9}{'most':>9}{'must':>6}   (microseconds)")
    stub()
    for backend in sys.argv[1:] or ["cpp", "triton"]:
        with contextlib.ExitStack() as stack:
            if backend == "triton":
                stack.enter_context(claimed("sm_90", Recording(keep=False)))
            others = [*looking(backend), *growing(backend)] if backend == "cpp" else decoding(backend)
            for name, call, must in [*cases(backend), *others]:
                rounds = sorted(measured(call) for _ in range(ROUNDS))
                print(f"{f'{backend}: {name}':52}{statistics.median(rounds):9.1f}{rounds[0]:9.1f}{rounds[-1]:9.1f}{must:>6}", flush=True)


Case = tuple[str, Callable[[], object], str]


def cases(backend: str) -> list[Case]:
    query, key, value = (torch.randn(1, 4, 128, 64) for _ in range(3))
    wanted = query.clone().requires_grad_()
    window, bias = patterns.sliding_window(64), alibi(slopes=torch.rand(4))
    packed, bounds = torch.randn(128, 4, 64), torch.tensor([0, 50, 128], dtype=torch.int32)
    grad = torch.ones_like(query)

    def both() -> None:
        out = attention(wanted, key, value, window, backend=backend)
        torch.autograd.grad(out, wanted, grad)

    return [
        ("without grad", lambda: attention(query, key, value, window, backend=backend), "20"),
        ("without grad, score with a table", lambda: attention(query, key, value, window, score=bias, backend=backend), ""),
        (
            "without grad, packed",
            lambda: lacuna.varlen_attention(packed, packed, packed, window, cu_seqlens_q=bounds, backend=backend),
            "",
        ),
        ("with grad, forward", lambda: attention(wanted, key, value, window, backend=backend), "60"),
        ("with grad, forward and backward", both, ""),
    ]


def looking(backend: str) -> list[Case]:
    """Calls that look at what tensors hold: documents of 64 KB and of 1 MB, lengths, also of inference mode."""
    query, key = torch.randn(4, 8, 1, 64), torch.randn(4, 2, 4096, 64)
    lengths, (short, long) = torch.full((4,), 4000, dtype=torch.int32), (torch.zeros(size, dtype=torch.int32) for size in (2**14, 2**18))
    with torch.inference_mode():
        inferred = short.clone()
    return [
        ("lengths", lambda: attention(query, key, key, kv_len=lengths, backend=backend), ""),
        *(
            (f"a table of {name}", functools.partial(attention, query, key, key, same(doc=doc), backend=backend), "")
            for name, doc in (("64 KB", short), ("64 KB, inference mode", inferred), ("1 MB", long))
        ),
    ]


def growing(backend: str) -> list[Case]:
    """Steps of a cache whose length is a number, another one in each: what is kept of the step before counts."""
    query, key = torch.randn(1, 8, 1, 64), torch.randn(1, 2, 8192, 64)
    doc, bounds = torch.arange(8192, dtype=torch.int32) // 500, torch.arange(0, 8193, 512, dtype=torch.int32)
    masks = {"window": patterns.sliding_window(64), "documents": same(doc=doc), "segments": patterns.documents(lacuna.segments(bounds))}

    def step(pattern: Any, lengths: Iterator[int]) -> None:  # noqa: ANN401
        length = next(lengths)
        attention(query, key, key, pattern, kv_len=length, q_offset=length - 1, backend=backend)

    return [
        (f"step of a growing cache, {name}", functools.partial(step, pattern, itertools.cycle(range(100, 8192))), "1000")
        for name, pattern in masks.items()
    ]


def decoding(backend: str) -> list[Case]:
    """One query row: two launches with memory between them, where the keys are shared out."""
    query, key = torch.randn(4, 8, 1, 64), torch.randn(4, 2, 4096, 64)
    lengths = torch.full((4,), 4000, dtype=torch.int32)
    few = key[:, :, :128]
    return [
        ("decode, one launch", lambda: attention(query, few, few, backend=backend), "20"),
        ("decode and merge", lambda: attention(query, key, key, backend=backend), "20"),
        ("decode and merge, lengths on the device", lambda: attention(query, key, key, kv_len=lengths, backend=backend), "20"),
    ]


def stub() -> None:
    """Let C++ kernels be built, and do nothing when they are called."""

    def nothing(self: cpp_call.CppKernel, arguments: object) -> None:
        pass

    cpp_call.CppKernel.__call__ = nothing


def measured(call: Callable[[], object]) -> float:
    """Microseconds of one call in a run of them."""
    call()
    start = time.thread_time()
    for _ in range(CALLS):
        call()
    return (time.thread_time() - start) / CALLS * 1e6


if __name__ == "__main__":
    main()
