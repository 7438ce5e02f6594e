"""Bundles, loaded: their kernels serve calls before anything is compiled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..ir.target import Target
from .advice import advice
from .bundle_manifest import BundleError, Manifest, read_manifest
from .bundle_registry import Loaded, Meaning, Sought, Tiling, register, runs_on
from .bundle_spec import name_of, target_named


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

    Every file is read and compared with its checksum. What runs is machine code: load what you trust.

    Raises:
        BundleError: there is no bundle, it is damaged or foreign, or nothing of it runs on this machine.
    """
    place = Path(folder).absolute()
    manifest = read_manifest(place)
    here = _targets_here()
    ours = [entry for entry in manifest.kernels if target_named(entry["target"]) in here]
    if not ours:
        raise _for_others(place, manifest, here)
    programs = {name: (place / name).read_text(encoding="utf-8") for name in {entry["program"] for entry in ours}}
    for entry in ours:
        register(_loaded(entry, place, programs[entry["program"]]))
    _forget_choices()
    elsewhere = sorted({entry["target"] for entry in manifest.kernels} - {entry["target"] for entry in ours})
    return Bundle(place, tuple(entry["name"] for entry in ours), tuple(elsewhere))


def _loaded(entry: Mapping[str, Any], folder: Path, program: str) -> Loaded:
    target = target_named(entry["target"])
    meaning = Meaning(program.rstrip("\n"), entry["dtype"], _pair(entry["dims"]), entry["family"], tuple(entry["wanted"]))
    cut: dict[str, Any] = {**entry["tiling"], "block": _pair(entry["tiling"]["block"])}
    tiling = Tiling(**cut)
    return Loaded(entry, folder, entry["rows"], Sought(meaning, target, tiling, entry["shifted"], entry["bound"]))


def _pair(given: list[int]) -> tuple[int, int]:
    return given[0], given[1]


def _targets_here() -> frozenset[Target]:
    """Targets whose kernels run on this machine: its processor, and its GPUs."""
    from .toolchain import cpu_target

    return frozenset(target for own in (cpu_target(), *_gpus()) for target in runs_on(own))


def _gpus() -> Iterable[Target]:
    import torch

    from .gpu import gpu_of

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


def _forget_choices() -> None:
    """What was decided before the bundle was there is decided again: backends, tiles, and calls that were prepared."""
    from .backends import room_of
    from .chosen_configurations import forget_configurations
    from .chosen_shapes import forget_shapes
    from .prepared import forget_prepared
    from .token_order import forget_orders

    room_of.cache_clear()
    for forget in (forget_shapes, forget_orders, forget_configurations, forget_prepared):
        forget()
