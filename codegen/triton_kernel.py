"""What the template of every family of Triton kernels is told, and the kernel that becomes of it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ..ir.expr import Kind
from ..ir.plan import Plan
from ..ir.source import Source
from .environment import filled
from .print_triton import Names, identifier

SMALLEST_DOT = 16  # Triton's least extent of a matrix product
ARGUMENT_TYPES = {Kind.INT: "i64", Kind.BOOL: "i64"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Loop:
    """One of the two loops of a template.

    kind:   `full` or `partial`.
    surveys: range of counters that the loop is about to meet, so many at a time; one round where there is nothing to find out.
    survey: lines that find out which of them are met.
    tiles:  range of the loop's counter `n`.
    select: lines that compute `j`.
    ragged: `True` where keys past the length may be met, else `False`.
    scores: lines that turn `s` [block_q, block_k] into what the softmax sees; of a backward kernel, see there.
    """

    kind: str
    surveys: str
    survey: str
    tiles: str
    select: str
    ragged: str
    scores: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Kernel:
    """Fields that every template reads. The order of the arguments stands in the templates.

    title:      one line for the reader.
    runtime:    names of the arguments that Triton must not specialise on, as a Python list.
    arguments:  declarations of tables (pointer, strides, sizes), parameters and what else the program asks for, each with a comma.
    scale_type: Triton's name of the type of real arguments.
    real:       Triton's type of scores, sums and the log-sum-exp.
    block_q, block_k: edges of the tiles of queries and of keys, powers of two from 16 on; rows of a kernel that packs heads.
    head_dim, value_dim: 1..256; head, value: the same, padded to a power of two from 16 on.
    bindings:   lines before the loops: parameters, what does not change along a row, bounds of the pieces.
    loops:      at most two.
    stages:     of loads in loops that sum up once more; None: as in other loops.
    """

    title: str
    runtime: str
    entry: str
    arguments: str
    scale_type: str
    real: str
    block_q: int
    block_k: int
    head_dim: int
    value_dim: int
    head: int
    value: int
    bindings: str
    loops: tuple[Loop, ...]
    stages: int | None


def told(plan: Plan, arguments: Sequence[str], runtime: Sequence[str], **own: object) -> dict[str, Any]:
    """The fields of `Kernel` that follow from the plan alike in every family, but for those that a family has its `own` of.

    arguments: declarations of all that the program asks for.   runtime: names of the family's own arguments.

    Raises:
        NotImplementedError: tile edges that Triton has no matrix product for.
    """
    _require_edges(plan)
    real = real_of(plan)
    return {
        "runtime": repr([*runtime, *(argument.split(":")[0] for argument in arguments)]),
        "entry": f"{identifier(plan.schedule.program.name)}_{plan.dtype}_q{plan.rows}_k{plan.block_k}",
        "arguments": "\n".join(f"{argument}," for argument in arguments),
        "scale_type": real,
        "real": f"tl.{real.replace('fp', 'float')}",
        "block_q": plan.rows,
        "block_k": plan.block_k,
        "head_dim": plan.head_dim,
        "value_dim": plan.value_dim,
        "head": padded(plan.head_dim),
        "value": padded(plan.value_dim),
        "stages": _stages_again(plan),
        **own,
    }


def _stages_again(plan: Plan) -> int | None:
    """What asks for the fewest registers, as compiled for sm_80, sm_90 and gfx942."""
    in_order = plan.family == "forward" and plan.order is not None
    return 1 if plan.dtype in ("bf16", "f16") and not in_order else None


def _require_edges(plan: Plan) -> None:
    for name, edge in (("block_q", plan.rows), ("block_k", plan.block_k)):
        if edge < SMALLEST_DOT or edge.bit_count() != 1:
            raise NotImplementedError(
                f"`{name}` is {edge}, which Triton cannot multiply by.\n  write a power of two, at least {SMALLEST_DOT}"
            )


def real_of(plan: Plan) -> str:
    return "fp64" if plan.dtype == "f64" else "fp32"


def padded(dim: int) -> int:
    """The least extent Triton takes that holds `dim`."""
    return max(SMALLEST_DOT, 1 << (dim - 1).bit_length())


def declarations(plan: Plan, names: Names) -> list[str]:
    """Of tables and parameters."""
    found: list[str] = []
    for table in plan.tables:
        found.append(names.tables[table])
        found += [f'{names.tables[table]}_{what}{axis}: "i64"' for what in ("stride", "size") for axis in range(table.rank)]
    return found + [f'{names.parameters[symbol.name]}: "{ARGUMENT_TYPES.get(symbol.kind, real_of(plan))}"' for symbol in plan.parameters]


def rendered(template: str, context: Kernel) -> Source:
    """The kernel of a context: one @triton.jit function, called `entry` and a digest of the text."""
    digest = hashlib.sha256(_text(template, context).encode()).hexdigest()[:8]
    named = replace(context, entry=f"{context.entry}_{digest}")
    return Source("python", named.entry, _text(template, named))


def _text(template: str, context: Kernel) -> str:
    text = filled(template, asdict(context))
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"
