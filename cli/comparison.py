"""Attention over a pattern timed beside SDPA with its mask and beside a matrix product, in one process and in turns."""

# torch's types are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from ..ir.pattern import Pattern
from ..runtime.calls.attention import attention
from ..runtime.request.head_orders import OrderGiven
from ..runtime.request.materialise import DTYPES
from .full_mask import Sizes, full_mask, mask_shape
from .interleaved import Pairs, Ratio, Run, seconds

DIRECTIONS = ("forward", "forward and backward")
WORK = {"forward": 4, "forward and backward": 14}  # floating-point operations per attended pair and dimension
LARGEST_MASK_BYTES = 4 * 2**30
EDGE = {"cpu": 2048, "cuda": 8192}  # of the square matrices whose product is the measure


@dataclass(frozen=True)
class Problem:
    """dim: of query, key and value. dtype: `f32`, `bf16`, `f16` or `f64`. backend: None takes the default. rounds: pairs of timings.

    order: of tokens, of ours alone.
    """

    pattern: Pattern
    sizes: Sizes
    kv_heads: int
    dim: int
    dtype: str
    backend: str | None
    device: str
    rounds: int
    order: OrderGiven = None


@dataclass(frozen=True)
class Peer:
    """ms: the median. ratio: its time over ours, pair by pair: above 1 where ours is faster."""

    name: str
    ms: float
    ratio: Ratio


@dataclass(frozen=True)
class Row:
    """gflops: of attended pairs per second. share: of the rate of a matrix product, timed in turns."""

    direction: str
    ms: float
    gflops: float
    share: Ratio
    peers: tuple[Peer, ...]


@dataclass(frozen=True)
class Comparison:
    """What was found.

    difference: largest from SDPA's output, None where SDPA did not run; `left_out` says why not. first_ms: of the first call.
    """

    live_pairs: int
    density: float
    first_ms: float
    difference: float | None
    left_out: str | None
    rows: tuple[Row, ...]


def compare(problem: Problem, directions: Iterable[str]) -> Comparison:
    """Time a problem in each direction. `directions` may say on the way what comes next.

    Raises:
        what `lacuna.attention` raises on the problem.
    """
    bench = Bench(problem)
    live = bench.live_pairs()
    rows = tuple(bench.row(direction, live) for direction in directions)
    return Comparison(live, live / problem.sizes.pairs, bench.first_ms, bench.difference(), bench.left_out, rows)


class Bench:
    """A problem with its operands, and what is run on them."""

    def __init__(self, problem: Problem) -> None:
        torch.manual_seed(0)
        self.problem, sizes = problem, problem.sizes
        shapes = [(sizes.batch, heads, length, problem.dim) for heads, length in _axes(problem)]
        self.operands = [torch.randn(shape, device=problem.device).to(DTYPES[problem.dtype]) for shape in shapes]
        self.leaves = [each.clone().requires_grad_() for each in self.operands]
        self.grad_out = torch.randn(shapes[0], device=problem.device).to(DTYPES[problem.dtype])
        self.mask: Tensor | None = None
        self.first_ms = 1e3 * seconds(self.run(self.ours, DIRECTIONS[0]))
        self.left_out = self._take_mask()

    def _take_mask(self) -> str | None:
        batch, heads, q_len, kv_len = mask_shape(self.problem.pattern, self.problem.sizes)
        needed = batch * heads * q_len * kv_len
        if needed > LARGEST_MASK_BYTES:
            return f"its mask would take {needed / 2**30:.0f} GiB"
        self.mask = full_mask(self.problem.pattern, self.problem.sizes, self.problem.device)
        return None

    def ours(self, tensors: list[Tensor]) -> Tensor:
        out = attention(tensors[0], tensors[1], tensors[2], self.problem.pattern, backend=self.problem.backend, order=self.problem.order)
        assert isinstance(out, Tensor)
        return out

    def sdpa(self, tensors: list[Tensor]) -> Tensor:
        return self._sdpa(tensors, self.mask, False)

    def sdpa_causal(self, tensors: list[Tensor]) -> Tensor:
        return self._sdpa(tensors, None, True)

    def _sdpa(self, tensors: list[Tensor], mask: Tensor | None, causal: bool) -> Tensor:
        query, key, value = tensors
        grouped = query.shape[1] != key.shape[1]
        return scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal, enable_gqa=grouped)

    def product(self) -> Run:
        edge, device = EDGE[self.problem.device], self.problem.device
        a, b = (torch.randn(edge, edge, device=device).to(DTYPES[self.problem.dtype]) for _ in range(2))
        return self._waiting(lambda: a @ b)

    def run(self, of: Callable[[list[Tensor]], Tensor], direction: str) -> Run:
        if direction == "forward":
            return self._waiting(lambda: self._without_grad(of))
        return self._waiting(lambda: torch.autograd.grad(of(self.leaves), self.leaves, self.grad_out))

    def _without_grad(self, of: Callable[[list[Tensor]], Tensor]) -> Tensor:
        with torch.no_grad():
            return of(self.operands)

    def _waiting(self, run: Run) -> Run:
        if self.problem.device == "cpu":
            return run

        def finished() -> None:
            run()
            torch.cuda.synchronize()

        return finished

    def peers(self) -> dict[str, Callable[[list[Tensor]], Tensor]]:
        if self.mask is None:
            return {}
        return {"SDPA with a mask": self.sdpa, **({"SDPA, causal": self.sdpa_causal} if self._causal() else {})}

    def _causal(self) -> bool:
        assert self.mask is not None
        return self.mask.shape[:2] == (1, 1) and torch.equal(self.mask[0, 0], torch.ones_like(self.mask[0, 0]).tril())

    def live_pairs(self) -> int:
        """Attended pairs of all items and heads, exactly."""
        from ..ir.expr import names
        from ..passes.schedules.count import live_pairs
        from ..runtime.request.merged_program import resolved
        from ..runtime.views.inspect import schedule

        sizes = self.problem.sizes
        launch = schedule(self.problem.pattern, sizes.q_len, sizes.kv_len, batch=sizes.batch, heads=sizes.heads).launch
        program = resolved(self.problem.pattern, None)[0]
        batch, heads = (extent if name in names(program.mask) else 1 for name, extent in (("b", sizes.batch), ("h", sizes.heads)))
        total = live_pairs(program, launch, [(b, h) for b in range(batch) for h in range(heads)])
        return total * (sizes.batch // batch) * (sizes.heads // heads)

    def difference(self) -> float | None:
        """From SDPA's output; a row that sees nothing is 0 here and may be NaN there."""
        if self.mask is None:
            return None
        ours, theirs = (self._without_grad(of).double() for of in (self.ours, self.sdpa))
        return float((ours - theirs.nan_to_num(0.0)).abs().max())

    def row(self, direction: str, live: int) -> Row:
        ours, product = self.run(self.ours, direction), self.product()
        operations = live * self.problem.dim * WORK[direction]
        beside = Pairs.of(ours, product, self.problem.rounds)
        share = beside.ratio(operations / (2 * EDGE[self.problem.device] ** 3))
        peers = [(name, Pairs.of(ours, self.run(of, direction), self.problem.rounds)) for name, of in self.peers().items()]
        return Row(
            direction,
            1e3 * beside.our_median,
            operations / beside.our_median / 1e9,
            share,
            tuple(Peer(name, 1e3 * statistics.median(pairs.other), pairs.ratio()) for name, pairs in peers),
        )


def _axes(problem: Problem) -> tuple[tuple[int, int], ...]:
    """Heads and tokens of query, key and value."""
    keys = (problem.kv_heads, problem.sizes.kv_len)
    return (problem.sizes.heads, problem.sizes.q_len), keys, keys
