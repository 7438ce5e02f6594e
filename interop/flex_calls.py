"""Calls of torch's functions and methods on stand-ins for scalar tensors: what each name comes to."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import Tensor

from ..ir.build import quoted, refusal
from ..ir.expr import Expr, Kind, Lookup, S, walk
from .flex_captured import Captured
from .flex_operators import METHODS, OPERATORS, Operator
from .flex_values import REALS, WHOLE, Value, as_dtype, fitting, python_number

_POSITIONAL = ("condition", "input", "self", "other", "exponent", "mask", "value")  # by name, in their order
_KEYWORDS = {"min": "least", "max": "most", "alpha": "alpha"}
_IGNORED = {"device", "memory_format", "non_blocking", "copy", "requires_grad", "layout", "pin_memory"}  # none changes a value
_CONVERSIONS = {
    **{"bool": torch.bool, "byte": torch.uint8, "char": torch.int8, "short": torch.int16, "int": torch.int32, "long": torch.int64},
    **{"half": torch.float16, "bfloat16": torch.bfloat16, "float": torch.float32, "double": torch.float64},
}
_SAME = frozenset({"contiguous", "cpu", "cuda"})
_FACTS: dict[str, Callable[[Value], object]] = {
    "dim": lambda _: 0,
    "ndimension": lambda _: 0,
    "numel": lambda _: 1,
    "nelement": lambda _: 1,
    "size": lambda _: torch.Size(()),
    "stride": lambda _: (),
    "element_size": lambda value: value.dtype.itemsize,
    "is_complex": lambda _: False,
    "is_contiguous": lambda _: True,
    "is_floating_point": lambda value: value.dtype.is_floating_point,
    "is_signed": lambda value: value.dtype.is_signed,
}


class Held:
    """A stand-in for one scalar tensor; operations in place change its value."""

    __slots__ = ("captured", "value")

    def __init__(self, value: Value, captured: Captured) -> None:
        self.value = value
        self.captured = captured

    @property
    def expr(self) -> Expr:
        return self.value.expr


class Unread:
    """A captured tensor read along its first axes only."""

    __slots__ = ("captured", "indices", "tensor")

    def __init__(self, tensor: Tensor, indices: tuple[Value, ...], captured: Captured) -> None:
        self.tensor, self.indices, self.captured = tensor, indices, captured


def lift(value: object, captured: Captured) -> Value:
    """What a stand-in, a number or a tensor without axes is."""
    if isinstance(value, Held):
        return value.value
    if isinstance(value, Tensor):
        if value.ndim:
            raise refusal(f"a tensor of shape {tuple(value.shape)} meets a position directly", "a look-up, `table[q_idx]`")
        return captured.scalar(value)
    if isinstance(value, Unread):
        raise refusal("a row of a captured tensor is used as a number", "an index for every axis, `table[h, q_idx]`")
    return python_number(value)


def called(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], captured: Captured, *, is_method: bool = False) -> object:
    """The result of one torch function or method, given by its name: a value, a plain object, or the stand-in itself."""
    args = (*args, *(kwargs[key] for key in _POSITIONAL if key in kwargs))
    kwargs = {key: value for key, value in kwargs.items() if key not in _IGNORED and key not in _POSITIONAL}
    if name in _FACTS and len(args) == 1:
        return _FACTS[name](lift(args[0], captured))
    if name in ("to", "type", "type_as") or name in _CONVERSIONS or name in _SAME:
        return _converted(name, args, kwargs, captured)
    if name in ("clone", "detach", "detach_copy"):
        return _copied(name, args[0], captured)
    if name.startswith("new_") or name.endswith("_like"):
        return _constant(name, list(args), kwargs, captured)
    if name.endswith("_"):
        return _in_place(name, args, kwargs, captured)
    return _operated(name, args, kwargs, captured, METHODS if is_method else OPERATORS)


def _operated(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], captured: Captured, operators: dict[str, Operator]) -> Value:
    operator = operators.get(name)
    rounding: object = kwargs.pop("rounding_mode", None) if name in ("div", "divide") else None
    keywords = {_KEYWORDS.get(key, ""): lift(value, captured) for key, value in kwargs.items() if value is not None}
    if operator is None or not _takes(operator, len(args), keywords) or rounding not in (None, "floor", "trunc"):
        said = "".join(f", {key}=" for key in kwargs)
        raise refusal(f"`torch.{name}({'...' if len(args) < 2 else f'{len(args)} arguments'}{said})` has no counterpart here", _known())
    lifts = tuple(None if each is None else lift(each, captured) for each in args)
    found = operator(*lifts, rounding) if rounding else operator(*lifts, **keywords)
    _require_recorded(found, captured)
    return found


def _known() -> str:
    return f"one of {', '.join(sorted({*OPERATORS, *_CONVERSIONS}))}"


_SIGNATURES: dict[Operator, inspect.Signature] = {}  # no `functools.cache`, of which torch's compiler warns


def _takes(operator: Operator, count: int, keywords: Iterable[str]) -> bool:
    """Whether it has so many arguments, and those by name."""
    if operator not in _SIGNATURES:
        _SIGNATURES[operator] = inspect.signature(operator)
    try:
        _SIGNATURES[operator].bind(*range(count), **dict.fromkeys(keywords))
    except TypeError:
        return False
    return True


def _require_recorded(found: Value, captured: Captured) -> None:
    if found.is_real and captured.recording and not torch.is_grad_enabled() and _has_gradient(found.expr):
        raise refusal(
            f"`{quoted(found.expr)}` is computed under `torch.no_grad()`", "the function without it: a score is differentiated whole"
        )


def _has_gradient(expr: Expr) -> bool:
    return any(node is S or (isinstance(node, Lookup) and node.kind is Kind.FLOAT) for node in walk(expr))


def _copied(name: str, held: object, captured: Captured) -> Value:
    found = lift(held, captured)
    if name != "clone" and found.is_real and _has_gradient(found.expr):
        raise refusal(
            f"`.detach()` of `{quoted(found.expr)}`", "it without, as a score is differentiated whole; detach a captured tensor outside"
        )
    return found


def _converted(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], captured: Captured) -> object:
    """`x.to(...)`: the first dtype among the arguments, or that of the first tensor, decides."""
    held, *wanted = args
    found = lift(held, captured)
    if name in _SAME:
        return cast(object, held)
    if name in _CONVERSIONS:
        dtype = _CONVERSIONS[name]
    else:
        given = [_wanted(each, found) for each in (*wanted, *kwargs.values())]
        dtype = next((each for each in given if each is not None), found.dtype if name == "to" else None)
    if dtype is None:
        raise refusal(f"the type of `{quoted(found.expr)}` as a string, or by one", "`.to(torch.int64)`")
    return cast(object, held) if dtype is found.dtype else as_dtype(found, dtype)


def _wanted(argument: object, found: Value) -> torch.dtype | None:
    """The dtype that an argument of `to` asks for; None where it is a device."""
    dtype = _OF_PYTHON.get(argument) if isinstance(argument, type) else getattr(argument, "dtype", argument)
    if isinstance(dtype, torch.dtype):
        return dtype
    if argument is None or isinstance(argument, torch.device | str) or type(argument) is int:
        return None
    raise refusal(f"`{quoted(found.expr)}` is made {argument!r}", "a dtype, `.to(torch.int64)`")


_OF_PYTHON: dict[type, torch.dtype] = {bool: torch.bool, int: torch.int64, float: torch.float64}


def _constant(name: str, args: list[Any], kwargs: dict[str, Any], captured: Captured) -> Value:
    """`ones_like`, `new_zeros(())` and the like; without `dtype=` in that of the first argument."""
    what = name.removeprefix("new_").removesuffix("_like")
    sizes = [args[1] if len(args) > 1 else kwargs.get("size", ())] if name in ("new_ones", "new_zeros", "new_full") else []
    if what not in ("ones", "zeros", "full", "tensor") or any(size != () and size != [] for size in sizes):
        raise refusal(f"`{name}` makes more than one number", "a tensor made outside the function, and a look-up, `table[q_idx]`")
    value = lift({"ones": 1, "zeros": 0}.get(what, kwargs.get("fill_value", args[-1])), captured)
    return fitting(value, kwargs.get("dtype") or args[0].dtype)


def _in_place(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], captured: Captured) -> object:
    """`x.add_(y)`: what other names of the same tensor see too."""
    held = args[0]
    if not isinstance(held, Held):
        raise refusal(f"`{name}` changes a captured tensor while the function is traced", f"`{name[:-1]}`, a new value")
    before = held.value
    if name in ("zero_", "fill_", "copy_") and len(args) == (1 if name == "zero_" else 2):
        after = fitting(lift(args[1] if len(args) > 1 else 0, captured), before.dtype)
    else:
        after = _operated(name[:-1], args, kwargs, captured, METHODS)
    if _rank(after.dtype) > _rank(before.dtype):
        raise refusal(f"`{name}` makes `{quoted(before.expr)}`, which is {before.dtype}, {after.dtype}", f"`{name[:-1]}`, a new value")
    held.value = as_dtype(after, before.dtype)
    return held


def _rank(dtype: torch.dtype) -> int:
    return 2 if dtype in REALS else 1 if dtype in WHOLE else 0
