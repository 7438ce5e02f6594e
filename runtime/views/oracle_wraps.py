"""Where int64 arithmetic of the oracle left 64 bits: a result that is not the mathematical one is refused, not passed on."""

# torch's types are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownLambdaType=false
from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...ir.advice import advice
from ...ir.expr import Binary, Const, Op, Unary

LOWEST, HIGHEST = -(2**63), 2**63 - 1


def _of_product(found: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Far from 2 ** 63 a double tells; near it a product that wrapped has the other sign."""
    size = a.double() * b.double()
    return (size.abs() > 2.0**63 * (1 + 2.0**-40)) | ((size.abs() > 2.0**62) & ((found < 0) != (size < 0)))


WRAPPED: dict[Op, Callable[..., Tensor]] = {
    Op.ADD: lambda found, a, b: ((a ^ found) & (b ^ found)) < 0,
    Op.SUB: lambda found, a, b: ((a ^ b) & (a ^ found)) < 0,
    Op.MUL: _of_product,
    Op.FLOORDIV: lambda found, a, b: (a == LOWEST) & (b == -1),
    Op.NEG: lambda found, a: a == LOWEST,
    Op.ABS: lambda found, a: a == LOWEST,
    Op.SHL: lambda found, a, by: (a != 0) & ((by > 63) | (torch.bitwise_right_shift(found, by.clamp(0, 63)) != a)),
}


def require_no_wrap(node: Binary | Unary, operands: tuple[Tensor, ...], found: Tensor, absent: Tensor) -> None:
    """Raise OverflowError where `found`, what torch computed, is not the value of `node` and there is one. absent: where there is none."""
    if (WRAPPED[node.op](found, *operands) & ~absent).any():
        raise OverflowError(advice(f"`{node}` leaves 64 bits at some pair", "smaller numbers, or a clamp of what goes into it"))


def require_constant(node: Const) -> None:
    if isinstance(node.value, int) and not LOWEST <= node.value <= HIGHEST:
        raise OverflowError(advice(f"the constant {node.value} does not fit in 64 bits", "a number between -2 ** 63 and 2 ** 63 - 1"))
