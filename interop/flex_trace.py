"""Functions written for FlexAttention, run once on stand-ins for (score, b, h, q_idx, kv_idx) that record what torch would compute.

Integers and floats that a function closes over are part of the program; tensors without axes are its parameters, others its tables.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, cast

import torch
from torch import Tensor

from ..ir.build import as_real, quoted, refusal
from ..ir.expr import TRUE, Expr, Kind, S, Var, symbols, tables
from ..ir.program import InvalidProgram, Program
from ..ir.reserved import is_plain
from ..ir.trace import lifted
from ..ir.verify import verify
from .flex_captured import Captured, names_of_tensors
from .flex_operators import OPERATORS, number

Function = Callable[..., object]
_POSITIONS = tuple(Var(name) for name in "bhqk")
_KEYWORDS = {"min": "least", "max": "most"}
_IGNORED = {"device", "memory_format", "non_blocking", "copy", "requires_grad"}  # none changes a value


class Stand:
    """A stand-in for one scalar tensor: an expression, to which every operator adds."""

    __slots__ = ("captured", "expr")

    def __init__(self, expr: Expr, captured: Captured) -> None:
        self.expr = expr
        self.captured = captured

    def __repr__(self) -> str:
        return quoted(self.expr)

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> object:  # noqa: ANN401 (torch's protocol)
        captured = next(_captures((args, kwargs)))
        name = str(getattr(func, "__name__", func)).strip("_")
        if name == "getitem":
            return looked_up(args[0], (), args[1], captured)
        if func is Tensor.where:
            args = (args[1], args[0], *args[2:])
        return applied(name, args, kwargs or {}, captured)

    @property
    def shape(self) -> torch.Size:
        return torch.Size(())

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        return {Kind.INT: torch.int64, Kind.BOOL: torch.bool, Kind.FLOAT: torch.float32}[self.expr.kind]

    def __getattr__(self, name: str) -> Function:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args, **kwargs: applied(name, (self, *args), kwargs, self.captured)

    def __getitem__(self, index: object) -> NoReturn:
        raise refusal(f"`{self}[...]`: the expression is one number", "a look-up in a captured tensor, `table[q_idx]`")

    def __hash__(self) -> int:
        raise refusal(f"the expression `{self}` cannot be a dictionary key", "a captured tensor, `table[q_idx]`")

    def __bool__(self) -> bool:
        raise refusal(
            f"data-dependent control flow: the expression `{self}` has no truth value, it stands for every (q, k) at once",
            "`&`, `|`, `~` instead of `and`, `or`, `not`; `(a <= x) & (x <= b)` instead of `a <= x <= b`; "
            "`torch.where(condition, a, b)` instead of `if`; `torch.minimum`, `torch.maximum` instead of `min`, `max`",
        )

    def _no_number(self) -> NoReturn:
        raise refusal(
            f"a plain number is wanted where the expression `{self}` stands for every (q, k) at once",
            "torch's operators, such as `torch.exp` instead of `math.exp`; a captured tensor instead of a list; "
            "a condition on `kv_idx` instead of a loop",
        )

    def __index__(self) -> int:
        self._no_number()

    def __int__(self) -> int:
        self._no_number()

    def __float__(self) -> float:
        self._no_number()

    def __len__(self) -> int:
        self._no_number()

    def __iter__(self) -> Iterator[object]:
        self._no_number()


def _install_operators() -> None:
    """Python's operators, each the one that torch has under the same name."""
    both = {name: name for name in ("add", "sub", "mul", "pow", "and", "or", "xor", "lshift", "rshift", "truediv", "floordiv", "mod")}
    for name in (*both, "lt", "le", "gt", "ge", "eq", "ne", "neg", "pos", "abs", "invert"):
        setattr(Stand, f"__{name}__", _operator(name, reflected=False))
    for name in both:
        setattr(Stand, f"__r{name}__", _operator(name, reflected=True))


def _operator(name: str, *, reflected: bool) -> Function:
    def apply(self: Stand, *other: object) -> object:
        return applied(name, (*other, self) if reflected else (self, *other), {}, self.captured)

    return apply


_install_operators()


class Row:
    """A captured tensor read along its first axes only: it can be looked up further, and nothing else."""

    __slots__ = ("captured", "indices", "tensor")

    def __init__(self, tensor: Tensor, indices: tuple[Expr, ...], captured: Captured) -> None:
        self.tensor, self.indices, self.captured = tensor, indices, captured

    def __getitem__(self, index: object) -> Stand | Row:
        return looked_up(self.tensor, self.indices, index, self.captured)

    @classmethod
    def __torch_function__(cls, func: object, *_: object) -> NoReturn:
        raise refusal(f"`{getattr(func, '__name__', func)}` of a row of a captured tensor", "an index for every axis, `table[h, q_idx]`")


def looked_up(tensor: object, before: tuple[Expr, ...], index: object, captured: Captured) -> Stand | Row:
    """`tensor[before][index]`."""
    if not isinstance(tensor, Tensor):
        raise refusal(f"`{tensor!r}[...]`: the expression is one number", "a look-up in a captured tensor, `table[q_idx]`")
    parts = cast("tuple[object, ...]", index if isinstance(index, tuple) else (index,))
    if any(part is None or part is Ellipsis or isinstance(part, slice) for part in parts):
        raise refusal(
            f"a slice of a captured tensor of shape {tuple(tensor.shape)}", "one index per axis; slice the tensor outside the function"
        )
    indices = (*before, *(lift(part, captured) for part in parts))
    if len(indices) > tensor.ndim:
        raise refusal(f"a tensor of shape {tuple(tensor.shape)} is read with {len(indices)} indices", "one index per axis")
    if len(indices) < tensor.ndim:
        return Row(tensor, indices, captured)
    return Stand(captured.look_up(tensor, indices), captured)


def lift(value: object, captured: Captured) -> Expr:
    """The expression that a stand-in, a number or a tensor without axes is."""
    if isinstance(value, Stand):
        return value.expr
    if isinstance(value, Row):
        raise refusal("a row of a captured tensor is used as a number", "an index for every axis, `table[h, q_idx]`")
    if isinstance(value, Tensor):
        if value.ndim:
            raise refusal(f"a tensor of shape {tuple(value.shape)} meets a position directly", "a look-up, `table[q_idx]`")
        return captured.scalar(value)
    return lifted(value)


def applied(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], captured: Captured) -> object:
    """The result of one torch function or method, given by its name."""
    kwargs = {key: value for key, value in kwargs.items() if key not in _IGNORED}
    if name in ("dim", "ndimension"):
        return 0
    if name in ("to", "type", "type_as"):
        return Stand(converted(lift(args[0], captured), [*args[1:], *kwargs.values()]), captured)
    if name.startswith("new_") or name.endswith("_like"):
        return Stand(_constant(name, list(args), kwargs, captured), captured)
    if name in ("div", "divide") and kwargs.get("rounding_mode") == "floor":
        name, kwargs = "floor_divide", {}
    operator = OPERATORS.get(name)
    if operator is None or not _KEYWORDS.keys() >= kwargs.keys():
        keywords = "".join(f", {key}=" for key in kwargs if key not in _KEYWORDS)
        raise refusal(f"`torch.{name}(...{keywords})` has no counterpart here", f"one of {', '.join(sorted(OPERATORS))}")
    lifts = {_KEYWORDS[key]: lift(value, captured) for key, value in kwargs.items() if value is not None}
    return Stand(operator(*(None if each is None else lift(each, captured) for each in args), **lifts), captured)


def converted(expr: Expr, wanted: list[object]) -> Expr:
    """`expr.to(...)`: the first dtype among the arguments, or that of the first tensor, decides."""
    dtypes = [found for each in wanted if isinstance(found := getattr(each, "dtype", each), torch.dtype)]
    if not dtypes:
        return expr
    kind = "float" if dtypes[0].is_floating_point else "bool" if dtypes[0] is torch.bool else "int"
    return OPERATORS[kind](expr)


def _constant(name: str, args: list[Any], kwargs: dict[str, Any], captured: Captured) -> Expr:
    """`ones_like`, `new_zeros(())` and the like; without `dtype=` in that of the first argument."""
    what = name.removeprefix("new_").removesuffix("_like")
    sizes = [args[1] if len(args) > 1 else kwargs.get("size", ())] if name in ("new_ones", "new_zeros", "new_full") else []
    if what not in ("ones", "zeros", "full", "tensor") or any(size not in ((), []) for size in sizes):
        raise refusal(f"`{name}` makes more than one number", "a tensor made outside the function, and a look-up, `table[q_idx]`")
    value = {"ones": 1, "zeros": 0}.get(what, kwargs.get("fill_value", args[-1]))
    return converted(lift(value, captured), [kwargs.get("dtype") or args[0].dtype])


def _captures(args: object) -> Iterator[Captured]:
    """Of the stand-ins among the arguments of a torch function, however deep in tuples."""
    if isinstance(args, Stand):
        yield args.captured
    elif isinstance(args, tuple | list):
        for each in cast("tuple[object, ...]", args):
            yield from _captures(each)
    elif isinstance(args, dict):
        yield from _captures(tuple(cast("dict[str, object]", args).values()))


def traced(function: Function, *, is_score: bool) -> tuple[Program, dict[str, object]]:
    """The program of a `mask_mod` or a `score_mod`, and what its parameters and tables are bound to.

    Raises:
        TypeError, InvalidProgram: it does something that is no expression; the message says what to write.
    """
    captured = Captured(names_of_tensors(function))
    name: str = getattr(function, "__name__", "")
    variables = (S, *_POSITIONS) if is_score else _POSITIONS
    try:
        expr = _result(function(*(Stand(each, captured) for each in variables)), captured, is_score)
        mask, score = (TRUE, expr) if is_score else (expr, S)
        program = Program(name if is_plain(name) else "anonymous", mask, score, symbols(expr), tables(expr))
        _verify_once(program)
    except (TypeError, InvalidProgram) as error:
        error.add_note(f"while tracing `{name}`, {_place(function)}")
        raise
    return program, captured.bindings


@functools.lru_cache(maxsize=256)
def _verify_once(program: Program) -> None:
    """`verify`, skipped for a program that passed: a `score_mod` is traced at every call."""
    verify(program)


def _result(result: object, captured: Captured, is_score: bool) -> Expr:
    if result is None:
        raise refusal("the function returns nothing", "`return score`" if is_score else "`return q_idx >= kv_idx`")
    expr = lift(result, captured)
    if is_score:
        return as_real(number(expr))
    if expr.kind is not Kind.BOOL:
        raise refusal(f"the mask is the number `{quoted(expr)}`", f"a condition, such as `{quoted(expr)} != 0`")
    return expr


def _place(function: Function) -> str:
    code = function.__code__ if inspect.isfunction(function) else None
    return f'File "{code.co_filename}", line {code.co_firstlineno}' if code else repr(function)
