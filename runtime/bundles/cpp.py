"""The C++ kernels of a bundle: a shared object with a function for Python and, where the schedule allows it, one for C."""

from __future__ import annotations

import platform
from pathlib import Path

from ...codegen.cpp_face import Reach, callable_from_c, user_tables, with_face
from ...ir.advice import advice
from ...ir.target import Target
from ...passes.bounds.widths import MOST_TOKENS, int32_reach, int64_reach
from ..choices.shapes import predicted
from ..compilers.cpp_compiler import Compiler, CompilerMissing, compile_shared, compiler_at, find_compiler
from ..cpp.launch import render
from ..cpp.variants import BOXES_BLOCK, DECODE_BLOCK
from ..kernels.plan_of import planned
from .files import put
from .jobs import Job, Made

ARM = ("arm64", "aarch64")
CROSS_COMPILER = "aarch64-linux-gnu-g++"


def build(job: Job, folder: Path) -> Made:
    """Write text and shared object of a job into `folder`.

    Raises:
        CompilerMissing, CompileFailed: there is no compiler for the target, or it refused the text.
    """
    target = job.variant.target
    compiler = compiler_for(target)
    variant = job.variant._replace(block=_block(job))
    plan = planned(variant, variant.launch(job.launch))
    source = render(plan)
    from_c = callable_from_c(plan) and variant.order is None  # calls in boxes are those of whole grids, which C does not check
    reach = Reach(int32_reach(plan.schedule), int64_reach(plan.schedule), MOST_TOKENS)
    text = with_face(plan, source, f"lacuna_{job.name}", reach, shifted=variant.shifted) if from_c else source.text
    place = f"cpu-{target.name}/{job.name}"
    put(folder, f"sources/{place}.cpp", text.encode())
    binary = folder / f"kernels/{place}.so"
    binary.parent.mkdir(parents=True, exist_ok=True)
    compile_shared(text, target, binary, compiler)
    binary.chmod(0o755)
    terms = any(table not in user_tables(plan) for table in plan.tables)
    files = {"source": f"sources/{place}.cpp", "binary": f"kernels/{place}.so", "compiler": compiler.version}
    return Made(variant, plan, source, {**files, "c": {"function": f"lacuna_{job.name}", "terms": terms} if from_c else None})


def compiler_for(target: Target) -> Compiler:
    """The compiler of a CPU target: of another processor than this one, a cross compiler.

    Raises:
        CompilerMissing: it is not there.
    """
    here = platform.machine().lower() in ARM
    if target.name == "generic" or (target.name == "neon") == here:
        return find_compiler()
    if target.name == "neon":
        try:
            return compiler_at(CROSS_COMPILER, "the target `cpu:neon` asks for")
        except CompilerMissing:
            raise CompilerMissing(
                advice(
                    f"the target `cpu:neon` asks for the cross compiler `{CROSS_COMPILER}`, which is not there",
                    "`apt install g++-aarch64-linux-gnu`",
                )
            ) from None
    raise CompilerMissing(advice(f"no compiler here makes kernels for `cpu:{target.name}`", "`cpu:neon`, or build on an x86-64 machine"))


def _block(job: Job) -> tuple[int, int]:
    if job.variant.family == "decode":
        return DECODE_BLOCK
    if job.variant.order is not None:
        return BOXES_BLOCK
    return predicted(job.variant, job.rows)
