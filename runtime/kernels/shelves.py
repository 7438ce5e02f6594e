"""Kernels of loaded bundles, as a call looks for them before it compiles."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ...ir.order import Order
from ...ir.program import Program
from ...ir.target import SHORT_ROWS, Target
from .variant import Variant

AnyForget = TypeVar("AnyForget", bound=Callable[[], object])

CPU_FALLBACKS: Mapping[str, tuple[str, ...]] = {
    "avx512bf16": ("avx512bf16", "avx512", "avx2", "generic"),
    "avx512": ("avx512", "avx2", "generic"),
    "avx2": ("avx2", "generic"),
    "neon": ("neon", "generic"),
    "generic": ("generic",),
}
"""Targets whose kernels run where the first one's do, best first."""
GPU_FALLBACKS: Mapping[str, tuple[str, ...]] = {"sm_86": ("sm_80",), "sm_89": ("sm_80",)}
"""Later binaries use instructions of one architecture and run on no other."""


class Meaning(NamedTuple):
    """What a kernel computes, wherever it runs and whatever its tiles.

    program: its text without its name, which decides nothing.   order: of the tokens that its positions stand for.
    """

    program: str
    dtype: str
    dims: tuple[int, int]
    family: str
    wanted: tuple[str, ...]
    order: Order | None = None


class Tiling(NamedTuple):
    """How a kernel is cut; fields as in `Variant`."""

    block: tuple[int, int]
    together: int = 1
    warps: int = 0
    stages: int = 0
    registers: int = 0


class Sought(NamedTuple):
    """A kernel as a launch asks for it. bound: values that its schedule holds for alone, as text."""

    meaning: Meaning
    target: Target
    tiling: Tiling
    shifted: bool
    bound: str


@dataclass(frozen=True)
class Loaded:
    """One kernel of a loaded bundle.

    entry: of the manifest.   folder: where the bundle lies.   rows: `long`, `short` or `few`.
    opened: makes the kernel of a variant of it, as a launch takes that.
    grid:  of a kernel in an order that is chosen where a call asks for none, the program on the grid, as `Meaning` has programs.
    """

    entry: Mapping[str, Any]
    folder: Path
    rows: str
    sought: Sought
    opened: Callable[[Loaded, Variant], object]
    grid: str | None = None


_loaded: list[Loaded] = []
_forgets: list[Callable[[], object]] = []
_kernels: dict[Sought, Loaded] = {}
_tilings: dict[tuple[Meaning, Target, str], Tiling] = {}
_orders: dict[tuple[Meaning, Target], tuple[Order, ...]] = {}
_backends: set[str] = set()
_proofs: dict[tuple[str, str], list[Any]] = {}


def register(loaded: Loaded) -> None:
    """Let calls find a kernel; one of a bundle that was loaded earlier stays before it."""
    sought = loaded.sought
    _loaded.append(loaded)
    _kernels.setdefault(sought, loaded)
    _tilings.setdefault((sought.meaning, sought.target, loaded.rows), sought.tiling)
    _backends.add(sought.target.backend)
    if "lookups" in loaded.entry:
        said = loaded.entry["lookups"]
        _proofs.setdefault((said["program"], said["bound"]), said["proofs"])
    order = sought.meaning.order
    if loaded.grid is not None and order is not None:
        at = sought.meaning._replace(program=loaded.grid, order=None), sought.target
        _orders[at] = tuple(dict.fromkeys((*_orders.get(at, ()), order)))


def forget_loaded(folder: Path | None = None) -> None:
    """Let calls find nothing of the bundle in `folder`; nothing at all where it is None. `bundle_load` forgets what was made of them."""
    others = [each for each in _loaded if folder is not None and each.folder != folder]
    for kept in (_loaded, _kernels, _tilings, _orders, _backends, _proofs):
        kept.clear()
    for each in others:
        register(each)


def remade_with_bundles(forget: AnyForget) -> AnyForget:
    """Have something forgotten whenever a bundle comes or goes: what was decided without it is decided again."""
    _forgets.append(forget)
    return forget


def changed() -> None:
    """Forget all that was decided while other bundles were loaded: backends, tiles, kernels, and calls that were prepared."""
    for forget in _forgets:
        forget()


def serves(backend: str) -> bool:
    """Whether a loaded bundle holds kernels of a backend that run here."""
    return backend in _backends


def found(variant: Variant, bound: str) -> Loaded | None:
    """The kernel of a variant in a loaded bundle; one that holds for every offset holds for 0. None sees keys beside its own, or covers."""
    if not _kernels or variant.sees_beside or variant.covered:
        return None
    meaning = meaning_of(variant)
    for target in runs_on(variant.target):
        for shifted in (variant.shifted, True):
            kernel = _kernels.get(Sought(meaning, target, tiling_of(variant), shifted, bound))
            if kernel is not None:
                return kernel
    return None


def tiling_found(variant: Variant, rows: int) -> Tiling | None:
    """How the kernel of a loaded bundle is cut that serves calls of `rows` query rows; the tiles of `variant` do not matter."""
    if not _tilings:
        return None
    meaning, bucket = meaning_of(variant), bucket_of(variant, rows)
    return next((tiling for target in runs_on(variant.target) if (tiling := _tilings.get((meaning, target, bucket)))), None)


def block_found(variant: Variant, rows: int) -> tuple[int, int] | None:
    """Edges of the tiles of that kernel."""
    tiling = tiling_found(variant, rows)
    return None if tiling is None else tiling.block


def orders_found(variant: Variant, rows: int) -> tuple[Order | None, ...]:
    """Orders of tokens that loaded kernels have for a program on a grid; None is row-major. Empty where there are no such kernels."""
    if not _tilings:
        return ()
    meaning, bucket = meaning_of(variant), bucket_of(variant, rows)
    target = next((target for target in runs_on(variant.target) if (meaning, target, bucket) in _tilings), None)
    return () if target is None else (None, *_orders.get((meaning, target), ()))


def proofs_found(program: Program, bound: str) -> list[Any] | None:
    """What loaded bundles say of the look-ups of a program whose parameters have the values `bound`, as `lookup_proofs` wrote it."""
    return _proofs.get((_text(program), bound)) if _proofs else None


def tiling_of(variant: Variant) -> Tiling:
    return Tiling(*(getattr(variant, name) for name in Tiling._fields))


def meaning_of(variant: Variant) -> Meaning:
    return Meaning(_text(variant.program), variant.dtype, variant.dims, variant.family, variant.wanted, variant.order)


def nameless(program: str) -> str:
    """The text of a program from after its name on: two programs that differ in their names alone are one."""
    return program.partition("(")[2].rstrip("\n")


def bucket_of(variant: Variant, rows: int) -> str:
    """Kernels of one bucket of query rows share their tiles; those of backward passes are one bucket."""
    if variant.family == "decode":
        return "few"
    short = rows <= SHORT_ROWS and variant.family == "forward" and variant.target.backend == "cpp"
    return "short" if short else "long"


def runs_on(target: Target) -> tuple[Target, ...]:
    """Targets whose binaries run on a machine of `target`, best first."""
    if target.backend == "cpp":
        return tuple(target._replace(name=name) for name in CPU_FALLBACKS[target.name])
    return (target, *(target._replace(name=name) for name in GPU_FALLBACKS.get(target.name, ())))


_texts: dict[Program, str] = {}


def _text(program: Program) -> str:
    text = _texts.get(program)
    if text is None:
        if len(_texts) >= MOST_TEXTS:
            _texts.clear()
        text = _texts[program] = nameless(str(program))
    return text


MOST_TEXTS = 1024
