"""Exact number of attended pairs at concrete lengths, from the areas of rectangles that are true throughout."""

from __future__ import annotations

import numpy as np

from ..ir.program import Program
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
