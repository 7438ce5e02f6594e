"""Which of four buckets a call belongs to, by how many keys its rows see, and whether its batch items have lengths of their own.

Light on purpose: a warm start asks this before it looks for the configuration that the cache holds.
"""

# Numpy's arrays carry no element type here.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import numpy as np

from ...ir.expr import tables
from ...ir.program import Program
from ..program.call_values import Launch
from ..program.flatten_grid import FlattenGrid

SHORT, FEW, SOME, MANY = BUCKETS = ("short", "few", "some", "many")
RAGGED = ", ragged"
"""Behind the name of a bucket: of calls whose batch items have lengths or offsets of their own."""
SHORT_ROWS = 64
FEW_KEYS, SOME_KEYS = 512, 4096  # per row, at most
SAMPLED_ROWS = 8
CELL = 16  # tokens that are told apart
FINEST = 4096  # parts of the keys of a row that are told apart at most


def bucket_of(program: Program, launch: Launch) -> str:
    """Which of four buckets a call belongs to: short ones by their rows, others by the keys that a row sees on average.

    A mask that reads tables is taken to see all keys, since what they hold is not structure and may not be here.
    """
    if launch.q_len <= SHORT_ROWS:
        return SHORT
    keys = keys_per_row(program, launch)
    return FEW if keys <= FEW_KEYS else SOME if keys <= SOME_KEYS else MANY


def keys_per_row(program: Program, launch: Launch) -> float:
    """Keys that a row attends, on the average of a few rows; of a mask with tables, all keys. Between tiny parts it is an estimate."""
    mask = FlattenGrid()(program).mask
    if tables(mask):
        return float(launch.k_len)
    from ..bounds.boxes import Boxes, Evaluation  # with it come intervals, which a mask with tables does without

    count = min(SAMPLED_ROWS, launch.q_len)
    rows = launch.offset + (2 * np.arange(count) + 1) * launch.q_len // (2 * count)
    evaluation, unit = Evaluation(mask, launch), max(CELL, launch.k_len // FINEST)
    boxes, seen = Boxes(rows, rows, np.zeros_like(rows), np.full_like(rows, launch.k_len - 1)), 0.0
    while len(boxes):
        can_true, can_false = evaluation.of(boxes, 0, 0)
        size = boxes.k1 - boxes.k0 + 1
        undecided = can_true & can_false
        small = undecided & (size <= unit)
        seen += float(size[can_true & ~can_false].sum()) + 0.5 * float(size[small].sum())
        boxes = boxes[undecided & ~small].halved(1, unit)[0]
    return seen / count
