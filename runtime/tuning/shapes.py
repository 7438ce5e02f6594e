"""What `lacuna.tune` tunes of C++ kernels: the shape of their tiles."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager

import torch

from ...ir.advice import advice
from ...ir.configuration import Configuration, Cut
from ...ir.order import Order
from ...passes.costs.tile_shape import ranked
from ..choices.shapes import Block, block_of, chosen, keep, problem_of
from ..cpp.threads import one_thread
from ..kernels.variant import Variant
from ..request.gradients import Saved
from ..request.request import Request
from .subject import Run, Tiles


class TunedShapes:
    """Tile shapes of the kernel of a request, forward or backward.

    Raises:
        ValueError: there is nothing to choose: up to 16 rows forward have one shape.
    """

    def __init__(self, request: Request, family: str) -> None:
        from ..cpp.variants import FEW_ROWS, target_here, variant_of  # asks for the processor

        if request.q_len <= FEW_ROWS and family == "forward":
            raise ValueError(
                advice(f"kernels for up to {FEW_ROWS} query rows have one tile shape", f"a query of more rows than {FEW_ROWS}")
            )
        variant = variant_of(request, target_here())
        self.variant = variant if family == "forward" else variant._replace(family=family)
        self.request = request

    @property
    def direction(self) -> str:
        return self.variant.family

    @property
    def in_use(self) -> Block:
        return chosen(self.variant, self.request.q_len)

    @property
    def ranking(self) -> list[Block]:
        return [block_of(shape, self.variant.family) for shape in ranked(problem_of(self.variant))]

    def keep(self, tiles: Tiles) -> None:
        keep(self.variant, self.request.q_len, _block(tiles))

    def run_of(self, tiles: Tiles) -> Run:
        variant = self.variant._replace(block=_block(tiles))
        return backward_run(self.request, variant.block) if variant.family == "backward" else forward_run(self.request, variant)

    def quiet(self) -> AbstractContextManager[object]:
        return one_thread()

    def seconds(self, run: Run, repeats: int) -> float:
        return seconds_of_one_thread(run, repeats)


def _block(tiles: Tiles) -> Block:
    assert tiles is not None and not isinstance(tiles, Order | Configuration | Cut)  # noqa: PT018  (one fact)
    return tiles


def seconds_of_one_thread(run: Run, repeats: int) -> float:
    """Time of the processor: what else the machine does counts little; tiles that do less work do less on many threads."""
    start = time.thread_time()
    for _ in range(repeats):
        run()
    return (time.thread_time() - start) / repeats


def forward_run(request: Request, variant: Variant) -> Run:
    from ..cpp.backend import launch_of

    out, lse = request.new_outputs()
    launch = launch_of(request, variant, (out, lse))
    tensors = (request.query, request.key, request.value, out, lse)
    return lambda: launch(tensors)


def backward_run(request: Request, block: Block | None) -> Run:
    from ..cpp.backend import run
    from ..cpp.backward import run_backward

    out, lse = run(request)
    saved = Saved(out, lse, torch.randn_like(out), None)
    return lambda: run_backward(request, saved, frozenset(), block)
