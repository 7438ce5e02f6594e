"""Packed documents, given as the offsets where each begins."""

from __future__ import annotations

from dataclasses import dataclass

from .build import refusal
from .trace import TensorLike


@dataclass(frozen=True, eq=False)
class Segments:
    """Which segment a token lies in, as a table that never decreases along the sequence.

    offsets: integer[segments + 1], what is known as `cu_seqlens`: first 0, never decreasing, last the length of the sequence.
    The ids are made from a running maximum when the program runs, so they are monotone whatever the offsets hold.
    """

    offsets: TensorLike

    def __post_init__(self) -> None:
        if not isinstance(self.offsets, TensorLike):
            raise refusal(
                f"`lacuna.segments` of {type(self.offsets).__name__}", "`lacuna.segments(torch.tensor([0, ...], dtype=torch.int32))`"
            )
        if len(self.offsets.shape) != 1 or "int" not in str(self.offsets.dtype):
            raise refusal(
                f"`lacuna.segments` of {self.offsets.dtype} with shape {tuple(self.offsets.shape)}: offsets are integers along one axis",
                "`offsets.int()`, one sequence at a time",
            )


def segments(offsets: TensorLike) -> Segments:
    """Segment ids to look up, `doc[q] == doc[k]`, from the offsets where segments begin."""
    return Segments(offsets)
