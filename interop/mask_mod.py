"""FlexAttention's `mask_mod` from a program: one line of torch for each node, on index tensors of any shapes that broadcast.

Nothing that a user wrote gets into the text: variables, tables and temporaries have names of their own, numbers are printed as Python's.
"""

# torch's and numpy's types are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import linecache
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count, product
from operator import add, and_, eq, floordiv, le, lshift, lt, mod, mul, ne, neg, not_, or_, rshift, sub, xor
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from ..ir.expr import Binary, Const, Expr, Kind, Lookup, Op, Select, Symbol, Table, Unary, Var, fold

MaskMod = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]

_NAMES = {"b": "b", "h": "h", "q": "q_idx", "k": "kv_idx"}
_INT32 = 2**31 - 1
_ANY = (-(2**62), 2**62)
_CONSTANT: dict[Op, Callable[..., Any]] = {
    **{Op.ADD: add, Op.SUB: sub, Op.MUL: mul, Op.MIN: min, Op.MAX: max, Op.NEG: neg, Op.ABS: abs, Op.NOT: not_},
    **{Op.BITAND: and_, Op.BITOR: or_, Op.BITXOR: xor, Op.SHL: lshift, Op.SHR: rshift},
    **{Op.LT: lt, Op.LE: le, Op.EQ: eq, Op.NE: ne, Op.AND: and_, Op.OR: or_, Op.XOR: xor},
    Op.FLOORDIV: lambda *sides: _divided(floordiv, *sides),
    Op.MOD: lambda *sides: _divided(mod, *sides),
}
_SPELLED = (Op.ADD, Op.SUB, Op.MUL, Op.FLOORDIV, Op.MOD, Op.BITAND, Op.BITOR, Op.BITXOR, Op.SHL, Op.SHR, Op.LT, Op.LE, Op.EQ, Op.NE)
_INFIX = {**{op: op.value for op in _SPELLED}, Op.AND: "&", Op.OR: "|", Op.XOR: "^"}
_CORNERS = {Op.ADD: add, Op.SUB: sub, Op.MUL: mul, Op.MIN: min, Op.MAX: max}


@dataclass(frozen=True)
class Values:
    """What a mask reads beside q and k.

    extents: how many values each of `q`, `k`, `b`, `h` takes.
    symbols: value of every symbol, lengths included.
    tables:  integer or boolean array of every table.
    """

    extents: Mapping[str, int]
    symbols: Mapping[Expr, int | float]
    tables: Mapping[str, np.ndarray]


class _Value(NamedTuple):
    """A node printed: its text, its inclusive bounds, and its value where that is known."""

    text: str
    low: int
    high: int
    constant: int | bool | None = None


def _divided(operator: Callable[[int, int], int], a: int, b: int) -> int:
    """A divisor of zero gives zero."""
    return operator(a, b) if b else 0


def mask_mod(mask: Expr, values: Values, device: torch.device | str = "cpu") -> MaskMod:
    """`mask` as a function of (b, h, q_idx, kv_idx), integer tensors; tables are held on `device`, parameters are numbers in its text.

    Raises:
        NotImplementedError: the mask holds real numbers.
    """
    text = _Text(values)
    result = text.of(mask)
    if result.constant is not None:
        text.lines.append(f"v = b.new_full((), {bool(result.constant)}, dtype=torch.bool)")
        result = result._replace(text="v")
    wide = [f"{name} = {name}.long()" for name in _NAMES.values()] if text.wide else []
    tables = [held.long() if text.wide and held.dtype == torch.int32 else held for held in text.held.values()]
    return _compiled([*wide, *text.lines, f"return {result.text}"], [held.to(device) for held in tables])


_files = count()


def _compiled(body: list[str], held: list[Tensor]) -> MaskMod:
    """The function with `body`, closing over `held` as t0, t1 ...: closures are what torch makes inputs of its kernels."""
    names = ", ".join(f"t{number}" for number in range(len(held)))
    lines = [f"def made({names}):", "    def mask_mod(b, h, q_idx, kv_idx):", *(f"        {line}" for line in body), "    return mask_mod"]
    source, name = "\n".join(lines) + "\n", f"<lacuna mask_mod {next(_files)}>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)  # for tracebacks and `inspect.getsource`
    scope: dict[str, Any] = {"torch": torch}
    exec(compile(source, name, "exec"), scope)
    return cast(MaskMod, scope["made"](*held))


@dataclass
class _Text:
    """Lines that assign v0, v1 ...; `wide` once an integer may leave 32 bits."""

    values: Values
    lines: list[str] = field(default_factory=list[str])
    held: dict[Table, Tensor] = field(default_factory=dict[Table, Tensor])
    wide: bool = False

    def of(self, root: Expr) -> _Value:
        return fold(root, self._visited)

    def _visited(self, node: Expr, parts: tuple[_Value, ...]) -> _Value:
        found = self._node(node, parts)
        self.wide |= max(-found.low, found.high) > _INT32
        return found

    def _node(self, node: Expr, parts: tuple[_Value, ...]) -> _Value:
        match node:
            case Const(value=value) if node.kind is not Kind.FLOAT:
                return _constant(int(value) if node.kind is Kind.INT else bool(value))
            case Symbol() if node.kind is Kind.INT:
                return _constant(int(self.values.symbols[node]))
            case Var(name=name) if name in _NAMES:
                return _Value(_NAMES[name], 0, max(0, self.values.extents[name] - 1))
            case Lookup(table=table) if table.kind is not Kind.FLOAT:
                return self._assigned(self._look_up(table, parts), *self._extremes(table))
            case Select():
                return self._selected(*parts)
            case Unary(op=op) | Binary(op=op) if op in _CONSTANT and node.kind is not Kind.FLOAT:
                return self._operation(op, parts)
            case _:
                raise NotImplementedError(f"the mask reads the real `{node}`.\n  write it with integers, as FlexAttention's masks are")

    def _assigned(self, text: str, low: int, high: int) -> _Value:
        name = f"v{len(self.lines)}"
        self.lines.append(f"{name} = {text}")
        return _Value(name, low, high)

    def _operation(self, op: Op, parts: tuple[_Value, ...]) -> _Value:
        if all(part.constant is not None for part in parts):
            return _constant(_CONSTANT[op](*(part.constant for part in parts)))
        if op in (Op.AND, Op.OR):
            known = next((part for part in parts if part.constant is not None), None)
            if known is not None:
                other = parts[0] if known is parts[1] else parts[1]
                return other if bool(known.constant) is (op is Op.AND) else known
        return self._assigned(_text(op, parts), *_bounds(op, parts))

    def _selected(self, condition: _Value, a: _Value, b: _Value) -> _Value:
        if condition.constant is not None:
            return a if condition.constant else b
        return self._assigned(f"torch.where({condition.text}, {a.text}, {b.text})", min(a.low, b.low), max(a.high, b.high))

    def _look_up(self, table: Table, parts: tuple[_Value, ...]) -> str:
        """Indices are moved into the table where they may leave it: what is read there belongs to no pair inside the lengths."""
        sizes = self.values.tables[table.name].shape
        if table not in self.held:
            self.held[table] = _held(table, self.values.tables[table.name])
        place = list(self.held).index(table)
        return f"t{place}[{', '.join(_index(part, size) for part, size in zip(parts, sizes, strict=True))}]"

    def _extremes(self, table: Table) -> tuple[int, int]:
        array = self.values.tables[table.name]
        return (int(array.min()), int(array.max())) if array.size else (0, 0)


def _held(table: Table, array: np.ndarray) -> Tensor:
    """The entries as truth values, int32 where they fit, else int64."""
    if not array.size:  # nothing is read, yet indices are made
        array = np.zeros([max(1, size) for size in array.shape], array.dtype)
    tensor = torch.from_numpy(np.array(array))  # a copy: the program's table may change
    if table.kind is Kind.BOOL:
        return tensor.bool()
    return tensor.int() if max(-int(array.min()), int(array.max())) <= _INT32 else tensor.long()


def _constant(value: int | bool) -> _Value:
    return _Value(f"({value})" if value < 0 else str(value), int(value), int(value), value)


def _index(part: _Value, size: int) -> str:
    if part.constant is not None:  # an index tensor, like the others
        return f"torch.full_like(q_idx, {min(max(int(part.constant), 0), max(size - 1, 0))}, dtype=torch.int64)"
    return part.text if part.low >= 0 and part.high < size else f"torch.clamp({part.text}, 0, {max(size - 1, 0)})"


def _text(op: Op, parts: tuple[_Value, ...]) -> str:
    if op in (Op.MIN, Op.MAX):
        bound = next((part for part in parts if part.constant is not None), None)
        if bound is not None:
            other = parts[0] if bound is parts[1] else parts[1]
            return f"torch.clamp({other.text}, {'max' if op is Op.MIN else 'min'}={bound.text})"
        return f"torch.{op.value}imum({parts[0].text}, {parts[1].text})"
    if op in (Op.FLOORDIV, Op.MOD):
        return _division(op, *parts)
    if op in _INFIX:
        return f"{parts[0].text} {_INFIX[op]} {parts[1].text}"
    return {Op.NEG: "-{}", Op.NOT: "~{}", Op.ABS: "torch.abs({})"}[op].format(parts[0].text)


def _division(op: Op, a: _Value, b: _Value) -> str:
    """Rounded down, as torch's own on integers; a divisor of zero gives zero, where torch raises."""
    if b.constant == 0:
        return f"{a.text} * 0"
    if b.low > 0 or b.high < 0:
        return f"{a.text} {_INFIX[op]} {b.text}"
    return f"torch.where({b.text} == 0, 0, {a.text} {_INFIX[op]} torch.where({b.text} == 0, 1, {b.text}))"


def _bounds(op: Op, parts: tuple[_Value, ...]) -> tuple[int, int]:
    if op in _CORNERS:
        a, b = parts
        ends = [_CORNERS[op](x, y) for x, y in product((a.low, a.high), (b.low, b.high))]
        return max(min(ends), _ANY[0]), min(max(ends), _ANY[1])
    first, last = parts[0], parts[-1]
    if op is Op.FLOORDIV and last.low > 0:
        return min(first.low // last.low, first.low // last.high), max(first.high // last.low, first.high // last.high)
    if op is Op.MOD and last.low > 0:
        return 0, last.high - 1
    if op in (Op.NEG, Op.ABS):
        return (-first.high, -first.low) if op is Op.NEG else (0, max(abs(first.low), abs(first.high)))
    if op in (Op.BITAND, Op.SHR) and first.low >= 0 and last.low >= 0:
        return 0, first.high
    return _ANY if op in _INFIX and op not in _LOGIC else (0, 1)


_LOGIC = frozenset({Op.LT, Op.LE, Op.EQ, Op.NE, Op.AND, Op.OR, Op.XOR})
