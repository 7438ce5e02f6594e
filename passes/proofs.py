"""Facts that hold for some values of the symbols: checked at each launch, never assumed.

Each answers for one launch. TRUE from interval arithmetic is a proof; anything else means "could not tell", and the safe variant runs.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from ..ir.expr import K_LEN, OFFSET, Q_LEN, B, Expr, H, I, J, K, Kind, Lookup, Q, tables, walk
from ..ir.program import Program
from ..ir.schedule import Piece, Schedule
from .intervals import Span, spans
from .launch import Launch
from .lookup_guards import compares_reals, open_choice, without_reals
from .range_table import RangeTable

INT32 = 2**31 - 1


def _ranges(launch: Launch, schedule: Schedule | None = None) -> dict[Expr, Span]:
    """Where every variable lies in this launch: rows and keys inside their lengths, tiles inside their grid."""
    found: dict[Expr, Span] = {
        symbol: _span(int(value), int(value)) for symbol, value in launch.environment().items() if isinstance(value, int)
    }
    found |= {Q: _span(0, launch.q_len - 1), K: _span(0, launch.k_len - 1), B: _span(0, launch.batch - 1), H: _span(0, launch.heads - 1)}
    if schedule is not None:
        found |= {I: _span(0, -(-launch.q_len // schedule.block_q)), J: _span(0, -(-launch.k_len // schedule.block_k))}
    return found


def _span(low: int, high: int) -> Span:
    return Span(np.asarray(low, np.int64), np.asarray(max(low, high), np.int64))


def _range_tables(roots: Iterable[Expr], arrays: Mapping[str, np.ndarray]) -> dict[str, RangeTable]:
    return {
        table.name: RangeTable(arrays[table.name]) for table in tables(*roots) if table.kind is not Kind.FLOAT and arrays[table.name].size
    }


def fits_int32(program: Program, schedule: Schedule, launch: Launch, arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether every integer that mask, look-ups and schedule compute is proved to fit 32 bits, ragged tiles included.

    Without arrays one proof serves every length and offset up to the next powers of two, so that a growing cache is proved once in a while.
    """
    if not arrays and _fits_up_to(program, schedule, _Sizes.above(launch)):
        return True
    return _fits(program, schedule, _ranges(launch, schedule), arrays)


class _Sizes(NamedTuple):
    """Lengths, distance of the offset from 0, and what else a proof depends on."""

    q_len: int
    k_len: int
    offset: int
    batch: int
    heads: int
    parameters: tuple[tuple[str, int | float], ...]

    @staticmethod
    def above(launch: Launch) -> _Sizes:
        q_len, k_len, offset = (1 << abs(size).bit_length() for size in (launch.q_len, launch.k_len, launch.offset))
        return _Sizes(q_len, k_len, offset, launch.batch, launch.heads, tuple(sorted(launch.parameters.items())))


@functools.lru_cache(maxsize=256)
def _fits_up_to(program: Program, schedule: Schedule, sizes: _Sizes) -> bool:
    launch = Launch(sizes.q_len, sizes.k_len, batch=sizes.batch, heads=sizes.heads, parameters=dict(sizes.parameters))
    lengths: dict[Expr, Span] = {Q_LEN: _span(0, sizes.q_len), K_LEN: _span(0, sizes.k_len), OFFSET: _span(-sizes.offset, sizes.offset)}
    return _fits(program, schedule, {**_ranges(launch, schedule), **lengths}, {})


def int32_reach(program: Program, schedule: Schedule) -> int:
    """The largest power of two up to which lengths, offsets, extents and integer parameters may go so that 32 bits are proved to do.

    0 where that is not proved for any, as where integers are read out of tables.
    """
    read = tables(program.mask, *_lookup_indices(program.score), *_piece_expressions((*schedule.full_loops, *schedule.partial_loops)))
    if any(table.kind is not Kind.FLOAT for table in read):
        return 0
    for bits in (24, 20, 16):
        reach = 1 << bits
        sizes = dict.fromkeys((Q, K, B, H, I, J, Q_LEN, K_LEN), _span(0, reach))
        values = dict.fromkeys((OFFSET, *program.parameters), _span(-reach, reach))
        if _fits(program, schedule, {**sizes, **values}, {}):
            return reach
    return 0


def _fits(program: Program, schedule: Schedule, ranges: dict[Expr, Span], arrays: Mapping[str, np.ndarray]) -> bool:
    for side, block in ((Q, schedule.block_q), (K, schedule.block_k)):
        ranges[side] = Span(ranges[side].low, ranges[side].high + block)
    ranges |= {open_choice(node): Span(np.asarray(True), np.asarray(True)) for node in walk(program.score) if compares_reals(node)}
    roots = (program.mask, *_lookup_indices(program.score), *_piece_expressions((*schedule.full_loops, *schedule.partial_loops)))
    known = _range_tables(roots, arrays)
    if any(isinstance(node, Lookup) and node.table.name not in known for node in walk(*roots)):
        return False
    wide: list[Expr] = []

    def observe(node: Expr, found: Span) -> None:
        if node.kind is Kind.INT and (int(found.low) < -INT32 or int(found.high) > INT32):
            wide.append(node)

    for root in dict.fromkeys(roots):
        spans(root, ranges, known, observe)
        if wide:
            return False
    return True


def _lookup_indices(score: Expr) -> Iterator[Expr]:
    for node in walk(score):
        if isinstance(node, Lookup):
            yield from map(without_reals, node.indices)


def _piece_expressions(pieces: Iterable[Piece]) -> Iterator[Expr]:
    for piece in pieces:
        yield from (piece.start, piece.stop, piece.where)
