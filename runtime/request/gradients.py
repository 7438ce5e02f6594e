"""What a backward pass takes and gives, the same for every backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from .request import Extra, Request


@dataclass(frozen=True, slots=True)
class Saved:
    """What a backward pass reads beside the request, in the shapes of `Request.new_outputs`.

    out, lse: as the forward pass left them.
    grad_out: gradient of the output, of its dtype, last dimension contiguous.
    grad_lse: gradient of the log-sum-exp, of its dtype; None where nobody asked for the log-sum-exp.
    """

    out: Tensor
    lse: Tensor
    grad_out: Tensor
    grad_lse: Tensor | None = None

    @property
    def delta(self) -> Tensor:
        """out . grad_out - grad_lse of every row, in the dtype of `lse`: what is taken from the gradient of each of its weights."""
        per_row = (self.out.to(self.lse.dtype) * self.grad_out).sum(-1)
        return per_row if self.grad_lse is None else per_row - self.grad_lse


@dataclass(frozen=True, slots=True)
class Gradients:
    """Gradients of one call.

    query, key, value: shapes and dtypes of the request's tensors.
    tables:            of the float tables that were asked for, by name, with their shapes and dtypes.
    extra:             of the extra keys and values, where the request has some.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    tables: Mapping[str, Tensor]
    extra: Extra | None = None


Backward = Callable[[Request, Saved, frozenset[str]], Gradients]
