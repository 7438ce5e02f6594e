"""A kernel of a loaded bundle, as a launch takes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from ...ir.advice import advice
from ...ir.parse import parse_schedule
from ...ir.program import InvalidProgram
from ..kernels.kernel_of import Kernel
from ..kernels.shelves import Loaded
from ..kernels.variant import Toolchain, Variant
from .manifest import REMEDY, BundleError

if TYPE_CHECKING:
    from ...ir.plan import Plan
    from ...ir.source import Source


@dataclass(frozen=True, eq=False)
class BundledKernel(Kernel):
    """text: the file that its source is in.   loaded: what the manifest says of it.   starts: makes of it what a GPU starts."""

    text: Path
    loaded: Loaded
    starts: Callable[[BundledKernel], object]

    @property
    def source(self) -> str:
        return self.text.read_text(encoding="utf-8")

    def on_gpu(self) -> object:
        return self.starts(self)


def opened(loaded: Loaded, variant: Variant, starts: Callable[[BundledKernel], object]) -> BundledKernel:
    """The kernel that `loaded` describes. starts: as of `BundledKernel`.

    Raises:
        BundleError: its schedule is none.
    """
    entry = loaded.entry
    try:
        schedule = parse_schedule(entry["schedule"])
    except (InvalidProgram, ValueError) as error:
        raise BundleError(
            advice(f"the schedule of `{entry['name']}` in the bundle `{loaded.folder}` is damaged: {error}", REMEDY)
        ) from None
    return BundledKernel(
        variant._replace(target=loaded.sought.target, shifted=loaded.sought.shifted),
        loaded.folder / entry.get("binary", entry["source"]),
        entry["entry"],
        schedule,
        tuple(each["name"] for each in entry["parameters"]),
        tuple(each["name"] for each in entry["tables"]),
        tuple(entry["gradients"]),
        entry["name"],
        _toolchain(loaded),
        loaded.folder / entry["source"],
        loaded,
        starts,
    )


def _toolchain(loaded: Loaded) -> Toolchain:
    """What makes binaries that a bundle lacks, of a kernel that it has."""
    if loaded.sought.target.backend == "triton":
        from ..triton.toolchain import toolchain

        return toolchain()
    return Toolchain("", _nothing, _nothing_compiled, "")


def _nothing(plan: Plan) -> NoReturn:
    raise NotImplementedError(
        advice("a kernel of a bundle is not rendered again", "`kernel.source`, which reads the text that it was made from")
    )


def _nothing_compiled(source: Source, path: Path) -> NoReturn:
    _nothing(source)  # pyright: ignore[reportArgumentType]
