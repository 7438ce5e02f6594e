"""Exact number of attended pairs at concrete lengths: on grids axis by axis, else from the areas of rectangles that are true throughout."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..ir.program import Program
from .axes import seen_along
from .launch import Launch
from .prepare import prepare
from .refine import Boxes, Evaluation


def live_pairs(program: Program, launch: Launch, places: Sequence[tuple[int, int]] = ((0, 0),)) -> int:
    """Pairs (q, k) inside both lengths that the mask attends, of all (b, h) in `places` together."""
    if min(launch.q_len, launch.k_len) <= 0:
        return 0
    along = _along_axes(program, launch)
    if along is not None:
        return along * len(places)
    evaluation = Evaluation(prepare(program, launch, shifted=launch.moves).program.mask, launch)
    return sum(_of_areas(evaluation, launch, *place) for place in places)


def _along_axes(program: Program, launch: Launch) -> int | None:
    """Of a grid that the call fills, the same for every (b, h); None where the mask is no product of axes, or reads what is no number."""
    tokens = math.prod(program.space.extents)
    if not launch.q_len == launch.k_len == tokens or launch.offset:
        return None
    axes = seen_along(program, dict(launch.integers))
    return None if axes is None else math.prod(int(np.count_nonzero(seen)) for seen in axes)


def _of_areas(evaluation: Evaluation, launch: Launch, b: int, h: int) -> int:
    zero = np.zeros(1, np.int64)
    stack = [Boxes(zero, zero + launch.q_len - 1, zero, zero + launch.k_len - 1)]
    total = 0
    while stack:
        boxes = stack.pop()
        can_true, can_false = evaluation.of(boxes, b, h)
        area = (boxes.q1 - boxes.q0 + 1) * (boxes.k1 - boxes.k0 + 1)
        total += int(area[can_true & ~can_false].sum())
        undecided = boxes[can_true & can_false]
        if len(undecided):
            stack.extend(undecided.halved(1, 1)[0].chunks())
    return total
