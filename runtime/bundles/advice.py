"""The `lacuna build` line that would have built a kernel which is missing."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator

from ...ir.advice import advice
from ...ir.expr import Lookup, walk
from ...ir.order import Boxes
from ...ir.program import Program
from ...passes.program.binding import bound_values, symbols_needed
from ...passes.program.call_values import Launch
from ...passes.program.flatten_grid import FlattenGrid
from ..cpp.variants import FEW_ROWS
from ..kernels.variant import Variant
from .spec import name_of

LARGEST_TABLE = 4096  # entries that are written into a command


def with_build_line(error: Exception, variant: Variant, launch: Launch) -> Exception:
    """The same error, saying which kernel is missing and how a bundle that holds it is built."""
    dim, value_dim = variant.dims
    what = f"{variant.family} of `{variant.program.name}`, {variant.dtype}, D {dim}, Dv {value_dim}, for {name_of(variant.target)}"
    reason = str(error).splitlines()[0].rstrip(".")
    if variant.sees_beside:
        after = "`lacuna.zero_keys(out, lse, count)`, `lacuna.interop.natten.merge_attentions`"
        return type(error)(
            advice(
                f"bundles hold no kernels whose rows see zero or extra keys ({what}), and {reason}",
                f"the call without them and with `return_lse=True`, and bring them in afterwards: {after}",
            )
        )
    return type(error)(
        advice(f"no loaded bundle holds this kernel ({what}), and {reason}", f"`{build_line(variant, launch)}`, and `lacuna.load('DIR')`")
    )


def build_line(variant: Variant, launch: Launch) -> str:
    """A command for a POSIX shell; everything that a user named is quoted."""
    program = _asked_for(variant)
    dim, value_dim = variant.dims
    words = ["lacuna", "build", "--program", " ".join(str(program).split()), *_values(variant, launch)]
    words += ["--dtype", variant.dtype, "--head-dim", f"{dim}" if dim == value_dim else f"{dim}x{value_dim}"]
    words += ["--pass", "backward" if variant.family.startswith("backward") else "forward"]
    words += ["--rows", "few" if variant.family == "decode" else "short" if launch.q_len <= 2 * FEW_ROWS else "long"]
    words += _order_asked(variant, program, launch)
    words += ["--offsets"] if variant.shifted and variant.family != "decode" else []
    return shlex.join([*words, "--target", name_of(variant.target), "-o", "DIR"])


def _asked_for(variant: Variant) -> Program:
    """The program of the call: where its tokens were put into an order, the one on the grid, of which a bundle has both."""
    if variant.order is None:
        return variant.program
    from ...passes.orders.permuted_program import unboxed

    return unboxed(variant.program, variant.order)


def _order_asked(variant: Variant, program: Program, launch: Launch) -> list[str]:
    """The option for an order that the caller asks for; nothing where kernels choose one. program: over tokens."""
    order = variant.order
    if order is None:
        return []
    if order.tables:
        return ["--order", "row-major"]  # a kernel serves every table
    from .order_kernels import in_boxes

    chosen = in_boxes(variant._replace(program=program, order=None), launch)
    if not isinstance(order.rows, Boxes) or (chosen is not None and chosen.order == order):
        return []
    box, apart = ("x".join(map(str, sizes)) for sizes in (order.rows.box, order.rows.dilation))
    return ["--order", f"boxes {box} apart {apart}"]


def _values(variant: Variant, launch: Launch) -> Iterator[str]:
    """Values that the schedule is bound to, of parameters and of the tables that divide; all parameters where they decide an order."""
    program = variant.program
    for symbol in symbols_needed(program) if variant.order is None else program.parameters:
        yield from ("--set", f"{symbol.name}={int(launch.parameters[symbol.name])}")
    if any(isinstance(value, tuple) for value in bound_values(program, launch).values()):
        read = {node.table.name for node in walk(FlattenGrid()(program).mask) if isinstance(node, Lookup)}
        for name in sorted(read & launch.tables.keys()):
            if launch.tables[name].size <= LARGEST_TABLE:
                yield from ("--set", f"{name}={json.dumps(launch.tables[name].tolist(), separators=(',', ':'))}")
        yield from ("--batch", f"{launch.batch}", "--heads", f"{launch.heads}")
