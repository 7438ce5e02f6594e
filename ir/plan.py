"""The third noun: everything that decides a kernel's text, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

from .expr import Expr, Lookup, Symbol, Table
from .order import Order
from .schedule import Schedule
from .target import Target


@dataclass(frozen=True, slots=True)
class Gradient:
    """How a score moves, for a backward kernel.

    by_score:  its derivative by `s`, over `s` and what the score reads.
    by_lookup: the look-ups of float tables whose gradients are wanted, each with the derivative of the score by it.
    """

    by_score: Expr
    by_lookup: tuple[tuple[Lookup, Expr], ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """A recipe for one kernel.

    schedule:   of `family` backward: the transposed one, whose query tiles are tiles of keys.
    family:     `forward`, `backward`, `backward_queries` or `decode`: which template renders it.

    dtype:      of query, key, value and output: `f32 bf16 f16 f64`; sums and the log-sum-exp are f32 (f64 for f64).
    head_dim:   D of query and key, 1..256.
    value_dim:  D of value and output, 1..256.
    parameters: integer and real symbols in the order of the launch arrays (`Lq`, `Lk`, `offset` excluded).
    tables:     user tables, then term bounds, then lists, in the order of the launch array.
    partial:    the mask that partial tiles evaluate, over `q` (row), `k`, `b`, `h`, symbols and tables.
    score:      over `s` and the same; `s` itself when scores are left alone.
    gradient:   of a backward kernel.
    order:      of the tokens, where positions are not row-major tokens; tensors are read and written through it.
    zero_keys:  of a forward or decode kernel: each row also sees as many keys of score 0 and value 0 as the launch says.
    extra_keys: of these, or of the kernel for the gradient of the queries: each row also sees some keys and values of the launch, by the
                scores of their products alone.
    num_warps, num_stages, registers: of a Triton program, as in `ir.configuration`.

    Of a forward kernel for a GPU; none changes what it computes:
    descriptors: keys and values are copied by the GPU's tensor unit, where their strides allow; it reads room that the launch provides.
    persistent:  programs of each multiprocessor, which walk all tiles; 0: every tile has a program.
    specialised: some warps copy, some multiply, some do the rest, where descriptors are used.
    """

    schedule: Schedule
    target: Target
    dtype: str
    head_dim: int
    value_dim: int
    parameters: tuple[Symbol, ...]
    tables: tuple[Table, ...]
    partial: Expr
    score: Expr
    num_warps: int = 4
    num_stages: int = 2
    registers: int = 0
    family: str = "forward"
    gradient: Gradient | None = None
    order: Order | None = None
    descriptors: bool = False
    persistent: int = 0
    specialised: bool = False
    zero_keys: bool = False
    extra_keys: bool = False

    @property
    def rows(self) -> int:
        """Of a tile: `block_q` of each query head in it."""
        return self.schedule.block_q * self.schedule.together

    @property
    def block_q(self) -> int:
        return self.schedule.block_q

    @property
    def block_k(self) -> int:
        return self.schedule.block_k
