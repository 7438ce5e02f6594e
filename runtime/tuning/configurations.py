"""What `lacuna.tune` tunes of Triton kernels: their configuration, by the GPU's own clock."""

# torch's annotations are partial.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import contextlib
from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch

from ...ir.configuration import Configuration
from ..choices import configurations as chosen_configurations
from ..request.gradients import Saved
from ..request.request import Request
from ..triton.launch import target_of, variant_of
from .subject import Run, Tiles


class TunedConfigurations:
    """Configurations of one kernel of a request. family: `forward` (for few rows the decode kernel), `backward` or `backward_queries`."""

    def __init__(self, request: Request, family: str) -> None:
        variant = variant_of(request, target_of(request.query.device))
        self.variant = variant if family == "forward" else variant._replace(family=family)
        self.bucket = chosen_configurations.bucket_for(self.variant, request)
        self.request = request

    @property
    def direction(self) -> str:
        return self.variant.family

    @property
    def in_use(self) -> Tiles:
        return chosen_configurations.chosen(self.variant, self.bucket, self.request.q_len)

    @property
    def ranking(self) -> Sequence[Tiles]:
        return chosen_configurations.ranking(self.variant, self.bucket)

    def keep(self, tiles: Tiles) -> None:
        assert isinstance(tiles, Configuration)
        chosen_configurations.keep(self.variant, self.bucket, tiles)

    def tried(self, tiles: Tiles) -> AbstractContextManager[None]:
        """Calls take `tiles` while it lasts."""
        assert isinstance(tiles, Configuration)
        return chosen_configurations.tried(self.variant, self.bucket, tiles)

    def run_of(self, tiles: Tiles) -> Run:
        """The whole forward or backward pass with this kernel as `tiles` says; the first run compiles it."""
        run = _pass_of(self.request, self.variant.family)

        def once() -> None:
            with self.tried(tiles):
                run()

        return once

    def quiet(self) -> AbstractContextManager[object]:
        return contextlib.nullcontext()

    def seconds(self, run: Run, repeats: int) -> float:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(repeats):
            run()
        end.record()
        end.synchronize()
        return 1e-3 * begin.elapsed_time(end) / repeats


def _pass_of(request: Request, family: str) -> Run:
    from ..triton import backend as triton_backend

    if not family.startswith("backward"):
        return lambda: triton_backend.run(request)
    out, lse = triton_backend.run(request)
    saved = Saved(out, lse, torch.randn_like(out), None)
    return lambda: triton_backend.run_backward(request, saved, frozenset())
