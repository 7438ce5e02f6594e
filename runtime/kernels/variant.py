"""Which kernel a request asks for, and what builds it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ...ir.expr import K_LEN, OFFSET, Q_LEN, B, Binary, Expr, K, Lookup, Op, Q, Table, conjunction
from ...ir.order import Order
from ...ir.program import Program
from ...ir.source import Source
from ...ir.target import Target
from ...passes.program.call_values import Launch
from ...passes.program.flatten_grid import FlattenGrid
from ...passes.schedules.transpose import transposed_launch
from ..compilers.cpp_compiler import find_compiler

if TYPE_CHECKING:
    from ...ir.plan import Plan

RAGGED: dict[Expr, Table] = {
    Q_LEN: Table("ragged_Lq", "i64", 1),
    K_LEN: Table("ragged_Lk", "i64", 1),
    OFFSET: Table("ragged_offset", "i64", 1),
}


class Variant(NamedTuple):
    """Everything that decides a kernel, apart from the values that its program must be bound to.

    dtype: `f32 bf16 f16 f64`; dims: of query and key, and of value; block: tile edges in tokens.
    shifted: holds for every offset, not only 0.
    family:  `forward`, `decode`, `backward`, whose schedule is the transposed one, or `backward_queries`, whose schedule is not.
    wanted:  tables whose gradient a backward kernel computes.
    together: query heads whose rows share a tile of a forward kernel; each has `block[0]` of its rows.
    warps, stages, registers: of a Triton program, as in `ir.configuration`; 0 of others.
    order:   of the tokens that the positions of the program stand for, where that is not their order in memory.
    zero_keys: rows also see keys of score 0 and value 0, as many as a launch says.
    extra_keys: rows also see some keys and values that a launch brings.
    covered: the tiles of the mask are too many to be listed, and those of a wider mask are met.
    listed:  tiles are lists, found for each launch, since what expressions for them compute may leave 64 bits.
    """

    program: Program
    target: Target
    dtype: str
    dims: tuple[int, int]
    block: tuple[int, int]
    shifted: bool
    family: str = "forward"
    wanted: tuple[str, ...] = ()
    together: int = 1
    warps: int = 0
    stages: int = 0
    registers: int = 0
    order: Order | None = None
    zero_keys: bool = False
    extra_keys: bool = False
    covered: bool = False
    listed: bool = False

    @property
    def sees_beside(self) -> bool:
        """Whether rows see more than the keys of the program."""
        return self.zero_keys or self.extra_keys

    def launch(self, launch: Launch) -> Launch:
        """The launch as the kernel's schedule knows it."""
        return transposed_launch(launch) if self.family == "backward" else launch


def with_ragged_tables(variant: Variant) -> Variant:
    """The variant whose program reads lengths and offsets from tables per batch item and checks them itself.

    A refined schedule holds at one set of lengths, those of the tensors; this makes what differs between items part of the mask.
    """
    program = FlattenGrid()(variant.program)
    read: dict[Expr, Expr] = {symbol: Lookup(table, (B,)) for symbol, table in RAGGED.items()}
    moved: Expr = Binary(Op.ADD, Q, read[OFFSET])
    program = program.substituted({**read, Q: moved})
    inside = conjunction(Binary(Op.LT, Q, read[Q_LEN]), Binary(Op.LT, K, read[K_LEN]))
    program = replace(program, mask=conjunction(program.mask, inside), tables=(*program.tables, *RAGGED.values()))
    return variant._replace(program=program, shifted=False)


class Toolchain(NamedTuple):
    """How a backend turns a plan into something to call.

    identity: of the compiler, for the cache's key; empty where there is none, and loaded bundles serve what they can.
    render:   plan to text.
    compile:  text to the artefact at a path.
    suffix:   of the artefact.
    require:  raises where `identity` is empty, saying what is missing.
    """

    identity: str
    render: Callable[[Plan], Source]
    compile: Callable[[Source, Path], None]
    suffix: str
    require: Callable[[], object] = find_compiler
