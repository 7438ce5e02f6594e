"""Which tile shape each C++ kernel has: from memory, a loaded bundle, the cache, or the cost model, in this order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...codegen.cpp_targets import VECTOR_BYTES
from ...ir.target import CHUNK, SHORT_ROWS
from ..compilers.cpp_compiler import CompilerMissing, find_compiler
from ..kernels.shelves import block_found, remade_with_bundles
from ..kernels.variant import Variant
from .choice_cache import MEASURED, Choice, Question, Subject, keep_predicted, kept
from .choice_cache import keep as keep_choice

if TYPE_CHECKING:
    from ...passes.costs.tile_shape import Problem, Shape

Block = tuple[int, int]
LONGEST_EDGE = 1024

_chosen: dict[Subject, Block] = {}


def chosen(variant: Variant, rows: int) -> Block:
    """Edges of query and key tiles for calls of `rows` query rows; `block` of the variant does not matter.

    The same in every process with this cache, and in every cache that `tune` has not written to.
    """
    known = _known(variant, rows)
    found = _chosen.get(known)
    if found is None:
        found = _chosen[known] = block_found(variant, rows) or _kept(variant, known)
    return found


def _kept(variant: Variant, known: Subject) -> Block:
    try:
        return _stored(variant, known) or _predicted(variant, known)
    except CompilerMissing:  # there is nothing to keep it for
        return predicted(variant, known.bucket)


def keep(variant: Variant, rows: int, block: Block) -> None:
    """Let `block` be the choice from now on, here and in every process that starts with this cache.

    Raises:
        CacheUnwritable: the cache folder takes no files.
    """
    known = _known(variant, rows)
    keep_choice(_question(known), Choice(block, MEASURED))
    _chosen[known] = block


@remade_with_bundles
def forget_shapes() -> None:
    """Drop every choice of this process, as a new one would start."""
    _chosen.clear()


def problem_of(variant: Variant) -> Problem:
    """What the cost model needs to know of a kernel."""
    from ...passes.costs.tile_shape import Problem, extents_of  # what the cache holds is not predicted again

    real_bytes = 8 if variant.dtype == "f64" else 4
    return Problem(extents_of(variant.program), sum(variant.dims), real_bytes, VECTOR_BYTES[variant.target.name] // real_bytes)


def block_of(shape: Shape, family: str) -> Block:
    """Query rows fill the lanes of a forward kernel, keys those of a backward one."""
    return (shape.lines, shape.lanes) if family == "backward" else (shape.lanes, shape.lines)


def _known(variant: Variant, rows: int) -> Subject:
    short = rows <= SHORT_ROWS and variant.family == "forward"  # in a backward kernel a short tile gains 3 %
    return Subject.of(variant, "short" if short else "long")


def predicted(variant: Variant, bucket: str) -> Block:
    """The choice of the model. bucket: `short` or `long`."""
    from ...passes.costs.tile_shape import tile_shape

    return block_of(tile_shape(problem_of(variant), SHORT_ROWS if bucket == "short" else SHORT_ROWS + 1), variant.family)


def _predicted(variant: Variant, known: Subject) -> Block:
    """The choice of the model, kept."""
    block = predicted(variant, known.bucket)
    keep_predicted(_question(known), block)
    return block


# -- in the cache -----------------------------------------------------------------------------------------------------


def _question(known: Subject) -> Question:
    """Raises CompilerMissing as `find_compiler` does."""
    return Question("tile shape", known, find_compiler().identity)


def _stored(variant: Variant, known: Subject) -> Block | None:
    """What the cache holds; None where that is nothing, damaged, or no shape that this kernel can have."""
    found = kept(_question(known))
    return None if found is None or not possible(found.numbers, variant.family) else (found.numbers[0], found.numbers[1])


def possible(numbers: tuple[int, ...], family: str) -> bool:
    """Whether kernels of a family can have tiles of these edges, of queries and of keys."""
    if len(numbers) != 2 or min(numbers) <= 0 or max(numbers) > LONGEST_EDGE:
        return False
    lanes, lines = numbers[::-1] if family == "backward" else numbers
    return lanes % CHUNK == 0 and lines % 2 == 0
