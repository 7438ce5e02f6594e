"""What a program of a Triton kernel takes of a GPU: registers, shared memory, and how many programs a multiprocessor then holds.

The constants were fitted to binaries that Triton 3.6 compiled of a window, in bfloat16 and float32, head dimensions 32 to 256; the table
that `benchmarks/kernel_resources.py` prints has predicted and actual figures side by side. Compilers keep some values elsewhere when
registers run out, so a prediction somewhat above what there is need not spill: SQUEEZED is how far above none was seen to.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

from ...ir.configuration import Configuration
from ...ir.expr import Binary, Lookup, Op, S, names, walk
from ...ir.program import Program
from ..program.flatten_grid import FlattenGrid
from .gpu_limits import Limits, limits_of

BYTES = {"f16": 2, "bf16": 2, "f32": 4, "f64": 8}
SQUEEZED, SQUEEZED_WITH_EXTRA = 280, 268
MOST_DECODED = 64  # rows of a tile of a decode kernel, those of all its query heads


class Problem(NamedTuple):
    """What a configuration is chosen for.

    dims:   of query and key, and of value.
    extra:  registers for each pair of a thread, beside those that a plain mask takes; `pair_values` says it of a program.
    """

    target: str
    dtype: str
    dims: tuple[int, int]
    family: str = "forward"
    extra: float = 0.0

    @property
    def limits(self) -> Limits:
        return limits_of(self.target)

    @property
    def half(self) -> bool:
        return BYTES[self.dtype] == 2


class Resources(NamedTuple):
    """registers: of a thread, as far as there are any; wanted: without that bound.

    shared_bytes: of a program. programs: that a multiprocessor holds.
    """

    registers: int
    wanted: float
    shared_bytes: int
    programs: int


class Coefficients(NamedTuple):
    """Registers of a thread: always, for a pair of a score tile, for a number of a sum, of the rows, and of what is under way.

    rows:  where they stay in registers; of forward kernels, of those of gradients of queries, and of keys and values.
    extra: how much what a program keeps of a pair weighs.
    """

    always: float
    pair: float
    total: float
    rows: tuple[float, float, float]
    stage: float
    extra: float = 1.0


MULTIPLIED = Coefficients(always=44, pair=1.91, total=2.09, rows=(0.0, 1.0, 2.0), stage=0.27, extra=2.0)
"""Matrix instructions of a warp, which take operands from registers."""
GROUPED = Coefficients(always=11, pair=2.25, total=1.6, rows=(0.66, 0.66, 4.0), stage=0.23)
"""Those of four warps, which read keys and values in shared memory (sm_90, sm_100)."""
IN_WAVES = Coefficients(always=32, pair=6.9, total=3.2, rows=(0.7, 3.5, 3.5), stage=0.0)
"""Those of a wave of 64 (AMD), where tiles that are under way stay in registers too."""
ONE_BY_ONE = Coefficients(always=70, pair=2.0, total=1.5, rows=(0.0, 0.0, 0.0), stage=0.0)
"""Products of single numbers (float32, which is exact, and float64)."""

IN_PARTS = 1.15
"""How much more these are of a dimension in two parts: 64 x 64 of D 192 in 8 warps spilled on gfx950."""

PASSES = {"forward": (1, 1), "decode": (1, 1), "backward_queries": (2, 1), "backward": (2, 2)}
"""Tiles of scores, and of sums, that are alive at once."""


@functools.lru_cache(maxsize=1024)
def pair_values(program: Program, *, ragged: bool = False) -> float:
    """Registers that a program takes for each pair, beside those of a comparison of positions and a plain score.

    ragged: batch items have lengths of their own, so that indices have 64 bits.
    """
    flat = FlattenGrid()(program)
    coupled = any(isinstance(node, Lookup) or (isinstance(node, Binary) and node.op in (Op.FLOORDIV, Op.MOD)) for node in walk(flat.mask))
    looked_up = any(isinstance(node, Lookup) and {"q", "k"} <= names(node) for node in walk(flat.mask, flat.score))
    extra = PAIRED * (coupled or flat.score is not S) + 1.0 * (coupled and flat.score is not S) + 1.0 * looked_up
    return max(extra, WIDE) if ragged else extra


PAIRED = 3.5
WIDE = 0.75  # with less, tiles of 128 x 128 of D 64 are offered, of which a window spilled 48 bytes on sm_90


COPIED = 1.0
LONG_SUMS = 1.0  # where a dimension is longer than 128


def ordered_values(problem: Problem, program: Program) -> float:
    """The same of a program on a grid over positions of an order.

    Where the tensor unit copies boxes, threads compute no addresses: with all that this leaves for sm_90 no neighborhood spilled.
    """
    whole = pair_values(program)
    if max(problem.dims) > 128:
        return whole if copies(problem) else whole + LONG_SUMS
    return min(whole, COPIED) if copies(problem) and whole <= PAIRED else whole


def copies(problem: Problem) -> bool:
    """Whether keys and values of a kernel come through tensor descriptors."""
    return problem.half and problem.family == "forward" and problem.target in ("sm_90", "sm_100")


def resources(problem: Problem, configuration: Configuration) -> Resources:
    """As the compiler would find them."""
    limits = problem.limits
    wanted = _registers(problem, configuration)
    most = most_registers(limits, configuration.warps)
    registers = int(min(most, max(24.0, wanted)))
    shared = _shared_bytes(problem, configuration)
    return Resources(registers, wanted, shared, held_programs(limits, configuration.warps, registers, shared))


def fits(problem: Problem, configuration: Configuration) -> bool:
    """Whether a program can run, and no thread is predicted to spill."""
    found, limits = resources(problem, configuration), problem.limits
    most = most_registers(limits, configuration.warps)
    room = most if most != 255 else SQUEEZED_WITH_EXTRA if problem.extra else SQUEEZED
    runs = found.shared_bytes <= limits.program_shared_bytes and found.programs > 0
    return runs and found.wanted <= room and (problem.half or _streams(problem, configuration))


def most_registers(limits: Limits, warps: int) -> int:
    """Of a thread, where one program is all that a multiprocessor holds."""
    unit = limits.register_unit
    return min(limits.thread_registers, limits.registers // (warps * limits.wave) // unit * unit)


def grouped(problem: Problem, configuration: Configuration) -> bool:
    """Whether four warps multiply together (`wgmma`, `tcgen05`)."""
    rows, _ = owned(problem, configuration)
    return problem.half and problem.target in ("sm_90", "sm_100") and rows >= 64 and configuration.warps % 4 == 0


def held(dim: int, target: str) -> int:
    """Dimensions that a tile has room for: a power of two from 16 on, or two of them where that is less."""
    whole = max(16, 1 << (dim - 1).bit_length())
    if dim == whole or whole == 16 or (dim > 128 and target.startswith("sm_8")):
        return whole
    below = whole // 2
    return min(whole, below + max(16, 1 << (dim - below - 1).bit_length()))


def owned(problem: Problem, configuration: Configuration) -> tuple[int, int]:
    """Rows of the tile that a program owns, and tokens of a tile that it runs over."""
    if problem.family == "backward":
        return configuration.block_k, configuration.block_q
    return MOST_DECODED if problem.family == "decode" else configuration.block_q, configuration.block_k


def square(problem: Problem, configuration: Configuration) -> int:
    """Edge of the square of pairs that a thread has of products of single numbers."""
    rows, met = owned(problem, configuration)
    return _edge(rows * met / (problem.limits.wave * configuration.warps))


def _edge(numbers: float) -> int:
    return 1 if numbers < 4 else 2 if numbers < 16 else 4


def _registers(problem: Problem, configuration: Configuration) -> float:
    (rows, met), warps = owned(problem, configuration), configuration.warps
    head, value = (held(dim, problem.target) for dim in problem.dims)
    threads = problem.limits.wave * warps
    along = problem.limits.wave * min(warps, max(1, rows // 16)) if problem.half else threads
    scores, sums = PASSES[problem.family]
    by = _coefficients(problem, configuration)
    pairs, summed = rows * met / along, rows * (head + value if sums == 2 else value) / threads
    alive = by.pair * pairs * (1.5 if scores == 2 else 1.0) + by.total * summed
    alive *= 2 if problem.dtype == "f64" else IN_PARTS if by is IN_WAVES and value.bit_count() > 1 else 1
    beside = by.rows[ROWS_OF.get(problem.family, 0)] * rows * head / 2 / along + by.extra * problem.extra * pairs
    ahead = configuration.stages - 1
    if ahead > 1 and by is MULTIPLIED and value.bit_count() > 1:
        ahead += 1  # of a dimension in two parts either has addresses; 128 x 128 of D 80 spilled on sm_80
    return by.always + alive + beside + by.stage * met * value * ahead / threads


ROWS_OF = {"backward_queries": 1, "backward": 2}
"""Which of `Coefficients.rows` goes for a family; 0 for others."""


def _coefficients(problem: Problem, configuration: Configuration) -> Coefficients:
    if not problem.half:
        return ONE_BY_ONE
    if problem.limits.wave > 32:
        return IN_WAVES
    return GROUPED if grouped(problem, configuration) else MULTIPLIED


def _streams(problem: Problem, configuration: Configuration) -> bool:
    """Whether products of single numbers read their operands as they go.

    A thread of few pairs has one at a time; else it has a square of 2 x 2 or 4 x 4, and keeps the rows and columns of it. Up to half as
    many of keys as it has registers more, and up to twice as many of values, were seen not to spill.
    """
    rows, met = owned(problem, configuration)
    threads, most = problem.limits.wave * configuration.warps, most_registers(problem.limits, configuration.warps)
    head, value = (held(dim, problem.target) for dim in problem.dims)
    words = BYTES[problem.dtype] // 4
    of_keys, of_values = _kept(rows * met / threads, _largest_part(head)), _kept(rows * value / threads, met)
    return words * of_keys <= 1.52 * most and words * of_values <= 2 * most


def _kept(numbers: float, along: int) -> int:
    """Operands of a thread whose products are sums `along` a dimension."""
    edge = _edge(numbers)
    return 2 * edge * along if edge > 1 else 0


def _largest_part(extent: int) -> int:
    return 1 << (extent.bit_length() - 1)


def _shared_bytes(problem: Problem, configuration: Configuration) -> int:
    """Rows, and tiles of what is met: as many as are under way. Products of single numbers have theirs once."""
    (rows, met), stages = owned(problem, configuration), configuration.stages
    head, value = (held(dim, problem.target) for dim in problem.dims)
    sums = PASSES[problem.family][1]
    own = rows * (head + value) if problem.family.startswith("backward") else rows * head
    if grouped(problem, configuration):
        copies = stages
    elif problem.half and problem.limits.asynchronous:
        copies = max(1, stages - 1)
    else:
        copies = 1
    exchanged = 0 if grouped(problem, configuration) else sums * rows * met
    if problem.half and problem.limits.wave > 32 and problem.family in ("forward", "decode"):
        return BYTES[problem.dtype] * max(own, (stages - 1) * met * (head + value) + exchanged)  # rows are in registers by then
    return BYTES[problem.dtype] * (own + copies * met * (head + value) + exchanged)


def held_programs(limits: Limits, warps: int, registers: int, shared_bytes: int) -> int:
    """At once, on one multiprocessor."""
    unit = limits.register_unit
    of_program = -(-registers // unit) * unit * limits.wave * warps
    by_shared = limits.shared_bytes // max(1, shared_bytes + limits.reserved_bytes)
    return min(limits.programs, limits.warps // warps, limits.registers // of_program, by_shared)
