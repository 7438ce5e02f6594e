"""Exact number of attended pairs at concrete lengths: from the areas of rectangles that are true throughout, on grids axis by axis."""

from __future__ import annotations

import math

import numpy as np

from ..ir.expr import Symbol
from ..ir.program import Program
from .axes import seen_along
from .launch import Launch
from .refine import Boxes, Evaluation


def live_pairs(program: Program, launch: Launch, b: int = 0, h: int = 0) -> int:
    """Pairs (q, k) inside both lengths that the mask of a canonical program attends, for one (b, h)."""
    if min(launch.q_len, launch.k_len) <= 0:
        return 0
    evaluation = Evaluation(program.mask, launch)
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


def pairs_on_grid(program: Program, launch: Launch) -> int | None:
    """The same of a program on a grid that a call fills; None where the mask is no product of axes, or reads what is no number."""
    tokens = math.prod(program.space.extents)
    if not launch.q_len == launch.k_len == tokens or launch.offset:
        return None
    axes = seen_along(program, {Symbol(name): value for name, value in launch.parameters.items() if isinstance(value, int)})
    return None if axes is None else math.prod(int(np.count_nonzero(seen)) for seen in axes)
