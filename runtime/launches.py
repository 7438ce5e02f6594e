"""What a kernel reads at one launch: numbers, tables, term bounds and tile lists, computed once per set of values."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..ir.expr import K_LEN, OFFSET, Q_LEN, Binary, Const, Expr, Kind, Op, Q
from ..ir.program import Program
from ..passes.flatten_grid import FlattenGrid
from ..passes.launch import Launch
from ..passes.proofs import check_lookups, fits_int32
from . import materialise
from .kernels import RAGGED, Kernel, Toolchain, Variant, kernel_of, with_ragged_tables
from .request import Ragged, Request
from .terms import term_arrays

REMEMBERED = 256  # a call may have as many residue classes, forward and backward, as its shortest side holds tiles


class Values(NamedTuple):
    """One launch of one kernel.

    parameters: by name.   tables: CPU or device tensors by name, schedule arrays included.
    narrow:     every integer of mask, score and schedule is proved to fit 32 bits.
    """

    kernel: Kernel
    parameters: Mapping[str, int | float]
    tables: Mapping[str, Tensor]
    narrow: bool


_remembered: OrderedDict[Hashable, tuple[Values, tuple[object, ...]]] = OrderedDict()


def values_of(request: Request, variant: Variant, toolchain: Toolchain) -> Values:
    """The kernel of a request and what it reads; remembered while lengths, parameters and tables stay the same."""
    ragged = tuple(each for each in request.ragged if each is not None)
    bound = tuple(request.bindings.get(table.name) for table in request.program.tables)
    tensors = (*ragged, *(getattr(each, "offsets", each) for each in bound))
    known: Hashable = (
        variant,
        (request.batch, request.heads, request.q_len, request.k_len, request.offset, request.positions),
        tuple(request.bindings[symbol.name] for symbol in request.program.parameters),
        tuple((id(tensor), state_of(tensor)) for tensor in tensors),
        tuple(each is None for each in request.ragged),
    )
    found = _remembered.get(known)
    if found is None:
        found = (_values(request, variant, toolchain), tensors)  # the tensors are kept, so that their identities stay theirs
        _remembered[known] = found
        while len(_remembered) > REMEMBERED:
            _remembered.popitem(last=False)
    return found[0]


def state_of(tensor: object) -> object:
    """Something that differs once a tensor has changed in place; inference tensors do not say, and each look differs."""
    if isinstance(tensor, Tensor):
        return object() if tensor.is_inference() else tensor._version
    return 0


def _values(request: Request, variant: Variant, toolchain: Toolchain) -> Values:
    parameters = materialise.parameters(request.program, request.bindings)
    furthest = request.offset if request.ragged.offsets is None else int(request.ragged.offsets.max())
    length = request.positions or max(request.q_len + max(furthest, 0), request.k_len)
    tables = materialise.tables(request.program, request.bindings, length, request.query.device)
    launch = Launch(
        q_len=request.q_len,
        k_len=request.k_len,
        offset=request.offset,
        batch=request.batch,
        heads=request.heads,
        parameters=parameters,
        tables=_integers(request.program, tables),
        shifted=variant.shifted,
        ragged=_ragged(request.ragged),
    )
    shapes = {name: tuple(table.shape) for name, table in tables.items()}
    for offset in {request.offset, furthest}:
        check_lookups(_moved(request.program, offset), launch._replace(offset=0), shapes)
    kernel = kernel_of(variant, launch, toolchain)
    if kernel.schedule.route == "refined" and launch.ragged:
        everything = _everything(request)
        tables = {**tables, **{RAGGED[symbol].name: torch.as_tensor(values) for symbol, values in everything.items()}}
        listed = {**launch.tables, **{RAGGED[symbol].name: values for symbol, values in everything.items()}}
        launch = launch._replace(tables=listed, ragged={}, shifted=False, offset=0)
        kernel = kernel_of(with_ragged_tables(variant), launch, toolchain)
    seen = variant.launch(launch)  # as the schedule knows it
    arrays = _schedule_arrays(kernel, seen)
    narrow = not seen.ragged and fits_int32(kernel.schedule.program, kernel.schedule, seen, {**seen.tables, **arrays})
    device = request.query.device
    return Values(kernel, parameters, {**tables, **{name: torch.as_tensor(array, device=device) for name, array in arrays.items()}}, narrow)


def _moved(program: Program, offset: int) -> Program:
    """The program as look-ups meet it: `q` is a row, and its position that row plus the offset of the call."""
    flat = FlattenGrid()(program)
    return flat.substituted({Q: Binary(Op.ADD, Q, Const(offset))}) if offset else flat


def _integers(program: Program, tables: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    return {table.name: tables[table.name].cpu().numpy() for table in program.tables if table.kind is not Kind.FLOAT}


def _ragged(ragged: Ragged) -> dict[Expr, np.ndarray]:
    given = {Q_LEN: ragged.q_lens, K_LEN: ragged.k_lens, OFFSET: ragged.offsets}
    return {symbol: values.cpu().numpy() for symbol, values in given.items() if values is not None}


def _everything(request: Request) -> dict[Expr, np.ndarray]:
    """Lengths and offset of every batch item, whether they differ or not."""
    uniform = {Q_LEN: request.q_len, K_LEN: request.k_len, OFFSET: request.offset}
    return {symbol: np.full(request.batch, value, np.int64) for symbol, value in uniform.items()} | _ragged(request.ragged)


def _schedule_arrays(kernel: Kernel, launch: Launch) -> dict[str, np.ndarray]:
    schedule = kernel.schedule
    arrays = term_arrays(schedule, launch)
    if schedule.route == "refined":
        from ..passes.refine import refined  # few patterns need it, and every start would load it

        arrays |= refined(schedule.program, schedule.block_q, schedule.block_k, launch, schedule.together).arrays
    return arrays
