"""What `gpu.py` times: the machine itself, the suite beside its peers, forms of a kernel, decoding."""

# torch's annotations are partial.
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportMissingTypeStubs=false
from __future__ import annotations

import functools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lacuna
import suite
import torch
from forms import FORMS, request_of, run_of
from lacuna import patterns
from suite import Case
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.nn.functional import scaled_dot_product_attention

Result = dict[str, Any]
Run = Callable[[], object]
attention: Any = lacuna.attention
PAIRS = 9
FORWARD, BOTH = "forward", "forward and backward"


@dataclass(frozen=True)
class Step:
    """One thing to find out. name: also its key in the results."""

    name: str
    run: Callable[[], Result]


@dataclass(frozen=True)
class Bench:
    """Where things run. dry: on the CPU, once, on small problems."""

    device: str
    dry: bool

    def milliseconds(self, run: Run, count: int) -> float:
        """Of one of `count` runs in a row."""
        if self.dry:
            start = time.perf_counter()
            run()
            return 1e3 * (time.perf_counter() - start)
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(count):
            run()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / count

    def count(self, run: Run) -> int:
        """Runs that take about ten milliseconds, after two that do not count."""
        run()
        return 1 if self.dry else max(1, min(100, int(10 / max(0.01, self.milliseconds(run, 1)))))

    def beside(self, ours: Run, other: Run) -> tuple[float, list[float]]:
        """Milliseconds of ours, and other / ours: median, smallest, largest of pairs taken in turns."""
        counts = self.count(ours), self.count(other)
        pairs = [(self.milliseconds(ours, counts[0]), self.milliseconds(other, counts[1])) for _ in range(1 if self.dry else PAIRS)]
        ratios = sorted(b / a for a, b in pairs)
        return statistics.median(a for a, _ in pairs), [statistics.median(ratios), ratios[0], ratios[-1]]


# -- the machine ------------------------------------------------------------------------------------------------------


def machine(bench: Bench) -> Result:
    """Teraflops of a bfloat16 matrix product and gigabytes per second of a copy, read and written."""
    edge, size = (64, 2**16) if bench.dry else (8192, 2**31)
    a, b = (torch.randn(edge, edge, device=bench.device, dtype=torch.bfloat16) for _ in range(2))
    source, room = (torch.empty(size, device=bench.device, dtype=torch.uint8) for _ in range(2))
    product, copy = (
        statistics.median(bench.milliseconds(run, 10) for _ in range(PAIRS)) for run in (lambda: a @ b, lambda: room.copy_(source))
    )
    name = "cpu" if bench.dry else torch.cuda.get_device_name()
    return {"name": name, "torch": torch.__version__, "tflops": 2e-9 * edge**3 / product, "copy_gb_s": 2e-6 * size / copy}


# -- timing -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shape:
    """bfloat16 [batch, heads, length, dim]."""

    batch: int
    heads: int
    length: int
    dim: int

    def tensors(self, device: str) -> list[Tensor]:
        size = (self.batch, self.heads, self.length, self.dim)
        return [torch.randn(size, device=device, dtype=torch.bfloat16).requires_grad_() for _ in range(3)]

    def __str__(self) -> str:
        return f"L{self.length} D{self.dim} B{self.batch} H{self.heads}"


CASES = (1, 3, 6, 0, 9, 10, 2, 12, 4, 5, 13, 7, 8, 11)
"""Numbers in the suite, those first that are asked for most."""


def timings(bench: Bench, length: int, dim: int) -> Iterator[Step]:
    shape = Shape(1, 1, 256, 16) if bench.dry else Shape(max(1, 2**17 // length), 16, length, dim)
    for number in (1, 3) if bench.dry else CASES:
        for direction in (FORWARD, BOTH):
            yield Step(f"time: {shape} {direction}, case {number}", functools.partial(_timed, bench, shape, direction, number))


def _timed(bench: Bench, shape: Shape, direction: str, number: int) -> Result:
    with torch.device(bench.device):
        case = suite.cases(shape.length, shape.heads)[number]
        pairs = _attended(case, shape)
    leaves = shape.tensors(bench.device)
    grad_out = torch.randn_like(leaves[0])

    def once(run: Callable[[list[Tensor]], Any]) -> Run:
        if direction == BOTH:
            return lambda: torch.autograd.grad(run(leaves), leaves, grad_out)
        detached = [leaf.detach() for leaf in leaves]
        return lambda: run(detached)

    ours = once(lambda tensors: attention(*tensors, case.pattern, score=case.score, backend="triton"))
    milliseconds = statistics.median(bench.milliseconds(ours, bench.count(ours)) for _ in range(1 if bench.dry else PAIRS))
    operations = (4 if direction == FORWARD else 14) * shape.dim * shape.batch * pairs
    found: Result = {"case": case.name, "density": pairs / (shape.heads * shape.length**2)}
    found |= {"ms": milliseconds, "tflops": 1e-9 * operations / milliseconds}
    for name, peer in _peers(bench, case, shape):
        try:
            found[name] = bench.beside(ours, once(peer))[1]
        except Exception as error:  # a peer that cannot do it is a result too
            found[name] = f"{type(error).__name__}: {error}"[:200]
    return found


def _peers(bench: Bench, case: Case, shape: Shape) -> Iterator[tuple[str, Callable[[list[Tensor]], Any]]]:
    heads = shape.heads if case.name.startswith("S2") else None
    block_mask: Any = None
    if case.mask_mod is not None:
        block_mask = create_block_mask(case.mask_mod, None, heads, shape.length, shape.length, device=bench.device, _compile=not bench.dry)
    torch.compiler.reset()
    flex = flex_attention if bench.dry else torch.compile(flex_attention, dynamic=False)
    yield "flex", lambda tensors: flex(*tensors, score_mod=case.score_mod, block_mask=block_mask)
    if case.score is None and (case.causal or case.mask_mod is None):
        yield from dense_peers(bench, causal=case.causal)


def dense_peers(bench: Bench, *, causal: bool = False) -> Iterator[tuple[str, Callable[[list[Tensor]], Any]]]:
    """The fused kernels of SDPA."""
    fused = (("flash", SDPBackend.FLASH_ATTENTION), ("cudnn", SDPBackend.CUDNN_ATTENTION))
    for name, backend in (("math", SDPBackend.MATH),) if bench.dry else fused:
        yield name, functools.partial(_sdpa, backend, causal)


def _sdpa(backend: SDPBackend, causal: bool, tensors: list[Tensor]) -> Tensor:
    with sdpa_kernel(backend):
        return scaled_dot_product_attention(tensors[0], tensors[1], tensors[2], is_causal=causal)


def _attended(case: Case, shape: Shape) -> int:
    """Pairs of all heads of an item, counted from the mask of the peer some rows at a time."""
    length, heads = shape.length, torch.arange(shape.heads)[:, None, None]
    if case.mask_mod is None:
        return shape.heads * length**2
    total = 0
    rows = max(1, 2**26 // (length * shape.heads))
    for start in range(0, length, rows):
        seen = case.mask_mod(0, heads, torch.arange(start, min(start + rows, length))[:, None], torch.arange(length))
        total += int(seen.sum()) * (1 if seen.dim() == 3 else shape.heads)
    return total


def forms(bench: Bench, *shapes: tuple[int, int]) -> Iterator[Step]:
    """Ways to run one kernel, where 32 query heads share 8 key heads: causal, a window, documents. shapes: length and dimension."""
    for length, dim in [(17, 64)] if bench.dry else shapes:
        for name in ("causal",) if bench.dry else ("causal", "window", "documents"):
            for form in list(FORMS)[1:]:
                yield Step(f"form: {name} L{length} D{dim}, {form}", functools.partial(_in_form, bench, (length, dim), name, form))


def _in_form(bench: Bench, shape: tuple[int, int], name: str, form: str) -> Result:
    """Milliseconds of the kernel that a call gets; how often it is faster than the form; whether both give the same within rounding."""
    length, dim = shape
    kind: dict[str, Any] = {"device": bench.device, "dtype": torch.bfloat16}
    batch, every = (1, (4, 1, 1)) if bench.dry else (max(1, 2**15 // length), (32, 8, 8))
    query, key, value = (torch.randn(batch, heads, length, dim, **kind) for heads in every)
    document = torch.arange(length, device=bench.device).mul(7).div(length, rounding_mode="floor").int()
    found = {"causal": patterns.causal(), "window": patterns.sliding_window(1024), "documents": patterns.documents(document)}[name]
    request = request_of((query, key, value), found, None)
    with tempfile.TemporaryDirectory() as folder:
        usual, other = (run_of(request, each, Path(folder)) for each in ("as chosen", form))
        milliseconds, ratio = bench.beside(usual, other)
        apart = float((usual().float() - other().float()).abs().max())
    return {"ms": milliseconds, form: ratio, "apart": apart, "wrong": ["the results differ"] if apart > 0.05 else []}


def decoding(bench: Bench) -> Iterator[Step]:
    for batch, length in [(1, 512)] if bench.dry else [(1, 131072), (16, 32768), (128, 8192)]:
        yield Step(f"decode: B{batch} L{length}", functools.partial(_decoded, bench, batch, length))


def _decoded(bench: Bench, batch: int, length: int) -> Result:
    """One row of 32 heads that share 8, beside SDPA; and the share of the keys' and values' bytes over a copy's time that it reaches."""
    query = torch.randn(batch, 32, 1, 128, device=bench.device, dtype=torch.bfloat16)
    key, value = (torch.randn(batch, 8, length, 128, device=bench.device, dtype=torch.bfloat16) for _ in range(2))
    ours = functools.partial(attention, query, key, value, backend="triton")
    milliseconds, ratio = bench.beside(ours, lambda: scaled_dot_product_attention(query, key, value, enable_gqa=True))
    return {"ms": milliseconds, "gb_s": 2e-6 * key.nbytes / milliseconds, "sdpa": ratio}
