"""From a program to a kernel: through memory, then the cache on disk, then the compiler.

A warm start loads neither islpy, sympy, networkx nor jinja2: the cache holds the schedule as text and the compiled artefact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ...ir.schedule import Schedule
from ...passes.program.binding import Bound, bound_values
from ...passes.program.call_values import Launch
from ..cache.artefacts import BuildForbidden, Key, Manifest, open_cache
from ..compilers.cpp_compiler import CompilerMissing
from . import shelves
from .plan_of import manifest_of, plan_of, planned
from .variant import Toolchain, Variant

if TYPE_CHECKING:
    from ...ir.plan import Plan


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
        return plan_of(self.variant, self.schedule)

    @property
    def source(self) -> str:
        return self.toolchain.render(self.plan).text

    def on_gpu(self) -> object | None:
        """How a GPU starts it, where the one who made it knows; None of those that are compiled here."""
        return None


class KernelMissing(Exception):
    """Nobody has a kernel, and none may or can be made here. A call that meets this says which command would have made it.

    reason: the error that a user knows.
    """

    def __init__(self, reason: Exception, variant: Variant, launch: Launch) -> None:
        super().__init__(str(reason))
        self.reason, self.variant, self.launch = reason, variant, launch


_kernels: dict[tuple[Variant, str], Kernel] = {}


def kernel_of(variant: Variant, launch: Launch, toolchain: Toolchain) -> Kernel:
    """The kernel of a variant for the values of a launch; built when neither memory, a loaded bundle nor the cache has it."""
    bound = bound_values(variant.program, launch)
    known = (variant, repr(sorted(bound.items())))
    found = _kernels.get(known)
    if found is None:
        shipped = shelves.found(variant, known[1])
        found = cast("Kernel", shipped.opened(shipped, variant)) if shipped else _opened(variant, bound, launch, toolchain)
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
        if isinstance(error, ImportError) and not shelves.serves(variant.target.backend):
            raise
        raise KernelMissing(error, variant, launch) from None
    return _from_manifest(variant, entry.path, entry.manifest, (key.digest, toolchain))


def _built(variant: Variant, launch: Launch, toolchain: Toolchain, path: Path) -> Manifest:
    plan = planned(variant, launch)
    source = toolchain.render(plan)
    toolchain.compile(source, path)
    return manifest_of(plan, source)


def _from_manifest(variant: Variant, path: Path, manifest: Mapping[str, Any], made_by: tuple[str, Toolchain]) -> Kernel:
    from ...ir.parse import parse_schedule

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
