"""Exact number of attended pairs at concrete lengths: axis by axis, part by part, else from rectangles that are true throughout."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..ir.program import Program
from .axes import seen_along
from .boxes import Boxes, Evaluation
from .launch import Launch
from .parts_of_sequence import laid_out
from .prepare import prepare
from .sequence_rules import rules_of


def live_pairs(program: Program, launch: Launch, places: Sequence[tuple[int, int]] = ((0, 0),)) -> int:
    """Pairs (q, k) inside both lengths that the mask attends, of all (b, h) in `places` together."""
    if min(launch.q_len, launch.k_len) <= 0:
        return 0
    along = _along_axes(program, launch)
    if along is not None:
        return along * len(places)
    evaluation = Evaluation(prepare(program, launch, shifted=launch.moves).program.mask, launch)
    known, rest = _by_parts(program, launch) or (0, [(range(launch.q_len), range(launch.k_len))])
    return known * len(places) + sum(_of_areas(evaluation, *area, place) for area in rest for place in places)


def _by_parts(program: Program, launch: Launch) -> tuple[int, list[tuple[range, range]]] | None:
    """Of a sequence that the call fills: pairs that are known by axes, and the rows and keys of parts of which more is to be asked."""
    if not launch.q_len == launch.k_len == math.prod(program.space.extents) or launch.offset:
        return None
    rules = rules_of(program, dict(launch.integers))
    if rules is None:
        return None
    tokens = [range(part.first, part.first + part.size) for part in laid_out(rules.parts)]
    rest = [(tokens[query], tokens[key]) for (query, key), rule in rules.of.items() if rule is None]
    return rules.live - sum(len(rows) * len(keys) for rows, keys in rest), rest


def _along_axes(program: Program, launch: Launch) -> int | None:
    """Of a grid that the call fills, the same for every (b, h); None where the mask is no product of axes, or reads what is no number."""
    tokens = math.prod(program.space.extents)
    if not launch.q_len == launch.k_len == tokens or launch.offset:
        return None
    axes = seen_along(program, dict(launch.integers))
    return None if axes is None else math.prod(int(np.count_nonzero(seen)) for seen in axes)


def _of_areas(evaluation: Evaluation, rows: range, keys: range, place: tuple[int, int]) -> int:
    """place: (b, h)."""
    stack = [Boxes(*(np.full(1, end, np.int64) for side in (rows, keys) for end in (side[0], side[-1])))]
    total = 0
    while stack:
        boxes = stack.pop()
        can_true, can_false = evaluation.of(boxes, *place)
        area = (boxes.q1 - boxes.q0 + 1) * (boxes.k1 - boxes.k0 + 1)
        total += int(area[can_true & ~can_false].sum())
        undecided = boxes[can_true & can_false]
        if len(undecided):
            stack.extend(undecided.halved(1, 1)[0].chunks())
    return total
