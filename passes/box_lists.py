"""Tile lists of a program in a box order, axis by axis: where every tile is a box, two tiles meet iff their boxes meet along each axis.

They are those that `refined` finds from the program over positions, at a cost that follows the extents and the number of tiles that meet.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import reduce
from itertools import product
from math import prod

import numpy as np

from ..ir.expr import Const, Expr, K, Q
from ..ir.order import Boxes, Order
from ..ir.program import Program, Space
from .axes import Seen, seen_along
from .launch import Launch
from .refine import Lists, Refinement

Array = np.ndarray


def box_lists(program: Program, order: Order, launch: Launch, *, turned: bool = False) -> Refinement:
    """The lists of a program that `boxed` made, in tiles of as many positions as a box has.

    launch: its parameters are read. turned: tiles of keys first, as the transposed program has them.
    """
    values = {symbol: value for symbol in program.parameters if isinstance(value := launch.parameters[symbol.name], int)}
    axes = seen_along(unboxed(program, order), values)
    assert axes is not None, "an order is for a mask that joins conditions along one axis each"
    rows, keys = (order.keys, order.rows) if turned else order
    numbers, columns, wholes = zip(*_met([seen.T if turned else seen for seen in axes], rows, keys), strict=True)
    row, column, full = np.repeat(numbers, [len(each) for each in columns]), np.concatenate(columns), np.concatenate(wholes)
    tiles = prod(rows.extents) // rows.tokens
    arrays: dict[str, Array] = {}
    for name, which in (("partial", ~full), ("full", full)):
        lists = Lists()
        lists.append(row[which], column[which], tiles)
        arrays[f"{name}_start"], arrays[f"{name}_tile"] = lists.arrays((1, 1, tiles + 1))
    return Refinement(arrays, per_batch=False, per_head=False, points=0, boxes=len(row))


def unboxed(program: Program, order: Order) -> Program:
    """The program on a grid of which `boxed` made this one."""
    space = Space(len(order.rows.extents), order.rows.extents)
    places: dict[Expr, Expr] = {
        at: place
        for side, variable, boxes in (("q", Q, order.rows), ("k", K, order.keys))
        for place, at in zip(space.coordinates(side), boxes.coordinates(variable), strict=True)
        if not isinstance(at, Const)  # an axis of one token
    }
    return replace(program.substituted(places), space=space)


def _met(axes: list[Seen], rows: Boxes, keys: Boxes) -> Iterator[tuple[int, Array, Array]]:
    """Each tile of rows, the tiles of keys that it meets, and which of those it sees whole."""
    places = [_places(rows, axis) for axis in range(len(axes))], [_places(keys, axis) for axis in range(len(axes))]
    boxes = [_by_box(seen, rows, keys, axis) for axis, seen in enumerate(axes)]
    some: list[Array] = [np.logical_or.reduce(each, axis=(1, 3)) for each in boxes]
    whole: list[Array] = [np.logical_and.reduce(each, axis=(1, 3)) for each in boxes]
    for at in product(*(range(len(each)) for each in some)):
        here = [np.flatnonzero(each[box]) for each, box in zip(some, at, strict=True)]
        column = reduce(np.add.outer, [place[chosen] for place, chosen in zip(places[1], here, strict=True)])
        full = reduce(np.logical_and.outer, [each[box, chosen] for each, box, chosen in zip(whole, at, here, strict=True)])
        yield sum(int(place[box]) for place, box in zip(places[0], at, strict=True)), column.ravel(), full.ravel()


def _by_box(seen: Seen, rows: Boxes, keys: Boxes, axis: int) -> Array:
    """bool[boxes of rows, edge, boxes of keys, edge] of what an axis sees."""
    query, key = _tokens(rows, axis), _tokens(keys, axis)
    return seen[query.ravel()][:, key.ravel()].reshape(*query.shape, *key.shape)


def _tokens(boxes: Boxes, axis: int) -> Array:
    """int64[boxes, edge]: where the tokens of each box are along an axis; boxes of one residue come before those of the next."""
    edge, apart = boxes.box[axis], boxes.dilation[axis]
    return np.arange(boxes.extents[axis]).reshape(-1, edge, apart).transpose(2, 0, 1).reshape(-1, edge)


def _places(boxes: Boxes, axis: int) -> Array:
    """What each box along an axis adds to the number of the tile: residues of all axes are counted before boxes."""
    counts = [extent // (edge * apart) for extent, edge, apart in zip(*boxes, strict=True)]
    of_box = np.arange(counts[axis]) * prod(counts[axis + 1 :])
    of_residue = np.arange(boxes.dilation[axis]) * prod(boxes.dilation[axis + 1 :]) * prod(counts)
    return np.add.outer(of_residue, of_box).ravel()
