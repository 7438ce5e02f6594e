"""The one check that tables hold what is read, at the values of a call: for attention, schedules, explanations and dense masks."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping

import numpy as np

from ...ir.expr import K_LEN, OFFSET, Q_LEN, Expr, walk
from ...ir.program import Program
from ...passes.lookups.ranges import OutOfRange, Shapes, check_lookups
from ...passes.program.call_values import Launch
from ..tensors.host_numbers import numbers_of
from ..tensors.kept_facts import kept
from ..tensors.tensor_states import table_states
from . import materialise
from .bound_tensors import tensor_of
from .lengths import Lengths
from .lookup_proofs import proofs_of

ANYWHERE = Launch(q_len=1 << 41, k_len=0, offset=-(1 << 40))
"""Rows whose positions a GPU alone knows."""


class Numbers(Mapping[str, np.ndarray]):
    """The tables of a program that hold no reals, on the host, each read when someone looks. length: as in `materialise.tables`."""

    def __init__(self, program: Program, bindings: materialise.Bindings, length: int) -> None:
        self._tables = {table.name: table for table in program.tables}
        self._bindings, self._length = bindings, length

    def __getitem__(self, name: str) -> np.ndarray:
        return numbers_of(name, materialise.entries(self._tables[name], materialise.bound(self._bindings, name), self._length))

    def __iter__(self) -> Iterator[str]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)


def check_reads(program: Program, bindings: materialise.Bindings, launch: Launch) -> None:
    """Raise unless every look-up whose value counts stays inside its table; `q` is a row of `launch` plus its offset.

    Raises:
        OutOfRange: one leaves its table, or may.
    """
    shapes = {table.name: _shape(materialise.bound(bindings, table.name)) for table in program.tables if not table.monotone}
    if not _checked_further(program, bindings, launch, shapes):
        check_lookups(program, launch, shapes, lambda: proofs_of(program, launch.parameters))


def _checked_further(program: Program, bindings: materialise.Bindings, launch: Launch, shapes: Shapes) -> bool:
    """Whether the check passes, while tables hold the same, for all positions up to a power of two or the end of a table: so that a growing
    cache is checked once in a while. What reads lengths or the offset says nothing of others.
    """
    rows, keys, offset = _reach(launch)
    if offset < 0 or _reads_lengths(program):
        return False
    states = table_states(tensor_of(materialise.bound(bindings, table.name)) for table in program.tables)
    if states is None:
        return False
    sizes = [size for shape in shapes.values() for size in shape]
    rows, keys = (min([size for size in sizes if size >= reach], default=1 << reach.bit_length()) for reach in (rows, keys))
    known = (program, rows, keys, launch.batch, launch.heads, launch.integers, states)
    numbers = Numbers(program, bindings, max(rows, keys))
    further = launch._replace(q_len=rows, k_len=keys, offset=0, ragged={}, tables=numbers)
    return kept(known, lambda: _passes(program, further, shapes))


def _reach(launch: Launch) -> tuple[int, int, int]:
    """How many positions queries and keys reach, and the first position of a row; -1 for that where no item says."""
    q_len, k_len, offset = (
        np.asarray(launch.ragged.get(symbol, value), np.int64)
        for symbol, value in ((Q_LEN, launch.q_len), (K_LEN, launch.k_len), (OFFSET, launch.offset))
    )
    ends = offset + q_len
    return int(ends.max(initial=0)), int(k_len.max(initial=0)), int(offset.min()) if offset.size else -1


@functools.lru_cache(maxsize=256)
def _reads_lengths(program: Program) -> bool:
    return any(node in (Q_LEN, K_LEN, OFFSET) for node in walk(program.mask, program.score))


def _passes(program: Program, launch: Launch, shapes: Shapes) -> bool:
    try:
        check_lookups(program, launch, shapes, lambda: proofs_of(program, launch.parameters))
    except OutOfRange:
        return False
    return True


def launch_of_call(program: Program, bindings: materialise.Bindings, spans: Lengths, extents: tuple[int, int], *, left: bool) -> Launch:
    """The values of a call whose queries and keys are of these lengths.

    extents: batch items and heads.   left: nobody has looked at the lengths, and where rows are is not known.
    """
    found = Launch(
        q_len=spans.q_len,
        k_len=spans.k_len,
        offset=spans.offset,
        batch=extents[0],
        heads=extents[1],
        parameters=materialise.parameters(program, bindings),
        tables=Numbers(program, bindings, max(spans.stop, spans.k_stop)),
    )
    if left:
        return found._replace(q_len=ANYWHERE.q_len, offset=ANYWHERE.offset)
    return found if spans.left else found._replace(ragged=dict(_ragged(spans)))


def _ragged(spans: Lengths) -> Iterator[tuple[Expr, np.ndarray]]:
    given = spans.ragged
    for symbol, argument, tensor in ((Q_LEN, "q_len", given.q_lens), (K_LEN, "kv_len", given.k_lens), (OFFSET, "q_offset", given.offsets)):
        if tensor is not None:
            yield symbol, numbers_of(argument, tensor)


def _shape(table: object) -> tuple[int, ...]:
    return tuple(getattr(table, "shape", ()))
