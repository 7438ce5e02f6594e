"""Packed documents, given as the offsets where each begins."""

from __future__ import annotations

from dataclasses import dataclass

from .build import refusal
from .trace import TensorLike, is_tensor


@dataclass(frozen=True, eq=False)
class Segments:
    """Which segment a token lies in, as a table that never decreases along the sequence.

    offsets: integer[segments + 1], what is known as `cu_seqlens`: first 0, never decreasing, last the length of the sequence.
    The ids are made from a running maximum when the program runs, so they are monotone whatever the offsets hold.
    """

    offsets: TensorLike

    def __post_init__(self) -> None:
        _require_offsets(self.offsets)


def _require_offsets(offsets: object) -> None:
    if not is_tensor(offsets):
        fix = "`lacuna.segments(torch.tensor([0, ...], dtype=torch.int32))`"
        raise refusal(f"`lacuna.segments` of {type(offsets).__name__}", fix)
    if str(getattr(offsets, "layout", "torch.strided")) != "torch.strided":
        raise refusal(f"`lacuna.segments` of a {getattr(offsets, 'layout', None)} tensor", "`offsets.to_dense()`")
    if len(offsets.shape) != 1 or "int" not in str(offsets.dtype):
        raise refusal(
            f"`lacuna.segments` of {offsets.dtype} with shape {tuple(offsets.shape)}: offsets are integers along one axis",
            "`offsets.int()`, one sequence at a time",
        )


def segments(offsets: TensorLike) -> Segments:
    """Segment ids to look up, `doc[q] == doc[k]`, from the offsets where segments begin."""
    return Segments(offsets)
