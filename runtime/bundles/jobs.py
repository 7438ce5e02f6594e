"""Kernels that a specification asks for, each as one job that another process can do."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch

from ...ir.advice import advice
from ...ir.expr import Kind
from ...ir.parse import parse_program
from ...ir.plan import Plan
from ...ir.program import Program
from ...ir.source import Source
from ...ir.target import Target
from ...ir.verify import verify
from ...passes.program.binding import bound_values, symbols_needed
from ...passes.program.call_values import Launch
from ...passes.program.residues import residues
from ..kernels.variant import Variant
from ..request import materialise
from ..request.merged_program import Bindings, resolved
from .order_kernels import in_boxes, of_orders, over_order, with_tiles_of_order, with_tokens
from .order_text import order_of_sides, sides_of, words_of
from .spec import KernelSpec, name_of
from .tiles import with_tiles

if TYPE_CHECKING:
    from ..request.token_order import TokenOrder

LENGTH = 256  # tokens of the launch that stands for all others, where they are on no grid: a kernel holds for every length


class Job(NamedTuple):
    """One kernel to build.

    name:    of its files and of its C function.
    variant: of C++ its `block` is chosen where it is built.
    launch:  stands for every call.   rows: `long`, `short` or `few`.
    ragged:  build also the one for lengths that differ, where tiles are listed and one kernel does not serve both.
    grid:    of a kernel with an order of its own, the text of the program over tokens.   asked: it is for calls that ask for that order.
    """

    name: str
    variant: Variant
    launch: Launch
    rows: str
    ragged: bool
    grid: str = ""
    asked: bool = False

    def text(self) -> str:
        """JSON that `Job.of` reads."""
        variant, launch = self.variant, self.launch
        return _json(
            {
                "name": self.name,
                "variant": {
                    **variant._asdict(),
                    "program": str(variant.program),
                    "target": list(variant.target),
                    "order": sides_of(variant.order),
                },
                "launch": {"q_len": launch.q_len, "k_len": launch.k_len, "batch": launch.batch, "heads": launch.heads},
                "parameters": dict(launch.parameters),
                "tables": {name: _packed(table) for name, table in sorted(launch.tables.items())},
                "shifted": launch.shifted,
                "rows": self.rows,
                "ragged": self.ragged,
                "grid": self.grid,
                "asked": self.asked,
            }
        )

    @staticmethod
    def of(text: str) -> Job:
        given: dict[str, Any] = json.loads(text)
        variant: dict[str, Any] = given["variant"]
        fixed: dict[str, Any] = {
            "program": parse_program(variant["program"]),
            "target": Target(*variant["target"]),
            "dims": tuple(variant["dims"]),
            "block": tuple(variant["block"]),
            "wanted": tuple(variant["wanted"]),
            "order": order_of_sides(variant["order"]),
        }
        tables = {name: _unpacked(packed) for name, packed in given["tables"].items()}
        launch = Launch(**given["launch"], parameters=given["parameters"], tables=tables, shifted=given["shifted"])
        return Job(given["name"], Variant(**{**variant, **fixed}), launch, given["rows"], given["ragged"], given["grid"], given["asked"])


class Made(NamedTuple):
    """What came of a job. variant: as it was built.   said: what the manifest says of it beside the rest."""

    variant: Variant
    plan: Plan
    source: Source
    said: dict[str, Any]


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True)


def _packed(table: np.ndarray) -> str:
    data = io.BytesIO()
    np.save(data, table, allow_pickle=False)
    return base64.b64encode(data.getvalue()).decode()


def _unpacked(text: str) -> np.ndarray:
    return np.load(io.BytesIO(base64.b64decode(text)), allow_pickle=False)


# -- what a specification comes to ------------------------------------------------------------------------------------


def jobs_of(specs: tuple[KernelSpec, ...], targets: tuple[Target, ...]) -> list[Job]:
    """The jobs of every kernel for every target, each once, in an order that depends on nothing else."""
    found: dict[_Served, Job] = {}
    for spec in specs:
        for target in targets:
            for job in _jobs(spec, target):
                served = _served(job)
                same = found.setdefault(served, job)
                found[served] = same._replace(ragged=same.ragged or job.ragged)
    return sorted(_named(_alike(found)).values(), key=lambda job: (job.name, job.variant.target))


_Served = tuple[Variant, str, str]
"""What calls tell kernels apart by: a variant without its tiles, query rows, and the values that its schedule is bound to."""


def _served(job: Job) -> _Served:
    bound = repr(sorted(bound_values(job.variant.program, job.launch).items()))
    return job.variant._replace(block=(0, 0), warps=0, stages=0, registers=0), job.rows, bound


def _alike(jobs: Mapping[_Served, Job]) -> dict[_Served, Job]:
    """The same with one choice of tiles for kernels that differ in bound values alone: calls find tiles before values."""
    first: dict[tuple[Variant, str], Variant] = {}
    return {served: job._replace(variant=first.setdefault(served[:2], job.variant)) for served, job in jobs.items()}


def _named(jobs: Mapping[_Served, Job]) -> dict[_Served, Job]:
    """The same with names of their own: where two kernels of a target would have one name, a digest is added to both."""
    taken: dict[tuple[str, Target], int] = {}
    for job in jobs.values():
        at = (_name(job), job.variant.target)
        taken[at] = taken.get(at, 0) + 1
    return {
        key: job._replace(name=_name(job) if taken[_name(job), job.variant.target] == 1 else f"{_name(job)}_{_digest(job)}")
        for key, job in jobs.items()
    }


def _name(job: Job) -> str:
    variant = job.variant
    dim, value_dim = variant.dims
    words = [variant.program.name, variant.dtype, f"d{dim}" if dim == value_dim else f"d{dim}v{value_dim}", variant.family]
    words += ["short"] if job.rows == "short" and variant.family == "forward" else []
    words += ["moved"] if variant.shifted and variant.family != "decode" else []
    words += words_of(variant.order)
    words += ["grad", *variant.wanted] if variant.wanted else []
    return re.sub(r"[^A-Za-z0-9_]", "_", "_".join(words).strip("_"))


def _digest(job: Job) -> str:
    """Of everything but the target: the kernel has one name on all of them."""
    return hashlib.sha256(
        job._replace(name="", variant=job.variant._replace(target=Target("", ""), block=(0, 0))).text().encode()
    ).hexdigest()[:8]


def _jobs(spec: KernelSpec, target: Target) -> Iterator[Job]:
    for asked in _programs(spec):
        for dtype in spec.dtypes:
            for dims in spec.dims:
                plain = Variant(asked.program, target, dtype, dims, (0, 0), spec.offsets and not asked.of_class)
                yield from _in_rows(spec, plain, asked) if asked.order is None else _as_asked(spec, plain, asked)


def _in_rows(spec: KernelSpec, plain: Variant, asked: _Asked) -> Iterator[Job]:
    """Kernels over row-major tokens, and the ones over boxes of a grid that calls with these parameters would be compiled to."""
    ragged = spec.ragged and not asked.of_class
    for variant, rows in _variants(spec, plain, asked.of_class):
        tiled = with_tiles(variant, rows, asked.launch, ragged=ragged)
        yield Job("", tiled, asked.launch._replace(shifted=variant.shifted), rows, ragged)
        boxed = in_boxes(variant, asked.launch) if rows == "long" else None
        if boxed is not None:
            yield Job("", boxed, asked.launch, rows, ragged=False, grid=str(asked.program))


def _as_asked(spec: KernelSpec, plain: Variant, asked: _Asked) -> Iterator[Job]:
    """Kernels in the order that a specification asks for, whose calls have all rows and no offset."""
    order = asked.order
    assert order is not None
    launch = with_tokens(asked.launch, order)
    whole = replace(spec, rows=("long",), offsets=False)
    for variant, rows in _variants(whole, over_order(plain, order), of_class=False):
        yield Job("", with_tiles_of_order(variant, launch), launch, rows, ragged=False, grid=str(asked.program), asked=True)


def _variants(spec: KernelSpec, plain: Variant, of_class: bool) -> Iterator[tuple[Variant, str]]:
    """Every variant that calls of a specification ask for, and the rows of those calls. Classes of residues are long ones."""
    rows = [each for each in ("long", "short", "few") if each in spec.rows and (each == "long" or not of_class)]
    if "forward" in spec.passes:
        for each in rows:
            family, shifted = ("decode", True) if each == "few" else ("forward", plain.shifted)
            same = each == "short" and plain.target.backend == "triton"  # there, tiles of short calls are those of long ones
            yield plain._replace(family=family, shifted=shifted), "long" if same else each
    if "backward" in spec.passes:
        families = ("backward",) if plain.target.backend == "cpp" else ("backward", "backward_queries")
        for shifted in sorted({plain.shifted or each == "few" for each in rows}):
            for wanted in dict.fromkeys(((), _float_tables(plain.program))):
                for family in families:
                    yield plain._replace(family=family, shifted=shifted, wanted=wanted), "long"


def _float_tables(program: Program) -> tuple[str, ...]:
    return tuple(sorted(table.name for table in program.tables if table.kind is Kind.FLOAT))


class _Asked(NamedTuple):
    """A program that calls of a specification ask for.

    of_class: it is that of residue classes.   order: of tokens, where calls ask for one.
    """

    program: Program
    launch: Launch
    of_class: bool = False
    order: TokenOrder | None = None


def _programs(spec: KernelSpec) -> Iterator[_Asked]:
    """The program of a pattern, or those of its heads in orders of their own; those of residue classes too, which long calls fall into."""
    whole, bindings = _text_resolved(spec) if isinstance(spec.pattern, str) else resolved(spec.pattern, spec.score)
    for program, launch, order in of_orders(spec, whole, _launch(spec, whole, bindings)):
        yield _Asked(program, launch, order=order)
        classes = residues(program, launch) if "long" in spec.rows and order is None else None
        if classes is not None:
            parameters = next(classes.classes(LENGTH, LENGTH, 0))[-1]
            yield _Asked(classes.program, launch._replace(parameters={**launch.parameters, **parameters}), of_class=True)


def _launch(spec: KernelSpec, program: Program, bindings: Bindings) -> Launch:
    length = math.prod(program.space.extents) if program.space.extents else LENGTH
    tables = (
        materialise.tables(program, bindings, length) if not isinstance(spec.pattern, str) else cast("dict[str, torch.Tensor]", bindings)
    )
    if isinstance(spec.pattern, str):
        parameters = {symbol.name: cast(int, spec.values.get(symbol.name, 1)) for symbol in program.parameters}
    else:
        parameters = materialise.parameters(program, bindings)
    arrays = materialise.arrays(tables)
    return Launch(length, length, heads=spec.heads, batch=spec.batch, parameters=parameters, tables=arrays)


def _text_resolved(spec: KernelSpec) -> tuple[Program, Bindings]:
    """The program of a text, and its tables.

    Raises:
        InvalidProgram: the text is none.
        ValueError: a value is missing.
    """
    program = parse_program(cast(str, spec.pattern))
    verify(program)
    for symbol in symbols_needed(program):
        if symbol.name not in spec.values:
            raise ValueError(
                advice(f"`{symbol.name}` divides or multiplies a position of `{program.name}`", f"its value: `{symbol.name}=...`")
            )
    return program, {table.name: _table(spec, table.name, table.dtype, table.rank) for table in program.tables}


def _table(spec: KernelSpec, name: str, dtype: str, rank: int) -> torch.Tensor:
    given = torch.as_tensor(spec.values.get(name, 0), dtype=materialise.DTYPES[dtype])
    return given if given.dim() == rank else torch.zeros((1,) * rank, dtype=materialise.DTYPES[dtype])


def described(job: Job) -> str:
    return f"{job.name} for {name_of(job.variant.target)}"
