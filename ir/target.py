"""Where kernels run, and the two numbers that their tile shapes turn on."""

from __future__ import annotations

from typing import NamedTuple

CHUNK = 16  # lanes of a partial tile that C++ kernels handle together
SHORT_ROWS = 32  # query rows up to which C++ kernels have tiles of their own


class Target(NamedTuple):
    """Where a kernel runs.

    backend: `cpp` or `triton`.
    name:    `avx512bf16`, `avx512`, `avx2`, `neon`, `generic`; `sm_80`, `sm_90`, `sm_100`, `gfx942`, `interpreter`.
    """

    backend: str
    name: str
