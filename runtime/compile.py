"""Kernels ahead of the first call."""

from __future__ import annotations

import torch

from ..ir.pattern import Pattern
from ..ir.score import Score
from ..ir.target import Target
from ..passes.costs.key_buckets import SHORT
from ..passes.program.call_values import Launch
from ..passes.program.residues import residues
from .calls.missing_kernels import missing_kernels_named
from .kernels.kernel_of import Kernel, kernel_of
from .kernels.variant import Variant
from .request import materialise
from .request.merged_program import resolved
from .request.request import NAMES
from .request.token_order import TokenOrder, check_extents, check_order


def compile(
    pattern: Pattern | None,
    *,
    target: str = "cpp",
    dtype: torch.dtype = torch.float32,
    head_dim: int = 64,
    value_dim: int | None = None,
    score: Score | None = None,
    heads: int = 1,
    order: TokenOrder | None = None,
) -> Kernel:
    """The kernel that `attention` would use for long sequences: `.source`, `.schedule`, `.key`.

    target: `cpp`, for this machine, or `triton`, whose text every GPU compiles at its first launch.
    heads:  query heads, where the pattern divides by something that differs between heads.
    order:  of the tokens in tiles, from `lacuna.orders`: the kernel over its positions. A kernel takes one, of all its heads.

    Raises:
        ValueError: there is no such target or dtype; the order is one of other tokens than the pattern.
        TypeError: `order` is no order.
    """
    check_order(order)
    if dtype not in NAMES:
        raise ValueError(f"there are no kernels for {dtype}\n  write one of {', '.join(str(each) for each in NAMES)}")
    program, bindings = resolved(pattern, score)
    tables = materialise.tables(program, bindings, 1)
    launch = Launch(
        1024,
        1024,
        heads=heads,
        parameters=materialise.parameters(program, bindings),
        tables=materialise.arrays(tables),
    )
    classes = residues(program, launch) if order is None else None
    if classes is not None:
        program, parameters = classes.program, next(classes.classes(launch.q_len, launch.k_len, 0))[-1]
        launch = launch._replace(parameters={**launch.parameters, **parameters})
    dims = (head_dim, head_dim if value_dim is None else value_dim)
    if target == "cpp":
        from .compilers.cpp_compiler import cpu_target
        from .cpp import launch as cpp_launch
        from .cpp.variants import BOXES_BLOCK

        here = cpu_target()
        variant = Variant(program, here, NAMES[dtype], dims, BOXES_BLOCK, False)
        with missing_kernels_named():
            return kernel_of(*_placed(variant, launch, order), cpp_launch.toolchain_of(here))
    if target == "triton":
        from .triton import backend as triton_backend

        variant = Variant(program, Target("triton", "interpreter"), NAMES[dtype], dims, (64, 32), False)
        with missing_kernels_named():
            return kernel_of(*_placed(variant, launch, order), triton_backend.toolchain())
    raise ValueError(f"there is no target {target!r}\n  write `cpp` or `triton`")


def _placed(variant: Variant, launch: Launch, order: TokenOrder | None) -> tuple[Variant, Launch]:
    """The variant with the tiles that calls give it, over the positions of an order where there is one."""
    if order is not None:
        from .bundles.order_kernels import over_order, with_tokens
        from .choices.cuts import in_tiles_of_boxes

        check_extents(variant.program.space, order.order.rows, None)
        placed = over_order(variant, order)
        tiled = in_tiles_of_boxes(placed, SHORT) if variant.target.backend == "triton" else None
        return tiled or placed, with_tokens(launch, order)
    if variant.target.backend == "triton":
        return variant, launch
    from .choices.shapes import chosen

    return variant._replace(block=chosen(variant, launch.q_len)), launch
