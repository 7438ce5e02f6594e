"""The value of an expression on torch tensors of one device: what the eager backend computes masks and scores with."""

# torch's types are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...ir.expr import Binary, Const, Expr, Kind, Lookup, Op, Select, Symbol, Table, Unary, Var, fold


@dataclass(frozen=True)
class Values:
    """Tensors that broadcast against each other.

    names:  of variables and symbols: i64, bool, or `real` for `s` and real parameters.
    tables: the tensor of every table.
    real:   dtype that real arithmetic is carried out in.
    """

    names: Mapping[str, Tensor]
    tables: Mapping[str, Tensor]
    real: torch.dtype
    device: torch.device

    def with_names(self, **more: Tensor) -> Values:
        return replace(self, names={**self.names, **more})

    def dtype(self, kind: Kind) -> torch.dtype:
        return self.real if kind is Kind.FLOAT else torch.bool if kind is Kind.BOOL else torch.int64

    def of(self, expr: Expr) -> Tensor:
        """The value of `expr`. Division rounds down and a zero divisor gives 0; look-ups are clamped to their table."""
        return fold(expr, self._node)

    def _node(self, node: Expr, parts: tuple[Tensor, ...]) -> Tensor:
        match node:
            case Const(value=value):
                return torch.tensor(value, dtype=self.dtype(node.kind), device=self.device)
            case Var(name=name) | Symbol(name=name):
                return self.names[name]
            case Lookup(table=table):
                return self._entries(table, parts).to(self.dtype(node.kind))
            case Select():
                return torch.where(parts[0], *(part.to(self.dtype(node.kind)) for part in parts[1:]))
            case Unary(op=op) | Binary(op=op):
                return TORCH[op](*self._operands(node, parts))
            case _:
                raise NotImplementedError(f"the eager backend cannot evaluate `{node}`")

    def _operands(self, node: Expr, parts: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Everything real where the result or one side is."""
        if node.kind is Kind.FLOAT or any(part.is_floating_point() for part in parts):
            return tuple(part.to(self.real) for part in parts)
        return parts

    def _entries(self, table: Table, indices: tuple[Tensor, ...]) -> Tensor:
        tensor = self.tables[table.name]
        if tensor.numel() == 0:
            return tensor.new_zeros(torch.broadcast_shapes(*(index.shape for index in indices)))
        clamped = [index.clamp(0, size - 1) for index, size in zip(indices, tensor.shape, strict=True)]
        return tensor[tuple(torch.broadcast_tensors(*clamped))]


def _floordiv(a: Tensor, b: Tensor) -> Tensor:
    return torch.floor_divide(a, b.where(b != 0, 1)).where(b != 0, 0)


def _mod(a: Tensor, b: Tensor) -> Tensor:
    """By -1 as by 0 it is 0, which processors do not say of the lowest number."""
    plain = (b == 0) | (b == -1)
    return torch.remainder(a, b.where(~plain, 1)).where(~plain, 0)


def _shift_left(a: Tensor, b: Tensor) -> Tensor:
    """By more than the word is wide only 0 is shifted, which a proof saw; processors take such an amount for another."""
    return torch.bitwise_left_shift(a, b.clamp(0, 63))


def _shift_right(a: Tensor, b: Tensor) -> Tensor:
    return torch.bitwise_right_shift(a, b.clamp(0, 63))


TORCH: dict[Op, Callable[..., Tensor]] = {
    Op.ADD: torch.add,
    Op.SUB: torch.sub,
    Op.MUL: torch.mul,
    Op.MIN: torch.minimum,
    Op.MAX: torch.maximum,
    Op.NEG: torch.neg,
    Op.ABS: torch.abs,
    Op.FLOORDIV: _floordiv,
    Op.MOD: _mod,
    Op.BITAND: torch.bitwise_and,
    Op.BITOR: torch.bitwise_or,
    Op.BITXOR: torch.bitwise_xor,
    Op.SHL: _shift_left,
    Op.SHR: _shift_right,
    Op.LT: torch.lt,
    Op.LE: torch.le,
    Op.EQ: torch.eq,
    Op.NE: torch.ne,
    Op.AND: torch.logical_and,
    Op.OR: torch.logical_or,
    Op.XOR: torch.logical_xor,
    Op.NOT: torch.logical_not,
    Op.DIV: torch.true_divide,
    Op.POW: torch.pow,
    Op.EXP: torch.exp,
    Op.EXP2: torch.exp2,
    Op.LOG: torch.log,
    Op.LOG2: torch.log2,
    Op.SQRT: torch.sqrt,
    Op.TANH: torch.tanh,
    Op.SIN: torch.sin,
    Op.COS: torch.cos,
    Op.SIGMOID: torch.sigmoid,
    Op.ERF: torch.erf,
    Op.FLOAT: torch.Tensor.clone,  # the operand is real by then
}
