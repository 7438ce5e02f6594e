"""What must be right on a GPU before anything is timed there: every family and form of kernel, graphs; and what launches cost the host."""

# torch's annotations are partial, and those of tests are not looked for.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownLambdaType=false
# pyright: reportMissingImports=false
from __future__ import annotations

import contextlib
import functools
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import host_cost
import lacuna
import torch
from forms import FORMS, request_of, run_of
from lacuna import patterns
from lacuna.runtime.calls.claimed import claimed
from lacuna.runtime.gpu.devices import name_of
from lacuna.runtime.gpu.recording import Recording

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))
FIRST, LATER, SEEDS = 10, 30, 100
FEW = (1, 1, 1, 2, 3, 5, 8, 15, 16)
DTYPES = (torch.bfloat16, torch.float16, torch.float32)
WORKERS, PATIENCE = 14, 240  # processes that compile, and seconds that they are waited for
Result = dict[str, Any]
attention: Any = lacuna.attention
varlen: Any = lacuna.varlen_attention


# -- random problems --------------------------------------------------------------------------------------------------


def families(longest: int) -> dict[str, Callable[[int], None]]:
    """What looks at the problem of a seed, by family of kernels. It raises where a result is wrong."""
    import random_problems as problems
    import test_backends
    import test_gradients

    return {
        "forward": lambda seed: test_backends.check(problems.problem(seed, DTYPES, longest), "triton"),
        "decode": lambda seed: test_backends.check(problems.problem(seed, DTYPES, longest, FEW), "triton"),
        "backward": lambda seed: test_gradients.check(problems.problem(seed, DTYPES, longest), "triton", seed),
    }


def batches(*, dry: bool, first: bool) -> Iterator[tuple[str, range]]:
    """Families and seeds of a step: the first ones, or those that come when the rest is timed."""
    if dry and not first:
        return
    starts = [0] if first else range(FIRST, SEEDS, LATER)
    for start in starts:
        stop = 3 if dry else FIRST if first else start + LATER
        yield from ((family, range(start, stop)) for family in ("forward", "decode", "backward"))


def checked(device: str, longest: int, family: str, seeds: range) -> Result:
    """Seeds whose results are wrong, and how."""
    check, wrong = families(longest)[family], []
    for seed in seeds:
        try:
            with torch.device(device):
                check(seed)
        except Exception as error:  # what went wrong is the result
            wrong.append(f"{seed}: {type(error).__name__}: {error}"[:400])
    return {"problems": len(seeds), "wrong": wrong}


def compile_ahead(longest: int) -> Result:
    """Compile what the problems need in many processes: one after the other that takes most of the time there is."""
    start = time.perf_counter()
    command = [sys.executable, str(HERE / "gpu_checks.py"), name_of(torch.device("cuda")), f"{longest}"]
    workers = [subprocess.Popen([*command, f"{number}"], stdout=subprocess.DEVNULL) for number in range(WORKERS)]
    for worker in workers:
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.wait(max(0.1, PATIENCE - (time.perf_counter() - start)))
        worker.kill()
    return {"seconds": time.perf_counter() - start, "processes": WORKERS}


def compile_share(target: str, longest: int, number: int) -> None:
    """Compile for the problems of every so many-th seed, on a GPU that is claimed to be there."""
    torch.set_num_threads(1)
    with claimed(target, Recording(keep=False)):
        for seed in range(number, SEEDS, WORKERS):
            for check in families(longest).values():
                with contextlib.suppress(Exception):  # nothing ran, so that results are wrong
                    check(seed)


# -- forms ------------------------------------------------------------------------------------------------------------


def form_is_right(device: str, dim: int, form: str) -> Result:
    """A form of the forward kernel against float64, where eight query heads share two key heads."""
    import reference

    length = 33 if device == "cpu" else 300
    position = torch.arange(length, device=device)
    sizes = ((2, 8, length, dim), (2, 2, length, dim), (2, 2, length, dim))
    query, key, value = (torch.randn(size, device=device, dtype=torch.bfloat16) for size in sizes)
    wrong: list[str] = []
    for width in (17, length):
        mask = (position <= position[:, None]) & (position[:, None] - position < width)
        exact, _ = reference.attention(query, key, value, mask)
        with tempfile.TemporaryDirectory() as folder:
            found = run_of(request_of((query, key, value), patterns.sliding_window(width), None), form, Path(folder))()
        error = float((found.double() - exact).abs().max())
        wrong += [] if error <= 0.02 else [f"window {width}: off by {error:.3g}"]
    return {"wrong": wrong}


def form_checks(*, dry: bool) -> list[tuple[str, int]]:
    return [(form, dim) for form in FORMS for dim in ((64,) if dry else (64, 128))]


# -- graphs -----------------------------------------------------------------------------------------------------------


def graphs_are_right(device: str) -> Result:
    """A graph of prefill, decode, packed sequences and a backward pass, run again on other numbers and lengths."""
    if device == "cpu":
        return {"skipped": "there are no graphs on a CPU"}
    kind: dict[str, Any] = {"device": device, "dtype": torch.bfloat16}
    many, few, key, value = (torch.randn(2, heads, rows, 64, **kind) for heads, rows in ((8, 300), (8, 1), (2, 300), (2, 300)))
    lengths, bounds = (torch.tensor(numbers, device=device, dtype=torch.int32) for numbers in ([300, 100], [0, 100, 300]))
    packed, rise = torch.randn(300, 8, 64, **kind), torch.ones_like(many)

    def once(backend: str) -> list[torch.Tensor]:
        leaf = many.detach().requires_grad_()
        out = attention(leaf, key, value, patterns.causal(), kv_len=lengths, backend=backend)
        decoded = attention(few, key, value, kv_len=lengths, q_offset="end", backend=backend)
        sequences = varlen(packed, packed, packed, patterns.causal(), cu_seqlens_q=bounds, max_seqlen_q=250, backend=backend)
        return [out.detach(), torch.autograd.grad(out, leaf, rise)[0], decoded, sequences]

    with torch.cuda.stream(torch.cuda.Stream()):
        for _ in range(3):
            once("triton")
        packed_once = torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    with torch.cuda.graph(packed_once):
        found = once("triton")
    for each in (many, few, key, value, packed):
        each.normal_()
    lengths.copy_(torch.tensor([7, 211], dtype=torch.int32))
    bounds.copy_(torch.tensor([0, 220, 300], dtype=torch.int32))
    packed_once.replay()
    torch.cuda.synchronize()
    named = zip(("forward", "backward", "decode", "packed"), found, once("eager"), strict=True)
    apart = {name: float((ours.float() - exact.float()).abs().max()) for name, ours, exact in named}
    return {**apart, "wrong": [name for name, error in apart.items() if not error <= 0.05]}


# -- host -------------------------------------------------------------------------------------------------------------


def host(device: str) -> Result:
    """Microseconds from a call to its return, the queue of the device being short: median of rounds, by call."""
    with contextlib.ExitStack() as stack:
        if device == "cpu":
            stack.enter_context(claimed("sm_90", Recording(keep=False)))
        with torch.device(device):
            cases = [*host_cost.cases("triton"), *host_cost.decoding("triton")]
        return {name: statistics.median(_microseconds(device, call) for _ in range(11)) for name, call, _ in cases}


def _microseconds(device: str, call: Callable[[], object], count: int = 100) -> float:
    call()
    wait = functools.partial(torch.cuda.synchronize) if device != "cpu" else int
    wait()
    start = time.perf_counter()
    for _ in range(count):
        call()
    found = 1e6 * (time.perf_counter() - start) / count
    wait()
    return found


if __name__ == "__main__":
    compile_share(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
