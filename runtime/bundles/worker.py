"""Builds kernels of a bundle: reads one job a line, writes one answer a line, until there are no more.

A process of its own, because deriving schedules and compiling Triton keep an interpreter busy.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np

from ...codegen.cpp_face import user_tables
from ...ir.parse import parse_program
from ...passes.lookups.guards import hazards
from ...passes.program.binding import bound_values
from ..compilers.cpp_compiler import CompileFailed, CompilerMissing
from ..kernels.plan_of import manifest_of
from ..kernels.shelves import tiling_of
from ..kernels.variant import RAGGED, with_ragged_tables
from ..request.lookup_proofs import told
from .jobs import Job
from .order_text import sides_of
from .spec import name_of

Entry = dict[str, Any]


def main() -> None:
    folder = Path(sys.argv[1])
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)  # what a library prints, or a compiler, is no answer
        for line in sys.stdin:
            answers.write(json.dumps(_answer(line, folder)) + "\n")
            answers.flush()


def _answer(line: str, folder: Path) -> Entry:
    try:
        return {"kernels": built(Job.of(line), folder)}
    except Exception as error:  # whatever it is, the other process raises it
        if not isinstance(error, CompileFailed | CompilerMissing | NotImplementedError | ValueError):
            traceback.print_exc()  # ours to mend: the other process cannot see where it came from
        return {"error": f"{type(error).__name__}: {error}"}


def built(job: Job, folder: Path) -> list[Entry]:
    """Build the kernels of a job into `folder`; their entries of the manifest."""
    entry = _built(job, folder)
    if not (job.ragged and entry["route"] == "refined"):
        return [entry]
    tables = {table.name: np.full(job.launch.batch, length, np.int64) for table, length in zip(RAGGED.values(), _lengths(job), strict=True)}
    launch = job.launch._replace(tables={**job.launch.tables, **tables}, shifted=False, offset=0)
    moved = job._replace(name=f"{job.name}_ragged", variant=with_ragged_tables(job.variant), launch=launch)
    return [entry, _built(moved, folder)]


def _lengths(job: Job) -> tuple[int, int, int]:
    return job.launch.q_len, job.launch.k_len, 0


def _built(job: Job, folder: Path) -> Entry:
    variant = job.variant
    if variant.target.backend == "cpp":
        from .cpp import build
    else:
        from .gpu import build  # which loads Triton
    made = build(job, folder)
    plan = made.plan
    manifest, given = manifest_of(plan, made.source), user_tables(plan)
    return {
        "name": job.name,
        "program": str(variant.program),
        "target": name_of(variant.target),
        "dtype": variant.dtype,
        "dims": list(variant.dims),
        "family": variant.family,
        "rows": job.rows,
        "shifted": variant.shifted,
        "wanted": list(variant.wanted),
        "bound": repr(sorted(bound_values(variant.program, job.launch).items())),
        "tiling": tiling_of(made.variant)._asdict(),
        "route": plan.schedule.route,
        "entry": manifest["entry"],
        "schedule": manifest["schedule"],
        "parameters": [{"name": symbol.name, "kind": symbol.of.value} for symbol in plan.parameters],
        "tables": [{"name": each.name, "dtype": each.dtype, "rank": each.rank, "given": each in given} for each in plan.tables],
        "gradients": manifest["gradients"],
        **made.said,
        **_order(job),
        **_lookups(job),
    }


def _order(job: Job) -> Entry:
    """Where tokens are in an order, which; the program over tokens, which others find by it."""
    sides = sides_of(job.variant.order)
    return {} if sides is None else {"order": {**sides, "grid": job.grid, "asked": job.asked}}


def _lookups(job: Job) -> Entry:
    """What is proved of the tables that the program over tokens reads, so that a call need not prove it."""
    program = parse_program(job.grid) if job.grid else job.variant.program
    return {"lookups": told(program, job.launch.parameters)} if hazards(program) else {}


if __name__ == "__main__":
    main()
