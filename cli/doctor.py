"""`lacuna doctor`: what was found on this machine, what each backend lacks, and how to get it."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import typer

from .answers import FAILED
from .backends_found import Backend, Lack, backends_found, essentials_lacking
from .machine import Gpu, Machine, machine
from .options import Json
from .packages import Package, packages
from .report import Fact, Facts, Part, Text, show, show_json, size_text
from .surroundings import CacheState, Setting, cache_state, settings_found, without
from .terminal import working

EXAMPLES = ("lacuna doctor", "lacuna doctor --json")


@dataclass(frozen=True)
class Findings:
    """missing: what the default needs and does not find, with the command that gets it."""

    lacuna: str
    python: str
    executable: str
    packages: tuple[Package, ...]
    machine: Machine
    cache: CacheState
    settings: tuple[Setting, ...]
    backends: tuple[Backend, ...]
    missing: tuple[Lack, ...]


def command(as_json: Json = False) -> None:
    """Say what was found here, what each backend lacks, and how to get the rest.

    Nothing is installed, and only the answers of the compiler are kept, in the cache. Exit code 0: all that the default needs is here;
    1: something is missing.
    """
    with working("looking around", short=True):
        found = findings()
    if as_json:
        show_json(found)
    else:
        show(_parts(found))
    if found.missing:
        raise typer.Exit(FAILED)


def findings() -> Findings:
    from ..runtime.process.version import VERSION

    known, settings = packages(), settings_found()
    with without(each.name for each in settings if each.problem):  # one bad value would hide all that is asked after it
        here, cache = machine(), cache_state()
    backends = backends_found(known, here, settings)
    missing = essentials_lacking(known, backends, cache, settings)
    return Findings(VERSION, platform.python_version(), sys.executable, known, here, cache, settings, backends, missing)


# -- as text ----------------------------------------------------------------------------------------------------------


def _parts(found: Findings) -> Iterator[Part]:
    yield Facts("versions", [*_versions(found)])
    yield Facts("machine", [*_machine(found.machine)])
    yield Facts("cache", [*_cache(found.cache)])
    yield Facts("settings", [_setting(each) for each in found.settings])
    yield Facts("backends", [_backend(each) for each in found.backends])
    if found.missing:
        yield Facts("missing for the default", [_lack(at, lack) for at, lack in enumerate(found.missing, start=1)])
    else:
        yield Text("all that the default needs is here")


def _versions(found: Findings) -> Iterator[Fact]:
    yield Fact("lacuna", found.lacuna)
    yield Fact("python", f"{found.python}, {found.executable}")
    for each in found.packages:
        missing = f"missing: {each.problem}" + ("" if each.needed else " (for GPUs)")
        yield Fact(each.name, each.version or missing, "bad" if each.needed and each.problem else "")


def _machine(here: Machine) -> Iterator[Fact]:
    compiler = here.compiler
    yield Fact("system", f"{here.system}, {here.processor}, {here.cores} cores")
    yield Fact("CPU targets", ", ".join(here.targets))
    if compiler.path is None:
        yield Fact("C++ compiler", f"none: {compiler.problem}", "bad")
    else:
        yield Fact("C++ compiler", f"{compiler.path}, {compiler.version}")
        yield Fact("  for this CPU", compiler.problem or f"compiles for {compiler.target}", "bad" if compiler.problem else "good")
        openmp = f"yes, {' '.join(compiler.openmp)}" if compiler.openmp else "no: kernels run on one thread"
        yield Fact("  OpenMP", openmp, "good" if compiler.openmp else "bad")
    yield Fact("cross compilers", ", ".join(here.cross) or "none")
    yield Fact("GPUs", "\n".join(_gpu(each) for each in here.gpus) or "none")
    yield Fact("GPU driver", here.driver or "none")
    yield Fact("torch is built for", here.torch_builds_for)


def _gpu(gpu: Gpu) -> str:
    unseen = "" if gpu.seen_by_torch else ", which torch does not see"
    return f"{gpu.name}, {gpu.architecture}, {gpu.memory_bytes / 2**30:.0f} GiB{unseen}"


def _cache(cache: CacheState) -> Iterator[Fact]:
    yield Fact("path", cache.path)
    yield Fact("state", cache.state, "" if cache.usable else "bad")
    yield Fact("kernels", f"{cache.entries}, {size_text(cache.bytes)}")


def _setting(setting: Setting) -> Fact:
    told = f"{setting.value or 'not set'}" + (f" ({setting.problem})" if setting.problem else "")
    return Fact(setting.name, told, "bad" if setting.problem else "")


def _backend(backend: Backend) -> Fact:
    default = f"; the default for {' and '.join(backend.default_for)} tensors" if backend.default_for else ""
    lines = [f"{'works' if backend.works else 'does not run'}: {backend.serves}{default}"]
    lines += [f"lacks {lack.what}\n  get it: {lack.get}" for lack in backend.lacks]
    return Fact(backend.name, "\n".join(lines), "good" if backend.works else "bad")


def _lack(number: int, lack: Lack) -> Fact:
    return Fact(str(number), f"{lack.what}\nget it: {lack.get}", "bad")
