"""Whether tables and lengths hold at the backward pass what the forward pass read, also where torch counted no change.

A backward pass reads them again. What torch's operations write meanwhile is torch's error; this is for memory that is written past torch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...ir.advice import advice
from ..request.program_text import program_of
from ..tensors.host_numbers import on_gpu
from ..tensors.tensor_states import copy_of, holds
from ..tensors.torch_dispatch import PLAIN, transformed
from .call import Call

SPANS = ("q_len", "kv_len", "q_offset", "cu_seqlens_q", "cu_seqlens_k")
Held = tuple[bytes | None, ...]


def held_by(tensors: Sequence[Tensor | None]) -> Held | None:
    """What each holds, of those that decide who sees whom; None where there is none, or a tracer or a transform has them."""
    if not tensors or transformed() or torch.compiler.is_compiling():
        return None
    return tuple(copy_of(each) if _is_looked_at(each) else None for each in tensors)  # pyright: ignore[reportArgumentType]  (it is there)


def _is_looked_at(tensor: Tensor | None) -> bool:
    """Whether it is one of integers on the host, and of no class that may be made of others."""
    return tensor is not None and type(tensor) in PLAIN and not tensor.is_floating_point() and not on_gpu(tensor)


def require_unwritten(held: Held | None, call: Call) -> None:
    """Raise RuntimeError, as torch does for changes that it counts, where a table or a length holds something else."""
    if held is None:
        return
    for name, tensor, before in zip(_names(call), (*call.tables, *call.spans), held, strict=True):
        if before is not None and tensor is not None and _is_looked_at(tensor) and not holds(tensor, before):
            wrong = f"{name} was written after the forward pass, past torch's count of changes, and its backward pass reads it again"
            raise RuntimeError(advice(wrong, "into another tensor, or give the forward pass one of its own, `.clone()`"))


def _names(call: Call) -> list[str]:
    tables = [f"table `{table.name}`" for table in program_of(call.program).tables]
    orders = ["`order`"] * (len(call.tables) - len(tables))  # their tables come after those of the program
    return [*tables, *orders, *(f"`{name}`" for name in (SPANS if call.spans else ()))]
