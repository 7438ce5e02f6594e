"""A call whose pattern falls into residue classes, as one call for each: views of every `d`th token, nothing copied."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from ...ir.expr import Binary, Op, walk
from ...ir.program import Program
from ...passes.flatten_grid import FlattenGrid
from ...passes.launch import Launch
from . import materialise
from .request import Request

if TYPE_CHECKING:
    from ...passes.residues import Residues
    from .gradients import Saved


class ResidueClass(NamedTuple):
    """One class of a request. rows, keys: which tokens of queries and outputs, and of keys and values."""

    request: Request
    rows: slice
    keys: slice

    def of_rows(self, tensor: Tensor) -> Tensor:
        """The rows of this class of a tensor [batch, heads, queries, ...]."""
        return tensor[:, :, self.rows]

    def of_keys(self, tensor: Tensor) -> Tensor:
        """The keys of this class of a tensor [batch, heads, keys, ...]."""
        return tensor[:, :, self.keys]

    def saved(self, of_all: Saved) -> Saved:
        """What the backward pass of this class reads; the log-sum-exp is contiguous, because kernels lay out sums of their own like it."""
        grad_lse = None if of_all.grad_lse is None else self.of_rows(of_all.grad_lse)
        return replace(
            of_all,
            out=self.of_rows(of_all.out),
            lse=self.of_rows(of_all.lse).contiguous(),
            grad_out=self.of_rows(of_all.grad_out),
            grad_lse=grad_lse,
        )


def total(parts: Sequence[Tensor]) -> Tensor:
    """The sum of one tensor per class, in their order and in float64, in the dtype that they have."""
    return torch.stack([part.double() for part in parts]).sum(0).to(parts[0].dtype)


def residue_classes(request: Request) -> tuple[ResidueClass, ...]:
    """The classes of a request, which share neither rows nor keys and leave none out; one class where it is better served whole."""
    whole = (ResidueClass(request, slice(None), slice(None)),)
    if request.asked is not None or not request.fills_tensors or not _divides(request.program):
        return whole
    from ...passes.residues import residues  # few patterns need it, and every start would load it

    parameters = materialise.parameters(request.program, request.bindings)
    found = residues(request.program, Launch(request.q_len, request.k_len, request.offset, parameters=parameters))
    if found is None or not found.pay(request.q_len, request.k_len):
        return whole
    return tuple(_classes(request, found))


def _classes(request: Request, found: Residues) -> Iterator[ResidueClass]:
    for row, key, parameters in found.classes(request.q_len, request.k_len, request.offset):
        rows, keys = slice(row, None, found.modulus), slice(key, None, found.modulus)
        yield ResidueClass(_within(request, found.program, {**request.bindings, **parameters}, (rows, keys)), rows, keys)


@functools.lru_cache(maxsize=1024)
def _divides(program: Program) -> bool:
    """Whether the mask takes a remainder at all: what most masks are asked and no more."""
    return any(isinstance(node, Binary) and node.op in (Op.MOD, Op.BITAND) for node in walk(FlattenGrid()(program).mask))


def _within(request: Request, program: Program, bindings: Mapping[str, object], tokens: tuple[slice, slice]) -> Request:
    rows, keys = tokens
    query, key, value = request.query[:, :, rows], request.key[:, :, keys], request.value[:, :, keys]
    return request._replace(
        query=query,
        key=key,
        value=value,
        program=program,
        bindings=bindings,
        q_len=query.shape[2],
        k_len=key.shape[2],
        offset=0,
        positions=max(request.q_len + max(request.offset, 0), request.k_len),
    )
