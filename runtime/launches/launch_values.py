"""What a kernel reads at one launch: numbers, tables, term bounds and tile lists, computed once per set of values."""

from __future__ import annotations

import functools
import sys
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from ...ir.expr import K_LEN, OFFSET, Q_LEN, Expr, Kind
from ...ir.program import Program
from ...passes.bounds.widths import Width
from ...passes.bounds.work import TooManyTiles
from ...passes.program.binding import symbols_needed
from ...passes.program.call_values import Launch
from ..kernels.kernel_of import Kernel, forget_kernels, kernel_of
from ..kernels.shelves import remade_with_bundles
from ..kernels.variant import RAGGED, Toolchain, Variant, with_ragged_tables
from ..request import materialise
from ..request.bound_tensors import tensor_of
from ..request.request import Request
from ..tensors.host_numbers import Unread, capturing, numbers_of, pin
from ..tensors.kept_facts import forget_facts
from ..tensors.tensor_states import states_of, table_states
from .kept_bounds import kept_tables, kept_term_arrays, kept_width
from .tile_lists import say_covered, tile_lists

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


class _Known(NamedTuple):
    """read: states of the lengths that were looked at; None where nobody looked."""

    values: Values
    read: Hashable | None


_remembered: OrderedDict[Hashable, _Known] = OrderedDict()


def values_of(request: Request, variant: Variant, toolchain: Toolchain) -> Values:
    """The kernel of a request and what it reads; remembered while parameters are the same, and lengths and tables hold the same."""
    tables = _tables(request)
    states, lengths = table_states(tables), states_of(request.ragged, few=sys.maxsize)  # these lengths are copies, made for the call
    known = None if states is None else _known_by(request, variant, states, lengths)
    found = None if known is None else _remembered.get(known)
    if found is None or found.read not in (None, lengths):
        ragged = _ragged(request)
        values = _values(request, variant, toolchain, (ragged, states))
        looked = any(isinstance(each, Unread) and each.was_read for each in ragged.values())
        found = _Known(values, lengths if looked else None)
        if known is not None and not (looked and lengths is None) and table_states(tables) == states:
            _keep(known, found)
    if found.values.tables and capturing(request.query.device):
        pin(found)
    return found.values


def _known_by(request: Request, variant: Variant, states: Hashable, lengths: Hashable | None) -> Hashable | None:
    """What decides the values of a launch; None where a length could change unseen."""
    if lengths is None and not request.left:
        return None
    return (
        variant,
        (request.batch, request.heads, request.q_len, request.k_len, request.offset, request.positions, request.from_end),
        tuple(request.bindings[symbol.name] for symbol in request.program.parameters),
        states,
        tuple(each is None for each in request.ragged) if request.left else lengths,
        request.left,
    )


def _tables(request: Request) -> tuple[Tensor, ...]:
    """What is bound to the tables of a request, of segments their offsets."""
    return tuple(tensor_of(materialise.bound(request.bindings, table.name)) for table in request.program.tables)


def _keep(known: Hashable, found: _Known) -> None:
    _remembered[known] = found
    while len(_remembered) > REMEMBERED:
        _remembered.popitem(last=False)


@remade_with_bundles
def forget_launches() -> None:
    """Drop every kernel of this process and what its launches read: the next one asks the cache, as that of a new process would."""
    _remembered.clear()
    forget_facts()
    forget_kernels()


Seen = tuple[Mapping[Expr, np.ndarray], "tuple[Hashable, ...] | None"]


def _values(request: Request, variant: Variant, toolchain: Toolchain, seen: Seen) -> Values:
    """seen: what differs between batch items, and the states of the tables, None where these could change unseen."""
    ragged, states = seen
    parameters = materialise.parameters(request.program, request.bindings)
    furthest = request.offset if OFFSET not in ragged or request.left else int(ragged[OFFSET].max())
    length = request.positions or max(request.q_len + max(furthest, 0), request.k_len)
    tables = kept_tables(request, length, states)
    launch = Launch(
        q_len=request.row_positions,
        k_len=request.key_positions,
        offset=request.offset,
        batch=request.batch,
        heads=request.heads,
        parameters=parameters,
        tables=_integers(request.program, tables),
        shifted=variant.shifted,
        ragged=ragged,
    )
    launched = _launched(variant, launch, toolchain, (request, seen))
    if launched.width is Width.BEYOND:  # lists of tiles hold no arithmetic
        launched = _launched(variant._replace(listed=True), launch, toolchain, (request, seen))
    given = {name: torch.as_tensor(array, device=request.query.device) for name, array in launched.arrays.items()}
    return Values(launched.kernel, parameters, {**tables, **given}, launched.width is Width.NARROW)


class _Launched(NamedTuple):
    """A kernel, the arrays that its schedule reads beside the tables of its user, and how wide its integers are."""

    kernel: Kernel
    arrays: Mapping[str, np.ndarray]
    width: Width


def _launched(variant: Variant, launch: Launch, toolchain: Toolchain, of: tuple[Request, Seen]) -> _Launched:
    request, (ragged, states) = of
    kernel = None if _is_bound_to_lengths(variant, launch) else kernel_of(variant, launch, toolchain)
    lengths: dict[str, np.ndarray] = {}
    if kernel is None or (kernel.schedule.route == "refined" and launch.ragged):
        lengths = {RAGGED[symbol].name: values for symbol, values in _everything(request, ragged).items()}
        launch = launch._replace(tables={**launch.tables, **lengths}, ragged={}, shifted=False, offset=0)
        variant = with_ragged_tables(variant)
        kernel = kernel_of(variant, launch, toolchain)
        states = None  # some tables are lengths by now
    seen_by = variant.launch(launch)  # as the schedule knows it
    try:
        arrays = _schedule_arrays(kernel, seen_by, states)
    except TooManyTiles:
        say_covered(variant.program)
        kernel = kernel_of(variant._replace(covered=True), launch, toolchain)
        arrays = _schedule_arrays(kernel, seen_by, states)
    return _Launched(kernel, {**lengths, **arrays}, kept_width(kernel, seen_by, arrays, states))


def _is_bound_to_lengths(variant: Variant, launch: Launch) -> bool:
    """Whether a kernel would hold one number for what differs between batch items, as `k // (Lk // 2)` would for `Lk`."""
    return not launch.ragged.keys().isdisjoint(symbols_needed(variant.program))


def _integers(program: Program, tables: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    return {table.name: numbers_of(table.name, tables[table.name]) for table in program.tables if table.kind is not Kind.FLOAT}


SPANS = {Q_LEN: ("q_lens", "q_len"), K_LEN: ("k_lens", "kv_len"), OFFSET: ("offsets", "q_offset")}
"""Names of lengths and offsets in `Ragged`, and what callers call them."""


def _ragged(request: Request) -> dict[Expr, np.ndarray]:
    """What differs between batch items. What a caller has on a GPU is read when someone looks at it."""
    found: dict[Expr, np.ndarray] = {}
    for symbol, (name, argument) in SPANS.items():
        tensor = getattr(request.ragged, name)
        if tensor is not None:
            read = functools.partial(numbers_of, argument, tensor)
            found[symbol] = cast(np.ndarray, Unread(read)) if request.left else read()
    if request.from_end:
        found[OFFSET] = cast(np.ndarray, Unread(lambda: _of(found, K_LEN, request.k_len) - _of(found, Q_LEN, request.q_len)))
    return found


def _of(ragged: Mapping[Expr, np.ndarray], symbol: Expr, otherwise: int) -> np.ndarray:
    return np.asarray(ragged.get(symbol, otherwise), np.int64)


def _everything(request: Request, ragged: Mapping[Expr, np.ndarray]) -> dict[Expr, np.ndarray]:
    """Lengths and offset of every batch item, whether they differ or not."""
    uniform = {Q_LEN: request.q_len, K_LEN: request.k_len, OFFSET: request.offset}
    return {symbol: np.broadcast_to(_of(ragged, symbol, value), (request.batch,)).copy() for symbol, value in uniform.items()}


def _schedule_arrays(kernel: Kernel, launch: Launch, states: Hashable | None) -> dict[str, np.ndarray]:
    schedule = kernel.schedule
    arrays = kept_term_arrays(schedule, launch, states)
    if schedule.route == "refined":
        arrays |= tile_lists(schedule, launch)
    return arrays
