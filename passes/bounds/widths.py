"""How many bits the integers of a launch need: one proof, by interval arithmetic, gives a kernel its width or refuses the call.

Rows and keys that ragged tiles have past the lengths count, since what overflows in C++ is undefined; only shifts wrap there, as nobody
sees what comes of it.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ...ir.expr import K_LEN, OFFSET, Q_LEN, B, Binary, Expr, H, I, J, K, Kind, Op, Q, tables
from ...ir.program import Program
from ...ir.schedule import Piece, Schedule
from ..program.call_values import Launch
from .intervals import Span, spans
from .range_table import Anywhere, RangeTable, Reads
from .too_wide import MeaninglessShift, TooWide

INT32 = 2**31 - 1
MOST_TOKENS = 2**40  # of a call from C
FURTHEST = 2**48
"""Tokens from 0 that an offset may be which stays on a device."""

Ranges = dict[Expr, Span]
Tables = Mapping[str, Reads]


class Width(enum.IntEnum):
    """Bits of the integers of a kernel. BEYOND: those of mask and score fit in 64, and what the schedule computes may not."""

    NARROW = 32
    WIDE = 64
    BEYOND = 65


def width_of(schedule: Schedule, launch: Launch, arrays: Mapping[str, np.ndarray]) -> Width:
    """What a kernel needs in this launch, ragged tiles included.

    arrays: integers and truth values of every table that mask, score or schedule read.

    Without arrays one proof serves every length and offset up to the next powers of two, so that a growing cache is proved once in a while.

    Raises:
        TooWide: an integer of mask or score may leave 64 bits.
        MeaninglessShift: a shift of mask or score may be by a negative number.
    """
    if not arrays and not launch.ragged and _narrow_up_to(schedule, Sizes.above(launch)):
        return Width.NARROW
    known = _range_tables(_roots(schedule), arrays)
    ranges = _ranges(launch) | _tile_ranges(launch, schedule)
    if not launch.ragged and _is_narrow(schedule, ranges, known):
        return Width.NARROW
    _require_with_ragged_tiles(schedule, launch, known)
    return _width_of_pieces(schedule, ranges, known)


def width_up_to(schedule: Schedule, sizes: Sizes, arrays: Mapping[str, np.ndarray], *, ragged: bool) -> Width | None:
    """What `width_of` gives for every launch up to these sizes; None where one proof does not tell.

    arrays: of the tables of the program. Bounds of a term are what its expression can be, and of nothing 1 and 0.
    ragged: lengths or offsets differ between batch items.
    """
    ranges, reads = sizes.ranges() | sizes.tile_ranges(schedule), _given(arrays)
    try:
        reads |= _bounds_of_terms(schedule, ranges, reads)
        if not {table.name for table in tables(*_roots(schedule)) if table.kind is not Kind.FLOAT} <= reads.keys():
            return None
        if not ragged:
            return Width.NARROW if _is_narrow(schedule, ranges, reads) else None
        _compute(_roots(schedule), _padded(ranges, schedule), reads)
    except (TooWide, MeaninglessShift):
        return None
    return Width.WIDE


def _bounds_of_terms(schedule: Schedule, ranges: Ranges, reads: Tables) -> dict[str, Reads]:
    """The tables of a schedule's terms: what its expression can be, and of nothing 1 and 0."""
    found = {name: spans(term.expr, ranges, reads) for term in schedule.terms for name in (term.low.name, term.high.name)}
    return {name: Anywhere(Span(np.minimum(each.low, 0), np.maximum(each.high, 1))) for name, each in found.items()}


def _given(arrays: Mapping[str, np.ndarray]) -> dict[str, Reads]:
    return {name: RangeTable(array) for name, array in arrays.items() if array.size}


def _require_with_ragged_tiles(schedule: Schedule, launch: Launch, known: Tables) -> None:
    """As `require_64_bits`, rows and keys past the lengths included: arithmetic that overflows there is undefined, but shifts are not."""
    try:
        _compute((schedule.program.mask, schedule.program.score), _padded(_ranges(launch), schedule), known)
    except MeaninglessShift:
        require_64_bits(schedule.program, launch, known)
    except TooWide as refused:
        require_64_bits(schedule.program, launch, known)
        if not (isinstance(refused.term, Binary) and refused.term.op is Op.SHL):
            raise


def require_64_bits(program: Program, launch: Launch, known: Tables | None = None) -> None:
    """Raise unless every integer of mask and score is proved to fit in 64 bits, `q` being a row.

    Raises:
        TooWide, MeaninglessShift: as above.
    """
    if min(launch.q_len, launch.k_len, launch.batch, launch.heads) <= 0:
        return
    roots = (program.mask, program.score)
    known = _range_tables(roots, launch.tables) if known is None else known
    _compute(roots, _ranges(launch), known)


def _compute(roots: Iterable[Expr], ranges: Ranges, known: Tables, observe: Callable[[Expr, Span], None] | None = None) -> None:
    for root in roots:
        spans(root, ranges, known, observe)


def _width_of_pieces(schedule: Schedule, ranges: Ranges, known: Tables) -> Width:
    try:
        _compute(_piece_expressions(schedule), ranges, known)
    except (TooWide, MeaninglessShift):
        return Width.BEYOND
    return Width.WIDE


# -- ranges -----------------------------------------------------------------------------------------------------------


def _span(low: int, high: int) -> Span:
    return Span(np.asarray(low, np.int64), np.asarray(max(low, high), np.int64))


def _ranges(launch: Launch) -> Ranges:
    """Where every variable and symbol lies in this launch: rows and keys inside their lengths."""
    found: Ranges = {symbol: _span(int(value), int(value)) for symbol, value in launch.environment().items() if isinstance(value, int)}
    found |= {Q: _span(0, launch.q_len - 1), K: _span(0, launch.k_len - 1), B: _span(0, launch.batch - 1), H: _span(0, launch.heads - 1)}
    return found | {symbol: _span(*_ends(symbol, values, launch)) for symbol, values in launch.ragged.items()}


def _ends(symbol: Expr, values: Any, launch: Launch) -> tuple[int, int]:  # noqa: ANN401 (an array, or what stands for one)
    """Of lengths or offsets of batch items, which are not looked at where they stay on a device: kernels hold lengths in the tensors."""
    if isinstance(values, np.ndarray):
        return (int(values.min()), int(values.max())) if values.size else (0, 0)
    return (-FURTHEST, FURTHEST) if symbol is OFFSET else (0, launch.q_len if symbol is Q_LEN else launch.k_len)


def _tile_ranges(launch: Launch, schedule: Schedule) -> Ranges:
    return {I: _span(0, -(-launch.q_len // schedule.block_q)), J: _span(0, -(-launch.k_len // schedule.block_k))}


def _padded(ranges: Ranges, schedule: Schedule) -> Ranges:
    """With the rows and keys that the last tiles have past the lengths."""
    blocks = {Q: schedule.block_q, K: schedule.block_k}
    return ranges | {side: Span(ranges[side].low, ranges[side].high + block) for side, block in blocks.items()}


def _range_tables(roots: Iterable[Expr], arrays: Mapping[str, np.ndarray]) -> dict[str, RangeTable]:
    """A table without entries is read as 0."""
    read = [table.name for table in tables(*roots) if table.kind is not Kind.FLOAT]
    return {name: RangeTable(arrays[name] if arrays[name].size else np.zeros([1] * arrays[name].ndim, np.int64)) for name in read}


# -- 32 bits ----------------------------------------------------------------------------------------------------------


class Sizes(NamedTuple):
    """Lengths, distance of offsets from 0, and what else a proof depends on."""

    q_len: int
    k_len: int
    offset: int
    batch: int
    heads: int
    parameters: tuple[tuple[str, int | float], ...]

    @staticmethod
    def above(launch: Launch) -> Sizes:
        """The next powers of two. Lengths and offsets of batch items have been looked at."""
        offset = max(abs(launch.offset), *map(abs, _ends(OFFSET, launch.ragged.get(OFFSET, np.zeros(1)), launch)))
        q_len, k_len, furthest = (1 << min(size.bit_length(), 62) for size in (launch.q_len, launch.k_len, offset))
        return Sizes(q_len, k_len, furthest, launch.batch, launch.heads, tuple(sorted(launch.parameters.items())))

    def ranges(self) -> Ranges:
        """Where every variable and symbol lies in all launches up to here."""
        launch = Launch(self.q_len, self.k_len, batch=self.batch, heads=self.heads, parameters=dict(self.parameters))
        lengths: Ranges = {Q_LEN: _span(0, self.q_len), K_LEN: _span(0, self.k_len), OFFSET: _span(-self.offset, self.offset)}
        return _ranges(launch) | lengths

    def tile_ranges(self, schedule: Schedule) -> Ranges:
        return _tile_ranges(Launch(self.q_len, self.k_len), schedule)


@functools.lru_cache(maxsize=256)
def _narrow_up_to(schedule: Schedule, sizes: Sizes) -> bool:
    return _is_narrow(schedule, sizes.ranges() | sizes.tile_ranges(schedule), {})


def int32_reach(schedule: Schedule) -> int:
    """The largest power of two up to which lengths, offsets, extents and integer parameters may go so that 32 bits are proved to do.

    0 where that is not proved for any, as where integers are read out of tables.
    """
    if any(table.kind is not Kind.FLOAT for table in tables(*_roots(schedule))):
        return 0
    for bits in (24, 20, 16):
        reach = 1 << bits
        sizes = dict.fromkeys((Q, K, B, H, I, J, Q_LEN, K_LEN), _span(0, reach))
        values = dict.fromkeys((OFFSET, *schedule.program.parameters), _span(-reach, reach))
        if _is_narrow(schedule, {**sizes, **values}, {}):
            return reach
    return 0


def int64_reach(schedule: Schedule) -> int:
    """The largest power of two up to which offsets, extents and integer parameters may go so that 64 bits are proved to do.

    Lengths are MOST_TOKENS at most, and tables hold anything of their type. 0 where that is not proved for any.
    """
    sizes = dict.fromkeys((Q, K, B, H, I, J, Q_LEN, K_LEN), _span(0, MOST_TOKENS))
    held: dict[str, Reads] = {table.name: Anywhere(_span(*_ends_of(table.dtype))) for table in schedule.program.tables}
    bounds = {table.name for term in schedule.terms for table in (term.low, term.high)}
    if not {table.name for table in tables(*_roots(schedule)) if table.kind is not Kind.FLOAT} <= held.keys() | bounds:
        return 0  # lists of tiles are made for each launch
    for bits in (62, 61, 60, 56, 48, 40):
        values = dict.fromkeys((OFFSET, *schedule.program.parameters), _span(-(1 << bits), 1 << bits))
        ranges = _padded({**sizes, **values}, schedule)
        try:
            _compute(_roots(schedule), ranges, held | _bounds_of_terms(schedule, ranges, held))
        except (TooWide, MeaninglessShift):
            continue
        return 1 << bits
    return 0


def _ends_of(dtype: str) -> tuple[int, int]:
    """The smallest and the largest entry of a table of integers or truth values; of reals nothing is asked."""
    if dtype == "bool" or "f" in dtype:
        return 0, 1
    bits = int(dtype[1:])
    return (0, min(2**bits, 2**63) - 1) if dtype[0] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _is_narrow(schedule: Schedule, ranges: Ranges, known: Tables) -> bool:
    roots = _roots(schedule)
    if any(table.name not in known for table in tables(*roots) if table.kind is not Kind.FLOAT):
        return False

    def observe(node: Expr, found: Span) -> None:
        if node.kind is Kind.INT and (found.low.item() < -INT32 or found.high.item() > INT32):
            raise TooWide(node, found.low.item(), found.high.item())

    try:
        _compute(roots, _padded(ranges, schedule), known, observe)
    except (TooWide, MeaninglessShift):
        return False
    return True


# -- expressions ------------------------------------------------------------------------------------------------------


def _roots(schedule: Schedule) -> tuple[Expr, ...]:
    return tuple(dict.fromkeys((schedule.program.mask, schedule.program.score, *_piece_expressions(schedule))))


def _piece_expressions(schedule: Schedule) -> tuple[Expr, ...]:
    pieces: tuple[Piece, ...] = (*schedule.full_loops, *schedule.partial_loops)
    terms = (term.expr for term in schedule.terms)
    return tuple(dict.fromkeys((*terms, *(part for piece in pieces for part in (piece.start, piece.stop, piece.where)))))
