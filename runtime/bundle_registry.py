"""Kernels of loaded bundles, as a call looks for them before it compiles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..ir.program import Program
from ..ir.target import SHORT_ROWS, Target

if TYPE_CHECKING:
    from .kernels import Kernel, Variant

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
    """What a kernel computes, wherever it runs and whatever its tiles."""

    program: str
    dtype: str
    dims: tuple[int, int]
    family: str
    wanted: tuple[str, ...]


class Sought(NamedTuple):
    """A kernel as a launch asks for it. bound: values that its schedule holds for alone, as text."""

    meaning: Meaning
    target: Target
    block: tuple[int, int]
    shifted: bool
    bound: str


@dataclass(frozen=True)
class Loaded:
    """One kernel of a loaded bundle.

    entry: of the manifest.   folder: where the bundle lies.   rows: `long`, `short` or `few`.
    """

    entry: Mapping[str, Any]
    folder: Path
    rows: str
    sought: Sought


_kernels: dict[Sought, Loaded] = {}
_blocks: dict[tuple[Meaning, Target, str], tuple[int, int]] = {}
_backends: set[str] = set()


def register(loaded: Loaded) -> None:
    """Let calls find a kernel; one of a bundle that was loaded earlier stays before it."""
    sought = loaded.sought
    _kernels.setdefault(sought, loaded)
    _blocks.setdefault((sought.meaning, sought.target, loaded.rows), sought.block)
    _backends.add(sought.target.backend)


def forget_bundles() -> None:
    """Let calls find nothing, as a new process would."""
    for kept in (_kernels, _blocks, _backends):
        kept.clear()


def serves(backend: str) -> bool:
    """Whether a loaded bundle holds kernels of a backend that run here."""
    return backend in _backends


def found(variant: Variant, bound: str) -> Loaded | None:
    """The kernel of a variant in a loaded bundle; one that holds for every offset holds for 0."""
    if not _kernels:
        return None
    meaning = meaning_of(variant)
    for target in runs_on(variant.target):
        for shifted in (variant.shifted, True):
            kernel = _kernels.get(Sought(meaning, target, variant.block, shifted, bound))
            if kernel is not None:
                return kernel
    return None


def block_found(variant: Variant, rows: int) -> tuple[int, int] | None:
    """Edges of the tiles that a loaded bundle has for calls of `rows` query rows."""
    if not _blocks:
        return None
    meaning = meaning_of(variant)
    bucket = bucket_of(variant.family, rows)
    return next((block for target in runs_on(variant.target) if (block := _blocks.get((meaning, target, bucket)))), None)


def meaning_of(variant: Variant) -> Meaning:
    return Meaning(_text(variant.program), variant.dtype, variant.dims, variant.family, variant.wanted)


def bucket_of(family: str, rows: int) -> str:
    """Kernels of one bucket of query rows share their tiles; those of backward passes are one bucket."""
    if family == "decode":
        return "few"
    return "short" if rows <= SHORT_ROWS and family == "forward" else "long"


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
        text = _texts[program] = str(program).rstrip("\n")
    return text


MOST_TEXTS = 1024


def kernel_of(loaded: Loaded, variant: Variant) -> Kernel:
    """The kernel as a launch takes it. Its text is read from the bundle."""
    from .bundle_kernel import opened

    return opened(loaded, variant)
