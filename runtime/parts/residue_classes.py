"""A call whose pattern falls into residue classes, as one call for each: views of every `d`th token, nothing copied."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from ...ir.expr import Binary, Op, walk
from ...ir.program import Program
from ...passes.program.call_values import Launch
from ...passes.program.flatten_grid import FlattenGrid
from ..request import materialise
from ..request.request import Request

if TYPE_CHECKING:
    from ...passes.program.residues import Residues


class ResidueClass(NamedTuple):
    """One class of a request. rows, keys: which tokens of queries and outputs, and of keys and values."""

    request: Request
    rows: slice
    keys: slice


def residue_classes(request: Request) -> tuple[ResidueClass, ...]:
    """The classes of a request, which share neither rows nor keys and leave none out; one class where it is better served whole."""
    whole = (ResidueClass(request, slice(None), slice(None)),)
    if request.asked is not None or not request.fills_tensors or not _divides(request.program):
        return whole
    from ...passes.program.residues import residues  # few patterns need it, and every start would load it

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
