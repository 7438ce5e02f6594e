"""A compiler that does not optimise, for what everyday tests build: which kernels there are and what they compute is the same."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from conftest import PROFILE
from lacuna.codegen.cpp_targets import FLAGS
from lacuna.runtime.compilers.cpp_compiler import cpu_target

INCLUDED = ("cmath", "cstdint", "cstdlib", "cstring", "type_traits", "utility")
WHERE_THERE_ARE = (("_OPENMP", "omp.h"), ("__AVX512BF16__", "immintrin.h"))


@contextmanager
def quick_compiler(folder: Path) -> Generator[None]:
    """Build in a quarter of the time, in the quick profile; with what a user builds with in the other."""
    found = shutil.which("c++") or shutil.which("g++")
    if PROFILE != "quick" or found is None or "LACUNA_CXX" in os.environ:
        yield
        return
    script = folder / "quick-c++"
    script.write_text(f'#!/bin/sh\nexec {found} {_headers_read_once(found)} "$@" -O0\n')
    script.chmod(0o755)
    os.environ["LACUNA_CXX"] = str(script)
    try:
        yield
    finally:
        del os.environ["LACUNA_CXX"]


@functools.cache
def _headers_read_once(compiler: str) -> str:
    """An argument by which headers of kernels for this machine are read precompiled; nothing where the compiler has no such thing."""
    folder = Path(tempfile.mkdtemp(prefix="lacuna-headers-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    header = folder / "headers.h"
    guarded = [f"#ifdef {macro}\n#include <{name}>\n#endif\n" for macro, name in WHERE_THERE_ARE]
    header.write_text("".join([*(f"#include <{name}>\n" for name in INCLUDED), *guarded]))
    flags = (*FLAGS[cpu_target().name], "-fPIC", "-shared", "-fopenmp", "-O0")  # those of a kernel, or it is read as text
    made = subprocess.run([compiler, "-x", "c++-header", *flags, "-o", f"{header}.gch", header], capture_output=True, check=False)
    return "" if made.returncode else f"-include {header}"
