"""The GPU kernels of a bundle: binaries for the launches that its specification promises, made without a GPU."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ...ir.plan import Plan
from ...passes.bounds.widths import int32_reach
from ..kernels.plan_of import planned
from ..kernels.variant import RAGGED
from ..triton.compile_binary import Variant, specialised
from ..triton.kernel import ALIGNMENT_BYTES, BYTES, Signature, load
from ..triton.toolchain import render
from .files import put
from .jobs import Job, Made

DECODE_ROWS = (16, 64)
DENSE, ITEMS, PACKED = (
    frozenset[str](),
    frozenset({"q_lens", "k_lens"}),
    frozenset({"q_start", "q_lens", "k_start", "k_lens"}),
)


def build(job: Job, folder: Path) -> Made:
    """Write text and binaries of a job into `folder`."""
    variant = job.variant
    plan = planned(variant, variant.launch(job.launch))
    source = render(plan)
    place = f"{variant.target.name}/{job.name}"
    put(folder, f"sources/{place}.py", source.text.encode())
    signature = Signature.of(plan, source)
    made: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        text = put(Path(scratch), f"{source.entry}.py", source.text.encode())
        loaded = load(text, signature, interpret=False)
        for number, (special, merge) in enumerate(_specials(job, plan)):
            order: list[str] = (loaded.merge if merge else loaded.function).arg_names
            wanted = special.special(plan, order)._replace(pointers=_pointers(special, order))
            binary = specialised(loaded, plan, variant.target.name, wanted, merge=merge).binary
            name = f"kernels/{place}_{number}.{'cubin' if variant.target.name.startswith('sm_') else 'hsaco'}"
            put(folder, name, binary.code)
            made.append({"binary": name, "merge": merge, "layout": binary.layout.to_json()})
    reach = int32_reach(plan.schedule)
    said = {
        "reach": reach,
        "source": f"sources/{place}.py",
        "binaries": made,
        "launch": asdict(signature),
        "compiler": f"triton {version('triton')}",
    }
    return Made(variant, plan, source, said)


def _specials(job: Job, plan: Plan) -> Iterator[tuple[Variant, bool]]:
    """The launches that are promised, those of plain calls first; whether each is of the function that merges."""
    unit = ALIGNMENT_BYTES // BYTES[plan.dtype]
    plain = Variant(aligned=all(dim % unit == 0 for dim in job.variant.dims))
    for given in _lengths(job, plan):
        base = replace(plain, narrow=not given, lengths=given)
        yield from ((each, False) for each in _of_family(base, plan.family))
        if plan.family == "decode":
            yield replace(base, rows=DECODE_ROWS[0]), True


def _lengths(job: Job, plan: Plan) -> tuple[frozenset[str], ...]:
    own = any(table in RAGGED.values() for table in job.variant.program.tables)  # a kernel for lengths that differ alone
    if not own and (not job.ragged or plan.schedule.route == "refined"):
        return (DENSE,)
    moved = tuple(each | {"offsets"} for each in (ITEMS, PACKED)) if own or job.variant.shifted else ()
    return (*(() if own else (DENSE,)), ITEMS, PACKED, *moved)


def _pointers(variant: Variant, order: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Lengths of items are what a caller gave, int32; those of packed sequences were counted from boundaries, int64."""
    kind = "*i64" if "q_start" in variant.lengths else "*i32"
    return tuple((name, kind) for name in sorted(variant.lengths) if name in order)


def _of_family(base: Variant, family: str) -> Iterator[Variant]:
    if family == "decode":
        yield from (replace(base, rows=rows, split=split) for rows in DECODE_ROWS for split in (False, True))
    elif family == "backward_queries":
        yield from (replace(base, lse=lse) for lse in ((False, True) if not base.lengths else (True,)))
    elif family == "backward":
        yield from (
            replace(base, clipped=clipped)
            for clipped in ((False, True) if base.lengths >= ITEMS and "q_start" not in base.lengths else (False,))
        )
    else:
        yield base
