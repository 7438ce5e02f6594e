"""What a call of attention costs on the host: the kernel's launch is replaced by one that does nothing.

    python benchmarks/host_cost.py

Prints microseconds per call, the median and the range of several rounds; `must` is the limit of the design.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import lacuna
import torch
from lacuna import patterns
from lacuna.runtime import cpp_call

ROUNDS, CALLS = 15, 1000


@lacuna.score
def alibi(s: Any, h: Any, q: Any, k: Any, *, slopes: Any) -> Any:  # noqa: ANN401  (anything that has operators)
    return s + slopes[h] * (k - q)


def main() -> None:
    stub()
    query, key, value = (torch.randn(1, 4, 128, 64) for _ in range(3))
    wanted = query.clone().requires_grad_()
    window, bias = patterns.sliding_window(64), alibi(slopes=torch.rand(4))
    packed, bounds = torch.randn(128, 4, 64), torch.tensor([0, 50, 128], dtype=torch.int32)
    grad = torch.ones_like(query)

    def both() -> None:
        out = lacuna.attention(wanted, key, value, window)
        assert isinstance(out, torch.Tensor)
        torch.autograd.grad(out, wanted, grad)

    cases: list[tuple[str, Callable[[], object], str]] = [
        ("without grad", lambda: lacuna.attention(query, key, value, window), "20"),
        ("without grad, score with a table", lambda: lacuna.attention(query, key, value, window, score=bias), ""),
        ("without grad, packed", lambda: lacuna.varlen_attention(packed, packed, packed, window, cu_seqlens_q=bounds), ""),
        ("with grad, forward", lambda: lacuna.attention(wanted, key, value, window), "60"),
        ("with grad, forward and backward", both, ""),
    ]
    print(f"{'call':36}{'median':>9}{'least':>9}{'most':>9}{'must':>6}   (microseconds)")
    for name, call, must in cases:
        rounds = sorted(measured(call) for _ in range(ROUNDS))
        print(f"{name:36}{statistics.median(rounds):9.1f}{rounds[0]:9.1f}{rounds[-1]:9.1f}{must:>6}")


def stub() -> None:
    """Let kernels be built, and do nothing when they are called."""

    def nothing(_kernel: cpp_call.CppKernel, _arguments: object) -> None:
        pass

    cpp_call.CppKernel.__call__ = nothing


def measured(call: Callable[[], object]) -> float:
    """Microseconds of one call in a run of them."""
    call()
    start = time.perf_counter()
    for _ in range(CALLS):
        call()
    return (time.perf_counter() - start) / CALLS * 1e6


if __name__ == "__main__":
    main()
