"""`lacuna.tune`: the tile shape of a problem by measurement, kept in the cache."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..passes.tile_shape import ranked
from .advice import advice
from .calls import Call, check_dense_layout
from .chosen_shapes import Block, block_of, chosen, keep, problem_of
from .description import described
from .gradients import Saved
from .kernels import Variant
from .prepared import forget_prepared
from .ragged import lengths_given
from .request import Request, check_dense
from .residue_classes import residue_classes
from .threads import one_thread

if TYPE_CHECKING:
    from ..ir.pattern import Pattern
    from ..ir.score import Score

CANDIDATES = 4
LEAST_ROUNDS, MOST_ROUNDS = 3, 1000
SHORTEST_SECONDS = 2e-3  # of a measurement: shorter runs are repeated
LEAST_GAIN = 0.02  # over the shape in use: below that it stays

Run = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Measured:
    """One candidate.

    block:        edges of query and key tiles, in tokens.
    milliseconds: of one thread, the median.   ratio: to the shape in use, the median over rounds.
    """

    block: Block
    milliseconds: float
    ratio: float


@dataclass(frozen=True, slots=True)
class Tuning:
    """What `tune` found. Printing it gives a table.

    candidates: the shape in use first, then those the cost model ranks best. chosen: of them.
    direction:  `forward` or `backward`. name: of the pattern.
    """

    name: str
    direction: str
    candidates: tuple[Measured, ...]
    chosen: Block

    def __str__(self) -> str:
        lines = [f"{self.name}, {self.direction}: tiles of queries x keys"]
        for each in self.candidates:
            mark = "  <- chosen" if each.block == self.chosen else ""
            lines.append(f"  {each.block[0]:4} x {each.block[1]:<4} {each.milliseconds:9.3f} ms  {each.ratio:5.2f}{mark}")
        return "\n".join(lines)


def tune(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    pattern: Pattern | None = None,
    *,
    scale: float | None = None,
    score: Score | None = None,
    q_offset: int | str | Tensor = 0,
    q_len: int | Tensor | None = None,
    kv_len: int | Tensor | None = None,
    layout: str = "bhld",
    backward: bool = False,
    rounds: int = 9,
) -> Tuning:
    """Time the few best tile shapes of the cost model on this problem, and use the fastest from now on.

    The choice goes for the program (whatever its parameters and tables hold), dtype, dimensions, processor, compiler and bucket of rows
    (17 to 32, more); it is kept in the cache, where every process that starts finds it. Results of one shape are the same bits always;
    another shape may differ in the last ones. Each candidate is compiled, about a second each the first time.

    Args:
        query, key, value, pattern, scale, score, q_offset, q_len, kv_len, layout: as `lacuna.attention` takes them, on the CPU.
        backward: tune the kernel of the gradients of query, key and value instead.
        rounds:   measurements of each candidate, taken in turns.

    Raises:
        TypeError, ValueError: an argument does not fit, or there is nothing to choose: up to 16 rows forward have one shape.
        NotImplementedError: tensors on another device.
        BuildForbidden: LACUNA_JIT=0, and a candidate is not in the cache.
        CacheUnwritable: the choice cannot be kept.
    """
    if isinstance(rounds, bool) or not isinstance(rounds, int) or not LEAST_ROUNDS <= rounds <= MOST_ROUNDS:  # pyright: ignore[reportUnnecessaryIsInstance]  (callers vary)
        raise ValueError(advice(f"`rounds` is {rounds!r}", f"an integer from {LEAST_ROUNDS} to {MOST_ROUNDS}"))
    check_dense_layout(layout)
    for name, tensor in (("query", query), ("key", key), ("value", value)):
        check_dense(name, tensor)
    lengths = lengths_given(q_offset, q_len, kv_len)
    program, tables, integers, reals = described(pattern, score)
    call = Call(query.detach(), key.detach(), value.detach(), tables, *lengths, integers, reals, program, scale, layout, "")
    with torch.no_grad():
        return _tuned(call.request(), backward, rounds)


def _tuned(request: Request, backward: bool, rounds: int) -> Tuning:
    request = residue_classes(request)[0].request  # whose kernel serves every class
    variant = _variant(request, backward)
    in_use = chosen(variant, request.q_len)
    ranking = [block_of(shape, variant.family) for shape in ranked(problem_of(variant))]
    blocks = list(dict.fromkeys([in_use, *ranking[:CANDIDATES]]))
    prepare = _backward_run if backward else _forward_run
    found = _measured({block: prepare(request, variant._replace(block=block)) for block in blocks}, rounds)
    best = min(found, key=lambda each: each.ratio)
    block = best.block if best.ratio < 1 - LEAST_GAIN else in_use
    keep(variant, request.q_len, block)
    forget_prepared()
    return Tuning(request.program.name, variant.family, found, block)


def _variant(request: Request, backward: bool) -> Variant:
    """The kernel of a request, whatever its shape.

    Raises: as `tune`.
    """
    from .cpp_launch import FEW_ROWS, target_here, variant_of  # asks for the processor

    if not request.query.is_cpu:
        raise NotImplementedError(advice(f"tune does not time kernels on `{request.query.device}` yet", "`query.cpu()`"))
    if 0 in (request.query.numel(), request.key.numel(), request.value.numel(), request.batch):
        raise ValueError(advice("there is nothing to time: a tensor is empty", "tensors of the size that is to be fast"))
    if request.q_len <= FEW_ROWS and not backward:
        raise ValueError(advice(f"kernels for up to {FEW_ROWS} query rows have one tile shape", f"a query of more rows than {FEW_ROWS}"))
    variant = variant_of(request, target_here())
    return variant._replace(family="backward") if backward else variant


# -- timing -----------------------------------------------------------------------------------------------------------


def _forward_run(request: Request, variant: Variant) -> Run:
    from .cpp_backend import launch_of

    out, lse = request.new_outputs()
    launch = launch_of(request, variant, (out, lse))
    return lambda: launch(request.query, request.key, request.value, out, lse)


def _backward_run(request: Request, variant: Variant) -> Run:
    from .cpp_backend import run
    from .cpp_backward import run_backward

    out, lse = run(request)
    saved = Saved(out, lse, torch.randn_like(out), None)
    return lambda: run_backward(request, saved, frozenset(), variant.block)


def _measured(runs: dict[Block, Run], rounds: int) -> tuple[Measured, ...]:
    """Every run in turns, so that a drifting clock touches all; the first is what the others are compared with.

    Time of the processor on one thread: what else the machine does counts little, and a shape that does less work does less on many.
    """
    with one_thread():
        for run in runs.values():
            run()
        repeats = max(1, round(SHORTEST_SECONDS / max(1e-9, min(_seconds(run, 1) for run in runs.values()))))
        table = [[_seconds(run, repeats) for run in runs.values()] for _ in range(rounds)]
    found: list[Measured] = []
    for column, block in enumerate(runs):
        times = [row[column] for row in table]
        ratio = statistics.median(row[column] / row[0] for row in table)
        found.append(Measured(block, 1e3 * statistics.median(times), ratio))
    return tuple(found)


def _seconds(run: Run, repeats: int) -> float:
    """Of one run, on average."""
    start = time.thread_time()
    for _ in range(repeats):
        run()
    return (time.thread_time() - start) / repeats
