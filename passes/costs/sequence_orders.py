"""Boxes for the grids of a sequence, such as a video beside text: every shape of a tile of STANDARD, counted pair by pair of parts."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from itertools import product

from ...ir.order import Boxes, Parts
from ..sequences.parts import Extents
from ..sequences.sequence_rules import Rule, Rules
from .box_counts_of_order import Counted, Tiles, boxes_of, partly, row_major_chunks, tiles_in_boxes, time_in_boxes, work_of
from .boxes_held import held
from .sequence_counts import row_major_tiles
from .tile_shape import COSTS, STANDARD, Problem, tile_shape

MOST_SHAPES = 4  # of boxes on each grid, where there are several


def row_major(rules: Rules, problem: Problem) -> Counted:
    """Tokens as they lie, in tiles of the shape that kernels take; visited and full tiles are those of STANDARD."""
    tokens = _tokens(rules)
    shape = tile_shape(problem, tokens)
    sizes = [(each.lanes, each.lines) for each in (STANDARD, shape)]
    (visited, full), ours = row_major_tiles(rules, sizes)
    longest = max(
        (rule for rule in rules.of.values() if isinstance(rule, Rule) and len(rule.axes) > 1),
        key=lambda rule: math.prod(map(len, rule.axes)),
    )
    work = work_of(partly(ours, row_major_chunks(longest.axes, shape)), -(-tokens // shape.lanes) * shape.lanes, tokens, shape)
    return Counted(COSTS.predicted(work, shape, problem), _useful(rules, visited), visited, full)


def in_parts(rules: Rules, parts: Parts, problem: Problem) -> Counted:
    """The parts in boxes; what hangs over a grid, or over the end of a line, is counted."""
    met = [_met(rules.of[pair], parts.boxes[pair[0]], parts.boxes[pair[1]]) for pair in rules.of]
    tiles = Tiles(*(sum(each) for each in zip(*met, strict=True)))
    time = time_in_boxes(work_of(tiles, parts.positions, _tokens(rules)), problem)
    return Counted(time, _useful(rules, int(tiles.visited)), int(tiles.visited), int(tiles.full))


def shapes(rules: Rules, problem: Problem) -> Iterator[Parts]:
    """Boxes of as many positions as a tile of STANDARD has tokens for every grid, and runs of as many for lines."""
    offered = {extents: boxes_of(extents, STANDARD.lanes, rules.dilation(extents)) for extents in rules.grids}
    if len(offered) > 1:
        offered = {extents: _best(rules, extents, boxes, problem) for extents, boxes in offered.items()}
    for chosen in product(*offered.values()):
        yield _parts(rules, dict(zip(offered, chosen, strict=True)))


def _best(rules: Rules, extents: Extents, boxes: list[Boxes], problem: Problem) -> list[Boxes]:
    """Those that do best where every other grid is as it would be on a line."""

    @functools.cache
    def time(each: Boxes) -> float:
        return sum(
            time_in_boxes(work_of(tiles_in_boxes(rule.axes, each), each.positions, math.prod(extents)), problem)
            for rule in rules.on(extents)
        )

    return sorted(boxes, key=time)[:MOST_SHAPES]


def _parts(rules: Rules, chosen: Mapping[Extents, Boxes]) -> Parts:
    lanes = STANDARD.lanes
    return Parts(tuple(chosen[each] if len(each) > 1 else Boxes(each, (lanes,), (1,)) for each in rules.parts))


def _tokens(rules: Rules) -> int:
    return sum(map(math.prod, rules.parts))


def _useful(rules: Rules, visited: int) -> float:
    return rules.live / max(1, visited * STANDARD.lanes * STANDARD.lines)


NONE = Tiles(0, 0, 0, 0)


def _met(rule: Rule | bool | None, queries: Boxes, keys: Boxes) -> Tiles:
    if isinstance(rule, Rule):
        return tiles_in_boxes(rule.axes, queries)
    if rule is None:
        met = held(queries).begun * held(keys).begun
        return Tiles(met, 0, met * STANDARD.lanes * STANDARD.lines, 0)
    return everything(queries, keys) if rule else NONE


def everything(queries: Boxes, keys: Boxes) -> Tiles:
    """Where all tokens of one part see all of another."""
    rows, columns = held(queries).begun, held(keys)
    partial = rows * (columns.begun - columns.filled)
    run = math.prod(keys.extents) % keys.tokens if keys.dilation == (1,) else keys.tokens  # of the last tile of a line
    chunked = 8 * run <= 7 * keys.tokens
    pairs = partial * STANDARD.lanes
    return Tiles(rows * columns.begun, rows * columns.filled, 0 if chunked else pairs * STANDARD.lines, pairs * run if chunked else 0)
