"""What Triton's kernels take of GPUs that need not be here: `python benchmarks/kernel_resources.py [--target sm_90] [--json FILE]`.

A line for every configuration that the chooser offers: registers of a thread and shared bytes of a program, as the compiled binary has them
and as the model of `passes/costs/gpu_resources.py` predicts them; spills (NVIDIA: bytes of local memory a thread; AMD: vector registers);
how many programs a multiprocessor then holds, and which share of the warps that is. The forward kernels must not spill on sm_80 and sm_90:
tests hold that. Without options: a window, in bfloat16, of head dimensions 64 and 128, for sm_80, sm_90, gfx942 and gfx950. `--all` takes
every dtype and dimension, more than a thousand kernels of about a second each. How far it is goes to standard error.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lacuna
import torch
from lacuna import patterns
from lacuna.ir.configuration import Configuration
from lacuna.ir.program import Program
from lacuna.ir.target import Target
from lacuna.passes.costs.gpu_configurations import offered
from lacuna.passes.costs.gpu_resources import Problem, held_programs, pair_values
from lacuna.passes.costs.gpu_resources import resources as predicted_resources
from lacuna.passes.costs.key_buckets import BUCKETS
from lacuna.passes.costs.key_buckets import RAGGED as OF_RAGGED
from lacuna.passes.program.call_values import Launch
from lacuna.runtime.choices.configurations import ranking, with_configuration
from lacuna.runtime.kernels.kernel_of import kernel_of
from lacuna.runtime.kernels.variant import Variant
from lacuna.runtime.request.merged_program import resolved
from lacuna.runtime.triton.compile_binary import Compiled, cross_compile
from lacuna.runtime.triton.compile_binary import Variant as Special
from lacuna.runtime.triton.kernel import load
from lacuna.runtime.triton.launch import loaded
from lacuna.runtime.triton.toolchain import toolchain

TARGETS = ("sm_80", "sm_90", "gfx942", "gfx950")
FAMILIES = ("forward", "decode", "backward_queries", "backward")
DTYPES = ("bf16", "f16", "f32", "f64")
DIMS = (32, 64, 80, 96, 128, 192, 256)
RAGGED = Special(narrow=False, lengths=frozenset({"q_start", "q_lens", "k_start", "k_lens", "offsets"}))
HEADER = ("kernel", "program", "dtype", "D", "target", "tile", "warps", "stages", "registers", "predicted", "spills")
HEADER = (*HEADER, "shared", "predicted", "programs", "warps held")


@dataclass(frozen=True)
class Row:
    """One compiled kernel. registers, shared_bytes, programs: predicted and actual. spills: see above. occupancy: of all warps, actual."""

    family: str
    program: str
    dtype: str
    dim: int
    target: str
    configuration: Configuration
    registers: tuple[int, int]
    shared_bytes: tuple[int, int]
    programs: tuple[int, int]
    occupancy: float
    spills: int

    def cells(self) -> tuple[str, ...]:
        tile = f"{self.configuration.block_q} x {self.configuration.block_k}"
        named = (self.family, self.program, self.dtype, f"{self.dim}", self.target, tile)
        run = (f"{self.configuration.warps}", f"{self.configuration.stages}")
        registers = (f"{self.registers[1]}", f"{self.registers[0]}", f"{self.spills}")
        shared = (f"{self.shared_bytes[1]}", f"{self.shared_bytes[0]}")
        return (*named, *run, *registers, *shared, f"{self.programs[1]}", f"{self.occupancy:.0%}")


# -- programs ---------------------------------------------------------------------------------------------------------


@lacuna.score
def alibi(s, h, q, k, *, slopes):  # noqa: ANN001, ANN201  # pyright: ignore
    return s + slopes[h] * (k - q)  # pyright: ignore


@lacuna.score
def capped(s, *, cap):  # noqa: ANN001, ANN201  # pyright: ignore
    return cap * lacuna.tanh(s / cap)  # pyright: ignore


@lacuna.pattern
def documents(q, k, *, doc):  # noqa: ANN001, ANN201  # pyright: ignore
    return (k <= q) & (doc[q] == doc[k])  # pyright: ignore


def programs() -> dict[str, Program]:
    """Programs that differ in what a thread keeps of each pair."""
    slopes, doc = torch.ones(8), torch.zeros(4096, dtype=torch.int32)
    given: Mapping[str, Any] = {
        "window": (patterns.sliding_window(256), None),
        "causal": (patterns.causal(), None),
        "grid": (patterns.neighborhood(length=(64, 64), window=(13, 13)), None),
        "alibi": (patterns.causal(), alibi(slopes=slopes)),
        "capped": (patterns.causal(), capped(cap=30.0)),
        "documents": (documents(doc=doc), None),
        "all": (documents(doc=doc), alibi(slopes=slopes)),
    }
    return {name: resolved(pattern, score)[0] for name, (pattern, score) in given.items()}


# -- compiling --------------------------------------------------------------------------------------------------------


def compiled(variant: Variant, *, ragged: bool = False) -> Compiled:
    """The kernel of a variant, for its target."""
    values = {symbol.name: 1 for symbol in variant.program.parameters}
    kernel = kernel_of(variant, Launch(1024, 1024, heads=8, parameters=values), toolchain())
    function = load(kernel.path, loaded(kernel).signature, interpret=False)
    return cross_compile(function, kernel.plan, variant.target.name, RAGGED if ragged else None)


def problem_of(variant: Variant, *, ragged: bool = False) -> Problem:
    extra = pair_values(variant.program, ragged=ragged)
    return Problem(variant.target.name, variant.dtype, variant.dims, variant.family, extra)


def row(name: str, variant: Variant, configuration: Configuration, *, ragged: bool = False) -> Row:
    """One configuration of a kernel, compiled."""
    problem = problem_of(variant, ragged=ragged)
    made, predicted = (
        compiled(with_configuration(variant, configuration), ragged=ragged).resources,
        predicted_resources(problem, configuration),
    )
    programs = held_programs(problem.limits, configuration.warps, made.registers, made.shared_bytes)
    return Row(
        variant.family,
        name,
        variant.dtype,
        variant.dims[0],
        variant.target.name,
        configuration,
        (predicted.registers, made.registers),
        (predicted.shared_bytes, made.shared_bytes),
        (predicted.programs, programs),
        programs * configuration.warps / problem.limits.warps,
        made.spills,
    )


def variants(options: argparse.Namespace) -> Iterator[tuple[str, Variant]]:
    """Of every combination that was asked for."""
    known = programs()
    for family in options.family:
        for name in options.program:
            for dtype in options.dtype:
                for dim in options.dim:
                    for target in options.target:
                        yield name, Variant(known[name], Target("triton", target), dtype, (dim, dim), (0, 0), False, family)


def resources_of(options: argparse.Namespace) -> Iterator[Row]:
    """A row for each configuration that is offered; how far it is goes to standard error."""
    wanted = [(name, variant, each) for name, variant in variants(options) for each in _listed(variant, options)]
    for at, (name, variant, configuration) in enumerate(wanted, 1):
        print(f"{at} of {len(wanted)}", file=sys.stderr, flush=True)
        yield row(name, variant, configuration, ragged=options.ragged)


def _listed(variant: Variant, options: argparse.Namespace) -> tuple[Configuration, ...]:
    """What is offered, or of that what a call may get: the first of every bucket."""
    if not options.chosen:
        return offered(problem_of(variant, ragged=options.ragged))
    return tuple(dict.fromkeys(ranking(variant, bucket + OF_RAGGED * options.ragged)[0] for bucket in BUCKETS))


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    for name, choices, usual in (
        ("family", FAMILIES, FAMILIES),
        ("program", tuple(programs()), ("window",)),
        ("dtype", DTYPES, ("bf16",)),
        ("target", (*TARGETS, "sm_86", "sm_89", "sm_100"), TARGETS),
    ):
        parser.add_argument(f"--{name}", choices=choices, nargs="+", default=usual)
    parser.add_argument("--dim", type=int, nargs="+", default=(64, 128), help="head dimensions, of values too")
    parser.add_argument("--ragged", action="store_true", help="lengths that differ between batch items, and indices of 64 bits")
    parser.add_argument("--chosen", action="store_true", help="only configurations that a call may get without `lacuna.tune`")
    parser.add_argument("--all", action="store_true", help=f"every dtype and the dimensions {', '.join(map(str, DIMS))}")
    parser.add_argument("--json", type=Path, help="a file to write the rows to as well")
    options = parser.parse_args(given)
    return argparse.Namespace(**{**vars(options), **({"dtype": DTYPES, "dim": DIMS} if options.all else {})})


def resources() -> Iterator[str]:
    """The lines of what calls may get."""
    return table(["--chosen"])


def table(given: list[str] | None = None) -> Iterator[str]:
    """The lines that are printed."""
    options = arguments(given)
    widths = (17, 9, 5, 4, 7, 9, 5, 6, 9, 9, 6, 7, 9, 8, 10)
    yield "  ".join(f"{cell:>{width}}" for cell, width in zip(HEADER, widths, strict=True))
    rows: list[Row] = []
    for each in resources_of(options):
        rows.append(each)
        yield "  ".join(f"{cell:>{width}}" for cell, width in zip(each.cells(), widths, strict=True))
    spilling = sum(each.spills > 0 for each in rows)
    yield f"{len(rows)} kernels, {spilling} of which spill"
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(each) for each in rows], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    for line in table():
        print(line, flush=True)
