"""Which instructions this machine runs, resolved to the name of a C++ target."""

from __future__ import annotations

import functools
import platform
import subprocess
import sys

AVX2 = frozenset({"avx2", "fma", "f16c"})
AVX512 = AVX2 | {"avx512f", "avx512bw", "avx512vl", "avx512dq"}
AVX512_BF16 = AVX512 | {"avx512_bf16"}
NEON = frozenset({"neon"})
SYSCTL_NAMES = ("machdep.cpu.features", "machdep.cpu.leaf7_features")


@functools.cache
def cpu_features() -> frozenset[str]:
    """Features of this processor by Linux's names, `neon` on 64-bit ARM; empty where they cannot be told."""
    machine = platform.machine().lower()
    if machine in ("arm64", "aarch64"):
        return NEON
    if machine not in ("x86_64", "amd64"):
        return frozenset()
    return _darwin() if sys.platform == "darwin" else _linux()


@functools.cache
def processor_name() -> str:
    """What the maker calls this processor, or its architecture, and whether it has AMX, which decides comparisons in bfloat16."""
    named = _named_by_linux() if sys.platform == "linux" else _asked_of_sysctl(("machdep.cpu.brand_string",))
    return (named.strip() or platform.machine()) + (" with AMX" if "amx_tile" in cpu_features() else "")


def target_name(features: frozenset[str]) -> str:
    """The widest target whose every feature is there."""
    return target_names(features)[0]


def target_names(features: frozenset[str]) -> tuple[str, ...]:
    """Every target whose features are all there, the widest first; `generic` is one on any machine."""
    wanted = (("avx512bf16", AVX512_BF16), ("avx512", AVX512), ("avx2", AVX2), ("neon", NEON))
    return (*(name for name, needed in wanted if needed <= features), "generic")


def linux_features(cpuinfo: str) -> frozenset[str]:
    """The flags of the first processor in the text of /proc/cpuinfo, which lists only what the kernel lets programs use."""
    flags = next((line for line in cpuinfo.splitlines() if line.startswith("flags")), "")
    return frozenset(flags.partition(":")[2].split())


def darwin_features(sysctl: str) -> frozenset[str]:
    """The same from `sysctl -n` of the processor's features: upper case, AVX written `AVX1.0`."""
    return frozenset(sysctl.lower().split())


def _linux() -> frozenset[str]:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            # the kernel writes this file as it is read: stop at the first processor of many
            return linux_features(next((line for line in lines if line.startswith("flags")), ""))
    except OSError:
        return frozenset()


def _named_by_linux() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next((line.partition(":")[2] for line in lines if line.startswith("model name")), "")
    except OSError:
        return ""


def _darwin() -> frozenset[str]:
    return darwin_features(_asked_of_sysctl(SYSCTL_NAMES))


def _asked_of_sysctl(names: tuple[str, ...]) -> str:
    try:
        return subprocess.run(("/usr/sbin/sysctl", "-n", *names), capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
