"""What one multiprocessor of a GPU holds, and what it does in a clock.

Sources: for NVIDIA's capacities the table "Technical specifications per compute capability" of the CUDA C++ Programming Guide 12.9; for its
rates the architecture papers named below, peak dense figures divided by multiprocessors and boost clock. For AMD the CDNA 3 and CDNA 4
white papers and instruction set guides (vector registers are counted in units of a wave of 64). None of these is measured here.
"""

from __future__ import annotations

from typing import NamedTuple


class Limits(NamedTuple):
    """Of one multiprocessor (AMD: compute unit).

    wave:           threads that run in step.
    registers:      of 32 bits.   thread_registers: of a thread at most.   register_unit: they are given to a thread in multiples of this.
    shared_bytes:   for all programs; program_shared_bytes: for one at most; reserved_bytes: that a program takes beside its own.
    programs, warps: at once, at most.
    half, single, double: FLOPs a clock of matrix products with 16-bit operands; of float32 and float64 as kernels multiply them.
    exponentials:   a clock.   bytes_per_clock: from the cache that multiprocessors share.
    latency:        clocks until what is read from there arrives.
    asynchronous:   what is read goes to shared memory without a register on its way.
    """

    wave: int
    registers: int
    thread_registers: int
    register_unit: int
    shared_bytes: int
    program_shared_bytes: int
    reserved_bytes: int
    programs: int
    warps: int
    half: float
    single: float
    double: float
    exponentials: float
    bytes_per_clock: float
    latency: float
    asynchronous: bool


_KB = 1024
_NVIDIA = Limits(
    wave=32,
    registers=64 * _KB,
    thread_registers=255,
    register_unit=8,
    shared_bytes=164 * _KB,
    program_shared_bytes=163 * _KB,
    reserved_bytes=_KB,
    programs=32,
    warps=64,
    half=2048,
    single=128,
    double=64,
    exponentials=16,
    bytes_per_clock=48,
    latency=500,
    asynchronous=True,
)

_AMD = Limits(
    wave=64,
    registers=4 * 512 * 64,
    thread_registers=512,
    register_unit=8,
    shared_bytes=64 * _KB,
    program_shared_bytes=64 * _KB,
    reserved_bytes=0,
    programs=16,
    warps=32,
    half=2048,
    single=256,
    double=256,
    exponentials=16,
    bytes_per_clock=64,
    latency=800,
    asynchronous=False,
)

_DESKTOP = _NVIDIA._replace(
    shared_bytes=100 * _KB, program_shared_bytes=99 * _KB, programs=16, warps=48, half=512, single=256, double=4, bytes_per_clock=32
)
_HOPPER = _NVIDIA._replace(
    shared_bytes=228 * _KB, program_shared_bytes=227 * _KB, half=4096, single=256, double=128, bytes_per_clock=64, latency=600
)

LIMITS = {
    "sm_80": _NVIDIA,
    "sm_86": _DESKTOP,
    "sm_89": _DESKTOP._replace(programs=24),
    "sm_90": _HOPPER,
    "sm_100": _HOPPER._replace(half=8192),
    "gfx942": _AMD,
    "gfx950": _AMD._replace(shared_bytes=160 * _KB, program_shared_bytes=160 * _KB, half=4096, double=128, exponentials=32),
}
"""By target.

sm_80:  NVIDIA A100 Tensor Core GPU Architecture: 312 TFLOPS bfloat16, 19.5 float32, 9.7 float64, 108 multiprocessors, 1.41 GHz.
sm_86:  NVIDIA Ampere GA102 GPU Architecture: 71 TFLOPS 16-bit with float32 sums, 82 multiprocessors, 1.70 GHz.
sm_89:  NVIDIA Ada GPU Architecture: 165 TFLOPS 16-bit with float32 sums, 128 multiprocessors, 2.52 GHz.
sm_90:  NVIDIA H100 Tensor Core GPU Architecture: 989 TFLOPS bfloat16, 67 float32, 34 float64, 132 multiprocessors, 1.83 GHz.
sm_100: NVIDIA Blackwell Architecture Technical Brief: 2250 TFLOPS bfloat16, 148 multiprocessors, 1.85 GHz.
gfx942: AMD CDNA 3 Architecture: 1307 TFLOPS bfloat16, 163 float32 and float64 matrices, 304 units, 2.1 GHz, 64 KB of LDS.
gfx950: AMD CDNA 4 Architecture: 2517 TFLOPS bfloat16, 256 units, 2.4 GHz, 160 KB of LDS, twice the rate of transcendental functions.
"""


def limits_of(target: str) -> Limits:
    """Limits of a GPU; of one that is not in the table those of its maker that every other of them meets, so that no kernel is too large.

    A program of an unknown GPU may therefore be smaller than it could be; it never fails to launch for want of room.
    """
    known = LIMITS.get(target)
    if known is not None:
        return known
    return LIMITS["gfx942"] if target.startswith("gfx") else LIMITS["sm_86"]
