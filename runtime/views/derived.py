"""The schedule of a program at concrete lengths, and the launch that it is for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...ir.pattern import Pattern
from ...ir.program import Program
from ...passes.bounds.widths import require_64_bits
from ...passes.program.call_values import Launch
from ...passes.program.flatten_grid import FlattenGrid
from ..launches.term_arrays import term_arrays
from ..request import materialise
from ..request.lookups import check_reads
from ..request.merged_program import resolved
from .lengths_given import count_given, lengths_given
from .tile_schedule import TileSchedule

if TYPE_CHECKING:
    from ...passes.program.pipeline import Trace
    from ..request.token_order import TokenOrder


def derived(program: Program, launch: Launch, block: tuple[int, int], order: TokenOrder | None = None) -> tuple[TileSchedule, Trace]:
    """The schedule, and what each pass did."""
    from ...passes.program.pipeline import Trace
    from ...passes.schedules.derive import derive
    from ...passes.schedules.exactly import exactly

    trace = Trace()
    if order is not None:
        from .reordered import derived

        return derived(program, launch, block, order), trace
    found = derive(program, *block, launch, observers=(trace,))
    arrays = term_arrays(found.schedule, launch)
    found = exactly(found, launch, arrays)
    return TileSchedule(found.schedule, launch, {**arrays, **found.arrays}), trace


def launch_of(pattern: Pattern | None, lengths: tuple[int | None, int | None], extents: tuple[int, int]) -> Launch:
    """lengths: of queries and of keys.   extents: batch items and heads."""
    program, bindings = resolved(pattern, None)
    q_len, k_len = lengths_given(program.space, *lengths, least=1)
    batch, heads = (count_given(name, value) for name, value in zip(("batch", "heads"), extents, strict=True))
    tables = materialise.tables(program, bindings, max(q_len, k_len))
    launch = Launch(
        q_len=q_len,
        k_len=k_len,
        batch=batch,
        heads=heads,
        parameters=materialise.parameters(program, bindings),
        tables=materialise.arrays(tables),
    )
    check_reads(program, bindings, launch)
    require_64_bits(FlattenGrid()(program), launch)
    return launch
