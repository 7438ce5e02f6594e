"""C++ targets: compiler flags, and the vectors they have."""

from __future__ import annotations

COMMON = ("-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-Wno-unknown-pragmas")
AVX512 = (*COMMON, "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mfma", "-mf16c", "-mprefer-vector-width=512")
FLAGS: dict[str, tuple[str, ...]] = {
    "avx512bf16": (*AVX512, "-mavx512bf16"),
    "avx512": AVX512,
    "avx2": (*COMMON, "-mavx2", "-mfma", "-mf16c"),
    "neon": COMMON,
    "generic": COMMON,
}
VECTOR_BYTES = {"avx512bf16": 64, "avx512": 64, "avx2": 32, "neon": 16, "generic": 16}
REGISTERS = {"avx512bf16": 32, "avx512": 32, "avx2": 16, "neon": 32, "generic": 16}
