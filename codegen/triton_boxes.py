"""Keys and values as the tensor unit reads them: a tile of rows, or a box of a grid, in one copy."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..ir.digits import multiple
from ..ir.expr import I, J
from ..ir.order import Boxes
from ..ir.plan import Plan
from .print_triton import Names, bind

MOST_AXES = 4  # the tensor unit takes five, dimensions of the head among them
LONGEST_EDGE = 256


@dataclass(frozen=True, slots=True)
class Copied:
    """How a tile of keys or of values comes through a descriptor.

    before: lines before the descriptors are made.   select: lines of a loop, where `j` is known.
    corner: Triton integers, the coordinates of the tile but for those along the head.
    """

    before: tuple[str, ...]
    select: tuple[str, ...]
    corner: str
    shape: tuple[str, ...]
    strides: tuple[str, ...]
    block: tuple[str, ...]
    base: str = "{}"

    def descriptor(self, rows: str, stride: str, dim: str, width: str) -> str:
        """Triton text that makes one. rows: a pointer; stride: from token to token, in elements; width: of a tile, along `dim`."""
        strides = [f"{each} * {stride}" if each else stride for each in self.strides]
        parts = {"shape": [*self.shape, dim], "strides": [*strides, "1"], "block_shape": [*self.block, width]}
        listed = ", ".join(f"{name}=[{', '.join(values)}]" for name, values in parts.items())
        return f"tl.make_tensor_descriptor({self.base.format(rows, stride)}, {listed})"


ROWS = Copied((), (), "start", ("Lk.to(tl.int32)",), ("",), ("BLOCK_K",))


def copied(plan: Plan, names: Names) -> Copied:
    """How tiles of keys are copied, where `plan` says that they are."""
    order = plan.order
    return ROWS if order is None or not isinstance(order.keys, Boxes) else _of_boxes(order.keys, plan, names)


def boxes_fit(plan: Plan) -> bool:
    """Whether a tile of keys is one box of the grid, which one copy brings; the residue class is that of the queries."""
    order = plan.order
    if order is None:
        return True
    if not isinstance(order.keys, Boxes) or not isinstance(order.rows, Boxes):
        return False
    sizes = len(order.keys.box) <= MOST_AXES and max(order.keys.box) <= LONGEST_EDGE and order.keys.tokens == plan.block_k
    return sizes and (order.keys.classes == 1 or plan.schedule.route == "axes")


def _of_boxes(boxes: Boxes, plan: Plan, names: Names) -> Copied:
    order = plan.order
    assert order is not None
    assert isinstance(order.rows, Boxes)
    corners = bind([multiple(place, edge) for (place, _), edge in zip(boxes.tile(J), boxes.box, strict=True)], names, "corner")
    called = [f"corner_{axis}" for axis in range(len(boxes.box))]
    select = (*corners.lines, *(f"{name} = ({text}).to(tl.int32)" for name, text in zip(called, corners.texts, strict=True)))
    residues = [residue for _, residue in order.rows.tile(I)]
    classes = bind(residues, names, "residue")
    of_class = [f"residue_{axis}" for axis in range(len(residues))]
    before = (*classes.lines, *(f"{name} = ({text}).to(tl.int64)" for name, text in zip(of_class, classes.texts, strict=True)))
    steps = [math.prod(boxes.extents[axis + 1 :]) for axis in range(len(boxes.extents))]  # tokens from one coordinate to the next
    first = " + ".join(f"{name} * {step}" for name, step, apart in zip(of_class, steps, boxes.dilation, strict=True) if apart > 1)
    return Copied(
        before if first else (),
        select,
        ", ".join(called),
        tuple(_length(extent, apart, name) for extent, apart, name in zip(boxes.extents, boxes.dilation, of_class, strict=True)),
        tuple(f"{step * apart}" if step * apart > 1 else "" for step, apart in zip(steps, boxes.dilation, strict=True)),
        tuple(map(str, boxes.box)),
        f"{{0}} + ({first}) * ({{1}})" if first else "{0}",
    )


def _length(extent: int, apart: int, residue: str) -> str:
    """Tokens of a residue class along an axis."""
    if extent % apart == 0:
        return f"{extent // apart}"
    return f"({extent + apart - 1} - {residue}).to(tl.int32) // {apart}"
