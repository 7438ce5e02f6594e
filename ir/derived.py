"""Tables that are made of other tensors: they hold what these hold at the call, not what they held when the pattern was made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .trace import TensorLike


@dataclass(frozen=True, eq=False)
class Derived:
    """A table as a function of tensors; a call makes it anew where what these hold has changed.

    make:         of the sources, by torch's operations. A function that can be pickled.
    dtype, shape: of what it made when it was first asked.
    """

    make: Callable[..., TensorLike]
    sources: tuple[TensorLike, ...]
    dtype: object
    shape: tuple[int, ...]

    def of(self, sources: tuple[TensorLike, ...]) -> Derived:
        """The same of other tensors."""
        return derived(self.make, *sources)


def derived(make: Callable[..., TensorLike], *sources: TensorLike) -> Derived:
    """`make(*sources)` as a table that follows its sources."""
    made = make(*sources)
    return Derived(make, sources, made.dtype, tuple(made.shape))
