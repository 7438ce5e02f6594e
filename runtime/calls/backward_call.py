"""One backward pass as an operator has it; it becomes a request and what its forward pass left."""

# torch's annotations are partial.
# pyright: reportUnknownMemberType=false
from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from ..request.request import Extra
from ..request.zero_keys import gradient_of_counts
from .call import Call

if TYPE_CHECKING:
    from ..request.gradients import Saved


class BackwardCall(NamedTuple):
    """The arguments of the operator `lacuna::attention_backward`, in the layout of the call, as kernels can read them.

    call:     of the forward pass.     out, lse: what it returned; `lse` is contiguous.
    grad_out: gradient of the output, last dimension contiguous.
    grad_lse: gradient of the log-sum-exp, contiguous; None where nobody asked for it.
    wanted:   numbers of what gradients are asked for, rising: of the tables, then of the zero keys, the extra keys and the extra values.
    """

    call: Call
    out: Tensor
    lse: Tensor
    grad_out: Tensor
    grad_lse: Tensor | None
    wanted: Sequence[int]

    @classmethod
    def of(
        cls, call: Call, outputs: tuple[Tensor, Tensor], gradients: tuple[Tensor | None, Tensor | None], wanted: Sequence[int]
    ) -> BackwardCall:
        """gradients: of both outputs, None where nobody asked for one."""
        out, lse = outputs
        grad_out, grad_lse = gradients
        if grad_out is None:
            grad_out = torch.zeros_like(out)
        elif grad_out.stride(-1) != 1:
            grad_out = grad_out.contiguous()
        return cls(call, out, lse.contiguous(), grad_out, None if grad_lse is None else grad_lse.contiguous(), wanted)

    @property
    def tables(self) -> Sequence[int]:
        """Numbers of those whose gradients are asked for."""
        return [number for number in self.wanted if number < len(self.call.tables)]

    def of_counts(self) -> list[Tensor]:
        """The gradient of the zero keys, where that is asked for.

        A row's counts have a share of its log-sum-exp, exp(-lse) each, and none of its sum of values.
        """
        counts = self.call.zero_keys
        if counts is None or len(self.call.tables) not in self.wanted:
            return []
        saved = self.saved()
        found = gradient_of_counts(saved.lse, saved.delta)
        return [laid_out_like(counts, found.squeeze(0) if self.call.layout == "packed" else found)]

    def of_extra(self, found: Extra | None) -> list[Tensor]:
        """Gradients of the extra keys and values, where they are asked for, in the layout of the call. found: both."""
        given = (self.call.extra_keys, self.call.extra_values)
        numbered = enumerate(zip(given, (None, None) if found is None else found, strict=True), len(self.call.tables) + 1)
        return [
            laid_out_like(like, self.call.as_given(gradient))
            for number, (like, gradient) in numbered
            if number in self.wanted and like is not None and gradient is not None
        ]

    def saved(self) -> Saved:
        from ..request.gradients import Saved  # only training needs it

        call, packed = self.call, self.call.layout == "packed"
        lse, grad_lse = (each.unsqueeze(0) if packed and each is not None else each for each in (self.lse, self.grad_lse))
        assert lse is not None
        return Saved(call.as_requested(self.out), lse, call.as_requested(self.grad_out), grad_lse)

    def room(self) -> tuple[Tensor, Tensor, Tensor]:
        """For the gradients of query, key and value, in the layout of the call and with the strides that a compiler may rely on."""
        return torch.empty_like(self.call.query), torch.empty_like(self.call.key), torch.empty_like(self.call.value)


def laid_out_like(like: Tensor, gradient: Tensor) -> Tensor:
    """`gradient` with the strides that `torch.empty_like(like)` has, which a compiler may rely on."""
    room, gradient = torch.empty_like(like), gradient.reshape(like.shape)
    if not like.numel():  # a table of nothing was one entry for the kernel
        return room
    return gradient if gradient.stride() == room.stride() else room.copy_(gradient)
