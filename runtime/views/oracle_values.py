"""The value of an expression by definition, in int64, bool and float64: the oracle's own reading of every operation.

A look-up outside of its table has no value, and neither has what needs it. `False & x`, `True | x` and the other side of a selection do
not need x, in whichever order they are written.
"""

# torch's types are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NoReturn

import torch
from torch import Tensor

from ...ir.expr import Binary, Const, Expr, Kind, Lookup, Op, Select, Symbol, Unary, Var, fold
from .oracle_wraps import WRAPPED, require_constant, require_no_wrap

EXACT = {Kind.INT: torch.int64, Kind.BOOL: torch.bool, Kind.FLOAT: torch.float64}


@dataclass(frozen=True)
class Environment:
    """Tensors that broadcast against [batch, heads, Lq, Lk].

    values: i64 (f64 for `s`) of every variable and symbol, by name.
    tables: the tensor of every table, by name.
    """

    values: Mapping[str, Tensor]
    tables: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])


@dataclass
class Values:
    """One evaluation: what each node is, and where it has no value.

    outside: each look-up that left its table, with the axis and every index of it.
    """

    environment: Environment
    outside: list[tuple[Lookup, int, Tensor]] = field(default_factory=list[tuple[Lookup, int, Tensor]])

    def of(self, expr: Expr) -> tuple[Tensor, Tensor]:
        """The value as i64, bool or f64, anything where there is none; and where there is none, bool. They broadcast."""
        return fold(expr, self._node)

    def _node(self, node: Expr, parts: tuple[tuple[Tensor, Tensor], ...]) -> tuple[Tensor, Tensor]:
        values, missing = tuple(part[0] for part in parts), tuple(part[1] for part in parts)
        if isinstance(node, Lookup):
            return self._read(node, values, missing)
        found, absent = _value(node, values, self.environment).to(EXACT[node.kind]), _missing(node, values, missing)
        if isinstance(node, Binary | Unary) and node.kind is Kind.INT and node.op in WRAPPED:
            require_no_wrap(node, values, found, absent)
        return found, absent

    def _read(self, node: Lookup, indices: tuple[Tensor, ...], missing: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        tensor, absent = self.environment.tables[node.table.name], _any(missing)
        for axis, index in enumerate(indices):
            beyond = (index < 0) | (index >= tensor.shape[axis])
            if beyond.any():
                self.outside.append((node, axis, index))
                absent = absent | beyond
        if tensor.numel() == 0:
            shape = torch.broadcast_shapes(*(index.shape for index in indices))
            return torch.zeros(shape, dtype=EXACT[node.kind]), absent
        held = [index.clamp(0, size - 1) for index, size in zip(indices, tensor.shape, strict=True)]
        return tensor[torch.broadcast_tensors(*held)].to(EXACT[node.kind]), absent

    def require(self, missing: Tensor) -> None:
        """Raises:
        IndexError: something that is needed is missing.
        """
        if missing.any():
            node, axis, index = self.outside[0]
            _refuse(node, axis, (int(index.min()), int(index.max())), self.environment.tables[node.table.name].shape[axis])


def _any(missing: tuple[Tensor, ...]) -> Tensor:
    return functools.reduce(torch.logical_or, missing, torch.tensor(False))


def _missing(node: Expr, values: tuple[Tensor, ...], missing: tuple[Tensor, ...]) -> Tensor:
    match node:
        case Select():
            return missing[0] | torch.where(values[0], missing[1], missing[2])
        case Binary(op=Op.AND | Op.OR as op):
            settles = op is Op.OR
            settled = ((values[0] == settles) & ~missing[0]) | ((values[1] == settles) & ~missing[1])
            return (missing[0] | missing[1]) & ~settled
        case _:
            return _any(missing)


def evaluate(expr: Expr, environment: Environment) -> Tensor:
    """The value of `expr` as i64, bool or f64. Python's semantics, except that a zero divisor gives 0 for `//` and `%`.

    Raises:
        KeyError: a variable or symbol has no value.
        IndexError: a table is read outside its extents, where the value needs that.
        ValueError: a shift by a negative number.
        OverflowError: an integer leaves 64 bits.
    """
    values = Values(environment)
    found, missing = values.of(expr)
    values.require(missing)
    return found


def _value(node: Expr, parts: tuple[Tensor, ...], environment: Environment) -> Tensor:
    match node:
        case Const(value=value):
            require_constant(node)
            return torch.tensor(value, dtype=EXACT[node.kind])
        case Var(name=name) | Symbol(name=name):
            return environment.values[name]
        case Select():
            return torch.where(parts[0], parts[1].to(EXACT[node.kind]), parts[2].to(EXACT[node.kind]))
        case Unary(op=op):
            return OPERATIONS[op](_operand(op, parts[0]))
        case Binary(op=op):
            return OPERATIONS[op](*_alike(op, *parts))
        case _:
            raise NotImplementedError(f"the oracle cannot evaluate `{node}`")


def _operand(op: Op, a: Tensor) -> Tensor:
    return a if op in (Op.NEG, Op.ABS, Op.NOT) else a.double()


def _alike(op: Op, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Both operands in the type the operation is carried out in."""
    real = op in (Op.DIV, Op.POW) or a.is_floating_point() or b.is_floating_point()
    return (a.double(), b.double()) if real else (a, b)


def _floordiv(a: Tensor, b: Tensor) -> Tensor:
    plain = (b == 0) | (b == -1)  # of the lowest number by -1 a processor makes a trap
    return torch.where(plain, b * a, torch.div(a, torch.where(plain, 1, b), rounding_mode="floor"))


def _mod(a: Tensor, b: Tensor) -> Tensor:
    plain = (b == 0) | (b == -1)
    return torch.where(plain, 0, torch.remainder(a, torch.where(plain, 1, b)))


def _shift(shift: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor) -> Tensor:
    if b.numel() and int(b.min()) < 0:
        raise ValueError(f"a shift by {int(b.min())} positions has no meaning.\n  write a shift by 0 or more")
    return shift(a, b.clamp(max=63))


OPERATIONS: dict[Op, Callable[..., Tensor]] = {
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
    Op.SHL: functools.partial(_shift, torch.bitwise_left_shift),
    Op.SHR: functools.partial(_shift, torch.bitwise_right_shift),
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
    Op.FLOAT: torch.Tensor.double,
}


def _refuse(node: Lookup, axis: int, reached: tuple[int, int], size: int) -> NoReturn:
    lo, hi = reached
    written = node.indices[axis]
    along = f" along axis {axis}" if node.table.rank > 1 else ""
    entry = "entry" if size == 1 else "entries"
    what = f"`{written}` runs from {lo} to {hi}, and a negative index does not wrap" if lo < 0 else f"`{written}` reaches {hi}"
    clamp = f"`min(max({written}, 0), {max(size - 1, 0)})` as the index" if lo < 0 else f"a table with at least {hi + 1} entries"
    raise IndexError(f"table `{node.table.name}` holds {size} {entry}{along}, but {what}.\n  write {clamp}")
