"""The plan of a variant: its schedule, derived anew, and what its family adds."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ...ir.schedule import Schedule
from ...ir.source import Source
from ...passes.program.call_values import Launch
from ...passes.schedules.transpose import transposed_prepared
from ...passes.schedules.transposed_schedule import transposed_schedule
from ..cache.artefacts import Manifest
from ..process.settings import settings
from .variant import Variant

if TYPE_CHECKING:
    from ...ir.plan import Plan
    from ...passes.schedules.prepare import Prepared


def planned(variant: Variant, launch: Launch) -> Plan:
    """The plan of a variant, derived anew."""
    from ...passes.program.pipeline import dump_to  # islpy, networkx and jinja2 come with these
    from ...passes.schedules.prepare import prepare

    folder = settings().dump
    observers = () if folder is None else (dump_to(folder / variant.program.name),)
    prepared = prepare(variant.program, launch, shifted=variant.shifted, observers=observers)
    return plan_of(variant, _schedule(variant, prepared, launch))


def manifest_of(plan: Plan, source: Source) -> Manifest:
    """How to launch the kernel of a plan."""
    return {
        "entry": source.entry,
        "schedule": str(plan.schedule),
        "parameters": [symbol.name for symbol in plan.parameters],
        "tables": [table.name for table in plan.tables],
        "gradients": [] if plan.gradient is None else [lookup.table.name for lookup, _ in plan.gradient.by_lookup],
    }


def _schedule(variant: Variant, prepared: Prepared, launch: Launch) -> Schedule:
    """The schedule of a prepared program; of a backward variant, tiles of keys come first."""
    from ...passes.schedules.derive import derive_prepared

    backward = variant.family == "backward"
    if variant.listed:
        return _schedule_without_sums(variant, prepared)
    if variant.order is not None:
        from ...passes.schedules.sequence_schedule import scheduled  # few patterns need it

        found = scheduled(prepared, variant.program, variant.order, launch, backward=backward)
        if found is not None:
            return replace(found, together=variant.together)
    if backward:
        return transposed_schedule(prepared, variant.block, launch, covered=variant.covered)
    found = derive_prepared(prepared, variant.block, launch, for_kernel=True, together=variant.together, covered=variant.covered)
    return found.schedule


def _schedule_without_sums(variant: Variant, prepared: Prepared) -> Schedule:
    from ...passes.schedules.listed import listed_schedule, schedule_of_every_tile

    turned, block = prepared, variant.block
    if variant.family == "backward":
        turned, block = transposed_prepared(prepared), (block[1], block[0])
    return (schedule_of_every_tile if variant.covered else listed_schedule)(turned.program, block, variant.together)


def plan_of(variant: Variant, schedule: Schedule) -> Plan:
    from ...passes.schedules.lower import in_order

    plan = in_order(_of_family(variant, schedule), variant.order)
    if variant.sees_beside:
        plan = replace(plan, zero_keys=variant.zero_keys, extra_keys=variant.extra_keys)
    return replace(plan, num_warps=variant.warps, num_stages=variant.stages, registers=variant.registers) if variant.warps else plan


def _of_family(variant: Variant, schedule: Schedule) -> Plan:
    from ...passes.costs.kernel_form import formed
    from ...passes.schedules.lower import backward_plan_of, query_gradient_plan_of
    from ...passes.schedules.lower import plan_of as forward_plan_of

    if variant.family == "backward":
        return backward_plan_of(schedule, variant.target, variant.dtype, variant.dims, variant.wanted)
    if variant.family == "backward_queries":
        return query_gradient_plan_of(schedule, variant.target, variant.dtype, variant.dims, variant.wanted)
    return formed(replace(forward_plan_of(schedule, variant.target, variant.dtype, variant.dims), family=variant.family))
