"""What may be bound to a parameter, and what it becomes: a number a symbol, a tensor a table, anything else part of the program."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from .build import refusal
from .expr import ZERO, Binary, Expr, Kind, Lookup, Op, Symbol, Table, names
from .segments import Segments
from .trace import TensorLike, Traced, TracedTable, is_tensor

_DTYPES = {
    "int8": "i8",
    "int16": "i16",
    "int32": "i32",
    "int64": "i64",
    "uint8": "u8",
    "uint16": "u16",
    "uint32": "u32",
    "uint64": "u64",
    "bool": "bool",
    "float16": "f16",
    "bfloat16": "bf16",
    "float32": "f32",
    "float64": "f64",
}


class Unbound:
    """The value of a parameter that has none yet."""

    def __repr__(self) -> str:
        return "..."


UNBOUND = Unbound()


@dataclass(frozen=True, slots=True, eq=False)
class Argument:
    """One parameter with its value. Two uses of one argument are one parameter, however patterns are combined; so identity counts.

    is_extent: of a grid, and then a positive integer.
    """

    value: object = UNBOUND
    is_extent: bool = False

    def bound(self, value: object) -> Argument:
        """The same parameter with another value, which `require_bindable` has seen."""
        return Argument(plain(value), self.is_extent)

    def require_extent(self, owner: str, name: str, value: object) -> None:
        """ValueError where the parameter is an extent of a grid, and the value none."""
        if self.is_extent and (isinstance(value, bool) or not isinstance(value, numbers.Integral) or int(value) < 1):
            raise ValueError(f"`{owner}` binds the extent `{name}` to {value!r}\n  write a positive integer, the tokens along that axis")


def require_bindable(owner: str, name: str, value: object) -> None:
    """TypeError or ValueError unless `value` may be bound to the parameter `name` of `owner`."""
    what = f"`{owner}` binds `{name}` to"
    if isinstance(value, list):
        beginning = _beginning(cast(list[object], value))
        raise refusal(f"{what} a list", f"`{name}=torch.tensor({beginning})`, or a tuple for a few fixed numbers")
    if isinstance(value, Traced):
        if names(value.expr):
            raise refusal(f"{what} `{value}`, which depends on the position", "numbers, `lacuna.q_len` and `lacuna.kv_len` only")
    elif not isinstance(value, bool) and isinstance(value, numbers.Integral):
        if not -(2**63) <= int(value) < 2**63:
            raise ValueError(f"{what} {value}, which does not fit in 64 bits\n  write an integer below 2 ** 63")
    elif is_tensor(value) and not isinstance(value, numbers.Real):
        _require_table(what, name, value)
    elif not _is_static(value) and not isinstance(value, numbers.Real | Segments):
        raise refusal(
            f"{what} {value!r} of type {type(value).__name__}",
            "an int, float, bool, str, None, a tuple of those, a tensor, or `lacuna.segments(offsets)`",
        )


def _beginning(values: list[object]) -> str:
    return repr(values) if len(values) < 5 else f"[{', '.join(repr(value) for value in values[:3])}, ...]"


def _require_table(what: str, name: str, value: TensorLike) -> None:
    layout = str(getattr(value, "layout", "torch.strided"))
    if layout != "torch.strided" or getattr(value, "is_quantized", False):
        kind, fix = ("quantized", "dequantize") if layout == "torch.strided" else (layout, "to_dense")
        raise refusal(f"{what} a {kind} tensor, which has no entry for every index", f"`{name}={name}.{fix}()`")
    if _dtype_name(value) not in _DTYPES and not _is_read(value):
        raise refusal(f"{what} a tensor of {value.dtype}", f"one of {', '.join(_DTYPES)}, such as `{name}.int()`")


def _dtype_name(value: TensorLike) -> str:
    return str(value.dtype).removeprefix("torch.")


def is_scalar(value: object) -> bool:
    """Whether it is a tensor without axes: a number that is read at each call."""
    return is_tensor(value) and not isinstance(value, numbers.Real) and len(value.shape) == 0


def _is_read(value: TensorLike) -> bool:
    """Whether the host reads it at each call: an integer or a truth value in its memory. Kernels read others: tables of one entry."""
    whole = len(value.shape) == 0 and _dtype_name(value).startswith(("int", "uint", "bool"))
    there = hasattr(value, "item") and not hasattr(value, "fake_mode")
    return whole and there and str(getattr(value, "device", "cpu")) == "cpu"


def scalar(declared: Symbol | Table, value: TensorLike) -> Expr:
    """What an expression reads of a tensor without axes."""
    if isinstance(declared, Table):
        return Lookup(declared, (ZERO,))
    return Binary(Op.NE, declared, ZERO) if _dtype_name(value).startswith("bool") else declared


def _is_static(value: object) -> bool:
    if isinstance(value, tuple):
        return all(_is_static(each) or isinstance(each, int | float) for each in cast(tuple[object, ...], value))
    return value is None or isinstance(value, bool | str)


def declaration(name: str, value: object) -> Symbol | Table | None:
    """How a bound value is declared in the program; None for one that is part of the program's text.

    A tensor without axes is a number where the host can read it at each call, else a table of one entry.
    """
    if _is_static(value) or isinstance(value, Traced):
        return None
    if isinstance(value, Segments):
        return Table(name, "i32", 1, monotone=True)
    if isinstance(value, numbers.Real):
        return Symbol(name, Kind.INT if isinstance(value, numbers.Integral) else Kind.FLOAT)
    assert is_tensor(value)
    if _is_read(value):
        return Symbol(name)
    return Table(name, _DTYPES[_dtype_name(value)], max(1, len(value.shape)))


def met_as(name: str, value: object) -> object:
    """What a traced function sees of a bound value."""
    declared = declaration(name, value)
    if declared is None:
        return value
    if is_tensor(value) and is_scalar(value):
        return Traced(scalar(declared, value))
    return TracedTable(declared) if isinstance(declared, Table) else Traced(declared)


def plain(value: object) -> object:
    """Numbers as Python's own, everything else as it is."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return value
    return int(value) if isinstance(value, numbers.Integral) else float(value)


def form(values: Mapping[str, object]) -> tuple[object, ...]:
    """What decides the traced program: declarations, and the values that are part of the text. Hashable."""
    return tuple((name, declaration(name, value) or _static_form(value)) for name, value in values.items())


def identity(value: object) -> object:
    """A hashable stand-in: numbers by type and value, tensors by which object they are."""
    if isinstance(value, Segments):
        return ("segments", id(value.offsets))
    if is_tensor(value) and not isinstance(value, numbers.Real):
        return ("tensor", id(value))
    return _static_form(value)


def _static_form(value: object) -> object:
    if isinstance(value, tuple):
        return tuple(_static_form(each) for each in cast(tuple[object, ...], value))
    if isinstance(value, Traced):
        return value.expr
    return (type(value).__name__, value.hex() if isinstance(value, float) else value)


def shown(value: object) -> str:
    """A bound value as a `repr` has it."""
    if isinstance(value, Segments):
        return f"segments({shown(value.offsets)})"
    if is_tensor(value) and not isinstance(value, numbers.Real):
        return f"{_DTYPES.get(_dtype_name(value), '?')}[{', '.join(str(size) for size in value.shape)}]"
    return repr(value)
