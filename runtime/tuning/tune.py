"""`lacuna.tune`: the tiles of a problem by measurement, kept in the cache."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...ir.advice import advice
from ...ir.configuration import Configuration, Cut
from ...ir.order import Order
from ..calls.call import Call, check_dense_layout
from ..calls.missing_kernels import missing_kernels_named
from ..calls.prepared_calls import forget_prepared
from ..cpp.token_orders import orders_considered
from ..parts.residue_classes import residue_classes
from ..request.description import described
from ..request.lengths import lengths_given
from ..request.request import Request, check_dense
from .subject import Run, Tiles, Tuned

if TYPE_CHECKING:
    from ...ir.pattern import Pattern
    from ...ir.score import Score

CANDIDATES = 4
LEAST_ROUNDS, MOST_ROUNDS = 3, 1000
SHORTEST_SECONDS = 2e-3  # of a measurement: shorter runs are repeated
LEAST_GAIN = 0.02  # over the shape in use: below that it stays


@dataclass(frozen=True, slots=True)
class Measured:
    """One candidate.

    block:        edges of query and key tiles, in tokens; on a GPU a `Configuration`, on grids a `Cut`.
    milliseconds: of one thread, or of the GPU; the median.   ratio: to what is in use, the median over rounds.
    """

    block: Tiles
    milliseconds: float
    ratio: float


@dataclass(frozen=True, slots=True)
class Tuning:
    """What `tune` found. Printing it gives a table.

    candidates: what is in use first, then those the model ranks best. chosen: of them.
    direction:  `forward`, `decode`, `backward` or `backward_queries`. name: of the pattern.
    others:     of a backward pass that has several kernels: those of the others; on grids, on the CPU: orders of tokens.
    """

    name: str
    direction: str
    candidates: tuple[Measured, ...]
    chosen: Tiles
    others: tuple[Tuning, ...] = ()

    def __str__(self) -> str:
        what = "order of tokens" if isinstance(self.candidates[0].block, Order | None) else "tiles of queries x keys"
        lines = [f"{self.name}, {self.direction}: {what}"]
        for each in self.candidates:
            mark = "  <- chosen" if each.block == self.chosen else ""
            lines.append(f"  {_shown(each.block)} {each.milliseconds:9.3f} ms  {each.ratio:5.2f}{mark}")
        return "\n".join([*lines, *map(str, self.others)])


def _shown(tiles: Tiles) -> str:
    if tiles is None or isinstance(tiles, Order):
        return f"{'row-major' if tiles is None else tiles}"
    if isinstance(tiles, Cut):
        return f"{_shown(tiles.configuration)}, {_shown(tiles.order)}"
    edges = f"{tiles[0]:4} x {tiles[1]:<4}"
    return f"{edges} {tiles.warps:2} warps {tiles.stages} stages" if isinstance(tiles, Configuration) else edges


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
    """Time the few best tiles of the cost model on this problem, and use the fastest from now on.

    On the CPU these are tile shapes and, on grids, orders of tokens (which go for the values of its parameters alone), and the choice
    goes for the program (whatever its parameters and tables hold), dtype, dimensions, processor, compiler and bucket of rows (17 to 32,
    more). On a GPU they are configurations - tiles, warps, stages - of each kernel of the pass, and the choice goes for calls whose rows
    see about as many keys (one of four buckets); on grids they are boxes and configurations, for the values of the parameters alone. It is
    kept in the cache, where every process that starts finds it; `lacuna.export_tuning` takes it to another machine. Results of one choice
    are the same bits always; another one may differ in the last ones. Each candidate is compiled, about a second each the first time.

    Args:
        query, key, value, pattern, scale, score, q_offset, q_len, kv_len, layout: as `lacuna.attention` takes them.
        backward: tune the kernels of the gradients of query, key and value instead.
        rounds:   measurements of each candidate, taken in turns.

    Raises:
        TypeError, ValueError: an argument does not fit, or there is nothing to choose: up to 16 rows forward have one shape on the CPU.
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
    with torch.no_grad(), missing_kernels_named():
        return _tuned(call.request(), backward, rounds)


def _tuned(request: Request, backward: bool, rounds: int) -> Tuning:
    if 0 in (request.query.numel(), request.key.numel(), request.value.numel(), request.batch):
        raise ValueError(advice("there is nothing to time: a tensor is empty", "tensors of the size that is to be fast"))
    request = residue_classes(request)[0].request  # whose kernel serves every class
    first, *others = (_tuned_one(each, request.program.name, rounds) for each in _tuned_of(request, backward))
    forget_prepared()
    return replace(first, others=tuple(others))


def _tuned_of(request: Request, backward: bool) -> Iterator[Tuned]:
    """Every kernel of the pass, one after the other."""
    if not _on_gpu(request):
        from .orders import TunedOrders
        from .shapes import TunedShapes

        family = "backward" if backward else "forward"
        yield TunedShapes(request, family)
        if len(orders_considered(request, family)) > 1:
            yield TunedOrders(request, family)
        return
    from .configurations import TunedConfigurations  # Triton comes with the first launch
    from .cuts import TunedCuts

    for family in ("backward", "backward_queries") if backward else ("forward",):
        boxes = TunedCuts(request, family)
        yield boxes if boxes.is_choice else TunedConfigurations(request, family)


def _on_gpu(request: Request) -> bool:
    from ..gpu.devices import gpu_of

    return gpu_of(request.query.device) is not None


def _tuned_one(tuned: Tuned, name: str, rounds: int) -> Tuning:
    in_use = tuned.in_use
    every = list(dict.fromkeys([in_use, *tuned.ranking[:CANDIDATES]]))
    found = _measured({tiles: tuned.run_of(tiles) for tiles in every}, rounds, tuned)
    best = min(found, key=lambda each: each.ratio)
    block = best.block if best.ratio < 1 - LEAST_GAIN else in_use
    tuned.keep(block)
    return Tuning(name, tuned.direction, found, block)


# -- timing -----------------------------------------------------------------------------------------------------------


def _measured(runs: dict[Tiles, Run], rounds: int, tuned: Tuned) -> tuple[Measured, ...]:
    """Every run in turns, so that a drifting clock touches all; the first is what the others are compared with."""
    with tuned.quiet():
        for run in runs.values():
            run()
        shortest = min(tuned.seconds(run, 1) for run in runs.values())
        repeats = max(1, round(SHORTEST_SECONDS / max(1e-6, shortest)))
        table = [[tuned.seconds(run, repeats) for run in runs.values()] for _ in range(rounds)]
    found: list[Measured] = []
    for column, block in enumerate(runs):
        times = [row[column] for row in table]
        ratio = statistics.median(row[column] / row[0] for row in table)
        found.append(Measured(block, 1e3 * statistics.median(times), ratio))
    return tuple(found)
