"""Tensors that a function written for FlexAttention reads: tables, looked up by position, and single numbers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from torch import Tensor, int32, int64, uint8

from ..ir.binding import declaration, require_bindable, scalar
from ..ir.build import binary, quoted, refusal
from ..ir.derived import derived
from ..ir.expr import ONE, Binary, Const, Expr, Kind, Lookup, Op, Select, Symbol, Table, Unary, Var
from ..ir.reserved import misnamed
from .flex_values import Value, integer, truth_value


@dataclass(eq=False)
class Captured:
    """What has been read so far, declared.

    known:     the names that the function itself has for its tensors, by their id.
    recording: whether gradients are asked for.
    """

    known: dict[int, str]
    recording: bool = False
    bindings: dict[str, object] = field(default_factory=dict[str, object])
    _declared: dict[int, Symbol | Table] = field(default_factory=dict[int, "Symbol | Table"])
    _kept: list[Tensor] = field(default_factory=list[Tensor])

    def scalar(self, tensor: Tensor) -> Value:
        """A tensor without axes, which is read at each call."""
        return _of_dtype(scalar(self._declare(tensor, "value", tensor), tensor), tensor)

    def look_up(self, tensor: Tensor, indices: tuple[Value, ...]) -> Value:
        """`tensor[indices]`, an index for every axis. Negative ones count from the end, as torch has it."""
        wide = derived(_signed, tensor) if tensor.dtype is uint8 else tensor  # tables hold signed integers
        table = self._declare(tensor, "captured", wide)
        assert isinstance(table, Table)
        for each in indices:
            if each.dtype not in (int32, int64):
                raise refusal(f"`{table.name}` is read at `{quoted(each.expr)}`, which is no integer of 32 or 64 bits", "an integer index")
        sizes: tuple[int | Expr, ...] = getattr(tensor, "extents", tensor.shape)
        places = tuple(self._from_the_front(each.expr, size) for each, size in zip(indices, sizes, strict=True))
        found = Lookup(table, places)
        return _of_dtype(found, tensor)

    def holds(self, tensor: Tensor) -> bool:
        """Whether it is among those that were read."""
        return id(tensor) in self._declared

    def _declare(self, tensor: Tensor, otherwise: str, value: object) -> Symbol | Table:
        if id(tensor) not in self._declared:
            name = self._name(self.known.get(id(tensor), otherwise), otherwise)
            require_bindable("the function", name, value)
            made = declaration(name, value)
            assert made is not None
            self._declared[id(tensor)] = made
            self.bindings[name] = value
            self._kept.append(tensor)  # while it lives, no other tensor has its id
        return self._declared[id(tensor)]

    def _name(self, wanted: str, otherwise: str) -> str:
        stem = otherwise if misnamed(wanted) else wanted
        names = (stem, *(f"{stem}_{number}" for number in range(2, len(self.bindings) + 3)))
        return next(name for name in names if name not in self.bindings)

    def _from_the_front(self, index: Expr, size: int | Expr) -> Expr:
        """The index modulo the size where it may be negative: what torch reads for all that it accepts."""
        if isinstance(size, Expr):
            return index if self._never_negative(index) else binary(Op.MOD, index, binary(Op.MAX, size, ONE))
        if isinstance(index, Const):
            return Const(int(index.value) % size) if -size <= index.value < 0 else index
        if self._never_negative(index):
            return index
        return binary(Op.MOD, index, Const(max(size, 1)))

    def _never_negative(self, expr: Expr) -> bool:
        """Whether that is plain to see. Positions count from 0."""
        never = self._never_negative
        match expr:
            case Var() | Unary(op=Op.ABS):
                return True
            case Const(value=value):
                return value >= 0
            case Binary(op=Op.MAX | Op.BITAND, a=a, b=b):
                return never(a) or never(b)
            case Binary(op=Op.MOD, b=b):
                return never(b)
            case Binary(op=Op.ADD | Op.MUL | Op.MIN | Op.FLOORDIV, a=a, b=b) | Select(a=a, b=b):
                return never(a) and never(b)
            case _:
                return False


def _of_dtype(found: Expr, tensor: Tensor) -> Value:
    if found.kind is Kind.INT:
        return integer(found, tensor.dtype)
    return truth_value(found) if found.kind is Kind.BOOL else Value(found, tensor.dtype)


def _signed(table: Tensor) -> Tensor:
    return table.short()


def names_of_tensors(function: Callable[..., object]) -> dict[int, str]:
    """What a function, and the functions it closes over, call the tensors they close over; by id."""
    found, waiting, seen = dict[int, str](), [function], set[int]()
    while waiting:
        current = waiting.pop()
        if id(current) in seen or not inspect.isfunction(current):
            continue
        seen.add(id(current))
        for name, value in _closed_over(current):
            if isinstance(value, Tensor):
                found.setdefault(id(value), name)
            else:
                inner = cast("tuple[object, ...]", value if isinstance(value, tuple | list) else (value,))
                waiting.extend(each for each in inner if inspect.isfunction(each))
    return found


def _closed_over(function: Callable[..., object]) -> list[tuple[str, object]]:
    try:
        scope = inspect.getclosurevars(function)
    except ValueError:  # a variable that it closes over has no value yet: what reads it says so
        return []
    return [*scope.nonlocals.items(), *scope.globals.items()]
