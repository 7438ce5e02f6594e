"""Parts of a call that are launches of their own: views of some of its heads, of some of its tokens, nothing copied."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from ...ir.head_orders import HeadOrders
from ..request.request import Extra, Request
from .residue_classes import residue_classes

if TYPE_CHECKING:
    from ..request.gradients import Saved

ALL = slice(None)


class Part(NamedTuple):
    """Some rows and keys of some heads of a request.

    rows, keys:      which tokens of queries and outputs, and of keys and values.
    heads, kv_heads: which heads of them.
    place:           how many parts before this one have rows of the same keys: parts of equal places share no key of a head.
    """

    request: Request
    rows: slice = ALL
    keys: slice = ALL
    heads: slice = ALL
    kv_heads: slice = ALL
    place: int = 0

    @property
    def is_all(self) -> bool:
        """Whether there is no other part."""
        return self.rows == ALL and self.heads == ALL

    @property
    def own_rows(self) -> tuple[slice, ...]:
        """Of its rows in a tensor [batch, heads, queries, ...]."""
        return ALL, self.heads, self.rows

    def of_rows(self, tensor: Tensor) -> Tensor:
        """The rows of this part of a tensor [batch, heads, queries, ...]."""
        return tensor[self.own_rows]

    def of_keys(self, tensor: Tensor) -> Tensor:
        """The keys of this part of a tensor [batch, key heads, keys, ...]."""
        return tensor[:, self.kv_heads, self.keys]

    def saved(self, of_all: Saved) -> Saved:
        """What the backward pass of this part reads; the log-sum-exp is contiguous, because kernels lay out sums of their own like it."""
        grad_lse = None if of_all.grad_lse is None else self.of_rows(of_all.grad_lse)
        return replace(
            of_all,
            out=self.of_rows(of_all.out),
            lse=self.of_rows(of_all.lse).contiguous(),
            grad_out=self.of_rows(of_all.grad_out),
            grad_lse=grad_lse,
        )


def parts(request: Request) -> tuple[Part, ...]:
    """The parts of a request, which share no row and leave none out; one part where it is served whole."""
    found = _by_head(request, request.asked) if isinstance(request.asked, HeadOrders) else _by_class(Part(request))
    return tuple(map(_with_its_own, found)) if request.sees_beside else tuple(found)


def _with_its_own(part: Part) -> Part:
    """A part whose request has what is beside the pattern of all rows still."""
    request = part.request
    counts = None if request.zero_keys is None else part.of_rows(request.zero_keys)
    extra = None if request.extra is None else Extra(*(each[:, part.kv_heads] for each in request.extra))
    return part._replace(request=request._replace(zero_keys=counts, extra=extra))


def _by_head(request: Request, asked: HeadOrders) -> Iterator[Part]:
    from .head_groups import head_requests  # few calls need it

    for view, own in head_requests(request, asked):
        yield from _by_class(Part(own, heads=_slice(view.heads), kv_heads=_slice(view.kv_heads), place=view.place))


def _by_class(part: Part) -> Iterator[Part]:
    for each in residue_classes(part.request):
        yield part._replace(request=each.request, rows=each.rows, keys=each.keys)


def _slice(heads: range) -> slice:
    return slice(heads.start, heads.stop, heads.step)


def places(found: Sequence[Part]) -> int:
    """How many sums over keys it takes, so that no two parts add to one: 1 where no parts share keys."""
    return 1 + max(each.place for each in found)


def total(sums: Sequence[Tensor]) -> Tensor:
    """The sum of one tensor per part, in their order and in float64, in the dtype that they have."""
    return torch.stack([each.double() for each in sums]).sum(0).to(sums[0].dtype)
