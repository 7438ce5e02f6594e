"""What each backend serves here or lacks, and how to get the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .machine import Gpu, Machine
from .packages import TO_BUILD, Package, pip_line
from .surroundings import CacheState, Setting

CPP, EAGER, TRITON = "cpp", "eager", "triton"
_SERVES = {
    CPP: "CPU tensors, compiled by the system's C++ compiler",
    EAGER: "any tensors, by torch operations, slowly",
    TRITON: "CUDA and ROCm tensors",
}


@dataclass(frozen=True)
class Lack:
    """what: is missing. get: how to have it, a command where one line does it. fatal: the backend does not run without it."""

    what: str
    get: str
    fatal: bool = True


@dataclass(frozen=True)
class Backend:
    """default_for: the devices whose calls take it when they name none."""

    name: str
    serves: str
    default_for: tuple[str, ...]
    lacks: tuple[Lack, ...]

    @property
    def works(self) -> bool:
        return not any(lack.fatal for lack in self.lacks)


def backends_found(packages: Sequence[Package], machine: Machine, settings: Sequence[Setting]) -> tuple[Backend, ...]:
    shared = _packages_lacking(packages, TO_BUILD)
    lacks = {
        CPP: (*shared, *_of_compiler(machine)),
        EAGER: shared,
        TRITON: (*shared, *_packages_lacking(packages, ("triton",)), *_of_gpus(machine)),
    }
    chosen = next((each.value for each in settings if each.name == "LACUNA_BACKEND" and not each.problem), None)
    on_gpu = any(gpu.seen_by_torch for gpu in machine.gpus)
    default = {"cpu": chosen or CPP, **({"cuda": chosen or TRITON} if on_gpu else {})}
    return tuple(
        Backend(name, _SERVES[name], tuple(device for device, backend in default.items() if backend == name), found)
        for name, found in lacks.items()
    )


def essentials_lacking(
    packages: Sequence[Package], backends: Sequence[Backend], cache: CacheState, settings: Sequence[Setting]
) -> tuple[Lack, ...]:
    """What the default backends need and do not find; empty where a call runs, and runs fast."""
    found = [Lack(f"the package {each.name} ({each.problem})", each.get) for each in packages if each.needed and each.problem]
    found += [lack for backend in backends if backend.default_for for lack in backend.lacks if lack.fatal]
    found += [] if cache.usable else [Lack(f"the cache folder: {cache.state}", "export LACUNA_CACHE_DIR=/a/folder/of/your/own")]
    found += [Lack(f"{each.name}: {each.problem}", f"unset {each.name}") for each in settings if each.problem and each.read]
    return tuple({lack.what: lack for lack in found}.values())


def _packages_lacking(packages: Sequence[Package], names: Sequence[str]) -> tuple[Lack, ...]:
    missing = [each for each in packages if each.name in names and each.problem]
    return tuple(Lack(f"the package {each.name} ({each.problem})", each.get) for each in missing)


def _of_compiler(machine: Machine) -> tuple[Lack, ...]:
    compiler = machine.compiler
    if compiler.problem:
        return (Lack(f"a C++ compiler ({compiler.problem})", compiler.get),)
    if not compiler.openmp:
        how = "brew install libomp" if machine.system.startswith("Darwin") else f"{compiler.get}, or set CXX to a g++"
        return (Lack("OpenMP: kernels run on one thread", how, fatal=False),)
    return ()


def _of_gpus(machine: Machine) -> tuple[Lack, ...]:
    if any(gpu.seen_by_torch for gpu in machine.gpus):
        return ()
    if machine.gpus:
        return (Lack(f"a torch that uses {_names(machine.gpus)} (this one is built for {machine.torch_builds_for})", pip_line("torch")),)
    return (Lack("a GPU that torch can use", "a machine with one and its driver; bundles for GPUs are built without"),)


def _names(gpus: Sequence[Gpu]) -> str:
    return " and ".join(dict.fromkeys(gpu.name for gpu in gpus))
