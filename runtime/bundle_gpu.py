"""The GPU kernels of a bundle: binaries for the launches that its specification promises, made without a GPU."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..ir.plan import Plan
from ..passes.proofs import int32_reach
from .bundle_files import put
from .bundle_jobs import Job, Made
from .kernels import planned
from .triton_binary import Variant, compiled
from .triton_kernel import ALIGNMENT_BYTES, BYTES, Signature, load
from .triton_launch import render, toolchain

DECODE_ROWS = (16, 64)
DENSE, ITEMS, PACKED = (
    frozenset[str](),
    frozenset({"q_lens", "k_lens", "offsets"}),
    frozenset({"q_start", "q_lens", "k_start", "k_lens", "offsets"}),
)


def build(job: Job, folder: Path) -> Made:
    """Write text and binaries of a job into `folder`."""
    variant = job.variant
    plan = planned(variant, variant.launch(job.launch), toolchain())
    source = render(plan)
    place = f"{variant.target.name}/{job.name}"
    put(folder, f"sources/{place}.py", source.text.encode())
    signature = Signature.of(plan, source)
    made: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        text = put(Path(scratch), f"{source.entry}.py", source.text.encode())
        loaded = load(text, signature, interpret=False)
        for number, (special, merge) in enumerate(_specials(job, plan)):
            binary = compiled(loaded, plan, variant.target.name, special, merge=merge).binary
            name = f"kernels/{place}_{number}.{'cubin' if variant.target.name.startswith('sm_') else 'hsaco'}"
            put(folder, name, binary.code)
            made.append({"binary": name, "merge": merge, "layout": binary.layout.to_json()})
    reach = int32_reach(plan.schedule.program, plan.schedule)
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
    lengths = (DENSE, ITEMS, PACKED) if job.ragged and plan.schedule.route != "refined" else (DENSE,)
    for given in lengths:
        base = replace(plain, narrow=not given, lengths=given)
        yield from ((each, False) for each in _of_family(base, plan.family))
        if plan.family == "decode":
            yield replace(base, rows=DECODE_ROWS[0]), True


def _of_family(base: Variant, family: str) -> Iterator[Variant]:
    if family == "decode":
        yield from (replace(base, rows=rows, split=split) for rows in DECODE_ROWS for split in (False, True))
    elif family == "backward_queries":
        yield from (replace(base, lse=lse) for lse in ((False, True) if not base.lengths else (True,)))
    elif family == "backward":
        yield from (replace(base, clipped=clipped) for clipped in ((False, True) if base.lengths == ITEMS else (False,)))
    else:
        yield base
