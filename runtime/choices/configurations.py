"""Which configuration each Triton kernel has: from memory, a loaded bundle, the cache, or the model, in this order."""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager
from importlib.metadata import version
from typing import TYPE_CHECKING

from ...ir.configuration import Configuration
from ...ir.expr import Kind
from ...ir.program import Program
from ...passes.costs.key_buckets import RAGGED, SHORT, bucket_of
from ...passes.program.call_values import Launch
from ..kernels.shelves import remade_with_bundles, tiling_found
from ..kernels.variant import Variant
from ..request.request import Request
from .choice_cache import MEASURED, Choice, Question, Subject, instead, keep_predicted, kept
from .choice_cache import keep as keep_choice

if TYPE_CHECKING:
    from ...passes.costs.gpu_resources import Problem

FEW_ROWS = 16  # of a decode kernel, for each query head
SMALL = {"decode": Configuration(FEW_ROWS, 32, 4, 2), "forward": Configuration(64, 32, 4, 2)}
INTERPRETED = Configuration(32, 32, 4, 2)
LARGEST_EDGE, MOST_WARPS, MOST_STAGES, MOST_REGISTERS = 256, 32, 8, 512


_chosen: dict[Subject, Configuration] = {}


def configured(variant: Variant, request: Request) -> Variant:
    """The variant with the configuration for calls like `request`; whatever it had of one does not matter."""
    shipped = tiling_found(variant, request.q_len)
    if shipped is not None:
        return variant._replace(**shipped._asdict())
    return with_configuration(variant, chosen(variant, bucket_for(variant, request), request.q_len))


def with_configuration(variant: Variant, found: Configuration) -> Variant:
    """Rows of a tile are those of all query heads in it."""
    block = (max(1, found.block_q // variant.together), found.block_k)
    return variant._replace(block=block, warps=found.warps, stages=found.stages, registers=found.registers)


def chosen(variant: Variant, bucket: str, rows: int) -> Configuration:
    """The configuration of a kernel for calls of a bucket.

    The same in every process with this cache, and in every cache that `tune` has not written to. The interpreter has small tiles.
    """
    if variant.target.name == "interpreter":
        return SMALL.get(variant.family, INTERPRETED)
    known = Subject.of(variant, bucket)
    found = _chosen.get(known)
    if found is None:
        found = _chosen[known] = _stored(known) or _predicted(known)
    return found


def keep(variant: Variant, bucket: str, configuration: Configuration) -> None:
    """Let `configuration` be the choice from now on, here and in every process that starts with this cache.

    Raises:
        CacheUnwritable: the cache folder takes no files.
    """
    known = Subject.of(variant, bucket)
    keep_choice(_question(known), Choice(tuple(configuration), MEASURED))
    _chosen[known] = configuration


def tried(variant: Variant, bucket: str, configuration: Configuration) -> AbstractContextManager[None]:
    """Let `configuration` be the choice of this process for a while."""
    return instead(_chosen, Subject.of(variant, bucket), configuration)


@remade_with_bundles
def forget_configurations() -> None:
    """Drop every choice of this process, as a new one would start."""
    _chosen.clear()
    _bucket.cache_clear()


def problem_of(variant: Variant) -> Problem:
    """What the model needs to know of a kernel, but for its program."""
    from ...passes.costs.gpu_resources import Problem  # what the cache holds is not predicted again

    return Problem(variant.target.name, variant.dtype, variant.dims, variant.family)


def ranking(variant: Variant, bucket: str) -> tuple[Configuration, ...]:
    """Every configuration that is offered, the one that is predicted to be fastest first."""
    from ...passes.costs.gpu_configurations import ranked

    return ranked(variant.program, problem_of(variant), bucket)


# -- buckets ----------------------------------------------------------------------------------------------------------


def bucket_for(variant: Variant, request: Request) -> str:
    """The bucket of a call, from its shape and the numbers it gives; nothing is read from a tensor.

    Few rows are one bucket, so that a cache of keys grows without a new kernel.
    """
    if variant.family == "decode":
        return SHORT
    offset = request.offset if request.ragged.offsets is None else max(0, request.k_len - request.q_len)
    bucket = _bucket(variant.program, request.q_len, request.k_len, offset, _integers(request))
    return bucket if request.ragged.uniform else bucket + RAGGED


def _integers(request: Request) -> tuple[tuple[str, int], ...]:
    """Of a mask that reads no tables, the numbers that it may turn on."""
    numbers = [symbol.name for symbol in request.program.parameters if symbol.kind is not Kind.FLOAT]
    return tuple((name, int(request.bindings[name])) for name in numbers)  # pyright: ignore[reportArgumentType]  (they are whole)


@functools.lru_cache(maxsize=1024)
def _bucket(program: Program, q_len: int, k_len: int, offset: int, numbers: tuple[tuple[str, int], ...]) -> str:
    return bucket_of(program, Launch(q_len, k_len, offset, parameters=dict(numbers)))


# -- in the cache -----------------------------------------------------------------------------------------------------


@functools.cache
def compiler_identity() -> str:
    return f"triton {version('triton')}"


def _question(known: Subject) -> Question:
    return Question("configuration", known, compiler_identity())


def _stored(known: Subject) -> Configuration | None:
    """What the cache holds; None where that is nothing, damaged, or nothing that a kernel can have."""
    found = kept(_question(known))
    return None if found is None or not possible(found.numbers) else Configuration(*found.numbers)


def possible(numbers: tuple[int, ...]) -> bool:
    """Whether these are the fields of a configuration that Triton takes."""
    match numbers:
        case (block_q, block_k, warps, stages, registers):
            edges = all(16 <= edge <= LARGEST_EDGE and edge.bit_count() == 1 for edge in (block_q, block_k))
            whole = 1 <= warps <= MOST_WARPS and warps.bit_count() == 1
            return edges and whole and 1 <= stages <= MOST_STAGES and registers <= MOST_REGISTERS
        case _:
            return False


def _predicted(known: Subject) -> Configuration:
    """The choice of the model, kept."""
    from ...passes.costs.gpu_configurations import ranked
    from ...passes.costs.gpu_resources import Problem

    best = ranked(known.program, Problem(known.target.name, known.dtype, known.dims, known.family), known.bucket)[0]
    keep_predicted(_question(known), tuple(best))
    return best
