"""What this machine offers: its C++ compiler, its processor's targets, its GPUs and their driver."""

# torch's types are partial.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PROBE = 'extern "C" float lacuna_probe(float x) { return x + 1.0f; }\n'
CROSS_COMPILERS = ("aarch64-linux-gnu-g++",)
_INSTALLERS = {
    "debian": "apt install g++",
    "ubuntu": "apt install g++",
    "fedora": "dnf install gcc-c++",
    "rhel": "dnf install gcc-c++",
    "suse": "zypper install gcc-c++",
    "arch": "pacman -S gcc",
    "alpine": "apk add g++",
    "gentoo": "emerge sys-devel/gcc",
}
_ANYWHERE = "conda install -c conda-forge cxx-compiler"


@dataclass(frozen=True)
class CompilerFound:
    """The compiler that kernels would be compiled by, asked and tried.

    openmp:   flags that compile and link OpenMP; empty where it cannot, and kernels run on one thread.
    target:   it was tried for; `problem`: why it cannot be used, None where it can.
    """

    path: str | None
    version: str | None
    openmp: tuple[str, ...]
    target: str
    problem: str | None
    get: str

    @property
    def works(self) -> bool:
        return self.problem is None


@dataclass(frozen=True)
class Gpu:
    """memory_bytes: 0 where it is not told. architecture: such as `sm_90`. seen_by_torch: whether torch can use it."""

    name: str
    architecture: str
    memory_bytes: int
    seen_by_torch: bool


@dataclass(frozen=True)
class Machine:
    """targets: of C++ kernels that the processor runs, the widest first; `cross`: compilers for other processors."""

    system: str
    processor: str
    cores: int
    targets: tuple[str, ...]
    compiler: CompilerFound
    cross: tuple[str, ...]
    gpus: tuple[Gpu, ...]
    driver: str | None
    torch_builds_for: str


def machine() -> Machine:
    """Everything, with what is not there as such; nothing raises."""
    from ..runtime.compilers.cpu import cpu_features, processor_name, target_names

    targets = target_names(cpu_features())
    return Machine(
        system=f"{platform.system()} {platform.release()}",
        processor=processor_name(),
        cores=os.cpu_count() or 1,
        targets=targets,
        compiler=compiler_found(targets[0]),
        cross=tuple(found for name in CROSS_COMPILERS if (found := shutil.which(name))),
        gpus=_gpus(),
        driver=_driver(),
        torch_builds_for=_torch_builds_for(),
    )


# -- compiler ---------------------------------------------------------------------------------------------------------


def compiler_found(target: str) -> CompilerFound:
    from ..ir.target import Target
    from ..runtime.compilers.cpp_compiler import CompileFailed, compile_shared, find_compiler
    from ..runtime.process.temporary_folders import temporary_folder

    try:
        found = find_compiler()
    except Exception as error:  # no compiler, a setting without meaning, a cache folder that anyone could write to
        return CompilerFound(None, None, (), target, _first_line(error), compiler_command())
    problem = None
    with temporary_folder() as folder:
        try:
            compile_shared(PROBE, Target("cpp", target), folder / "probe.so", found)
        except CompileFailed as error:
            error.source.unlink(missing_ok=True)
            problem = f"does not compile for {target}: {' '.join(str(error).splitlines()[1:3])}"
        except Exception as error:
            problem = _first_line(error)
    return CompilerFound(str(found.path), found.version, found.openmp, target, problem, compiler_command())


def compiler_command(release: str | None = None, system: str = sys.platform) -> str:
    """The command that installs a C++ compiler here. release: the text of /etc/os-release."""
    if system == "darwin":
        return "xcode-select --install && brew install libomp"
    installer = next((_INSTALLERS[name] for name in _distribution(release) if name in _INSTALLERS), None)
    if installer is None:
        return _ANYWHERE
    return installer if _is_root() else f"sudo {installer}"


def _distribution(release: str | None) -> list[str]:
    """The name of the distribution, then those it is like."""
    if release is None:
        try:
            release = Path("/etc/os-release").read_text(encoding="utf-8")
        except OSError:
            return []
    lines = dict(line.split("=", 1) for line in release.splitlines() if "=" in line)
    return [name for key in ("ID", "ID_LIKE") for name in lines.get(key, "").strip("\"'").split()]


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


# -- GPUs -------------------------------------------------------------------------------------------------------------


def _gpus() -> tuple[Gpu, ...]:
    """Those of torch; where it sees none, those that the driver lists."""
    try:
        import torch

        return tuple(_of_torch(torch.cuda.get_device_properties(index)) for index in range(torch.cuda.device_count())) or _listed()
    except Exception:  # no torch, or a driver that it does not get on with
        return _listed()


def _of_torch(properties: object) -> Gpu:
    major, minor = getattr(properties, "major", 0), getattr(properties, "minor", 0)
    architecture = str(getattr(properties, "gcnArchName", "")).partition(":")[0]  # of AMD only
    name, memory = getattr(properties, "name", "GPU"), getattr(properties, "total_memory", 0)
    return Gpu(str(name), architecture if architecture.startswith("gfx") else f"sm_{major}{minor}", int(memory), True)


def _listed() -> tuple[Gpu, ...]:
    lines = _smi("name,compute_cap,memory.total")
    rows = [[part.strip() for part in line.split(",")] for line in lines]
    return tuple(Gpu(row[0], f"sm_{row[1].replace('.', '')}", _mebibytes(row[2]), False) for row in rows if len(row) == 3)


def _mebibytes(text: str) -> int:
    number = text.split()[0] if text.split() else ""
    return int(number) * 2**20 if number.isdigit() else 0


def _driver() -> str | None:
    lines = _smi("driver_version")
    if lines:
        return f"NVIDIA {lines[0]}"
    try:
        return f"AMD {Path('/sys/module/amdgpu/version').read_text(encoding='utf-8').strip()}"
    except OSError:
        return None


def _smi(query: str) -> list[str]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        command = (program, f"--query-gpu={query}", "--format=csv,noheader")
        answer = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line for line in answer.stdout.splitlines() if line.strip()]


def _torch_builds_for() -> str:
    """What torch was built for: `CUDA 12.8`, `ROCm 6.4`, `CPU`, or `nothing` where it is not here."""
    try:
        from torch import version
    except Exception:
        return "nothing"
    cuda, hip = getattr(version, "cuda", None), getattr(version, "hip", None)
    return f"CUDA {cuda}" if cuda else f"ROCm {hip}" if hip else "CPU"
