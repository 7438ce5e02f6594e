"""Schedule -> plan: fix what a kernel's text depends on, and the order of its arguments."""

from __future__ import annotations

from ..ir.expr import K_LEN, OFFSET, Q_LEN, Expr, Table, symbols, tables
from ..ir.plan import Plan, Target
from ..ir.schedule import Piece, Schedule


def plan_of(schedule: Schedule, target: Target, dtype: str, dims: tuple[int, int]) -> Plan:
    """The plan of a schedule's program: parameters and tables that are really read, in a fixed order.

    dtype: `f32 bf16 f16 f64`. dims: dimensions of query and key, and of value.
    """
    roots = (schedule.program.mask, schedule.program.score, *loop_expressions(schedule))
    known = {Q_LEN, K_LEN, OFFSET}
    return Plan(
        schedule=schedule,
        target=target,
        dtype=dtype,
        head_dim=dims[0],
        value_dim=dims[1],
        parameters=tuple(symbol for symbol in symbols(*roots) if symbol not in known),
        tables=_tables(schedule, roots),
        partial=schedule.program.mask,
        score=schedule.program.score,
    )


def loop_expressions(schedule: Schedule) -> tuple[Expr, ...]:
    """Every expression that the kernel's loops evaluate."""
    pieces = (*schedule.full_loops, *schedule.partial_loops)
    return tuple(part for piece in pieces for part in (piece.start, piece.stop, piece.where))


def _tables(schedule: Schedule, roots: tuple[Expr, ...]) -> tuple[Table, ...]:
    pieces: tuple[Piece, ...] = (*schedule.full_loops, *schedule.partial_loops)
    lists = [piece.through for piece in pieces if piece.through is not None]
    return tuple(dict.fromkeys([*tables(*roots), *lists]))
