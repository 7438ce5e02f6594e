"""Schedules that say nothing of a mask: tiles from lists that a launch brings, and every tile there is."""

from __future__ import annotations

from ...ir.expr import K_LEN, B, Binary, Const, Expr, H, I, Lookup, Op, Table, names
from ...ir.program import Program
from ...ir.schedule import Piece, Schedule


def listed_schedule(program: Program, block: tuple[int, int], together: int) -> Schedule:
    """Full and partial tiles through the tables that `refine` fills."""
    read = names(program.mask)
    partial, full = (_list(kind, "b" in read, "h" in read) for kind in ("partial", "full"))
    return Schedule(
        program=program,
        block_q=block[0],
        block_k=block[1],
        some=(partial, full),
        full=(full,),
        full_loops=(full,),
        partial_loops=(partial,),
        closed_form=False,
        route="refined",
        together=together,
    )


def _list(kind: str, per_batch: bool, per_head: bool) -> Piece:
    starts = Table(f"{kind}_start", "i32", 3)
    b, h = (B if per_batch else Const(0)), (H if per_head else Const(0))
    first, last = Lookup(starts, (b, h, I)), Lookup(starts, (b, h, Binary(Op.ADD, I, Const(1))))
    return Piece(first, last, 1, through=Table(f"{kind}_tile", "i32", 1))


def schedule_of_every_tile(program: Program, block: tuple[int, int], together: int) -> Schedule:
    """All tiles, each with the mask."""
    everything = Piece(Const(0), tiles_of_keys(block[1])[0])
    return Schedule(
        program=program,
        block_q=block[0],
        block_k=block[1],
        some=(everything,),
        full=(),
        full_loops=(),
        partial_loops=(everything,),
        exact=False,
        together=together,
    )


def tiles_of_keys(block_k: int) -> tuple[Expr, Expr]:
    """How many there are, and how many of them lie inside the key length."""
    if block_k == 1:
        return K_LEN, K_LEN
    padded = Binary(Op.ADD, K_LEN, Const(block_k - 1))
    return Binary(Op.FLOORDIV, padded, Const(block_k)), Binary(Op.FLOORDIV, K_LEN, Const(block_k))
