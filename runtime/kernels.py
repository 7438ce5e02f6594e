"""From a program to a kernel: through memory, then the cache on disk, then the compiler.

A warm start loads neither islpy, sympy, networkx nor jinja2: the cache holds the schedule as text and the compiled artefact.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..ir.expr import K_LEN, OFFSET, Q_LEN, B, Binary, Expr, K, Lookup, Op, Q, Table, conjunction
from ..ir.order import Order
from ..ir.program import Program
from ..ir.schedule import Schedule
from ..ir.source import Source
from ..ir.target import Target
from ..passes.binding import Bound, bound_values
from ..passes.flatten_grid import FlattenGrid
from ..passes.launch import Launch
from ..passes.transpose import transposed_launch, transposed_prepared
from ..passes.transposed_schedule import transposed_schedule
from .bundles import registry as bundle_registry
from .cache.artefacts import BuildForbidden, Key, Manifest, open_cache
from .cpp.toolchain import CompilerMissing, find_compiler
from .settings import settings

if TYPE_CHECKING:
    from ..ir.plan import Plan
    from ..passes.prepare import Prepared

RAGGED: dict[Expr, Table] = {
    Q_LEN: Table("ragged_Lq", "i64", 1),
    K_LEN: Table("ragged_Lk", "i64", 1),
    OFFSET: Table("ragged_offset", "i64", 1),
}


class Variant(NamedTuple):
    """Everything that decides a kernel, apart from the values that its program must be bound to.

    dtype: `f32 bf16 f16 f64`; dims: of query and key, and of value; block: tile edges in tokens.
    shifted: holds for every offset, not only 0.
    family:  `forward`, `decode`, `backward`, whose schedule is the transposed one, or `backward_queries`, whose schedule is not.
    wanted:  tables whose gradient a backward kernel computes.
    together: query heads whose rows share a tile of a forward kernel; each has `block[0]` of its rows.
    warps, stages, registers: of a Triton program, as in `ir.configuration`; 0 of others.
    order:   of the tokens that the positions of the program stand for, where that is not their order in memory.
    zero_keys: rows also see keys of score 0 and value 0, as many as a launch says.
    extra_keys: rows also see some keys and values that a launch brings.
    covered: the tiles of the mask are too many to be listed, and those of a wider mask are met.
    listed:  tiles are lists, found for each launch, since what expressions for them compute may leave 64 bits.
    """

    program: Program
    target: Target
    dtype: str
    dims: tuple[int, int]
    block: tuple[int, int]
    shifted: bool
    family: str = "forward"
    wanted: tuple[str, ...] = ()
    together: int = 1
    warps: int = 0
    stages: int = 0
    registers: int = 0
    order: Order | None = None
    zero_keys: bool = False
    extra_keys: bool = False
    covered: bool = False
    listed: bool = False

    @property
    def sees_beside(self) -> bool:
        """Whether rows see more than the keys of the program."""
        return self.zero_keys or self.extra_keys

    def launch(self, launch: Launch) -> Launch:
        """The launch as the kernel's schedule knows it."""
        return transposed_launch(launch) if self.family == "backward" else launch


class Toolchain(NamedTuple):
    """How a backend turns a plan into something to call.

    identity: of the compiler, for the cache's key; empty where there is none, and loaded bundles serve what they can.
    render:   plan to text.
    compile:  text to the artefact at a path.
    suffix:   of the artefact.
    require:  raises where `identity` is empty, saying what is missing.
    """

    identity: str
    render: Callable[[Plan], Source]
    compile: Callable[[Source, Path], None]
    suffix: str
    require: Callable[[], object] = find_compiler


@dataclass(frozen=True, eq=False)
class Kernel:
    """A built kernel and what it takes to launch it.

    path:       its artefact; entry: the name of the function in it.
    schedule:   as it was derived. Its arrays are computed for each launch.
    parameters, tables: names, in the order of the launch arrays.
    gradients:  table of each look-up that a backward kernel sums a gradient for, in the order of its arrays.
    source:     its text, rendered anew.   key: digest that the cache knows it by.
    """

    variant: Variant
    path: Path
    entry: str
    schedule: Schedule
    parameters: tuple[str, ...]
    tables: tuple[str, ...]
    gradients: tuple[str, ...]
    key: str
    toolchain: Toolchain

    @property
    def plan(self) -> Plan:
        return _plan(self.variant, self.schedule)

    @property
    def source(self) -> str:
        return self.toolchain.render(self.plan).text


_kernels: dict[tuple[Variant, str], Kernel] = {}


def kernel_of(variant: Variant, launch: Launch, toolchain: Toolchain) -> Kernel:
    """The kernel of a variant for the values of a launch; built when neither memory, a loaded bundle nor the cache has it."""
    bound = bound_values(variant.program, launch)
    known = (variant, repr(sorted(bound.items())))
    found = _kernels.get(known)
    if found is None:
        shipped = bundle_registry.found(variant, known[1])
        found = bundle_registry.kernel_of(shipped, variant) if shipped else _opened(variant, bound, launch, toolchain)
        _kernels[known] = found
    return found


def forget_kernels() -> None:
    """Drop every kernel of this process; `launches.forget_launches` drops also what refers to them."""
    _kernels.clear()


def _opened(variant: Variant, bound: Bound, launch: Launch, toolchain: Toolchain) -> Kernel:
    options = {
        "dtype": variant.dtype,
        "dims": f"{variant.dims}",
        "block": f"{variant.block}",
        "shifted": f"{variant.shifted}",
        "bound": repr(sorted(bound.items())),
        "family": f"{variant.family} {variant.wanted}",
        "order": repr(variant.order),
        "together": f"{variant.together}",
        "program": f"{variant.warps} {variant.stages} {variant.registers}",
        **({"beside": f"{variant.zero_keys} {variant.extra_keys}"} if variant.sees_beside else {}),
        **({"covered": "True"} if variant.covered else {}),
        **({"listed": "True"} if variant.listed else {}),
    }
    target = f"{variant.target.backend} {variant.target.name}"
    key = Key(str(variant.program), target, toolchain.identity, tuple(options.items()))
    try:
        if not toolchain.identity:
            toolchain.require()
        entry = open_cache().get_or_build(key, lambda path: _built(variant, launch, toolchain, path), toolchain.suffix)
    except (BuildForbidden, CompilerMissing, ImportError) as error:
        if isinstance(error, ImportError) and not bundle_registry.serves(variant.target.backend):
            raise
        from .bundles.advice import with_build_line

        raise with_build_line(error, variant, launch) from None
    return _from_manifest(variant, entry.path, entry.manifest, (key.digest, toolchain))


def _built(variant: Variant, launch: Launch, toolchain: Toolchain, path: Path) -> Manifest:
    plan = planned(variant, launch, toolchain)
    source = toolchain.render(plan)
    toolchain.compile(source, path)
    return manifest_of(plan, source)


def planned(variant: Variant, launch: Launch, toolchain: Toolchain) -> Plan:
    """The plan of a variant, derived anew."""
    from ..passes.pipeline import dump_to  # islpy, networkx and jinja2 come with these
    from ..passes.prepare import prepare

    folder = settings().dump
    observers = () if folder is None else (dump_to(folder / variant.program.name),)
    prepared = prepare(variant.program, launch, shifted=variant.shifted, observers=observers)
    return _plan(variant, _schedule(variant, prepared, launch))


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
    from ..passes.derive import derive_prepared

    backward = variant.family == "backward"
    if variant.listed:
        return _schedule_without_sums(variant, prepared)
    if variant.order is not None:
        from ..passes.by_parts import scheduled  # few patterns need it

        found = scheduled(prepared, variant.program, variant.order, launch, backward=backward)
        if found is not None:
            return replace(found, together=variant.together)
    if backward:
        return transposed_schedule(prepared, variant.block, launch, covered=variant.covered)
    found = derive_prepared(prepared, variant.block, launch, for_kernel=True, together=variant.together, covered=variant.covered)
    return found.schedule


def _schedule_without_sums(variant: Variant, prepared: Prepared) -> Schedule:
    from ..passes.listed import listed_schedule, schedule_of_every_tile

    turned, block = prepared, variant.block
    if variant.family == "backward":
        turned, block = transposed_prepared(prepared), (block[1], block[0])
    return (schedule_of_every_tile if variant.covered else listed_schedule)(turned.program, block, variant.together)


def _plan(variant: Variant, schedule: Schedule) -> Plan:
    from ..passes.lower import in_order

    plan = in_order(_of_family(variant, schedule), variant.order)
    if variant.sees_beside:
        plan = replace(plan, zero_keys=variant.zero_keys, extra_keys=variant.extra_keys)
    return replace(plan, num_warps=variant.warps, num_stages=variant.stages, registers=variant.registers) if variant.warps else plan


def _of_family(variant: Variant, schedule: Schedule) -> Plan:
    from ..passes.kernel_form import formed
    from ..passes.lower import backward_plan_of, plan_of, query_gradient_plan_of

    if variant.family == "backward":
        return backward_plan_of(schedule, variant.target, variant.dtype, variant.dims, variant.wanted)
    if variant.family == "backward_queries":
        return query_gradient_plan_of(schedule, variant.target, variant.dtype, variant.dims, variant.wanted)
    return formed(replace(plan_of(schedule, variant.target, variant.dtype, variant.dims), family=variant.family))


def _from_manifest(variant: Variant, path: Path, manifest: Mapping[str, Any], made_by: tuple[str, Toolchain]) -> Kernel:
    from ..ir.parse import parse_schedule

    return Kernel(
        variant,
        path,
        manifest["entry"],
        parse_schedule(manifest["schedule"]),
        tuple(manifest["parameters"]),
        tuple(manifest["tables"]),
        tuple(manifest["gradients"]),
        *made_by,
    )


def with_ragged_tables(variant: Variant) -> Variant:
    """The variant whose program reads lengths and offsets from tables per batch item and checks them itself.

    A refined schedule holds at one set of lengths, those of the tensors; this makes what differs between items part of the mask.
    """
    program = FlattenGrid()(variant.program)
    read: dict[Expr, Expr] = {symbol: Lookup(table, (B,)) for symbol, table in RAGGED.items()}
    moved: Expr = Binary(Op.ADD, Q, read[OFFSET])
    program = program.substituted({**read, Q: moved})
    inside = conjunction(Binary(Op.LT, Q, read[Q_LEN]), Binary(Op.LT, K, read[K_LEN]))
    program = replace(program, mask=conjunction(program.mask, inside), tables=(*program.tables, *RAGGED.values()))
    return variant._replace(program=program, shifted=False)
