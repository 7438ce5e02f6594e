"""Schedule -> plan: fix what a kernel's text depends on, and the order of its arguments."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from ...ir.expr import K_LEN, OFFSET, Q_LEN, Const, Expr, S, Symbol, Table, symbols, tables
from ...ir.order import Order
from ...ir.plan import Gradient, Plan
from ...ir.schedule import Piece, Schedule
from ...ir.target import Target
from .transpose import transposed


def plan_of(schedule: Schedule, target: Target, dtype: str, dims: tuple[int, int]) -> Plan:
    """The plan of a schedule's program: parameters and tables that are really read, in a fixed order.

    dtype: `f32 bf16 f16 f64`. dims: dimensions of query and key, and of value.
    """
    roots = (schedule.program.mask, schedule.program.score, *loop_expressions(schedule))
    return Plan(
        schedule=schedule,
        target=target,
        dtype=dtype,
        head_dim=dims[0],
        value_dim=dims[1],
        parameters=_parameters(roots),
        tables=_tables(schedule, roots),
        partial=schedule.program.mask,
        score=schedule.program.score,
    )


def backward_plan_of(schedule: Schedule, target: Target, dtype: str, dims: tuple[int, int], wanted: Collection[str] = ()) -> Plan:
    """The plan of a backward kernel.

    schedule: of the transposed program.
    wanted:   float tables whose gradient is asked for; each look-up of one in the score is a sum of its own.
    """
    program = transposed(schedule.program)  # twice is the program itself
    gradient = _gradient(program.score, wanted)
    derived = [part for lookup, by in gradient.by_lookup for part in (by, lookup)]
    roots = (program.mask, program.score, gradient.by_score, *derived, *loop_expressions(schedule))
    return Plan(
        schedule=schedule,
        target=target,
        dtype=dtype,
        head_dim=dims[0],
        value_dim=dims[1],
        parameters=_parameters(roots),
        tables=_tables(schedule, roots),
        partial=program.mask,
        score=program.score,
        family="backward",
        gradient=gradient,
    )


def query_gradient_plan_of(schedule: Schedule, target: Target, dtype: str, dims: tuple[int, int], wanted: Collection[str] = ()) -> Plan:
    """The plan of a kernel for the gradient of the queries, which walks the schedule of the forward pass."""
    mirrored = replace(schedule, program=transposed(schedule.program))
    plan = backward_plan_of(mirrored, target, dtype, dims, wanted)
    return replace(plan, schedule=schedule, family="backward_queries")


def _gradient(score: Expr, wanted: Collection[str]) -> Gradient:
    if score is S:
        return Gradient(Const(1.0))
    from ..program.derivative import derivatives  # with it comes sympy, which other plans do without

    found = derivatives(score)
    return Gradient(found.by_score, tuple((lookup, by) for lookup, by in found.by_lookup if lookup.table.name in wanted))


def in_order(plan: Plan, order: Order | None) -> Plan:
    """The plan of a program over positions of an order; where it looks tokens up, the table is among those that are passed."""
    if order is None:
        return plan
    return replace(plan, order=order, tables=tuple(dict.fromkeys((*plan.tables, *order.tables))))


def loop_expressions(schedule: Schedule) -> tuple[Expr, ...]:
    """Every expression that the kernel's loops evaluate."""
    pieces = (*schedule.full_loops, *schedule.partial_loops)
    return tuple(part for piece in pieces for part in (piece.start, piece.stop, piece.where))


def _parameters(roots: tuple[Expr, ...]) -> tuple[Symbol, ...]:
    return tuple(symbol for symbol in symbols(*roots) if symbol not in (Q_LEN, K_LEN, OFFSET))


def _tables(schedule: Schedule, roots: tuple[Expr, ...]) -> tuple[Table, ...]:
    pieces: tuple[Piece, ...] = (*schedule.full_loops, *schedule.partial_loops)
    lists = [piece.through for piece in pieces if piece.through is not None]
    return tuple(dict.fromkeys([*tables(*roots), *lists]))
