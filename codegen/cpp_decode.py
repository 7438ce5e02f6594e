"""Plans for few query rows as C++: keys are split among threads, and each is read once for all heads that share it."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass

from ..ir.expr import names
from ..ir.plan import Plan
from ..ir.source import Source
from .cpp_targets import REGISTERS, VECTOR_BYTES
from .cpp_text import MARK, STORED, function, loops, members, part, settings
from .environment import ENVIRONMENT
from .print_cpp import slots_of

MOST_ROWS = 128


@dataclass(frozen=True, kw_only=True, slots=True)
class Decode:
    """For templates/cpp/decode.cpp.jinja.

    title:      one comment line about the kernel.
    arguments, arithmetic, vectors: the text of arguments.h, arithmetic.h and vectors.h.
    real:       type that is computed in; stored: type of tensors in memory.
    block_k:    keys of a tile, a multiple of lanes.
    most_rows:  query rows, of all heads that share a key head, that one work item holds.
    lanes:      reals in a vector register; key_lanes, value_lanes: in a vector along D and along Dv.
    sums:       vectors of output that a product keeps in registers.
    heads_differ: `true` where the tiles of a query head depend on the head; else heads share one list of tiles.
    members, settings: declarations of what one (b, h) sees, and the statements that fill them in.
    functions:  `allowed` (the mask) and `modified` (the score).
    loops:      statements that note every scheduled tile.
    entry:      name of the C function.
    """

    title: str
    arguments: str
    arithmetic: str
    vectors: str
    real: str
    stored: str
    block_k: int
    head_dim: int
    value_dim: int
    most_rows: int
    lanes: int
    key_lanes: int
    value_lanes: int
    sums: int
    heads_differ: str
    members: str
    settings: str
    functions: str
    loops: str
    entry: str


def render(plan: Plan) -> Source:
    """The kernel of `plan`. Its name carries a digest of its text.

    Raises:
        ValueError: a tile of keys is no multiple of the vector.
    """
    text = ENVIRONMENT.get_template("cpp/decode.cpp.jinja").render(asdict(context(plan)))
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    entry = f"{plan.schedule.program.name}_decode_{plan.dtype}_d{plan.head_dim}_k{plan.block_k}_{digest}"
    return Source("c++", f"lacuna_{entry}", text.replace(MARK, f"lacuna_{entry}"))


def context(plan: Plan) -> Decode:
    slots = slots_of(plan.parameters, plan.tables)
    real = "double" if plan.dtype == "f64" else "float"
    lanes = VECTOR_BYTES[plan.target.name] // (8 if real == "double" else 4)
    if plan.block_k % lanes:
        raise ValueError(f"block_k is {plan.block_k}, which is no multiple of {lanes} lanes\n  write a multiple of {lanes}")
    return Decode(
        title=f"{plan.schedule.program.name}, {plan.dtype}, few rows, for {plan.target.name}",
        arguments=part("arguments.h"),
        arithmetic=part("arithmetic.h"),
        vectors=part("vectors.h"),
        real=real,
        stored=STORED[plan.dtype],
        block_k=plan.block_k,
        head_dim=plan.head_dim,
        value_dim=plan.value_dim,
        most_rows=MOST_ROWS,
        lanes=lanes,
        key_lanes=_lanes(plan.head_dim, lanes),
        value_lanes=_lanes(plan.value_dim, lanes),
        sums=REGISTERS[plan.target.name] // 2,
        heads_differ="true" if _heads_differ(plan) else "false",
        members=members(plan, slots),
        settings=settings(plan, slots),
        functions="\n\n".join(
            (
                function("modified", "real", plan.score, "const real s, ", slots),
                function("allowed", "bool", plan.partial, "", slots),
            )
        ),
        loops=loops(plan, slots, call="note<{full}>(to, at, j);"),
        entry=MARK,
    )


def _lanes(width: int, most: int) -> int:
    """Reals of the widest vector that fits into a row of `width`: a power of two."""
    return min(most, 1 << (width.bit_length() - 1))


def _heads_differ(plan: Plan) -> bool:
    pieces = (*plan.schedule.full_loops, *plan.schedule.partial_loops)
    return any("h" in names(expr) for piece in pieces for expr in (piece.start, piece.stop, piece.where))
