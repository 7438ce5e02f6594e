"""How the kernels of a bundle are cut: as the models say, whatever a cache holds. C++ kernels get their tiles where they are built."""

from __future__ import annotations

from typing import Any

import torch

from ...passes.program.call_values import Launch
from ..choices.configurations import bucket_for, ranking, with_configuration
from ..kernels.variant import Variant
from ..request.request import NAMES, UNIFORM, Ragged, Request

PROBES = {"long": 4096, "short": 32, "few": 1}
LENGTH = torch.empty(1, dtype=torch.int64, device="meta")
DTYPES = {name: dtype for dtype, name in NAMES.items()}


def with_tiles(variant: Variant, rows: str, launch: Launch, *, ragged: bool) -> Variant:
    """The variant with the tiles for calls of so many rows and 4096 keys; `ragged`: and for batch items of different lengths."""
    if variant.target.backend != "triton":
        return variant
    probe = _probe(variant, rows, launch)._replace(ragged=Ragged(k_lens=LENGTH) if ragged else UNIFORM)
    return with_configuration(variant, ranking(variant, bucket_for(variant, probe))[0])


def _probe(variant: Variant, rows: str, launch: Launch) -> Request:
    """A request of a variant: tensors without memory."""
    dim, value_dim = variant.dims
    kind: dict[str, Any] = {"dtype": DTYPES[variant.dtype], "device": "meta"}
    q_len, k_len = PROBES[rows], PROBES["long"]
    query, key = torch.empty((1, launch.heads, q_len, dim), **kind), torch.empty((1, launch.heads, k_len, dim), **kind)
    value = torch.empty((1, launch.heads, k_len, value_dim), **kind)
    return Request(query, key, value, variant.program, dict(launch.parameters), 1.0, 1, q_len, k_len, 0, UNIFORM, "bhld")
