"""Bundles, loaded: their kernels serve calls before anything is compiled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...ir.advice import advice
from ...ir.order import Order
from ...ir.target import Target
from ..kernels.shelves import Loaded, Meaning, Sought, Tiling, changed, forget_loaded, nameless, register, runs_on
from ..kernels.variant import Variant
from .bundled_kernel import BundledKernel, opened
from .manifest import REMEDY, BundleError, Manifest, read_manifest
from .order_text import order_of_sides
from .spec import name_of, target_named


@dataclass(frozen=True)
class Bundle:
    """A loaded bundle.

    kernels: names of those that serve calls here.   elsewhere: targets of those that this machine cannot run.
    """

    folder: Path
    kernels: tuple[str, ...]
    elsewhere: tuple[str, ...]

    def __repr__(self) -> str:
        rest = f"; not here: {', '.join(self.elsewhere)}" if self.elsewhere else ""
        return f"<bundle {str(self.folder)!r}: {len(self.kernels)} kernels{rest}>"


def load(folder: str | Path) -> Bundle:
    """Let `lacuna.attention` find the kernels of the bundle in `folder` before it compiles; needs no compiler and no Triton.

    Every file is read and compared with its checksum. What runs is machine code: load what you trust. A folder that was loaded
    before is read again.

    Raises:
        BundleError: there is no bundle, it is damaged or foreign, or nothing of it runs on this machine.
    """
    place = Path(folder).absolute()
    manifest = read_manifest(place)
    here = _targets_here()
    ours = [entry for entry in manifest.kernels if target_named(entry["target"]) in here]
    if not ours:
        raise _for_others(place, manifest, here)
    loaded = [_loaded(entry, place) for entry in ours]
    forget_loaded(place)
    for each in loaded:
        register(each)
    changed()
    elsewhere = sorted({entry["target"] for entry in manifest.kernels} - {entry["target"] for entry in ours})
    return Bundle(place, tuple(entry["name"] for entry in ours), tuple(elsewhere))


def forget_bundles() -> None:
    """Serve calls without any bundle, as a new process would."""
    forget_loaded()
    changed()


def _loaded(entry: Mapping[str, Any], folder: Path) -> Loaded:
    target, order = target_named(entry["target"]), _order(entry, folder)
    program, wanted = _program(folder, entry["program"]), tuple(entry["wanted"])
    meaning = Meaning(program, entry["dtype"], _pair(entry["dims"]), entry["family"], wanted, order)
    cut: dict[str, Any] = {**entry["tiling"], "block": _pair(entry["tiling"]["block"])}
    tiling = Tiling(**cut)
    grid = None if order is None or entry["order"]["asked"] else _program(folder, entry["order"]["grid"])
    return Loaded(entry, folder, entry["rows"], Sought(meaning, target, tiling, entry["shifted"], entry["bound"]), _opened, grid)


def _opened(loaded: Loaded, variant: Variant) -> BundledKernel:
    return opened(loaded, variant, _started)


def _started(kernel: BundledKernel) -> object:
    from .bundled_gpu_kernel import gpu_kernel  # drivers come with it

    return gpu_kernel(kernel)


def _program(folder: Path, name: str) -> str:
    try:
        return nameless((folder / name).read_text(encoding="utf-8"))
    except ValueError:
        raise BundleError(advice(f"`{name}` in the bundle `{folder}` is damaged: it is no text", REMEDY)) from None


def _order(entry: Mapping[str, Any], folder: Path) -> Order | None:
    try:
        return order_of_sides(entry.get("order"))
    except ValueError as error:
        wrong = f"the order of `{entry['name']}` in the bundle `{folder}` is damaged: {str(error).splitlines()[0]}"
        raise BundleError(advice(wrong, REMEDY)) from None


def _pair(given: list[int]) -> tuple[int, int]:
    return given[0], given[1]


def _targets_here() -> frozenset[Target]:
    """Targets whose kernels run on this machine: its processor, and its GPUs."""
    from ..compilers.cpp_compiler import cpu_target

    return frozenset(target for own in (cpu_target(), *_gpus()) for target in runs_on(own))


def _gpus() -> Iterable[Target]:
    import torch

    from ..gpu.devices import gpu_of

    names = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    found = [gpu_of(torch.device(name)) for name in ("cpu", *names)]  # a GPU that is claimed to be there stands for the CPU
    return [gpu.target for gpu in found if gpu is not None]


def _for_others(place: Path, manifest: Manifest, here: frozenset[Target]) -> BundleError:
    theirs = sorted({entry["target"] for entry in manifest.kernels})
    ours = sorted(name_of(target) for target in here)
    return BundleError(
        advice(
            f"the bundle `{place}` is for {', '.join(theirs)}, and this machine runs {', '.join(ours)}",
            f"`lacuna build SPEC -o DIR --target {ours[0]}`",
        )
    )
